"""The report of one run: what was tried, what it brought, what it costs to prove, and what failed.

Every figure is the record's but two: the seconds of the proofs and the date, which differ from run to run. That is why
the report has a folder of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.clock import wall_ms
from app.judging.scores import MODEL, PERSISTENCE
from app.training.reporting.card import (
    METRICS,
    agreement,
    better_persistence,
    classic_caveat,
    label_of,
    larger_class,
    metric,
    months_table,
    released_student,
    scores_table,
    split_table,
)
from app.training.reporting.markdown import NOTHING, counted, listed, number, percent, reflowed, table
from app.training.reporting.plots import MONTHS, PLOTS, REALISED, RELIABILITY, ROC, frontier
from app.training.reporting.verdict import Goal, goals, points_between, weaknesses

REPORT = "report"
TEXT, FRONTIER, SECONDS = "REPORT.md", "frontier.png", "proof_seconds.json"
BEST_TRIALS = 5
TRAINED = ("retrained", "trained_once")

Record = Mapping[str, Any]
Seconds = Mapping[int, float]


def write_report(manifest: Record, record: Record, seconds: Seconds, folder: Path) -> None:
    """Write the report into a new ``folder``; ``seconds`` is what a proof took, by hidden size."""
    folder.mkdir()
    (folder / TEXT).write_text(report(manifest, record, seconds), encoding="utf-8")
    frontier([{**point, "proof_seconds": seconds[point["hidden"]]} for point in record["frontier"]], folder / FRONTIER)
    rounded = {size: round(value, 4) for size, value in seconds.items()}
    (folder / SECONDS).write_text(json.dumps({"median_seconds_by_hidden": rounded}, indent=1, sort_keys=True) + "\n")


def report(manifest: Record, record: Record, seconds: Seconds) -> str:
    """Markdown, filled to one width."""
    parts: list[str] = [
        _answer(manifest, record, seconds),
        _data(record),
        _teachers(record),
        _techniques(record),
        _search(record["search"]),
        _frontier(manifest, record, seconds),
        _test(record),
        _walk_forward(record),
        _other_asset(record),
        f"## Circuit\n\n{agreement(record)}",
        _weak(record),
    ]
    return reflowed("\n\n".join(part for part in parts if part))


def _answer(manifest: Record, record: Record, seconds: Seconds) -> str:
    test, circuit, hidden = record["test"], manifest["circuit"], record["recipe"]["hidden"]
    model, split = test["scores"][MODEL], record["split"]["test"]
    against = [
        f"{points_between(test['scores'], name):+.2f} against {label_of(name)}"
        for name in ("persistence_60", "persistence_240", "har_rv", "logistic_regression", "lightgbm")
    ]
    found = goals(record)
    quick = "\n\n**Made by a quick run, to try the software: its figures mean nothing.**" if record["quick"] else ""
    rows = [(goal.text, goal.figure, "met" if goal.met else "**not met**") for goal in found]
    return f"""# How {manifest["name"]} was made{quick}

## The question and the answer

Will the next {manifest["horizon_minutes"]} minutes be *high*, that is, will their one-minute log returns have a
standard deviation of {percent(manifest["threshold"])} or more? And can a network that answers this be so small that
every answer is proved?

* On {test["samples"]:,} windows from {split["from"][:10]} to {split["to"][:10]} the released student is right in
  {percent(model["accuracy"])}; AUC {number(model["auc"])}, R² of ln volatility {number(model["r2_log_vol"])}.
* In accuracy points: {listed(against)}.
* It keeps {percent(test["retention"])} of the accuracy of its teacher ({label_of(record["teachers"]["chosen"])}); its
  calibration error is {number(model["ece"])}.
* It has {hidden} hidden neurons: {circuit["rows"]:,} rows at k = {circuit["logrows"]}, {circuit["proof_bytes"]:,} bytes
  and {seconds[hidden]:.2f} s for a proof on the machine of this run.
* {_goals_in_words(found)}

{table(("goal on the test", "figure", ""), rows)}"""


def _goals_in_words(found: list[Goal]) -> str:
    short = [goal.text for goal in found if not goal.met]
    if not short:
        return f"All {len(found)} goals are met."
    return f"{len(found) - len(short)} of {len(found)} goals are met. Fell short: {'; '.join(short)}."


def _data(record: Record) -> str:
    split, data = record["split"], record["data"]
    folds = {f"fold {at}": part for at, part in enumerate(split["folds"], start=1)}
    today = datetime.fromtimestamp(wall_ms() / 1000, UTC).date().isoformat()
    other = f" A second asset, `{data['other']['file']}`, was there to try and to test on." if data["other"] else ""
    return f"""## Data and splits

One-minute candles from `{data["ours"]["file"]}`, {data["ours"]["rows"]:,} rows, {data["ours"]["from"]} to
{data["ours"]["to"]}.{other} Hashes stand in [`training.json`](../training.json).

{split_table({**folds, "train": split["train"], "test": split["test"]})}

A fold is a stretch of validation; what is judged on it was trained on everything before it. The final student and its
teacher learnt from everything before the test, folds included. An embargo of {split["embargo_minutes"]} minutes lies
before every cut, so that each label is known before the next period begins.

The test was opened once, in the run that wrote this report ({today}, UTC), after every choice was made. This report
knows of this run only: whoever runs it again with other settings has opened the test more than once, and must count
those looks."""


def _teachers(record: Record) -> str:
    rows = [
        (
            f"**{label_of(row['teacher'])}**"
            if row["teacher"] == record["teachers"]["chosen"]
            else label_of(row["teacher"]),
            number(row["loss"]),
            *(metric(row, key) for key in METRICS),
        )
        for row in record["teachers"]["rows"]
    ]
    kinds = "\n".join(f"* {label_of(row['teacher'])}: {row['what']}" for row in record["teachers"]["rows"])
    return f"""## Teachers

A teacher may see more than the student, up to a month back, and need not be provable. *Loss*, here and below, is cross
entropy of the regime plus squared error of ln volatility. All figures are means over the folds.

{table(("teacher", "loss", *METRICS.values()), rows)}

{kinds}

Chosen: {label_of(record["teachers"]["chosen"])}, for the lowest loss."""


def _techniques(record: Record) -> str:
    rows = [_technique(row) for row in record["techniques"]]
    head = ("technique", "variant", "loss", "gain", "accuracy", "AUC", "R²", "")
    return f"""## Techniques

Each was tried on top of what had been kept before it, in this order; the best variant stays when its gain exceeds the
gain's standard error. *Gain* is how much lower the validation loss is, as the mean over every fold and seed, ± its
standard error. The order matters, and what was dropped is not tried again. {_noise(record)}

{table(head, rows)}"""


def _technique(row: Record) -> tuple[str, ...]:
    if "loss" not in row:
        return (row["technique"], row["variant"], *[NOTHING] * 5, "not tried")
    start = row["technique"] == "start"
    return (
        row["technique"],
        row["variant"],
        number(row["loss"]),
        NOTHING if start else _gain(row),
        percent(row["accuracy"]),
        number(row["auc"]),
        number(row["r2_log_vol"], digits=3),
        "kept" if row["kept"] else "dropped",
    )


def _gain(row: Record) -> str:
    return f"{row['gain']:+.4f} ± {row['gain_error']:.4f}"


def _noise(record: Record) -> str:
    if any(row.get("gain_error") for row in record["techniques"]):
        return """Seeds of one fold share their data, so the true error is somewhat larger than the one shown; the best
of several variants is flattered a little as well."""
    return "With one fold and one seed there is no standard error, and whatever is better at all is kept."


def _search(found: Record) -> str:
    before, after = found["before"], found["after"]
    best = sorted(found["trials"], key=lambda trial: trial["loss"])[:BEST_TRIALS]
    if not best:
        return "## Search\n\nNo settings were searched."
    names = list(found["found"])
    rows = [(number(trial["loss"]), *(f"{trial[name]:g}" for name in names)) for trial in best]
    if found["kept"]:
        said = "more than its standard error, so these settings were taken"
    else:
        said = "not more than its standard error, so the settings from before stay"
    return f"""## Search

{counted(len(found["trials"]), "trial")} of Optuna moved the numbers of what was kept, on the same folds and seeds. The
best:

{table(("loss", *(name.replace("_", " ") for name in names)), rows)}

Before the search the loss was {number(before["loss"])}, with the best trial's settings it is {number(after["loss"])}: a
gain of {_gain(after)}, {said}. AUC went from {number(before["auc"])} to {number(after["auc"])}. The best of many
trials on the same folds looks better than it is."""


def _frontier(manifest: Record, record: Record, seconds: Seconds) -> str:
    rows = [
        (
            f"**{point['hidden']}**" if point["released"] else str(point["hidden"]),
            f"{point['parameters']:,}",
            f"{point['rows']:,}",
            str(point["logrows"]),
            f"{point['proof_bytes']:,}",
            f"{seconds[point['hidden']]:.3f}",
            percent(point["accuracy"]),
            number(point["auc"]),
            number(point["validation_loss"]),
            "**released**" if point["released"] else "",
        )
        for point in record["frontier"]
    ]
    head = ("hidden", "parameters", "rows", "k", "bytes", "seconds", "accuracy", "AUC", "loss", "")
    return f"""## Size against the cost of a proof

{table(head, rows)}

![What a larger circuit buys]({FRONTIER})

Accuracy, AUC and loss are on validation. Seconds are a median of several proofs on the machine of this run; compare
them with each other, not with another machine's. Rows are of circuits with random weights; the released one has
{manifest["circuit"]["rows"]:,}.

{_why_this_size(record["frontier"], seconds)}"""


def _why_this_size(points: list[Record], seconds: Seconds) -> str:
    released = next(point for point in points if point["released"])
    lowest, own = released["logrows"], seconds[released["hidden"]]
    peers = [point for point in points if point["logrows"] == lowest]
    lower = [point for point in peers if point["validation_loss"] < released["validation_loss"]]
    larger = [str(point["hidden"]) for point in lower if point["hidden"] > released["hidden"]]
    within = f" (The mean loss is lower at {listed(larger)}, but within that error.)" if larger else ""
    times = [seconds[point["hidden"]] for point in peers]
    span = f"{min(times):.2f} to {max(times):.2f} s" if len(times) > 1 else f"{times[0]:.2f} s"
    return f"""A circuit is padded to 2^k rows, so k decides the time: at k = {lowest}, the lowest here, a proof takes
{span} whatever the size. The smallest size is released that no larger one of this k beats by more than the standard
error of its gain: {released["hidden"]}.{within} {_next_k(points, released, own, seconds)}"""


def _next_k(points: list[Record], released: Record, own: float, seconds: Seconds) -> str:
    above = sorted({point["logrows"] for point in points if point["logrows"] > released["logrows"]})
    if not above:
        return "No size of a larger k was tried."
    best = min((p for p in points if p["logrows"] == above[0]), key=lambda point: point["validation_loss"])
    return f"""The best at k = {above[0]}, {best["hidden"]} hidden neurons, would change the loss by
{best["validation_loss"] - released["validation_loss"]:+.4f} and AUC by {best["auc"] - released["auc"]:+.4f}, and a
proof would take {seconds[best["hidden"]]:.2f} s instead of {own:.2f} s."""


def _test(record: Record) -> str:
    test, chosen = record["test"], record["teachers"]["chosen"]
    said, share = larger_class(test["high_share"])
    return f"""## Test

{scores_table(test["scores"])}

{percent(test["high_share"], digits=1)} of the {test["samples"]:,} windows are high, so always saying *{said}* would be
right in {percent(share)}. The model is judged by its circuit's integers, its teacher ({label_of(chosen)}) as it is.
HAR-RV is fitted on everything before the test. Logistic regression and LightGBM see the student's inputs; the newest
fold decides on penalty and number of trees, then they are fitted on everything before the test.{classic_caveat(test)}
Persistence knows no doubt, which costs it Brier score and calibration. Brier, calibration error and QLIKE are better
when smaller.

{months_table(test)}

Plots: [ROC](../{PLOTS}/{ROC}), [reliability](../{PLOTS}/{RELIABILITY}), [months](../{PLOTS}/{MONTHS}),
[forecast and realised volatility](../{PLOTS}/{REALISED})."""


def _walk_forward(record: Record) -> str:
    rows = [
        (
            f"{row['from'][:10]} to {row['to'][:10]}{'*' if _is_fold(row, record) else ''}",
            percent(row["high_share"], digits=1),
            *(f"{percent(row[name]['accuracy'])}, {number(row[name]['auc'], 3)}" for name in TRAINED),
            *(percent(row[name]["accuracy"]) for name in ("har_rv", "persistence_60", "persistence_240")),
        )
        for row in record["walk_forward"]
    ]
    head = ("stretch", "high", "retrained", "trained once", "HAR-RV", "persistence 60", "persistence 240")
    return f"""## Walk-forward

What a user would have had: the recipe trained anew before each stretch, or once before the first. Accuracy, and AUC
for the first two. The student goes without its teacher here, who would have to be trained anew as well.

{table(head, rows)}

The recipe, though not the weights, was chosen with hindsight on the folds: stretches with an asterisk served as folds,
in part or as a whole, and earlier ones lie before that choice. Only what comes after the last fold is free of it.
{_retraining(record["walk_forward"])}"""


def _is_fold(row: Record, record: Record) -> bool:
    """Whether a stretch of the walk was also looked at to choose by."""
    return any(row["from"] < fold["labels_end"] and fold["from"] < row["to"] for fold in record["split"]["folds"])


def _retraining(walked: list[Record]) -> str:
    later = walked[1:]
    if not later:
        return "There is only one stretch: nothing can be said about training anew."
    better = sum(row["retrained"]["accuracy"] > row["trained_once"]["accuracy"] for row in later)
    mean = sum(points_between(row, "trained_once", "retrained") for row in later) / len(later)
    return f"""Training anew had the higher accuracy in {better} of the
{counted(len(later), "stretch", "stretches")} after the first; on average it brought {mean:+.2f} points."""


def _other_asset(record: Record) -> str:
    test, recipe = record["test"], record["recipe"]
    other = test.get("other_asset")
    if other is None:
        return ""
    ours = {
        **test["students"],
        **{name: test["scores"][name] for name in other["scores"] if name.startswith(PERSISTENCE)},
    }
    released = released_student(recipe)
    rows = [
        (
            f"student, {name}{' (released)' if name == released else ''}"
            if name in test["students"]
            else label_of(name),
            *(
                metric(score, key)
                for score in (ours[name], other["scores"][name])
                for key in ("accuracy", "auc", "r2_log_vol")
            ),
        )
        for name in [*test["students"], *sorted(name for name in ours if name.startswith(PERSISTENCE))]
    ]
    taught = " Both listened to the same teacher, who knows our asset only." if recipe["teacher_weight"] else ""
    view = "as it is" if recipe["other_asset"] == "none" else recipe["other_asset"]
    head = ("", "ours: accuracy", "AUC", "R²", "other: accuracy", "AUC", "R²")
    return f"""## Another asset

The same network with the same constants on `{other["file"]}`, {other["samples"]:,} windows of the same months,
{percent(other["high_share"], digits=1)} of them high. One student has learnt from that asset's windows before the test
({view}), one has not; everything else about them is the same.{taught}

{table(head, rows)}

{_transfer(test)}"""


def _transfer(test: Record) -> str:
    other = test["other_asset"]["scores"]
    name, accuracy = better_persistence(other)
    leads = [f"{points_between(other, name, label):+.2f} points for the student {label}" for label in test["students"]]
    return f"Against the better persistence there ({label_of(name)}, {percent(accuracy)}): {listed(leads)}."


def _weak(record: Record) -> str:
    points = "\n".join(f"* {point}" for point in weaknesses(record))
    return f"## What failed or is weak\n\n{points or 'Nothing that the figures of this run show.'}"
