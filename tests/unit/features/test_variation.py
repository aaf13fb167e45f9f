from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from app.errors import WindowIncomplete
from app.features.returns import MISSING, absolute_returns, log_ratio
from app.features.variation import (
    CANDLES_NEEDED,
    CLOCK_INPUTS,
    CYCLES,
    INPUTS,
    PARTS,
    SHORT_WINDOWS,
    VARIATION_INPUTS,
    WINDOW_MINUTES,
    VariationSpec,
    candles_digest,
    clock_inputs,
    new_york_minutes,
    observe,
    quantise,
    variation_levels,
)
from app.types import MINUTE_MS, Candles, Feed, FloatArray, Observation, Window, parse_time

FEED = Feed(name="btc-usdt-4h", symbol="BTC/USDT")
END_MS = parse_time("2025-09-15T12:00:00Z")
START_MS = END_MS - WINDOW_MINUTES * MINUTE_MS

Without = Callable[..., Candles]


@pytest.fixture(scope="module")
def spec() -> VariationSpec:
    rng = np.random.default_rng(5)
    return VariationSpec(
        mean=600 + 50 * rng.random(VARIATION_INPUTS),
        deviation=150 + 50 * rng.random(VARIATION_INPUTS),
        clip=3.0,
        input_scale=7,
    )


@pytest.fixture
def plain_spec() -> VariationSpec:
    """Neither moves nor scales the levels."""
    return VariationSpec(np.zeros(VARIATION_INPUTS), np.ones(VARIATION_INPUTS), clip=10.0, input_scale=0)


@pytest.fixture
def week(make_candles: Callable[..., Candles]) -> Candles:
    return make_candles(CANDLES_NEEDED)


@pytest.fixture
def without(week: Candles) -> Without:
    """The week without some minutes, counted back from the window's end: 1 is the last."""

    def remove(*minutes_before_end: int) -> Candles:
        gone = {END_MS - minute * MINUTE_MS for minute in minutes_before_end}
        return Candles.from_rows([row for row in week.rows() if row[0] not in gone])

    return remove


def seen(spec: VariationSpec, end_ms: int = END_MS, **candles: Candles) -> Observation:
    return observe(Window(FEED, end_ms, candles), spec)


def slow_returns(candles: Candles) -> list[int | None]:
    closes = dict(zip(candles.open_time_ms.tolist(), candles.close.tolist(), strict=True))
    sizes: list[int | None] = []
    for now_ms in range(START_MS, END_MS, MINUTE_MS):
        now, before = closes.get(now_ms), closes.get(now_ms - MINUTE_MS)
        if now is None or before is None:
            sizes.append(None)
        else:
            sizes.append(round(abs(float(log_ratio(np.asarray([now]), np.asarray([before]))[0])) * 1e9))
    return sizes


def slow_observation(spec: VariationSpec, candles: Candles) -> list[int]:
    """The module's description, one number at a time."""
    return slow_inputs(spec, slow_returns(candles))


def slow_inputs(spec: VariationSpec, sizes: Sequence[int | None]) -> list[int]:
    inputs = []
    for level, mean, deviation in zip(slow_levels(sizes), spec.mean.tolist(), spec.deviation.tolist(), strict=True):
        inputs.append(min(max((level - mean) / deviation, -spec.clip), spec.clip))
    inputs += slow_clock(END_MS)
    return [round(value * 2**spec.input_scale) for value in inputs]


def slow_levels(sizes: Sequence[int | None]) -> list[float]:
    """From the last week's returns, oldest first."""
    newest_first = sizes[::-1]
    parts = [newest_first[:minutes] for minutes in (5, 10, 20, 30, 45, 60, 90, 120, 180, 240)]
    parts += [newest_first[60 * hour : 60 * hour + 60] for hour in range(4, 24)]
    parts += [newest_first[240 * block : 240 * block + 240] for block in range(6, 42)]
    levels = []
    for part in parts:
        known = part if sum(size is not None for size in part) >= len(part) / 2 else sizes
        here = [size for size in known if size is not None]
        levels.append(math.sqrt(sum(here) / len(here)))
    return levels


def slow_clock(time_ms: int) -> list[float]:
    here = datetime.fromtimestamp(time_ms / 1000, ZoneInfo("America/New_York"))
    angle = 2 * math.pi * (here.hour * 60 + here.minute) / 1440
    waves = [wave(cycle * angle) for cycle in (1, 2, 3) for wave in (math.sin, math.cos)]
    days = [1.0 if day == here.weekday() else 0.0 for day in range(7)]
    return [*waves, *days, *(waves if here.weekday() >= 5 else [0.0] * 6)]


def test_observe__one_whole_venue__is_the_slow_loop(spec: VariationSpec, week: Candles) -> None:
    assert list(seen(spec, binance=week).values) == slow_observation(spec, week)


def test_observe__three_venues_with_gaps__are_the_slow_loop(
    spec: VariationSpec,
    make_candles: Callable[..., Candles],
    without: Without,
    slow_market: Callable[..., list[int | None]],
) -> None:
    venues = {
        "binance": without(*range(30, 40), 500, 777, 9_000),
        "kraken": make_candles(CANDLES_NEEDED, seed=1, level=90_000.0),
        "okx": make_candles(CANDLES_NEEDED - 200, seed=2, level=110_000.0),
    }
    sizes = slow_market([slow_returns(candles) for candles in venues.values()], 1)
    assert list(seen(spec, **venues).values) == slow_inputs(spec, sizes)


def test_observe__names_its_window_and_candles(spec: VariationSpec, week: Candles) -> None:
    found = seen(spec, kraken=week, binance=week)
    told = (found.feed, found.window_end_ms, found.candles_sha256)
    assert told == (FEED, END_MS, candles_digest({"binance": week, "kraken": week}))


@pytest.mark.parametrize(("model", "window", "used"), [(1, 1, 1), (1, 2, 2), (2, 1, 2)])
def test_observe__quorum__is_the_larger_of_the_models_and_the_windows(
    spec: VariationSpec, week: Candles, model: int, window: int, used: int
) -> None:
    candles = {"binance": week, "kraken": week}
    assert observe(Window(FEED, END_MS, candles, window), replace(spec, quorum=model)).quorum == used


def test_observe__every_input__lies_within_the_clip(spec: VariationSpec, week: Candles) -> None:
    values = seen(spec, binance=week).values
    assert len(values) == INPUTS
    assert max(map(abs, values)) <= 3 * 2**7


def test_observe__venues_in_another_order__is_the_same(
    spec: VariationSpec, make_candles: Callable[..., Candles]
) -> None:
    venues = {name: make_candles(CANDLES_NEEDED, seed=seed) for seed, name in enumerate(("binance", "kraken", "okx"))}
    assert seen(spec, **venues) == seen(spec, **dict(reversed(venues.items())))


def test_observe__no_venue__is_refused(spec: VariationSpec) -> None:
    with pytest.raises(WindowIncomplete, match="no venue has candles"):
        seen(spec)


def test_observe__no_candles__is_refused(spec: VariationSpec) -> None:
    with pytest.raises(WindowIncomplete):
        seen(spec, binance=Candles.from_rows([]))


@pytest.mark.parametrize("minute", [1, 2])
def test_observe__last_return_not_known__is_refused(spec: VariationSpec, without: Without, minute: int) -> None:
    with pytest.raises(WindowIncomplete, match="the last minute before 2025-09-15T12:00:00Z is missing"):
        seen(spec, binance=without(minute))


def test_observe__last_minute_at_one_venue_only__is_enough_for_a_quorum_of_one(
    spec: VariationSpec, week: Candles, without: Without
) -> None:
    assert seen(spec, binance=week, kraken=without(1)).window_end_ms == END_MS


def closing(candles: Candles, *closes: float | None) -> Candles:
    """The candles with other closes in their last minutes; None takes the candle away."""
    rows = [list(row) for row in candles.rows()]
    for row, close in zip(rows[-len(closes) :], closes, strict=True):
        row[4] = math.nan if close is None else close
    return Candles.from_rows([row for row in rows if not math.isnan(row[4])])


@pytest.mark.parametrize(
    ("venues", "words"),
    [
        ([(1.0, 1.0, 1.0)], "1 of 1 venues have its return; 2 must"),
        ([(1.0, 1.0, 1.0), (1.0, 1.0, None)], "1 of 2 venues have its return; 2 must"),
        (
            [(1.0, 1.001, 1.002), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)],
            "1 of 3 venues have its return, at 2 the price stands still; 2 must",
        ),
        (
            [(1.0, 1.0, 1.05), (1.0, 1.0, 1.05), (1.0, 1.0, 1.001)],
            "the venues dispute a move of 4.9%",
        ),
    ],
    ids=["too few", "missing", "frozen", "disputed"],
)
def test_observe__last_minute_that_venues_do_not_tell__is_refused_with_the_reason(
    spec: VariationSpec, week: Candles, venues: list[tuple[float | None, ...]], words: str
) -> None:
    candles = {f"venue{number}": closing(week, *closes) for number, closes in enumerate(venues)}
    with pytest.raises(WindowIncomplete) as refused:
        observe(Window(FEED, END_MS, candles, quorum=2), spec)
    assert str(refused.value) == f"the last minute before 2025-09-15T12:00:00Z is missing: {words}"


def test_observe__window_without_a_quorum__says_how_much_is_disputed(spec: VariationSpec, week: Candles) -> None:
    wild = Candles.from_rows([[*row[:4], row[4] * 1.05 ** (i % 2), row[5]] for i, row in enumerate(week.rows()[:-4])])
    with pytest.raises(WindowIncomplete, match=r"10076 \(10076 disputed between venues\) of 10080 minutes"):
        seen(spec, binance=week, kraken=wild)


def test_observe__five_per_cent_of_the_returns_missing__is_accepted(spec: VariationSpec, without: Without) -> None:
    assert seen(spec, binance=without(*range(1000, 1503))).window_end_ms == END_MS


def test_observe__more_than_five_per_cent_of_the_returns_missing__is_refused(
    spec: VariationSpec, without: Without
) -> None:
    with pytest.raises(WindowIncomplete, match="505 of 10080 minutes before 2025-09-15T12:00:00Z have no return"):
        seen(spec, binance=without(*range(1000, 1504)))


def test_observe__half_an_hour_missing__is_the_level_of_the_rest(spec: VariationSpec, without: Without) -> None:
    candles = without(*range(610, 639))
    assert list(seen(spec, binance=candles).values) == slow_observation(spec, candles)


@pytest.mark.parametrize(
    ("first", "missing", "part"),
    [
        pytest.param(610, 31, PARTS.index((660, 60)), id="31 minutes of an hour"),
        pytest.param(5_050, 121, PARTS.index((5_280, 240)), id="121 minutes of a block"),
    ],
)
def test_observe__more_than_half_of_a_part_missing__is_the_level_of_the_week(
    plain_spec: VariationSpec, without: Without, first: int, missing: int, part: int
) -> None:
    huge = replace(plain_spec, clip=1e12)
    candles = without(*range(first, first + missing))
    levels = slow_observation(huge, candles)
    known = [size for size in slow_returns(candles) if size is not None]
    assert levels[part] == round(math.sqrt(sum(known) / len(known)))
    assert list(seen(huge, binance=candles).values) == levels


def test_observe__half_a_block_missing__is_the_level_of_the_rest(spec: VariationSpec, without: Without) -> None:
    candles = without(*range(5_050, 5_050 + 119))
    assert list(seen(spec, binance=candles).values) == slow_observation(spec, candles)


def test_observe__outage_of_two_hours_within_the_last_four__is_refused(spec: VariationSpec, without: Without) -> None:
    with pytest.raises(WindowIncomplete, match="half of one of its last 240 minutes' parts"):
        seen(spec, binance=without(*range(10, 130)))


def test_observe__three_returns_in_the_last_five_minutes__are_accepted(spec: VariationSpec, without: Without) -> None:
    assert seen(spec, binance=without(4)).window_end_ms == END_MS


def test_observe__two_returns_in_the_last_five_minutes__are_refused(spec: VariationSpec, without: Without) -> None:
    with pytest.raises(WindowIncomplete, match="half of one of its last 240"):
        seen(spec, binance=without(3, 4))


def test_variation_levels__many_windows_at_once__are_what_each_observes(
    spec: VariationSpec, make_candles: Callable[..., Candles]
) -> None:
    candles = make_candles(CANDLES_NEEDED + 300)
    first_ms = int(candles.open_time_ms[1])
    ends = np.asarray([WINDOW_MINUTES, WINDOW_MINUTES + 1, WINDOW_MINUTES + 173, WINDOW_MINUTES + 300])
    levels, complete = variation_levels(absolute_returns(candles, first_ms, END_MS), ends)
    end_times = first_ms + ends * MINUTE_MS
    batch = quantise(levels, end_times, spec)
    assert complete.all()
    assert [tuple(row) for row in batch.tolist()] == [
        seen(spec, int(end_ms), binance=candles).values for end_ms in end_times
    ]


def test_variation_levels__a_window_with_too_few_returns__is_marked(make_candles: Callable[..., Candles]) -> None:
    returns = absolute_returns(make_candles(CANDLES_NEEDED + 10), START_MS - 10 * MINUTE_MS, END_MS)
    returns[-4:] = MISSING
    _, complete = variation_levels(returns, np.asarray([WINDOW_MINUTES, WINDOW_MINUTES + 10]))
    assert complete.tolist() == [True, False]


def test_variation_levels__missing_minutes__are_left_out_of_the_mean() -> None:
    returns = np.full(WINDOW_MINUTES, 100, dtype=np.int64)
    returns[-5:] = [10, MISSING, 20, MISSING, 45]
    levels, _ = variation_levels(returns, np.asarray([WINDOW_MINUTES]))
    assert levels[0, 0] == 5.0


def test_variation_levels__each_part__is_the_root_of_its_own_mean() -> None:
    """Minute by minute other sizes, so that a part in another place would have another level."""
    returns = np.arange(WINDOW_MINUTES, dtype=np.int64) ** 2
    [levels], _ = variation_levels(returns, np.asarray([WINDOW_MINUTES]))
    assert levels.tolist() == slow_levels(returns.tolist())


def test_parts__from_four_hours_back__meet_without_gap_or_overlap() -> None:
    after = [start - length for start, length in PARTS[len(SHORT_WINDOWS) :]]
    assert after == [240, *(start for start, _ in PARTS[len(SHORT_WINDOWS) : -1])]
    assert PARTS[-1][0] == WINDOW_MINUTES


@pytest.mark.parametrize("days", range(2, 8))
def test_parts__of_the_forecasts_time_of_day__stand_once_a_day(days: int) -> None:
    assert (days * 1440, 240) in PARTS


def test_inputs__are_levels_and_clock() -> None:
    assert (VARIATION_INPUTS, CLOCK_INPUTS, INPUTS) == (66, 19, 85)


def test_clock_inputs__every_hour_of_two_years__is_the_slow_clock() -> None:
    times = np.arange(parse_time("2024-01-01T00:00:00Z"), parse_time("2026-01-01T00:00:00Z"), 60 * MINUTE_MS)
    assert clock_inputs(times) == pytest.approx(np.asarray([slow_clock(time) for time in times.tolist()]), abs=1e-12)


def test_clock_inputs__monday_eight_in_the_morning__is_its_angle_and_the_first_weekday() -> None:
    [found] = clock_inputs(np.asarray([END_MS]))
    half, root = 0.5, math.sqrt(3) / 2
    assert found == pytest.approx([root, -half, -root, -half, 0, 1, 1, *[0] * 12], abs=1e-12)


def test_clock_inputs__saturday_noon__repeats_the_waves_for_the_weekend() -> None:
    [found] = clock_inputs(np.asarray([parse_time("2025-09-20T16:00:00Z")]))
    waves = [0, -1, 0, 1, 0, -1]
    assert found == pytest.approx([*waves, 0, 0, 0, 0, 0, 1, 0, *waves], abs=1e-12)


@pytest.mark.parametrize(
    ("utc", "weekend"),
    [
        ("2025-09-20T03:59:00Z", False),
        ("2025-09-20T04:00:00Z", True),
        ("2025-09-22T03:59:00Z", True),
        ("2025-09-22T04:00:00Z", False),
        ("2025-01-18T04:59:00Z", False),
        ("2025-01-18T05:00:00Z", True),
    ],
)
def test_clock_inputs__weekend__begins_and_ends_at_midnight_in_new_york(utc: str, weekend: bool) -> None:
    [found] = clock_inputs(np.asarray([parse_time(utc)]))
    assert bool(found[-2 * len(CYCLES) :].any()) is weekend


@pytest.mark.parametrize("day", range(14, 21))
def test_clock_inputs__weekday__is_the_calendars_in_new_york(day: int) -> None:
    midnight_ms = parse_time(f"2025-09-{day}T04:00:00Z")
    before, after = clock_inputs(np.asarray([midnight_ms - MINUTE_MS, midnight_ms]))
    weekday = datetime(2025, 9, day).weekday()
    assert before[6:13].tolist() == np.eye(7)[(weekday - 1) % 7].tolist()
    assert after[6:13].tolist() == np.eye(7)[weekday].tolist()


def test_clock_inputs__every_minute_of_a_day__is_far_from_a_rounding_boundary() -> None:
    """So a sine that differs in its last bits between machines is the same integer."""
    minutes = END_MS + MINUTE_MS * np.arange(1440)
    scaled = clock_inputs(minutes) * 2**7
    assert np.abs(np.abs(scaled - np.floor(scaled)) - 0.5).min() > 1e-6


def test_new_york_minutes__every_hour_from_2019_to_2030__is_the_time_zone_databases() -> None:
    zone, epoch = ZoneInfo("America/New_York"), datetime(1970, 1, 1)
    first, last = (parse_time(f"{year}-01-01T00:00:00Z") // MINUTE_MS for year in (2019, 2031))
    utc = np.arange(first, last, 60)
    local = [datetime.fromtimestamp(60 * minute, zone).replace(tzinfo=None) - epoch for minute in utc.tolist()]
    assert new_york_minutes(utc).tolist() == [passed // timedelta(minutes=1) for passed in local]


@pytest.mark.parametrize(
    ("utc", "offset"),
    [
        ("2025-03-09T06:59:00Z", -300),
        ("2025-03-09T07:00:00Z", -240),
        ("2025-11-02T05:59:00Z", -240),
        ("2025-11-02T06:00:00Z", -300),
    ],
)
def test_new_york_minutes__the_clocks_change__to_the_minute(utc: str, offset: int) -> None:
    minutes = np.asarray([parse_time(utc) // MINUTE_MS])
    assert new_york_minutes(minutes) - minutes == offset


def levels_of(value: float) -> FloatArray:
    return np.full((1, VARIATION_INPUTS), value)


@pytest.mark.parametrize(("level", "expected"), [(1e9, 3 * 2**7), (-1e9, -3 * 2**7)])
def test_quantise__beyond_the_clip__is_the_clip(spec: VariationSpec, level: float, expected: int) -> None:
    assert set(quantise(levels_of(level), np.asarray([END_MS]), spec)[0, :VARIATION_INPUTS]) == {expected}


@pytest.mark.parametrize(("level", "expected"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (2.4, 2)])
def test_quantise__halves__go_to_the_even_number(plain_spec: VariationSpec, level: float, expected: int) -> None:
    assert quantise(levels_of(level), np.asarray([END_MS]), plain_spec)[0, 0] == expected


def test_quantise__mean_and_deviation__are_taken_off_and_out(plain_spec: VariationSpec) -> None:
    shifted = replace(plain_spec, mean=plain_spec.mean + 5, deviation=plain_spec.deviation * 2)
    assert quantise(levels_of(11.0), np.asarray([END_MS]), shifted)[0, 0] == 3


def test_spec__through_a_manifest_file_and_back__is_the_same(spec: VariationSpec) -> None:
    entry = json.loads(json.dumps(replace(spec, quorum=3).to_manifest()))
    back = VariationSpec.from_manifest(entry)
    assert (back.mean.tolist(), back.deviation.tolist()) == (spec.mean.tolist(), spec.deviation.tolist())
    assert (back.clip, back.input_scale, back.quorum) == (3.0, 7, 3)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("name", "classic-240x7", "'classic-240x7' is not 'variation-v1'"),
        ("mean", [0.0] * (VARIATION_INPUTS - 1), f"must hold {VARIATION_INPUTS} numbers"),
        ("deviation", [1.0] * (VARIATION_INPUTS + 1), f"must hold {VARIATION_INPUTS} numbers"),
        ("deviation", [0.0] + [1.0] * (VARIATION_INPUTS - 1), "deviation and clip positive"),
        ("deviation", [math.nan] + [1.0] * (VARIATION_INPUTS - 1), "deviation and clip positive"),
        ("mean", [math.nan] + [1.0] * (VARIATION_INPUTS - 1), "mean must be finite"),
        ("mean", ["much"] * VARIATION_INPUTS, "could not convert"),
        ("clip", 0, "deviation and clip positive"),
        ("clip", -3.0, "deviation and clip positive"),
        ("clip", "3.0", "no number may be given as text"),
        ("input_scale", "seven", "invalid literal"),
        ("input_scale", 7.5, "must be whole"),
        ("inputs", 192, "another list of inputs"),
        ("parts_minutes", [[5, 5], [10, 10]], "another list of inputs"),
        ("level", "mean", "another list of inputs"),
        ("clock", {"zone_rule": "UTC"}, "another list of inputs"),
        ("max_missing_share", 0.5, "another list of inputs"),
        ("prices", True, "another list of inputs"),
    ],
)
def test_from_manifest__wrong_value__is_refused_with_the_reason(
    spec: VariationSpec, field: str, value: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        VariationSpec.from_manifest({**spec.to_manifest(), field: value})


def test_from_manifest__list_of_the_first_release__names_the_way_out(spec: VariationSpec) -> None:
    entry = {key: value for key, value in spec.to_manifest().items() if key not in {"parts_minutes", "level", "clock"}}
    first = {"inputs": 192, "hours": 168, "short_windows_minutes": [5, 10, 15], "mean": [0.0] * 179}
    with pytest.raises(ValueError, match="the version of veriregime that it was released with"):
        VariationSpec.from_manifest({**entry, **first})


@pytest.mark.parametrize("field", ["name", "mean", "deviation", "clip", "input_scale", "quorum"])
def test_from_manifest__missing_entry__is_refused_by_name(spec: VariationSpec, field: str) -> None:
    entry = spec.to_manifest()
    del entry[field]
    with pytest.raises(KeyError, match=field):
        VariationSpec.from_manifest(entry)


def test_candles_digest__venues_in_another_order__is_the_same(make_candles: Callable[..., Candles]) -> None:
    one, other = make_candles(5), make_candles(5, seed=1)
    assert candles_digest({"a": one, "b": other}) == candles_digest({"b": other, "a": one})


def test_candles_digest__venues_swapped__is_another(make_candles: Callable[..., Candles]) -> None:
    one, other = make_candles(5), make_candles(5, seed=1)
    assert candles_digest({"a": one, "b": other}) != candles_digest({"a": other, "b": one})
