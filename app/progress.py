"""How the loading of history shows: a bar for each venue on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

_WORTH_SHOWING = 60
"""Minutes; an ordinary tick asks for one or a few."""
_LOG_EVERY_S = 5.0


@contextmanager
def history_progress() -> Iterator[Callable[[str, int, int], None]]:
    """What to call with (venue, minutes fetched, minutes in all) after each page.

    The bar is there only while something is being loaded: a service that runs for months must not redraw one.
    """
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True)
    tasks: dict[str, TaskID] = {}
    logged_at_s: dict[str, float] = {}
    guard = threading.Lock()

    def show(venue: str, done: int, total: int) -> None:
        if total >= _WORTH_SHOWING:
            with guard:  # venues load side by side
                (move if console.is_terminal else tell)(venue, done, total)

    def tell(venue: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        if done < total and now_s - logged_at_s.setdefault(venue, now_s) < _LOG_EVERY_S:
            return
        logged_at_s[venue] = now_s
        log.info("%s: %s of %s minutes of history", venue, f"{done:,}", f"{total:,}")

    def move(venue: str, done: int, total: int) -> None:
        if not tasks:
            bar.start()
        if venue not in tasks:
            tasks[venue] = bar.add_task(f"{venue}: minutes of history", total=total)
        bar.update(tasks[venue], completed=done)
        if done >= total:
            bar.remove_task(tasks.pop(venue))
        if not tasks:
            bar.stop()

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
