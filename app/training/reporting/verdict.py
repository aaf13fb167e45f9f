"""What the record says about the model in the end: the goals it met and missed, and where it is weak."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from app.judging.scores import MODEL
from app.training.reporting.card import (
    ENOUGH_POINTS,
    METRICS,
    TEACHER,
    better_persistence,
    label_of,
    larger_class,
    metric,
    ordered,
    weak_months,
)
from app.training.reporting.markdown import counted, listed, number, percent

SMALLER_IS_BETTER = ("brier", "ece", "qlike")

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing that the model was to reach, and what it reached."""

    text: str
    figure: str
    met: bool


def goals(record: Record) -> list[Goal]:
    """What a model is held to on the test, and whether this one is there."""
    test = record["test"]
    lead, retention = test["points_above_better_persistence"], test["retention"]
    ece = test["scores"][MODEL]["ece"]
    har, logistic, lightgbm = (
        points_between(test["scores"], name) for name in ("har_rv", "logistic_regression", "lightgbm")
    )
    return [
        Goal("at least 8 accuracy points above the better persistence", f"{lead:+.2f} points", lead >= 8),
        Goal("more accurate than HAR-RV", f"{har:+.2f} points", har > 0),
        Goal("more accurate than logistic regression", f"{logistic:+.2f} points", logistic > 0),
        Goal("no more than 0.3 accuracy points below LightGBM", f"{lightgbm:+.2f} points", lightgbm >= -0.3),
        Goal("at least 98 % of the teacher's accuracy", percent(retention), retention >= 0.98),
        Goal("calibration error of 0.02 at most", number(ece), ece <= 0.02),
    ]


def points_between(scores: Mapping[str, Record], name: str, of: str = MODEL) -> float:
    """Accuracy points of one forecaster above another, rounded as the record is."""
    return round(100 * float(scores[of]["accuracy"] - scores[name]["accuracy"]), 4)


def weaknesses(record: Record) -> list[str]:
    """What does not speak for the model, as far as the record's own figures can tell."""
    found: tuple[Callable[[Record], Iterator[str]], ...] = (
        _goals_missed,
        _weak_months,
        _beaten,
        _dropped,
        _walked_badly,
        _badly_elsewhere,
    )
    return [words for part in found for words in part(record)]


def _goals_missed(record: Record) -> Iterator[str]:
    for goal in goals(record):
        if not goal.met:
            yield f"Goal not met: {goal.text} ({goal.figure})."


def _weak_months(record: Record) -> Iterator[str]:
    test = record["test"]
    if weak := weak_months(test):
        yield f"Less than {ENOUGH_POINTS:g} points above the better persistence in {listed(weak)}."
    constant = [row["month"] for row in test["per_month"] if row["accuracy"] <= larger_class(row["high_share"])[1]]
    if constant:
        yield f"No more accurate than always naming the month's more frequent regime in {listed(constant)}."
    behind = {
        name: [row["month"] for row in test["per_month"] if name in row and row["accuracy"] < row[name]]
        for name in ("har_rv", "lightgbm")
    }
    for name, months in behind.items():
        if months:
            yield f"Less accurate than {label_of(name)} in {listed(months)}."


def _beaten(record: Record) -> Iterator[str]:
    """Every metric in which something simpler, or a tree, does better on the test."""
    scores = record["test"]["scores"]
    for key, label in METRICS.items():
        own = scores[MODEL][key]
        sign = -1 if key in SMALLER_IS_BETTER else 1
        better = [
            f"{label_of(name)} ({metric(scores[name], key)})"
            for name in ordered(scores)
            if name not in (MODEL, TEACHER)
            and None not in (own, scores[name][key])
            and sign * scores[name][key] > sign * own
        ]
        if better:
            yield f"Better than the model in {label} ({metric(scores[MODEL], key)}): {listed(better)}."


def _dropped(record: Record) -> Iterator[str]:
    tried = [row for row in record["techniques"] if "loss" in row]
    together = groupby(tried, key=lambda row: str(row["technique"]))
    dropped = [name for name, rows in together if not any(row["kept"] for row in rows)]
    if dropped:
        yield f"Did not help enough to be kept: {'; '.join(dropped)}."
    if record["search"]["trials"] and not record["search"]["kept"]:
        yield f"A search of {counted(len(record['search']['trials']), 'trial')} found nothing better than before it."


def _walked_badly(record: Record) -> Iterator[str]:
    behind = [row["from"][:10] for row in record["walk_forward"] if points_between(row, "har_rv", "retrained") <= 0]
    if behind:
        yield f"In the walk-forward, no better than HAR-RV in the stretches from {listed(behind)}."
    later = record["walk_forward"][1:]
    older = [row["from"][:10] for row in later if points_between(row, "trained_once", "retrained") < 0]
    if older:
        yield f"Training anew was worse than not doing so in the stretches from {listed(older)}."


def _badly_elsewhere(record: Record) -> Iterator[str]:
    other = record["test"].get("other_asset")
    if other is None:
        return
    name, accuracy = better_persistence(other["scores"])
    for label in record["test"]["students"]:
        if other["scores"][label]["accuracy"] <= accuracy:
            yield f"On another asset, the student {label} is no better than {label_of(name)}."
