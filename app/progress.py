"""What a person sees while something takes time: a moving line and bars on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout holds results only, and nothing with ``--quiet``.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

log = logging.getLogger(__name__)

_WORTH_SHOWING = 60
"""Minutes; an ordinary tick asks for one or a few."""
_LOG_EVERY_S = 5.0
_LOOK_EVERY_S = 1.0
"""A step that is over sooner is not worth a line."""
_REPEAT_EVERY_S = 30.0
"""A step that takes longer is told again, so that nobody thinks it hangs."""


class Work(Protocol):
    """How something long is told."""

    def step(self, what: str) -> None:
        """Say what begins now; what was before it is over."""

    def history(self, venue: str, done: int, total: int) -> None:
        """Say how many minutes of a venue's history are here, after each page. Any thread may."""

    def finish(self) -> None:
        """Show nothing more of this. Twice is the same as once."""


@contextmanager
def working(subject: str) -> Iterator[Work]:
    """Tell how ``subject`` goes on until the block ends."""
    work = _work(subject)
    try:
        yield work
    finally:
        work.finish()


@contextmanager
def watched(subject: str) -> Iterator[Callable[[str], None]]:
    """What to call with every step that begins on ``subject``."""
    with working(subject) as work:
        yield work.step


@contextmanager
def history_progress() -> Iterator[Callable[[str, int, int], None]]:
    """What to call with (venue, minutes fetched, minutes in all) after each page.

    The bar is there only while something is being loaded: a service that runs for months must not redraw one.
    """
    with working("") as work:
        yield work.history


def running_block(url: str, feed: str, what: str) -> str:
    """What to do with a system that has just come up at ``url``; ``what`` says in a line what it is made of."""
    rows = (
        ("dashboard", url),
        ("API", f"{url}/docs"),
        ("a forecast", f"curl '{url}/v1/feeds/{feed}/latest?max_age=120'"),
        ("follow it", f"veriregime watch --url {url}"),
        ("end it", "Ctrl-C"),
    )
    return "\n".join(["", what, "", *(f"  {name:12}{value}" for name, value in rows), ""])


def _work(subject: str) -> Work:
    if not logging.getLogger("app").isEnabledFor(logging.INFO):
        return _Nothing()
    console = Console(stderr=True)
    return _Moving(subject, console) if console.is_terminal else _Lines(subject)


class _Nothing:
    def step(self, what: str) -> None: ...

    def history(self, venue: str, done: int, total: int) -> None: ...

    def finish(self) -> None: ...


class _Moving:
    """A line for the step and a bar for each venue, redrawn at the bottom of the terminal while there is one of them.

    Log lines go above them: what is logged to the same terminal would tear them apart.
    """

    def __init__(self, subject: str, console: Console) -> None:
        self._steps = Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._bars = Progress()
        self._live = Live(Group(self._steps, self._bars), console=console, transient=True, refresh_per_second=8)
        self._venues: dict[str, TaskID] = {}
        self._subject = subject
        self._step: TaskID | None = None
        self._over = False
        self._guard = threading.Lock()
        if subject:
            with self._guard:
                self._begin(subject)

    def step(self, what: str) -> None:
        with self._guard:
            if not self._over:
                self._begin(f"{self._subject}: {what}")

    def history(self, venue: str, done: int, total: int) -> None:
        if total < _WORTH_SHOWING:
            return
        with self._guard:  # venues load side by side
            if self._over:
                return
            if venue not in self._venues:
                self._venues[venue] = self._bars.add_task(f"{venue}: minutes of history", total=total)
            self._bars.update(self._venues[venue], completed=done)
            if done >= total:
                self._bars.remove_task(self._venues.pop(venue))
            self._show()

    def finish(self) -> None:
        with self._guard:
            self._over = True
            self._hide()

    def _begin(self, line: str) -> None:
        if self._step is not None:
            self._steps.remove_task(self._step)
        self._step = self._steps.add_task(line, total=None)
        self._show()

    def _show(self) -> None:
        if not self._venues and self._step is None:
            self._hide()
        elif not self._live.is_started:
            direct = sys.stderr
            self._live.start()
            _move_logs(direct, sys.stderr)

    def _hide(self) -> None:
        if self._live.is_started:
            above = sys.stderr
            self._live.stop()
            _move_logs(above, sys.stderr)


def _move_logs(source: object, target: object) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is source:
            handler.setStream(target)


class _Lines:
    """A line for a step that lasts, told by a thread: whoever works does not look at the clock meanwhile."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._step = ""
        self._logged_at_s: dict[str, float] = {}
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True)
        if subject:
            self._teller.start()

    def step(self, what: str) -> None:
        self._step = what

    def history(self, venue: str, done: int, total: int) -> None:
        if total < _WORTH_SHOWING:
            return
        now_s = time.monotonic()
        with self._guard:
            if done < total and now_s - self._logged_at_s.setdefault(venue, now_s) < _LOG_EVERY_S:
                return
            self._logged_at_s[venue] = now_s
        log.info("%s: %s of %s minutes of history", venue, f"{done:,}", f"{total:,}")

    def finish(self) -> None:
        self._over.set()
        if self._teller.is_alive():
            self._teller.join()

    def _tell(self) -> None:
        started = told_at = time.perf_counter()
        told = ""
        while not self._over.wait(_LOOK_EVERY_S):
            step, now = self._step, time.perf_counter()
            if step and (step != told or now - told_at >= _REPEAT_EVERY_S):
                print(f"{self._subject}: {step} ({now - started:.0f} s so far)", file=sys.stderr, flush=True)
                told, told_at = step, now
