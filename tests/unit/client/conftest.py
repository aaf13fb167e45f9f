"""A dialogue without a network: the test says what comes of each step, and time passes only in pauses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from app.client.dialogue import Answer, Ask, Dialogue, Found, Manners, Open, Pause, Step, Work


@dataclass
class Played:
    """What a dialogue asked for, and what it found."""

    replies: Iterator[Any]
    now: float = 100.0
    asked: list[Ask] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)

    def manners(self, patience_s: float = 30.0) -> Manners:
        """Chance is taken out of it: every pause is as long as it can be."""
        return Manners(patience_s, timeout_s=10.0, now=lambda: self.now, chance=lambda: 1.0)

    def run(self, dialogue: Dialogue[Any]) -> Any:
        told: Any = None
        while True:
            try:
                step = dialogue.send(told)
            except StopIteration as done:
                return done.value
            told = self._do(step)

    def _do(self, step: Step) -> Any:
        match step:
            case Pause(seconds):
                self.pauses.append(seconds)
                self.now += seconds
                return None
            case Found(item):
                self.found.append(item)
                return None
            case Work(do):
                return do()
            case Ask() | Open():
                self.asked.append(step if isinstance(step, Ask) else step.ask)
        return next(self.replies)


@pytest.fixture
def play() -> Callable[..., Played]:
    return lambda *replies: Played(iter(replies))


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, httpx2.Headers({name.replace("_", "-"): text for name, text in headers.items()}), raw)


def problem(status: int, kind: str, detail: str, **headers: str) -> Answer:
    return answer(status, {"type": kind, "title": "", "status": status, "detail": detail}, **headers)


@pytest.fixture(name="answer")
def answer_maker() -> Callable[..., Answer]:
    return answer


@pytest.fixture(name="problem")
def problem_maker() -> Callable[..., Answer]:
    return problem


@pytest.fixture
def forecast() -> Callable[..., dict[str, Any]]:
    """A forecast as the service sends it."""

    def make(number: int = 0, **fields: Any) -> dict[str, Any]:
        template = {
            "feed": "btc-usdt-4h",
            "id": f"{number:032x}",
            "window_end": f"2025-09-15T12:{number % 60:02d}:00Z",
            "age_seconds": 12.5,
            "regime": "low",
            "p_high": 0.0618,
            "vol_annualised": 0.226,
            "model_id": "ab" * 32,
            "status": "confirmed",
            "venues": {"binance": "BTC/USDT"},
            "left_out": {},
            "quorum": 1,
        }
        return template | fields

    return make


@pytest.fixture
def events() -> Callable[..., Sequence[httpx2.ServerSentEvent]]:
    """Events of these numbers, as they come from a connection."""

    def make(*numbers: int) -> Sequence[httpx2.ServerSentEvent]:
        return [httpx2.ServerSentEvent("proof", f'{{"n": {number}}}', str(number)) for number in numbers]

    return make
