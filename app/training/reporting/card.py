"""The model card: what a person has to know who decides whether to rely on a model. `report` says how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from app.judging.scores import MODEL, PERSISTENCE
from app.training.reporting.markdown import counted, listed, number, percent, reflowed, table
from app.training.reporting.plots import MONTHS, PLOTS, REALISED, RELIABILITY, ROC

CARD = "MODEL_CARD.md"
TEACHER = "teacher"
ENOUGH_POINTS = 6.0
"""Accuracy points above the better persistence that every single month is held to."""
LABELS = {
    MODEL: "model",
    TEACHER: "teacher",
    "persistence_60": "persistence 60 min",
    "persistence_240": "persistence 240 min",
    "har_rv": "HAR-RV",
    "logistic_regression": "logistic regression",
    "lightgbm": "LightGBM",
}
"""Forecasters in the order of the tables; any other comes after them, by name."""
METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "macro F1",
    "auc": "AUC",
    "brier": "Brier",
    "ece": "calibration error",
    "r2_log_vol": "R²",
    "qlike": "QLIKE",
}
SHARES = ("accuracy", "balanced_accuracy")
PLOTS_OF = {
    ROC: "ROC curve",
    RELIABILITY: "Reliability",
    MONTHS: "Accuracy by month",
    REALISED: "Forecast and realised",
}

Record = Mapping[str, Any]


def write_card(manifest: Record, record: Record, target: Path) -> None:
    """The card of a model folder; ``record`` is the whole training record. The same numbers give the same bytes."""
    parts = (_head, _inputs, _data, _results, _months, _plots, _circuit, _limits)
    target.write_text(reflowed("\n\n".join(part(manifest, record) for part in parts)), encoding="utf-8")


def label_of(name: str) -> str:
    """A forecaster or teacher for people: ``classic_student`` is ``classic student``."""
    return LABELS.get(name, name.replace("_", " "))


def ordered(scores: Mapping[str, Record]) -> list[str]:
    """The names of the forecasters as the tables have them."""
    return [name for name in LABELS if name in scores] + sorted(name for name in scores if name not in LABELS)


def scores_table(scores: Mapping[str, Record]) -> str:
    """A row for each forecaster, a column for each metric."""
    rows = [(label_of(name), *(metric(scores[name], key) for key in METRICS)) for name in ordered(scores)]
    return table(("", *METRICS.values()), rows)


def metric(score: Record, key: str) -> str:
    return percent(score[key]) if key in SHARES else number(score[key])


def better_persistence(scores: Mapping[str, Record]) -> tuple[str, float]:
    """Which persistence has the higher accuracy, and that accuracy."""
    found = {name: float(score["accuracy"]) for name, score in scores.items() if name.startswith(PERSISTENCE)}
    name = max(sorted(found), key=lambda name: found[name])
    return name, found[name]


def classic_caveat(test: Record) -> str:
    """What to bear in mind where the classic networks stand in a table, as a sentence to append; else nothing."""
    if not any(name.startswith("classic_") for name in test["scores"]):
        return ""
    return """ The classic networks come from an experiment with a split of its own, which may have used some of this
time to choose by; where their input has a gap, they count as saying *low*."""


def months_table(test: Record) -> str:
    """The model's accuracy by calendar month (UTC) beside those of the better persistence, HAR-RV and LightGBM."""
    head = ("month", "high", "model", "better persistence", "points above it", "HAR-RV", "LightGBM", "AUC", "R²")
    rows = [
        (
            row["month"],
            percent(row["high_share"], digits=1),
            percent(row["accuracy"]),
            percent(max(value for name, value in row.items() if name.startswith(PERSISTENCE))),
            f"{row['points_above_persistence_better']:+.1f}",
            percent(row.get("har_rv")),
            percent(row.get("lightgbm")),
            number(row["auc"], digits=3),
            number(row["r2_log_vol"], digits=3),
        )
        for row in test["per_month"]
    ]
    return table(head, rows)


def weak_months(test: Record) -> list[str]:
    """The months in which the model is less than `ENOUGH_POINTS` above the better persistence."""
    return [row["month"] for row in test["per_month"] if row["points_above_persistence_better"] < ENOUGH_POINTS]


def larger_class(high_share: float) -> tuple[str, float]:
    """What to say always, knowing nothing but the outcome, and how often that is right."""
    return ("high", high_share) if high_share > 0.5 else ("low", 1 - high_share)


def released_student(recipe: Record) -> str:
    """Under which name the released student stands in the comparison of the two views of another asset."""
    return "never trained on it" if recipe["other_asset"] == "none" else "trained on it"


def _head(manifest: Record, _: Record) -> str:
    training, horizon = manifest["training"], manifest["horizon_minutes"]
    warning = "\n\n**Made by a quick run, to try the software. Not to be relied on.**" if training["quick"] else ""
    return f"""# {manifest["name"]}{warning}

Forecasts how volatile the next {horizon} minutes will be, for {listed(manifest["feeds"])}. It answers with two logits,
which say how likely the regime *high* is, and with the logarithm of the annualised volatility. *High* means that the
standard deviation of the {horizon} one-minute log returns to come is {percent(manifest["threshold"])} or more. Every
answer comes with a proof that this network gave it.

How it was made, what was tried and what that brought is told in [`report/REPORT.md`](report/REPORT.md); the figures
behind it are in [`training.json`](training.json)."""


def _inputs(manifest: Record, _: Record) -> str:
    seen, hidden = manifest["observation"], manifest["training"]["recipe"]["hidden"]
    clock, parts = seen["clock"], seen["parts_minutes"]
    waves = listed([str(cycles) for cycles in clock["cycles_per_day"]])
    weekend = ", and the same waves once more at weekends only" if clock["weekend_waves"] else ""
    return f"""## Inputs

The network has one hidden layer of {hidden} neurons and {manifest["circuit"]["parameters"]:,} parameters. It sees
{seen["inputs"]} numbers.

* {len(parts)} tell how much the price moved: {_parts(parts)}. Each is the square root of the mean absolute one-minute
  log return of its stretch, standardised with mean and deviation of the training windows and cut at {seen["clip"]:g}
  deviations.
* {seen["inputs"] - len(parts)} tell the time in New York (rule: {clock["zone_rule"]}), since American hours and
  announcements move this market: sine and cosine of the time of day at {waves} cycles a day, the weekday{weekend}.

It does not see prices, directions, volumes, order books, news or other markets."""


def _parts(parts: Sequence[Sequence[int]]) -> str:
    """The stretches in words: those that end with the window first, then the blocks before them by their length."""
    ending = [length for start, length in parts if start == length]
    words = [f"{counted(len(ending), 'window')} of {_span(min(ending))} to {_span(max(ending))} that end now"]
    blocks = [(start, length) for start, length in parts if start != length]
    for length, group in groupby(blocks, key=lambda part: part[1]):
        starts = [start for start, _ in group]
        words.append(f"{counted(len(starts), 'block')} of {_span(length)} before those, back to {_span(max(starts))}")
    return ", ".join(words)


def _span(minutes: int) -> str:
    for size, unit in ((1440, "day"), (60, "hour")):
        if minutes % size == 0:
            return counted(minutes // size, unit)
    return counted(minutes, "minute")


def _data(manifest: Record, _: Record) -> str:
    training = manifest["training"]
    split = training["split"]
    folds = {f"validation {at}": part for at, part in enumerate(split["folds"], start=1)}
    return f"""## Data

{_file("Trained and tested on", training["data"]["ours"])}{_second(training)} The recordings belong to their exchange
and are no part of this folder.

{split_table({"train": split["train"], **folds, "test": split["test"]})}

Each stretch of validation was forecast by networks trained on what lies before it: there teacher, techniques, settings
and size were chosen. The released weights were then trained on everything before the test, the stretches of validation
included. The test took no part in any choice.

Nothing is shuffled across time: at least {split["embargo_minutes"]} minutes lie between the last label that was learnt
from and the first window that was judged. Windows are left out when serving would refuse them for gaps, when any of
their next {manifest["horizon_minutes"]} minutes is missing, or when the price stands still in all of them."""


def split_table(parts: Mapping[str, Record]) -> str:
    rows = [
        (
            name,
            part["from"],
            part["to"],
            f"{part['every_minutes']} min",
            f"{part['samples']:,}",
            f"{part['left_out']:,}",
            percent(part["high_share"], digits=1),
        )
        for name, part in parts.items()
    ]
    return table(("period", "first window", "last window", "step", "windows", "left out", "high"), rows)


def _file(what: str, file: Record) -> str:
    return (
        f"{what} one-minute candles from `{file['file']}`, {file['rows']:,} rows, {file['from']} to {file['to']}, "
        f"SHA-256 `{file['sha256']}`."
    )


def _second(training: Record) -> str:
    other, recipe = training["data"]["other"], training["recipe"]
    if other is None:
        return ""
    if recipe["other_asset"] == "none":
        return _file(" The released student has seen no window of the second asset, which was only tested on:", other)
    how = f"{recipe['other_asset']}, each window counting {recipe['other_weight']:g}"
    return _file(f" A second asset was learnt from as well ({how}):", other)


def _results(manifest: Record, record: Record) -> str:
    test = record["test"]
    name, accuracy = better_persistence(test["scores"])
    said, share = larger_class(test["high_share"])
    return f"""## Results on the test

{scores_table(test["scores"])}

The model is {test["points_above_better_persistence"]:+.2f} accuracy points against the better persistence
({label_of(name)}, {percent(accuracy)}) and keeps {percent(test["retention"])} of its teacher's accuracy. The teacher
({label_of(record["teachers"]["chosen"])}) only taught and is not part of this folder.
{percent(test["high_share"], digits=1)} of the windows are high: always saying *{said}* would be right in
{percent(share)} of them.

All numbers of the model are of the circuit's own integers, the ones that a proof shows. Persistence says that the next
{manifest["horizon_minutes"]} minutes are like the last 60 or 240, and is never in doubt. R² is of the logarithm of
volatility, QLIKE of the variance; Brier score, calibration error and QLIKE are better when
smaller.{classic_caveat(test)} Windows a minute or a few apart share nearly all of their data, so the test holds far
fewer independent cases than windows."""


def _months(_: Record, record: Record) -> str:
    weak = weak_months(record["test"])
    words = (
        f"Less than {ENOUGH_POINTS:g} points above it in {listed(weak)}."
        if weak
        else (f"At least {ENOUGH_POINTS:g} points above it in every month.")
    )
    return f"""### Month by month

{months_table(record["test"])}

The better persistence is whichever did better over that month. {words}"""


def _plots(_: Record, __: Record) -> str:
    return "### Plots\n\n" + "\n".join(f"![{words}]({PLOTS}/{file})" for file, words in PLOTS_OF.items())


def _circuit(manifest: Record, record: Record) -> str:
    circuit = manifest["circuit"]
    return f"""## Circuit

{circuit["rows"]:,} rows at k = {circuit["logrows"]}, {circuit["proof_bytes"]:,} bytes of proof, ezkl
{manifest["ezkl_version"]}. Weights are multiples of 2^-{circuit["param_scale"]} and nothing is rescaled on the way, so
the circuit is exact integer arithmetic. {agreement(record)}"""


def agreement(record: Record) -> str:
    """How far the circuit, the network before rounding and onnxruntime say the same."""
    found = record["agreement"]
    largest = listed([f"{value:.1e}" for value in found["largest_difference_onnxruntime_circuit"]])
    return f"""Over {found["windows"]:,} test windows the circuit names the same regime as the network before rounding
in {percent(found["class_agreement_float_circuit"], digits=3)} (accuracy {percent(found["accuracy_float"])} before
rounding, {percent(found["accuracy_circuit"])} after). onnxruntime differs from it by at most {largest} in the three
outputs over {counted(found["windows_in_onnxruntime"], "window")}.
All {found["witnesses_equal_to_emulation"]:,} witnesses of the real circuit that were made equal the integer arithmetic
that the numbers above are of, bit for bit."""


def _limits(manifest: Record, record: Record) -> str:
    seen, threshold = manifest["observation"], percent(manifest["threshold"])
    return f"""## Limits: when not to trust it

* **Another pair or venue.** It is made for {listed(manifest["feeds"])} and was tested on the recording named above.
  {_elsewhere(manifest, record)}
* **A calm market that breaks.** The model knows the past week and the clock. It cannot know of announcements,
  liquidations or outages to come: when calm ends suddenly it says *low* until the movement is in its windows.
* **Near the threshold.** Where the volatility to come is close to {threshold} a minute, the regime is close to a coin
  toss. Read the probability and the volatility, not only the word.
* **Beyond the clip.** Inputs more than {seen["clip"]:g} deviations from their training mean are cut there. In a market
  wilder than that it says *high*, rightly, but understates by how much.
* **Drift.** Markets change, and the model does not. Compare its track record with persistence, and stop relying on it
  when the lead is gone.
* **Outages.** A window is refused when more than {percent(seen["max_missing_share"], digits=0)} of its week is missing,
  or {percent(seen["max_missing_in_part"], digits=0)} of a stretch that ends now. An older stretch with such a gap takes
  the mean of the week, and the forecast is that much less informed.
* **Other thresholds.** The probability is about {threshold} and {manifest["horizon_minutes"]} minutes, nothing else.
  From the volatility one can reckon others, but nobody has tested that.
* **Prices.** It is no forecast of prices: *high* says nothing about up or down.
* **What a proof shows.** That this network gave this answer on these inputs; not that the answer is right."""


def _elsewhere(manifest: Record, record: Record) -> str:
    other = record["test"].get("other_asset")
    if other is None:
        return "Others are untested."
    score = other["scores"][released_student(manifest["training"]["recipe"])]
    name, accuracy = better_persistence(other["scores"])
    return f"""On `{other["file"]}`, served unchanged in the months of the test, it is right in
{percent(score["accuracy"])} of the windows, {label_of(name)} in {percent(accuracy)}; its calibration error there is
{number(score["ece"])}. Anything else is untested."""
