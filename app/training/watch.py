"""How a person sees a training go on: a bar on a terminal, a line for every epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

Say = Callable[[str], None]


@contextmanager
def watched(what: str, epochs: int, say: Say) -> Iterator[Callable[[int, str], None]]:
    """What to call with every epoch's number and score: a bar on a terminal, a line each elsewhere."""
    if not sys.stderr.isatty():
        yield lambda number, score: say(f"{what}: epoch {number} of {epochs}{score}")
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=epochs)
        yield lambda number, score: bar.update(task, completed=number, description=f"{what}{score}")
