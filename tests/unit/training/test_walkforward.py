from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")
from app.features.realised import series_of
from app.training import walkforward
from app.training.datasets import Period, Split
from app.training.kept import KeptWork
from app.training.material import Market, Recording
from app.training.student import Recipe
from app.training.walkforward import walk_forward
from app.types import MINUTE_MS, Candles, parse_time

START_MS = parse_time("2023-01-15T00:00:00Z")
END_MS = parse_time("2023-10-05T00:00:00Z")
RECIPE = Recipe(hidden=4, epochs=2, batch=64, teacher_weight=0.7)
QUARTERS = [("2023-04-01", "2023-07-01"), ("2023-07-01", "2023-10-01")]


def drawn(seed: int) -> Candles:
    rng = np.random.default_rng(seed)
    minutes = np.arange((END_MS - START_MS) // MINUTE_MS)
    size = 0.0005 * (1 + 0.8 * np.sin(minutes / 700))
    closes = 100 * np.exp(np.cumsum(rng.normal(0, size)))
    return Candles(START_MS + MINUTE_MS * minutes, closes, closes, closes, closes, np.ones(len(minutes)))


def wild_from(candles: Candles, time: str) -> Candles:
    """The same until a time; from then on the price jumps to and fro."""
    later = candles.open_time_ms >= parse_time(f"{time}T00:00:00Z")
    odd = (candles.open_time_ms // MINUTE_MS) % 7 < 3
    return replace(candles, close=np.where(later & odd, candles.close * 1.01, candles.close))


def market_of(ours: Candles, other: Candles | None = None) -> Market:
    recordings = [Recording(Path("c"), "", one, series_of(one)) for one in (ours, other) if one is not None]
    nowhere = Period(0, 0)
    other_recording = recordings[1] if other is not None else None
    return Market(recordings[0], other_recording, Split((), nowhere, nowhere), 120)


def walked(market: Market, folder: Path, recipe: Recipe = RECIPE, months: int = 6, **options: Any) -> list[Any]:
    kept = KeptWork(folder, "production", {})
    options = {"say": lambda _: None, **options}
    return walk_forward(market, recipe, months=months, seed=1, kept=kept, **options)


@pytest.fixture(scope="module")
def candles() -> Candles:
    return drawn(1)


@pytest.fixture(scope="module", autouse=True)
def _less_history() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walkforward, "LEAST_HISTORY_MS", 60 * 1440 * MINUTE_MS)
        yield


@pytest.fixture(scope="module")
def rows(candles: Candles, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return walked(market_of(candles), tmp_path_factory.mktemp("rows"))


def test_walk_forward__rows__are_the_last_whole_quarters(rows: list[Any]) -> None:
    assert [(row["from"][:10], row["to"][:10]) for row in rows] == QUARTERS
    # Windows two hours apart, whose labels end within the quarter.
    assert [row["samples"] for row in rows] == [91 * 12 - 1, 92 * 12 - 1]


def test_walk_forward__first_quarter__both_students_are_the_same(rows: list[Any]) -> None:
    assert rows[0]["retrained"] == rows[0]["trained_once"]
    assert rows[1]["retrained"] != rows[1]["trained_once"]


def test_walk_forward__what_comes_after_a_quarter__leaves_its_row_as_it_is(
    rows: list[Any], candles: Candles, tmp_path: Path
) -> None:
    later = walked(market_of(wild_from(candles, "2023-07-01")), tmp_path)
    assert later[0] == rows[0]
    assert later[1] != rows[1]


def test_walk_forward__students_of_a_quarter__have_seen_nothing_of_it(
    candles: Candles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[walkforward.Trained]] = [[], []]
    train = walkforward._train
    other = drawn(2)
    recipe = replace(RECIPE, other_asset="at our level")
    for found, change in zip(seen, (lambda c: c, lambda c: wild_from(c, "2023-07-01")), strict=True):
        monkeypatch.setattr(walkforward, "_train", lambda *a, found=found: found.append(train(*a)) or found[-1])
        walked(market_of(change(candles), change(other)), tmp_path / str(len(seen[0])), recipe)
    assert len(seen[0]) == 3, "one for each quarter, and the one that is never trained again"
    for before, after in zip(*seen, strict=True):
        assert np.array_equal(before.spec.mean, after.spec.mean)
        assert np.array_equal(before.weights.hidden, after.weights.hidden)
        assert before.har == after.har


def test_walk_forward__recording_too_short_for_quarters__takes_its_last_third(candles: Candles, tmp_path: Path) -> None:
    short = Candles(
        *(getattr(candles, name)[: 60 * 1440] for name in ("open_time_ms", "open", "high", "low", "close", "volume"))
    )
    (row,) = walked(market_of(short), tmp_path)
    assert (row["from"], row["to"]) == ("2023-02-24T00:00:00Z", "2023-03-16T00:00:00Z")


def test_walk_forward__interrupted__goes_on_to_the_same_rows(rows: list[Any], candles: Candles, tmp_path: Path) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walked(market_of(candles), tmp_path, say=interrupt)
    assert walked(market_of(candles), tmp_path) == rows


def test_walk_forward__quarter_that_the_recording_lacks__does_not_stop_the_others(
    rows: list[Any], candles: Candles, tmp_path: Path
) -> None:
    times = candles.open_time_ms
    keep = (times < parse_time("2023-04-05T00:00:00Z")) | (times >= parse_time("2023-06-20T00:00:00Z"))
    names = ("open_time_ms", "open", "high", "low", "close", "volume")
    holed = Candles(*(getattr(candles, name)[keep] for name in names))
    assert [row["from"][:10] for row in walked(market_of(holed), tmp_path)] == ["2023-07-01"]
