"""The model card: the manifest's numbers in words, for a person who has to decide whether to rely on them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = "MODEL_CARD.md"
WIDTH = 120
ENOUGH_POINTS = 6.0
"""Accuracy points above 60-minute persistence that we hold a model to, over the test and, as a yardstick, by month."""


def write_card(manifest: Mapping[str, Any], target: Path) -> None:
    parts = (_head, _data, _results, _months, _circuit, _limits)
    target.write_text(_reflowed("\n".join(part(manifest) for part in parts)))


def _head(manifest: Mapping[str, Any]) -> str:
    horizon = manifest["horizon_minutes"]
    quick = manifest["training"]["config"]["quick"]
    warning = "\n**Made by a quick run, to try the software. Not to be relied on.**\n" if quick else ""
    return f"""# {manifest["name"]}
{warning}
Forecasts how volatile the next {horizon} minutes will be, for {_and(manifest["feeds"])}.
It answers with two logits, which say how likely the regime
*high* is, and with the logarithm of the annualised volatility. *High* means that the standard
deviation of the {horizon} one-minute log returns to come is {manifest["threshold"]:.2%} or more.

The network has one hidden layer of {manifest["training"]["config"]["hidden"]} neurons and
{manifest["circuit"]["parameters"]:,} parameters. It sees {manifest["observation"]["inputs"]} numbers:
how much the price moved, on average per minute, over eleven windows of up to four hours and over each of the last
{manifest["observation"]["hours"]} hours, and the clock.
It does not see prices, directions, volumes, order books, news or other markets.
"""


def _data(manifest: Mapping[str, Any]) -> str:
    training, split = manifest["training"], manifest["training"]["split"]
    data = training["data"]
    rows = "\n".join(
        f"| {name} | {part['from']} | {part['to']} | {part['every_minutes']} min | {part['samples']:,} | "
        f"{part['left_out']:,} | {part['high_share']:.1%} |"
        for name, part in ((name, split[name]) for name in ("train", "validation", "test"))
    )
    return f"""## Data

One-minute candles from `{data["file"]}` (SHA-256 `{data["sha256"]}`), {data["rows"]:,} rows,
{data["from"]} to {data["to"]}.
The recording belongs to its exchange and is not part of this folder.

| period | first window | last window | step | windows | left out | high |
|---|---|---|---|---|---|---|
{rows}

The periods follow one another in time and nothing is shuffled across them. The hours that a label looks at end at least
{split["embargo_minutes"]} minutes before the first window of the next period.
Windows are left out when serving would refuse them for gaps, or when any of their next
{manifest["horizon_minutes"]} minutes is missing.
The epoch was chosen on validation and every other setting on half-years before the test, which played no part in
any choice. The released weights were then trained anew, for the same number of epochs, on training and validation
windows together; the validation numbers below are of the student before that.
"""


def _results(manifest: Mapping[str, Any]) -> str:
    metrics = manifest["training"]["metrics"]
    columns = {
        "model": metrics["test"],
        "persistence 60 min": metrics["baselines"]["persistence_60"],
        "persistence 240 min": metrics["baselines"]["persistence_240"],
        "model on validation": metrics["validation"],
    }
    names = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "auc": "AUC",
        "brier": "Brier score",
        "ece": "calibration error",
        "r2_ln_vol": "R² of ln volatility",
    }
    rows = "\n".join(
        f"| {label} | " + " | ".join(_number(column.get(key)) for column in columns.values()) + " |"
        for key, label in names.items()
    )
    return f"""## Results on the test period

All numbers are of the circuit's own integer outputs, the ones that a proof shows. Persistence says that the next four
hours are like the last 60 or 240 minutes, and is judged on the same windows.

| | {" | ".join(columns)} |
|---|{"---|" * len(columns)}
{rows}

The model's accuracy is {_points_above(metrics):+.1f} points against 60-minute persistence.
Windows a minute apart share nearly all
of their data, so the test holds far fewer independent cases than windows.
"""


def _months(manifest: Mapping[str, Any]) -> str:
    months = manifest["training"]["metrics"]["per_month"]
    rows = "\n".join(
        f"| {row['month']} | {row['high_share']:.1%} | {_number(row['accuracy'])} | {_number(row['persistence_60'])} | "
        f"{_number(row['persistence_240'])} | {row['points_above_persistence_60']:+.1f} | {_number(row['auc'])} | "
        f"{_number(row['r2_ln_vol'])} |"
        for row in months
    )
    short = [row["month"] for row in months if row["points_above_persistence_60"] < ENOUGH_POINTS]
    words = (
        f"Less than {ENOUGH_POINTS:g} points above 60-minute persistence in {_and(short)}."
        if short
        else f"At least {ENOUGH_POINTS:g} points above 60-minute persistence in every month."
    )
    return f"""### Month by month

| month | high | accuracy | persistence 60 | persistence 240 | points above 60 | AUC | R² |
|---|---|---|---|---|---|---|---|
{rows}

{words}
"""


def _circuit(manifest: Mapping[str, Any]) -> str:
    circuit, agreement = manifest["circuit"], manifest["training"]["metrics"]["agreement"]
    largest = ", ".join(f"{value:.1e}" for value in agreement["largest_difference_onnxruntime_circuit"])
    return f"""## Circuit

{circuit["rows"]:,} rows at k = {circuit["logrows"]}, {circuit["proof_bytes"]:,} bytes of proof,
ezkl {manifest["ezkl_version"]}. Weights are
multiples of 2^-{circuit["param_scale"]} and nothing is rescaled on the way, so the circuit is exact integer arithmetic.
Over {agreement["windows"]:,} test windows it names the same regime as the unrounded network in
{agreement["class_agreement_float_circuit"]:.3%}
(accuracy {agreement["accuracy_float"]:.4f} before rounding,
{agreement["accuracy_circuit"]:.4f} after). onnxruntime differs from it by at most
{largest} in the three outputs over {agreement["windows_in_onnxruntime"]:,} windows.
{agreement["witnesses_equal_to_emulation"]} witnesses of the
real circuit equal the integer arithmetic used for the numbers above, bit for bit.
"""


def _limits(manifest: Mapping[str, Any]) -> str:
    clip = manifest["observation"]["clip"]
    return f"""## Limits

* Trained on one venue and one pair. Other pairs, venues or thresholds are untested.
* Accuracy is an average over quiet and wild months. Near the threshold the regime is close to a coin toss: read the
  probability and the volatility, not only the word.
* The model knows the past week and the clock. It cannot know of announcements, outages or liquidations to come, and is
  late whenever a calm market breaks suddenly.
* Inputs more than {clip:g} deviations from their training mean are cut there. In a market several times wilder
  than 2021 it says *high*, rightly, but understates by how much.
* Markets change. A model that is not trained again loses ground; compare the track record with persistence and stop
  relying on it when the lead is gone.
* A proof shows that this network gave this answer on these inputs. It does not show that the answer is right.
"""


def _reflowed(text: str) -> str:
    """The text with its paragraphs and list items filled to `WIDTH`; headings and tables stay as they are."""
    blocks = [block.strip("\n") for block in text.split("\n\n")]
    return "\n\n".join(_filled(block) for block in blocks if block) + "\n"


def _filled(block: str) -> str:
    match block[0]:
        case "#" | "|":
            return block
        case "*" if block.startswith("* "):
            items = block.removeprefix("* ").split("\n* ")
            return "\n".join(
                textwrap.fill(" ".join(item.split()), WIDTH, initial_indent="* ", subsequent_indent="  ")
                for item in items
            )
    return textwrap.fill(block, WIDTH, break_long_words=False, break_on_hyphens=False)


def _points_above(metrics: Mapping[str, Any]) -> float:
    return float(100 * (metrics["test"]["accuracy"] - metrics["baselines"]["persistence_60"]["accuracy"]))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
