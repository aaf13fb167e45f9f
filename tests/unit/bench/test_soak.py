"""What a long run's looks come to, and what a stretch under load is held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.bench.looks import KINDS, PRODUCT, Filled, Held, missed
from app.bench.sizes import SQLITE_BYTES, growth
from app.bench.soak import Look, SoakEffort, bench_soak, judged
from app.bench.under_load import compared
from app.errors import BadInput
from app.settings import Settings
from app.types import MINUTE_MS

MIB = 2**20
WINDOWS = {"windows": 60, "missed": 0, "stored_s": None, "proved_s": None}


def looks(leak_mib: float = 0.0, more_files: float = 0.0, bloat: float = 1.0) -> list[Look]:
    """Forty of a system that makes a forecast between two of them, of which each takes ``bloat`` times its room."""
    made = []
    for number in range(40):
        held = Held(
            round((200 + leak_mib * number) * MIB), files=round(40 + more_files * number), threads=9, processes=1
        )
        rows = dict.fromkeys(KINDS, number)
        used = 10 * MIB + round(bloat * growth(rows, SQLITE_BYTES))
        made.append(Look(3.0 * number, dict.fromkeys(PRODUCT, held), Filled(used, used, rows, 400)))
    return made


def verdicts(found: dict[str, Any]) -> set[str]:
    """Those that do not hold."""
    return {what for what, holds in found["verdicts"].items() if not holds}


@pytest.fixture
def judge() -> Callable[..., dict[str, Any]]:
    def run(seen: list[Look], windows: dict[str, Any] = WINDOWS) -> dict[str, Any]:
        return judged(seen, {}, windows, {})

    return run


def test_soak__nothing_grows__passes(judge: Callable[..., dict[str, Any]]) -> None:
    found = judge(looks())
    assert found["passed"]
    assert found["database"]["against_documented"] == pytest.approx(1, abs=0.001)


def test_soak__memory_that_leaks__fails_with_the_role(judge: Callable[..., dict[str, Any]]) -> None:
    assert "memory of service is flat" in verdicts(judge(looks(leak_mib=0.5)))


def test_soak__files_that_are_never_closed__fail(judge: Callable[..., dict[str, Any]]) -> None:
    assert "files of attesters do not grow" in verdicts(judge(looks(more_files=0.2)))


@pytest.mark.parametrize(("bloat", "holds"), [(0.8, False), (0.9, True), (1.1, True), (1.2, False)])
def test_soak__database__may_grow_15_percent_beside_what_is_documented(
    judge: Callable[..., dict[str, Any]], bloat: float, holds: bool
) -> None:
    assert ("database grows as documented" not in verdicts(judge(looks(bloat=bloat)))) is holds


def test_soak__missed_window__fails(judge: Callable[..., dict[str, Any]]) -> None:
    assert verdicts(judge(looks(), WINDOWS | {"missed": 1})) == {"no window was missed"}


def test_soak__too_short_to_say_anything__is_refused_before_anything_is_started() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    with pytest.raises(BadInput, match="more --hours"):
        bench_soak(settings, SoakEffort(hours=0.05, speed=60), [], print)


def test_missed__is_counted_for_each_feed() -> None:
    windows = [("a", MINUTE_MS * end, 300, 900) for end in (1, 2, 5)] + [
        ("b", MINUTE_MS * end, 300, None) for end in (2, 3)
    ]
    assert missed(windows, MINUTE_MS) == 2


def stretch(latest_s: float, **statuses: int) -> dict[str, Any]:
    spread = {"median": 0.5, "p95": 0.6, "largest": latest_s}
    ticks = {"windows": 20, "missed": 0, "not_proved": 0, "stored_s": spread, "served_s": spread}
    told = {name.removeprefix("_"): count for name, count in statuses.items()}
    return {"name": "a stretch", "ticks": ticks, "answers": {"statuses": told} if told else None}


@pytest.mark.parametrize(
    ("busy", "holds"),
    [
        (stretch(1.6, _200=9_000, _404=2, _429=1), True),
        (stretch(1.8, _200=9_000), False),
        (stretch(0.6, _200=9_000, _503=1), False),
        (stretch(0.6, _200=9_000, lost=1), False),
    ],
)
def test_load__holds__while_no_tick_is_a_second_later_and_nothing_fails(busy: dict[str, Any], holds: bool) -> None:
    assert compared([stretch(0.7), busy])["holds"] is holds
