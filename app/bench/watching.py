"""What a person sees while figures are made: a line that moves on a terminal, plain lines elsewhere. All on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINES_APART_S = 1.0
"""Steps that follow each other faster are not worth a line each."""


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
    started = time.perf_counter()
    last = -LINES_APART_S

    def say(step: str) -> None:
        nonlocal last
        seconds = time.perf_counter() - started
        if seconds - last >= LINES_APART_S:
            print(f"{subject}: {step} ({seconds:.0f} s so far)", file=sys.stderr, flush=True)
            last = seconds

    yield say
