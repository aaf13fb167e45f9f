"""The report's figures: each function writes one PNG, and the same numbers give the same bytes.

Drawn without pyplot: it needs no display, leaves no figure open and changes no global setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter, ScalarFormatter

from app.judging.scores import MODEL, PERSISTENCE, Forecasts, bins, r_squared
from app.judging.scores import auc as auc_of
from app.training.baselines import LN_THRESHOLD
from app.training.datasets import Samples
from app.types import BoolArray, FloatArray

PLOTS = "plots"
ROC, RELIABILITY, MONTHS, REALISED = "roc.png", "reliability.png", "months.png", "realised.png"
DPI = 100
INK, QUIET, GRID, BARS = "#22272e", "#6b7480", "#e6e9ed", "#dbe2ea"
MODEL_COLOUR, ACCENT = "#0b5cad", "#d95f02"
OTHER_COLOURS = ("#d95f02", "#2a9d63", "#8e5bb5", "#b0860b", "#c2386f", "#4b5563")
K_COLOURS = ("#7fb8e6", "#0b5cad", "#2a9d63", "#b0860b", "#c2386f", "#8e5bb5", "#4b5563")
DASHED = (0, (4, 3))
STYLE = {
    # The font that comes with matplotlib: the same letters everywhere.
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.axisbelow": True,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
NAMES = {MODEL: "model", "har_rv": "HAR-RV", "lightgbm": "LightGBM"}
NOT_DRAWN = ("teacher", "classic_teacher")
"""Their lines would lie on their students'; the tables have them."""
ROW_KEYS = ("month", "samples", "high_share", "auc", "r2_log_vol")
"""What a row of `monthly` holds beside accuracies."""
CURVE_POINTS = 500
"""Drawn of a curve that has as many corners as there are windows: more than there are pixels."""
VOLATILITY_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
DENSITY_CELLS = 100
DENSITY_EDGE = 0.0005
"""Share of the windows beyond each end of the density's axes."""


def write_plots(forecasts: Mapping[str, Forecasts], samples: Samples, record: Mapping[str, Any], folder: Path) -> None:
    """The figures of the model card, into a new ``folder``."""
    folder.mkdir()
    drawn = {name: said for name, said in forecasts.items() if name not in NOT_DRAWN}
    in_doubt = {name: said for name, said in drawn.items() if not name.startswith(PERSISTENCE)}
    months = [{key: row[key] for key in row if key not in NOT_DRAWN} for row in record["test"]["per_month"]]
    roc(drawn, samples, folder / ROC)
    reliability(in_doubt, samples, folder / RELIABILITY)
    per_month_accuracy(months, folder / MONTHS)
    forecast_against_realised(forecasts[MODEL], samples, folder / REALISED)


def roc(forecasts: Mapping[str, Forecasts], samples: Samples, path: Path) -> None:
    """Share of the high windows found against share of the low ones called high, over all thresholds of the score.

    Raises `ValueError` when the windows are all of one class, where there is no such curve.
    """
    if samples.high.all() or not samples.high.any():
        raise ValueError("the windows are all of one class")
    with _figure(path, 5.6, 5.6) as figure:
        axes = _square(figure, "ROC curve", "low windows called high", "high windows called high")
        for name, said in forecasts.items():
            false_high, true_high = roc_curve(said.score, samples.high)
            label = f"{_label(name)}, {auc_of(said.score, samples.high):.3f}"
            axes.plot(false_high, true_high, label=label, **_line(name, forecasts))
        axes.legend(title="area under the curve", title_fontsize=9, alignment="left", loc="lower right")


def reliability(forecasts: Mapping[str, Forecasts], samples: Samples, path: Path) -> None:
    """How often high came true where it was said to be so likely: ten equal bins, each dot as large as its bin."""
    with _figure(path, 5.6, 5.6) as figure:
        axes = _square(figure, "Reliability", "stated probability of high", "observed share of high")
        for name, said in forecasts.items():
            stated, observed, share = reliability_bins(said.p_high, samples.high)
            line = _line(name, forecasts)
            axes.plot(stated, observed, label=_label(name), **line)
            # Hard forecasts have their dots in the corners: they must not be cut there.
            axes.scatter(stated, observed, 10 + 260 * share, line["color"], linewidth=0, zorder=4, clip_on=False)
        axes.legend(title="dot: share of the windows", title_fontsize=9, alignment="left", loc="upper left")


def per_month_accuracy(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Every forecaster's accuracy by calendar month over the share of high; ``rows`` as `monthly` makes them."""
    columns = {MODEL: "accuracy"} | {
        key: key for key in rows[0] if key not in (*ROW_KEYS, "accuracy") and not key.startswith("points_above_")
    }
    places = np.arange(len(rows))
    with _figure(path, float(np.clip(2.6 + 0.62 * len(rows), 7.4, 9.0)), 4.4) as figure:
        axes = figure.subplots()
        axes.bar(places, [row["high_share"] for row in rows], width=0.72, color=BARS, label="share of high")
        for name, key in columns.items():
            dot = (5.5 if name == MODEL else 3.5) if len(rows) <= 24 else 0
            values = [row[key] for row in rows]
            axes.plot(places, values, "o-", markersize=dot, label=_label(name), **_line(name, columns))
        step = -(-len(rows) // 14)
        axes.set_xticks(places[::step], [row["month"] for row in rows][::step])
        axes.set(xlim=(-0.6, len(rows) - 0.4), ylim=(0, 1), ylabel="share of the windows", title="Accuracy by month")
        axes.grid(axis="y")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        drawn, together = axes.get_legend_handles_labels(), min(4, len(columns) + 1)
        figure.legend(*drawn, loc="outside lower center", ncols=together, columnspacing=1.4)


def forecast_against_realised(forecasts: Forecasts, samples: Samples, path: Path) -> None:
    """How many windows lie where: forecast against realised volatility, annualised, both axes logarithmic.

    Raises `ValueError` for a forecaster that names no volatility.
    """
    if forecasts.ln_vol is None:
        raise ValueError("this forecaster names no volatility")
    both = np.concatenate([forecasts.ln_vol, samples.ln_vol])
    low, high = np.exp(np.quantile(both, [DENSITY_EDGE, 1 - DENSITY_EDGE]) + np.asarray([-0.1, 0.1])).tolist()
    edges = np.geomspace(low, high, DENSITY_CELLS + 1)
    counts = np.histogram2d(np.exp(forecasts.ln_vol), np.exp(samples.ln_vol), bins=[edges, edges])[0].T
    explained = r_squared(forecasts.ln_vol, samples.ln_vol)
    threshold = float(np.exp(LN_THRESHOLD))
    with _figure(path, 6.4, 5.4) as figure:
        axes = figure.subplots()
        cells = np.ma.masked_equal(counts, 0)
        drawn = axes.pcolormesh(edges, edges, cells, norm=LogNorm(1, max(2.0, counts.max())), cmap="YlGnBu")
        axes.plot([low, high], [low, high], color=INK, linewidth=0.9, linestyle=DASHED)
        axes.axvline(threshold, color=ACCENT, linewidth=1)
        axes.axhline(threshold, color=ACCENT, linewidth=1)
        axes.annotate(
            "threshold of high", (low, threshold), (5, 5), textcoords="offset points", fontsize=9, color=ACCENT
        )
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([tick for tick in VOLATILITY_TICKS if low <= tick <= high]))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid()
        axes.set(xlabel="forecast volatility, annualised", ylabel="realised volatility, annualised")
        axes.set_title("Forecast and realised" + ("" if explained is None else f"   R² of logarithms {explained:.3f}"))
        bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02, label="windows", format=FuncFormatter(_whole))
        bar.outline.set_visible(False)


def frontier(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy and AUC of candidate circuits against their size in rows and the seconds of a proof.

    Every point holds ``hidden, inputs, parameters, rows, logrows, proof_seconds, accuracy, auc, released``. Colours
    tell k, the base-2 logarithm of the rows that a proof is made for; numbers at the points are hidden neurons.
    """
    with _figure(path, 10.0, 6.6) as figure:
        grid = figure.subplots(2, 2, sharex="col", sharey="row")
        across = (("rows", "rows of the circuit"), ("proof_seconds", "seconds of one proof"))
        for column, (x, x_label) in enumerate(across):
            for row, (y, y_label) in enumerate((("accuracy", "accuracy"), ("auc", "AUC"))):
                axes = grid[row, column]
                _candidates(axes, points, x, y)
                values = [point[x] for point in points]
                axes.set(xscale="log", xlim=(0.85 * min(values), max(values) / 0.85))
                axes.xaxis.set_major_locator(_round_ticks(values))
                axes.xaxis.set_minor_locator(NullLocator())
                axes.xaxis.set_major_formatter(FuncFormatter(_plain))
                axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
                axes.grid()
                if y == "auc":
                    axes.set_xlabel(x_label)
                    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
                else:
                    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=2))
                if x == "rows":
                    axes.set_ylabel(y_label)
        figure.suptitle(f"What a larger circuit buys   {_what_labels_tell(points)}", x=0.01, ha="left", fontsize=11)
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=8)


def roc_curve(score: FloatArray, high: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Shares of the low and of the high windows that score at least every threshold, from (0, 0) to (1, 1).

    At most `CURVE_POINTS` corners, evenly over the windows; equal scores are one corner.
    """
    order = np.argsort(-score, kind="stable")
    found, falsely = np.cumsum(high[order]), np.cumsum(~high[order])
    corners = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    kept = corners[np.unique(np.linspace(0, len(corners) - 1, CURVE_POINTS).astype(np.int64))]
    return np.append(0, falsely[kept] / falsely[-1]), np.append(0, found[kept] / found[-1])


def reliability_bins(p_high: FloatArray, high: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean stated probability, observed share of high and share of all windows, of every bin that holds some."""
    size, stated, observed = bins(p_high, high)
    filled = size > 0
    return stated[filled] / size[filled], observed[filled] / size[filled], size[filled] / len(p_high)


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of that many inches, written as PNG when the block ends well."""
    # The default first: what somebody has set up for their own figures must not show in ours.
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        yield figure
        # The version of the software would change the bytes and says nothing to the reader.
        figure.savefig(path, format="png", metadata={"Software": None}, pil_kwargs={"optimize": True})


def _square(figure: Figure, title: str, x_label: str, y_label: str) -> Axes:
    """Axes of two shares, with the diagonal."""
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=DASHED)
    axes.set(title=title, xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    return axes


def _candidates(axes: Axes, points: Sequence[Mapping[str, Any]], x: str, y: str) -> None:
    sizes = sorted({point["logrows"] for point in points})
    for colour, logrows in zip(_cycled(K_COLOURS, len(sizes)), sizes, strict=True):
        mine = [point for point in points if point["logrows"] == logrows]
        axes.scatter(
            [p[x] for p in mine], [p[y] for p in mine], 42, colour, label=f"k = {logrows}", linewidth=0, zorder=3
        )
    for point in points:
        place = (point[x], point[y])
        if point["released"]:
            axes.scatter(*place, 190, facecolor="none", edgecolor=ACCENT, linewidth=1.8, zorder=4, label="released")
        # Circuits of one k prove in nearly the same time, so names would lie over one another there.
        if x == "rows":
            above = (0, 12 if point["released"] else 7)
            axes.annotate(
                _named(point, points), place, above, textcoords="offset points", ha="center", fontsize=8, color=QUIET
            )


def _named(point: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str:
    one_width = len({other["inputs"] for other in points}) == 1
    return str(point["hidden"]) if one_width else f"{point['inputs']}→{point['hidden']}"


def _what_labels_tell(points: Sequence[Mapping[str, Any]]) -> str:
    widths = {point["inputs"] for point in points}
    return f"{widths.pop()} inputs, hidden neurons beside the point" if len(widths) == 1 else "inputs→hidden neurons"


def _whole(value: float, _: int | None) -> str:
    return f"{value:,.0f}"


def _plain(value: float, _: int | None) -> str:
    return f"{value:,.5g}" if value < 1000 else f"{value:,.0f}"


def _round_ticks(values: Iterable[float]) -> FixedLocator:
    """1, 2, 5, 10, … over the range of the values and one beyond."""
    low, high = min(values), max(values)
    decades = 10.0 ** np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 2)
    ticks = np.sort(np.concatenate([decades, 2 * decades, 5 * decades]))
    return FixedLocator(ticks[(ticks >= low / 1.5) & (ticks <= high * 1.5)].tolist())


def _line(name: str, names: Iterable[str]) -> dict[str, Any]:
    """The model bold and in its own colour, the others in the order they come in."""
    if name == MODEL:
        return {"color": MODEL_COLOUR, "linewidth": 2.2, "zorder": 3}
    others = [other for other in names if other != MODEL]
    return {"color": _cycled(OTHER_COLOURS, len(others))[others.index(name)], "linewidth": 1.3, "zorder": 2}


def _cycled(colours: Sequence[str], count: int) -> list[str]:
    return [colours[at % len(colours)] for at in range(count)]


def _label(name: str) -> str:
    """A forecaster's name for people: ``persistence_60`` is ``persistence 60 min``."""
    words, _, minutes = name.rpartition("_")
    return NAMES.get(name) or (f"{words} {minutes} min" if minutes.isdigit() else name.replace("_", " "))
