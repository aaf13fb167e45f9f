from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from app.errors import CandleFileInvalid
from app.features.realised import series_of
from app.proving.engine import sha256_file
from app.training.datasets import Period, share_split
from app.training.lessons import Lesson
from app.training.material import (
    AS_IT_IS,
    AT_OUR_LEVEL,
    OURS,
    Market,
    Recording,
    lessons_of,
    open_market,
    recording,
)
from app.types import MINUTE_MS, Candles, parse_time

START_MS = parse_time("2024-03-04T00:00:00Z")
DAYS = 36
Write = Callable[..., Path]


def drawn(seed: int, *, days: int = DAYS, start_days: int = 0, level: float = 1.0) -> Candles:
    """Candles whose volatility swings about the threshold."""
    rng = np.random.default_rng(seed)
    minutes = np.arange(days * 1440)
    size = 0.0005 * level * (1 + 0.8 * np.sin(minutes / 500))
    closes = 100 * np.exp(np.cumsum(rng.normal(0, size)))
    times = START_MS + MINUTE_MS * (minutes + 1440 * start_days)
    return Candles(times, closes, closes, closes, closes, np.ones(len(minutes)))


def kept_of(candles: Candles, keep: np.ndarray) -> Candles:
    prices = [values[keep] for values in (candles.open, candles.high, candles.low, candles.close, candles.volume)]
    return Candles(candles.open_time_ms[keep], *prices)


def wild_from(candles: Candles, time_ms: int) -> Candles:
    """The same candles until a time; from then on every second close is ten times the other."""
    later = candles.open_time_ms >= time_ms
    odd = (candles.open_time_ms // MINUTE_MS) % 2 == 1
    return replace(candles, close=np.where(later & odd, candles.close * 10, candles.close))


def recorded(candles: Candles, name: str = "candles.parquet") -> Recording:
    return Recording(Path(name), "", candles, series_of(candles))


def market_of(ours: Candles, other: Candles | None) -> Market:
    series = series_of(ours)
    return Market(recorded(ours), None if other is None else recorded(other), share_split(series), 30)


def equal(one: Lesson, two: Lesson) -> bool:
    pairs = (
        (one.samples.end_ms, two.samples.end_ms),
        (one.samples.observations, two.samples.observations),
        (one.samples.volatility, two.samples.volatility),
        (one.context, two.context),
        (one.weight, two.weight),
    )
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(candles: Candles, name: str) -> Path:
        columns = {
            "open_time": candles.open_time_ms,
            "open": candles.close,
            "high": candles.close,
            "low": candles.close,
            "close": candles.close,
            "volume": candles.volume,
        }
        pa_parquet.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def ours() -> Candles:
    return drawn(1)


@pytest.fixture(scope="module")
def other() -> Candles:
    return drawn(2, level=1.6)


def test_lessons_of__what_comes_after_the_period__changes_nothing(ours: Candles, other: Candles) -> None:
    market = market_of(ours, other)
    for period in (market.split.folds[0][0], market.split.train):
        end_ms = market.ours.series.time_ms(period.end)
        later = market_of(wild_from(ours, end_ms), wild_from(other, end_ms))
        assert not np.array_equal(later.ours.series.signed, market.ours.series.signed)
        (spec, lessons), (spec_later, lessons_later) = lessons_of(market, period), lessons_of(later, period)
        assert np.array_equal(spec.mean, spec_later.mean)
        assert np.array_equal(spec.deviation, spec_later.deviation)
        assert lessons.keys() == lessons_later.keys() == {OURS, AS_IT_IS, AT_OUR_LEVEL}
        assert all(equal(lessons[name], lessons_later[name]) for name in lessons)


def test_lessons_of__last_minute_of_the_period__does_change_it(ours: Candles, other: Candles) -> None:
    """The other half of the fact above: it would hold for lessons that look at nothing, too."""
    market = market_of(ours, other)
    period = market.split.train
    end_ms = market.ours.series.time_ms(period.end) - 60 * MINUTE_MS
    later = market_of(wild_from(ours, end_ms), wild_from(other, end_ms))
    before, after = lessons_of(market, period)[1], lessons_of(later, period)[1]
    assert not any(equal(before[name], after[name]) for name in before)


def test_lessons_of__labels_of_both_assets__end_within_the_period(ours: Candles, other: Candles) -> None:
    market = market_of(ours, other)
    period = market.split.train
    for name, made in lessons_of(market, period)[1].items():
        assert made.samples.end_ms.max() + 240 * MINUTE_MS <= market.ours.series.time_ms(period.end), name


def test_lessons_of__other_asset__comes_as_it_is_and_at_our_level(ours: Candles, other: Candles) -> None:
    _, lessons = lessons_of(market_of(ours, other), market_of(ours, other).split.train)
    level = {name: float(np.mean(made.samples.volatility)) for name, made in lessons.items()}
    assert level[AS_IT_IS] / level[OURS] == pytest.approx(1.6, rel=0.1)
    assert level[AT_OUR_LEVEL] / level[OURS] == pytest.approx(1.0, rel=0.05)
    assert np.array_equal(lessons[AS_IT_IS].samples.end_ms, lessons[AT_OUR_LEVEL].samples.end_ms)


def test_lessons_of__other_asset_all_of_one_class__is_still_learnt_from(ours: Candles) -> None:
    lessons = lessons_of(market_of(ours, drawn(2, level=30.0)), Period(10_081, 36_000))[1]
    assert lessons[AS_IT_IS].samples.high.all()


def test_lessons_of__other_asset_without_a_complete_week_before_the_end__is_left_out(ours: Candles) -> None:
    market = market_of(ours, drawn(2, start_days=20, days=16))
    assert set(lessons_of(market, Period(10_081, 26 * 1440))[1]) == {OURS}


def test_lessons_of__other_asset_with_few_windows__is_left_out(ours: Candles) -> None:
    market = market_of(ours, drawn(2, start_days=18, days=18))
    assert set(lessons_of(market, Period(10_081, 26 * 1440))[1]) == {OURS}


def test_open_market__files__are_what_they_say(ours: Candles, other: Candles, write: Write) -> None:
    first, second = write(ours, "ours.parquet"), write(other, "other.parquet")
    market = open_market(first, second, days=None, split=share_split, every=30)
    assert market.ours.sha256 == sha256_file(first)
    assert market.ours.to_record() == {
        "file": "ours.parquet",
        "sha256": sha256_file(first),
        "from": "2024-03-04T00:00:00Z",
        "to": "2024-04-08T23:59:00Z",
        "rows": DAYS * 1440,
    }
    assert market.other is not None
    assert market.other.path == second
    assert open_market(first, None, days=None, split=share_split, every=30).other is None


def test_recording__days__are_the_last_ones(ours: Candles, write: Write) -> None:
    used = recording(write(ours, "ours.parquet"), 3).candles
    assert len(used) == 3 * 1440
    assert used.open_time_ms[-1] == ours.open_time_ms[-1]


@pytest.mark.parametrize(("start_days", "days"), [(40, 10), (-60, 20), (33, 30)])
def test_open_market__other_asset_from_another_time__is_refused_by_name(
    ours: Candles, write: Write, start_days: int, days: int
) -> None:
    paths = write(ours, "ours.parquet"), write(drawn(2, start_days=start_days, days=days), "other.parquet")
    with pytest.raises(CandleFileInvalid, match=r"other\.parquet has fewer than 100 complete windows .* ours\.parquet"):
        open_market(*paths, days=None, split=share_split, every=30)


def test_open_market__missing_other_file__is_refused_by_name(ours: Candles, write: Write, tmp_path: Path) -> None:
    with pytest.raises(CandleFileInvalid, match=r"missing\.parquet does not exist"):
        open_market(write(ours, "ours.parquet"), tmp_path / "missing.parquet", days=None, split=share_split, every=30)


def test_open_market__other_asset_that_gives_no_window_to_learn_from__is_refused(ours: Candles, write: Write) -> None:
    """Its lessons would silently be ours alone, under the label of a student that has learnt from it."""
    late = drawn(2, start_days=27, days=9)
    with pytest.raises(CandleFileInvalid, match=r"other\.parquet"):
        open_market(write(ours, "ours.parquet"), write(late, "other.parquet"), days=None, split=share_split, every=30)


def test_open_market__other_asset_that_ends_before_the_test__is_refused_at_once(ours: Candles, write: Write) -> None:
    early = kept_of(drawn(2), np.arange(DAYS * 1440) < 28 * 1440)
    with pytest.raises(CandleFileInvalid, match=r"other\.parquet"):
        open_market(write(ours, "ours.parquet"), write(early, "other.parquet"), days=None, split=share_split, every=30)


def test_lessons_of__no_complete_week__says_so(ours: Candles) -> None:
    """Every third hour is missing: no window has a complete week."""
    holes = (np.arange(DAYS * 1440) // 60) % 3 != 0
    market = market_of(kept_of(ours, holes), None)
    with pytest.raises(CandleFileInvalid, match="complete week"):
        lessons_of(market, market.split.train)
