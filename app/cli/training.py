"""``veriregime train …`` and ``evaluate``: the offline commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.terminal import JsonFlag, examples, print_json, read_settings, say, time_option
from app.errors import ToolMissing

if TYPE_CHECKING:
    from app.candles.recording import Recording

train = typer.Typer(help="Train and release models; fetch candles to train on.", no_args_is_help=True)

CandleFile = Annotated[Path, typer.Option(help="One-minute candles, .parquet or .csv.")]
Seed = Annotated[int, typer.Option(help="Same seed, same machine: same bytes.")]
Quick = Annotated[bool, typer.Option("--quick", help="A slice of the data and a few epochs: for tests.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the folder if it exists.")]


@train.command(
    epilog=examples("veriregime train production --candles btc.parquet --also eth.parquet --classic models/classic")
)
def production(
    candles: CandleFile,
    out: Annotated[Path | None, typer.Option(help="Model folder to write; models/NAME by default.")] = None,
    name: Annotated[str, typer.Option(help="Of the model.")] = "btc-usdt-4h-v3",
    also: Annotated[
        Path | None, typer.Option(help="Another asset's candles, to learn from and to test on; ETH/USDT, say.")
    ] = None,
    classic_models: Annotated[
        Path | None, typer.Option("--classic", help="A folder that `train classic` wrote, to compare with.")
    ] = None,
    feeds: Annotated[
        str, typer.Option(help="Feeds the model is declared fit for, comma separated; test on each (--also).")
    ] = "btc-usdt-4h",
    seed: Seed = 0,
    quick: Quick = False,
    force: Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Train the production student, and release it with circuit, manifest and model card.

    Compares teachers, decides each technique on validation, finds the student's size and only then opens the test. Some
    quarter of an hour on two cores; interrupted, the same command goes on where it stopped.
    """
    with _offline():
        from app.training.production import train_production

        settings = read_settings()
        target = out or settings.models_dir / name
        manifest = train_production(
            candles,
            target,
            kept=settings.var_dir / "training",
            name=name,
            seed=seed,
            quick=quick,
            force=force,
            say=say,
            also=also,
            classic=classic_models,
            feeds=_feeds(feeds),
        )
    if as_json:
        print_json(manifest)
    else:
        print(f"released {target}")


@train.command(epilog=examples("veriregime train classic --candles btc.parquet"))
def classic(
    candles: CandleFile,
    out: Annotated[Path | None, typer.Option(help="Folder to write; VAR_DIR/classic by default.")] = None,
    seed: Seed = 0,
    quick: Quick = False,
    force: Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Reproduce the original experiment: CNN teacher, distilled MLP, their report.

    Some minutes on two cores; interrupted, the same command goes on where it stopped.
    """
    with _offline():
        from app.training.classic.experiment import train_classic

        settings = read_settings()
        target = out or settings.var_dir / "classic"
        report = train_classic(
            candles, target, kept=settings.var_dir / "training", seed=seed, quick=quick, force=force, say=say
        )
    if as_json:
        print_json(report.record)
    else:
        print(report.text)


@train.command(epilog=examples("veriregime train fetch BTC/USDT --from 2025-10-01 --out btc.parquet"))
def fetch(
    symbol: Annotated[str, typer.Argument(help="Such as BTC/USDT.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write, or to go on with.")],
    start: Annotated[str, typer.Option("--from", help="First minute, such as 2021-01-01 or 2021-01-01T00:00:00Z.")],
    end: Annotated[str | None, typer.Option("--to", help="Exclusive; the last closed minute by default.")] = None,
    venue: Annotated[str, typer.Option(help="As ccxt calls it.")] = "binance",
    as_json: JsonFlag = False,
) -> None:
    """Download candles from a venue into a candle file. Interrupted, it goes on where it stopped.

    At the venue's own pace: a year of minutes takes some minutes.
    """
    start_ms, end_ms = time_option("--from", start), time_option("--to", end)
    assert start_ms is not None  # noqa: S101  an option without a default is always given
    if end_ms is not None and end_ms <= start_ms:
        raise typer.BadParameter(f"--from {start} must be earlier than --to {end}")
    from app.progress import history_progress

    with _offline(), history_progress() as progress:
        from app.candles.recording import record, sparingly
        from app.wiring import open_venue

        settings = read_settings()
        with closing(open_venue(settings, venue)) as source:
            show = progress if sys.stderr.isatty() else sparingly(progress)
            recording = record(out, source, symbol, start_ms, end_ms, settle_s=settings.settle_s, show=show, say=say)
    if as_json:
        print_json(_facts(recording))
    else:
        print(recording.summary())


def evaluate(
    candles: CandleFile,
    start: Annotated[str | None, typer.Option("--from", help="First window end, such as 2025-10-01.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Exclusive end of the windows.")] = None,
    model: Annotated[str | None, typer.Option(help="A released model's name; the only one by default.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Judge a released model on a candle file, beside the baselines.

    Makes every forecast that the candles allow and compares it with what followed. A few seconds for each year of
    candles; nothing is kept.
    """
    from app.progress import watched
    from app.training.evaluate import as_text
    from app.training.evaluate import evaluate as judge

    start_ms, end_ms = time_option("--from", start), time_option("--to", end)
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise typer.BadParameter("--to must be later than --from")
    with watched("evaluate") as step:
        step(f"forecasting every window of {candles}")
        result = judge(candles, read_settings().models_dir, model=model, start_ms=start_ms, end_ms=end_ms)
    if as_json:
        print_json(result)
    else:
        print(as_text(result))


def _facts(recording: Recording) -> dict[str, Any]:
    from app.types import iso

    opened_ms = recording.candles.open_time_ms
    return {
        "file": recording.path,
        "venue": recording.venue,
        "symbol": recording.symbol,
        "candles": len(opened_ms),
        "from": iso(int(opened_ms[0])),
        "to": iso(recording.next_ms),
    }


@contextmanager
def _offline() -> Iterator[None]:
    """What every training has in common: a missing extra is named, and Ctrl-C says how to go on."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ToolMissing(f"{error.name} is not installed: pip install 'veriregime[train]'") from error
    except KeyboardInterrupt:
        say("interrupted: what is finished is kept, run the same command again to go on")
        raise typer.Exit(130) from None


def _feeds(text: str) -> tuple[str, ...]:
    from app.settings import parse_feed

    try:
        return tuple(parse_feed(name.strip()).name for name in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"--feeds: {error}") from None
