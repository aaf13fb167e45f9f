"""How the loading of history shows: a bar on a terminal, a log line a page elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

_WORTH_SHOWING = 60
"""Minutes; an ordinary tick asks for one or a few."""


@contextmanager
def history_progress() -> Iterator[Callable[[str, int, int], None]]:
    """What to call with (venue, minutes fetched, minutes in all) after each page.

    The bar is there only while something is being loaded: a service that runs for months must not redraw one.
    """
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True)
    tasks: dict[str, TaskID] = {}

    def show(venue: str, done: int, total: int) -> None:
        if total < _WORTH_SHOWING:
            return
        if not console.is_terminal:
            log.info("%s: %s of %s minutes of history", venue, f"{done:,}", f"{total:,}")
            return
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
