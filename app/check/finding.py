"""What a look over the installation comes to, and how things that may hang are asked at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

_T = TypeVar("_T")


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Not there, and only some uses want it."""
    WARNING = "warning"
    """It runs, and should not be left so."""
    FAILED = "failed"
    """It does not run, or must not."""


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    level: Level
    detail: str
    remedy: str = ""
    """What to do, in a line; empty where nothing is to be done."""
    group: str = ""
    """Under which heading it is shown."""


def side_by_side(questions: Sequence[Callable[[], _T]], patience_s: float) -> list[_T | None]:
    """The answers in the order of the questions; none where one took longer than all may together.

    What still hangs then is left to itself, and does not keep the process from ending.
    """
    answers: list[_T | None] = [None] * len(questions)

    def ask(number: int) -> None:
        answers[number] = questions[number]()

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(questions))]
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + patience_s
    for thread in threads:
        thread.join(max(0.0, give_up - time.monotonic()))
    return list(answers)
