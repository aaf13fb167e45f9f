"""The report of the classic experiment: what the original states beside what came out here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.training.reporting.markdown import number, percent, reflowed, table

ORIGINAL = {
    "samples": "972,631",
    "teacher_parameters": "35,778",
    "student_parameters": "471,618",
    "teacher_accuracy": "74.62 %",
    "teacher_f1": "0.7463",
    "student_accuracy": "72.48 %",
    "student_f1": "0.7218",
    "retention": "97.1 %",
}
"""The original's own statements, about its own split of its own recording."""

Record = Mapping[str, Any]


def classic_report(record: Record) -> str:
    """Markdown of a training record (``training.json``), filled to one width."""
    parts = (_head, _figures, _test, _data, _inputs, _training, _parity)
    return reflowed("\n\n".join(part(record) for part in parts))


def _head(record: Record) -> str:
    label, seen = record["label"], record["observation"]
    quick = "\n\n**Made by a quick run, to try the software: its figures mean nothing.**" if record["quick"] else ""
    return f"""# The classic experiment, reproduced{quick}

Will the next {label["horizon_minutes"]} minutes be volatile? The standard deviation of their one-minute log returns
decides: {label["threshold"]:.2%} or more is high. A CNN teacher learns it from {seen["window_minutes"]} minutes of
{len(seen["indicators"])} indicators, an MLP student learns from the teacher."""


def _figures(record: Record) -> str:
    test, networks = record["metrics"]["test"], record["networks"]
    ours = {
        "samples": f"{record['samples']['taken']:,}",
        **{f"{name}_parameters": f"{networks[name]['parameters']:,}" for name in ("teacher", "student")},
        **{f"{name}_accuracy": percent(test[name]["accuracy"]) for name in ("teacher", "student")},
        **{f"{name}_f1": number(test[name]["f1"]) for name in ("teacher", "student")},
        "retention": percent(test["retention"], digits=1),
    }
    names = {name: name.replace("_", " ").replace("f1", "macro F1") for name in ORIGINAL}
    names["retention"] = "retention: student accuracy / teacher accuracy"
    rows = [(names[name], ORIGINAL[name], ours[name]) for name in ORIGINAL]
    return f"""## Original and reproduction

{table(("", "original", "here"), rows)}

{_fewer(record)}The two columns are of different test windows, as the original's recording and split are not
public. Accuracy and macro F1 of the original are nearly equal, as they are where both classes are about as frequent;
here {percent(test["high_share"])} of the test windows are high. Compare each network with persistence on the same
windows, below, before comparing the columns."""


def _fewer(record: Record) -> str:
    samples = record["samples"]
    if record["quick"] or f"{samples['taken']:,}" == ORIGINAL["samples"]:
        return ""
    return f"The file holds only {samples['taken']:,} usable windows, fewer than the original's. "


def _test(record: Record) -> str:
    test = record["metrics"]["test"]
    columns = {
        "teacher": test["teacher"],
        "student": test["student"],
        "persistence 60 min": test["persistence_60"],
        "persistence 240 min": test["persistence_240"],
        "always the larger class": test["larger_class"],
    }
    names = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1": "macro F1", "auc": "AUC"}
    rows = [(label, *(number(column.get(key)) for column in columns.values())) for key, label in names.items()]
    return f"""## On the test windows

{table(("", *columns), rows)}

{test["samples"]:,} windows, {percent(test["high_share"])} of them high. Persistence says that the next four hours are
like the last 60 or 240 minutes; the teacher's accuracy is {_points(test, "teacher")} points against that of 60 minutes,
the student's {_points(test, "student")}. Windows a few minutes apart share nearly all of their data, so the test holds
far fewer independent cases than windows."""


def _points(test: Record, name: str) -> str:
    return f"{100 * (test[name]['accuracy'] - test['persistence_60']['accuracy']):+.1f}"


def _data(record: Record) -> str:
    data, samples = record["data"], record["samples"]
    rows = [
        (name, part["from"], part["to"], part["labels_end"], f"{part['samples']:,}", percent(part["high_share"]))
        for name, part in record["split"].items()
    ]
    return f"""## Data

One-minute candles from `{data["file"]}`, {data["rows"]:,} rows, {data["from"]} to {data["to"]}, SHA-256
`{data["sha256"]}`.

{table(("part", "first window", "last window", "last label known", "windows", "high"), rows)}

The last {samples["taken"]:,} usable windows of the file, {_apart(samples["every_minutes"])}: 70, 15 and 15 % in the
order of time. {samples["lost_to_embargo"]:,} of them, between the parts, belong to none, so that every label is known
({samples["embargo_minutes"]} minutes) before the first window of the next part. No missing minute is filled: windows
whose indicators or label touch a gap are left out, {samples["left_out_for_gaps"]:,} within this period."""


def _apart(minutes: int) -> str:
    return "a minute apart" if minutes == 1 else f"{minutes} minutes apart"


def _inputs(record: Record) -> str:
    seen = record["observation"]
    rows = [
        (f"`{name}`", f"{mean:.4g}", f"{deviation:.4g}")
        for name, mean, deviation in zip(seen["indicators"], seen["mean"], seen["deviation"], strict=True)
    ]
    return f"""## Inputs

{table(("indicator", "training mean", "training deviation"), rows)}

The original names its indicators but not their recipe, so the recipe is ours. EMAs are taken relative to the close and
MACD and its signal are divided by it, as raw prices do not transfer from one year to the next; RSI is Wilder's over 14
minutes; the volume average is ln(1 + mean of 20 minutes). All are standardised with mean and deviation of the training
period and cut at {seen["clip"]:g} deviations. An indicator sees the {seen["warm_up_minutes"]} minutes before its own
and nothing else."""


def _training(record: Record) -> str:
    config = record["config"]
    tables = "\n\n".join(_epochs(record, name) for name in ("teacher", "student"))
    return f"""## Training

The teacher is Conv1d 7→48→64→128 (kernel 3, padding 1), each with batch normalisation and ReLU, pooling by four after
the first two, mean over time and a linear head; the student is 1680-256-128-64-2. The widths of the teacher are ours,
chosen to meet the original's count. The student learns with temperature {config["temperature"]:g} and
α = {config["teacher_weight"]:g}. At most {config["teacher"]["epochs"]} epochs of AdamW (learning rate
{config["teacher"]["learning_rate"]:g}, times {config["teacher"]["decay"]:g} after each, batch
{config["teacher"]["batch"]}); training ends when validation loss has not fallen for {config["teacher"]["patience"]}
epochs, and the best one counts. Seed {record["seed"]}, {_threads(config["threads"])}.

{tables}"""


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _epochs(record: Record, name: str) -> str:
    network = record["networks"][name]
    rows = [
        (
            f"**{epoch['epoch']}**" if epoch["epoch"] == network["best_epoch"] else f"{epoch['epoch']}",
            f"{epoch['train_loss']:.4f}",
            f"{epoch['validation_loss']:.4f}",
            percent(epoch["validation_accuracy"]),
        )
        for epoch in network["history"]
    ]
    return table((f"{name} epoch", "training loss", "validation loss", "validation accuracy"), rows)


def _parity(record: Record) -> str:
    parity, networks = record["parity"], record["networks"]
    sizes = list(parity["teacher"]["largest_difference_by_batch"])
    rows = [
        (
            f"`{networks[name]['file']}`",
            *(f"{parity[name]['largest_difference_by_batch'][size]:.1e}" for size in sizes),
            percent(parity[name]["class_agreement"]),
        )
        for name in ("teacher", "student")
    ]
    return f"""## ONNX

{table(("file", *(f"batch of {size}" for size in sizes), "same class"), rows)}

Largest difference of a logit between PyTorch and onnxruntime on test windows. Opset 18; input float32
(batch, 240, 7), standardised, any batch from 1 to 1024. Each batch normalisation is folded into the convolution before
it."""
