"""What a person sees while figures are made: a line that moves on a terminal, plain lines elsewhere. All on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LOOK_EVERY_S = 1.0
"""A step that is over sooner is not worth a line."""
REPEAT_EVERY_S = 30.0
"""A step that takes longer is told again, so that nobody thinks it hangs."""


@contextmanager
def watched(subject: str) -> Iterator[Callable[[str], None]]:
    """What to call with every step that begins on ``subject``."""
    console = Console(stderr=True)
    with _moving(console, subject) if console.is_terminal else _lines(subject) as say:
        yield say


@contextmanager
def _moving(console: Console, subject: str) -> Iterator[Callable[[str], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(subject)
        yield lambda step: progress.update(task, description=f"{subject}: {step}")


@contextmanager
def _lines(subject: str) -> Iterator[Callable[[str], None]]:
    """Told by a thread: whoever calls is waiting for another process meanwhile."""
    steps, over = [""], threading.Event()
    teller = threading.Thread(target=_tell, args=(subject, steps, over), daemon=True)
    teller.start()
    try:
        yield steps.append
    finally:
        over.set()
        teller.join()


def _tell(subject: str, steps: list[str], over: threading.Event) -> None:
    started = told_at = time.perf_counter()
    told = steps[-1]
    while not over.wait(LOOK_EVERY_S):
        step, now = steps[-1], time.perf_counter()
        if step != told or now - told_at >= REPEAT_EVERY_S:
            print(f"{subject}: {step} ({now - started:.0f} s so far)", file=sys.stderr, flush=True)
            told, told_at = step, now
