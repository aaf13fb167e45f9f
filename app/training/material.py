"""From candle files to lessons: the recordings, cut at dates, with the other asset's windows in every form tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.candles.files import read_candles
from app.errors import CandleFileInvalid
from app.features.realised import Series, series_of
from app.features.variation import VariationSpec
from app.proving import engine
from app.training.circuit import INPUT_SCALE
from app.training.datasets import LEAST_SAMPLES, Period, Split, between, check_period, fit_spec, has_enough, usable_ends
from app.training.lessons import Lesson, as_if, lesson, level_ratio
from app.types import Candles, iso

CLIP = 4.0
"""In deviations of a level. Levels are square roots, so this is far out; what lies beyond would only blur the rest."""
OURS: Literal["ours"] = "ours"
AS_IT_IS: Literal["as it is"] = "as it is"
AT_OUR_LEVEL: Literal["at our level"] = "at our level"


@dataclass(frozen=True, slots=True)
class Recording:
    """One candle file, and the part of it that is used."""

    path: Path
    sha256: str
    candles: Candles
    series: Series

    def to_record(self) -> dict[str, Any]:
        times = self.candles.open_time_ms
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "from": iso(int(times[0])),
            "to": iso(int(times[-1])),
            "rows": len(self.candles),
        }


@dataclass(frozen=True, slots=True)
class Market:
    """The asset to forecast and, where a second file was given, another one; ``every`` is minutes between windows."""

    ours: Recording
    other: Recording | None
    split: Split
    every: int


def open_market(
    candles: Path, also: Path | None, *, days: int | None, split: Callable[[Series], Split], every: int
) -> Market:
    """Read the files and cut them; with ``days``, only the end of each is used.

    Raises `CandleFileInvalid` for a file that cannot be used, or when the second shares no time with the first before
    the test.
    """
    ours = recording(candles, days)
    cut = split(ours.series)
    check_period(ours.series, cut.test, every)
    other = None if also is None else recording(also, days)
    if other is not None:
        _require(other, ours.series, cut.train, every, f"to learn from before the test of {candles.name}")
        _require(other, ours.series, cut.test, every, f"in the time of the test of {candles.name}")
    return Market(ours, other, cut, every)


def _require(file: Recording, ours: Series, period: Period, every: int, purpose: str) -> None:
    """Raise `CandleFileInvalid` unless the file has windows in a period of our series: now, not after the training."""
    same = between(file.series, int(ours.time_ms(period.start)), _end_ms(ours, period))
    if not has_enough(file.series, same, every):
        raise CandleFileInvalid(
            f"{file.path} has fewer than {LEAST_SAMPLES} complete windows {purpose}, "
            f"{iso(int(ours.time_ms(period.start)))} to {iso(_end_ms(ours, period))}"
        )


def recording(path: Path, days: int | None) -> Recording:
    whole = read_candles(path)
    used = whole if days is None else _latest(whole, days)
    return Recording(path, engine.sha256_file(path), used, series_of(used))


def lessons_of(market: Market, period: Period) -> tuple[VariationSpec, dict[str, Lesson]]:
    """The observation's constants fitted on a period of our asset, and every lesson from that time.

    The other asset comes as it is and scaled to our usual level of volatility; too short a history leaves it out.
    """
    ours = market.ours.series
    spec = fit_spec(ours, usable_ends(ours, period, market.every)[0], clip=CLIP, input_scale=INPUT_SCALE)
    lessons: dict[str, Lesson] = {OURS: lesson(ours, period, spec, every=market.every)}
    if market.other is not None:
        lessons |= _other(market.other.series, ours, period, spec, market.every)
    return spec, lessons


def _other(other: Series, ours: Series, period: Period, spec: VariationSpec, every: int) -> dict[str, Lesson]:
    end_ms = _end_ms(ours, period)
    same = between(other, int(ours.time_ms(period.start)), end_ms)
    ratio = level_ratio(ours, other, end_ms)
    if ratio is None or not has_enough(other, same, every):
        return {}
    forms = {AS_IT_IS: other, AT_OUR_LEVEL: as_if(other, ratio)}
    return {name: lesson(series, same, spec, every=every, to_train=False) for name, series in forms.items()}


def _end_ms(series: Series, period: Period) -> int:
    return int(series.time_ms(period.end))


def _latest(candles: Candles, days: int) -> Candles:
    end_ms = int(candles.open_time_ms[-1]) + 1
    return candles.between(end_ms - days * 86_400_000, end_ms)
