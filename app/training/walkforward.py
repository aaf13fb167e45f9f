"""Walk-forward: what a user would have had who trained the recipe anew every quarter, and one who never did again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np

from app.features.realised import HORIZON_MINUTES, Series
from app.features.variation import WINDOW_MINUTES, VariationSpec
from app.judging.scores import Forecasts, forecasts_of, metrics
from app.training.baselines import HarRv, Persistence
from app.training.choices import Material
from app.training.circuit import Weights
from app.training.datasets import Period, Samples, between, has_enough, samples
from app.training.kept import KeptWork
from app.training.material import OURS, Market, lessons_of
from app.training.student import Recipe, fit_student
from app.types import MINUTE_MS, iso

QUARTER = 3
LEAST_HISTORY_MS = 365 * 1440 * MINUTE_MS
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trained:
    """A student of some date, the constants of its observation, and HAR-RV fitted on the same windows."""

    spec: VariationSpec
    weights: Weights
    har: HarRv

    def forecasts(self, part: Samples) -> Forecasts:
        return forecasts_of(self.weights.outputs(part.observations))


def walk_forward(
    market: Market, recipe: Recipe, *, months: int, seed: int, kept: KeptWork, say: Callable[[str], None]
) -> list[Json]:
    """A row for each quarter of the last ``months``: students trained just before it, and once before all of them.

    The recipe goes without its teacher here, who would have to be trained anew every quarter as well.
    """
    alone = replace(recipe, teacher_weight=0.0)
    cuts = _quarters(market.ours.series, months)
    train = partial(_train, market, alone, seed)
    once = cache(lambda: train(cuts[0][0]))
    rows: list[Json] = []
    for number, (start_ms, end_ms) in enumerate(cuts, start=1):
        if not has_enough(market.ours.series, between(market.ours.series, start_ms, end_ms), market.every):
            say(f"walk-forward: {iso(start_ms)} to {iso(end_ms)} has too few complete windows and is left out")
            continue
        rows.append(kept.stage(f"walk-{number}", partial(_row, market, start_ms, end_ms, train, once)))
        say(f"walk-forward: {number} of {len(cuts)} quarters, accuracy {rows[-1]['retrained']['accuracy']:.3f}")
    return rows


def _quarters(series: Series, months: int) -> list[tuple[int, int]]:
    """The last whole quarters of the recording, or its last third where it holds none, as times."""
    end = np.datetime64(series.end_ms, "ms").astype("datetime64[M]")
    starts = [end - back for back in range(months, 0, -QUARTER)]
    cuts = [(_ms(start), _ms(start + QUARTER)) for start in starts]
    cuts = [cut for cut in cuts if cut[0] - series.start_ms >= LEAST_HISTORY_MS]
    return cuts or [(series.start_ms + len(series) * 2 // 3 * MINUTE_MS, series.end_ms)]


def _train(market: Market, recipe: Recipe, seed: int, before_ms: int) -> Trained:
    """A student of everything that was known before a time."""
    series = market.ours.series
    known = between(series, series.start_ms, before_ms)
    spec, lessons = lessons_of(market, Period(WINDOW_MINUTES + 1, known.end - HORIZON_MINUTES))
    lesson, _ = Material(lessons, {}).prepared(recipe)
    return Trained(spec, fit_student(lesson, None, recipe, seed).rounded(), HarRv.fit(lessons[OURS].samples))


def _row(
    market: Market, start_ms: int, end_ms: int, train: Callable[[int], Trained], once: Callable[[], Trained]
) -> Json:
    fresh, old = train(start_ms), once()
    stretch = between(market.ours.series, start_ms, end_ms)
    part = samples(market.ours.series, stretch, fresh.spec, every=market.every, to_train=False)
    seen_by_old = samples(market.ours.series, stretch, old.spec, every=market.every, to_train=False)
    pasts = {past.name: metrics(past.forecasts(part), part) for past in (Persistence(60), Persistence(240))}
    return {
        "from": iso(start_ms),
        "to": iso(end_ms),
        "samples": len(part),
        "high_share": round(float(part.high.mean()), 6),
        "retrained": metrics(fresh.forecasts(part), part),
        "trained_once": metrics(old.forecasts(seen_by_old), seen_by_old),
        "har_rv": metrics(fresh.har.forecasts(part), part),
        **pasts,
    }


def _ms(month: np.datetime64) -> int:
    return int(month.astype("datetime64[ms]").astype(np.int64))
