"""``veriregime backtest``: a track record from recorded candles, for a feed that has none of its own yet."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.terminal import JsonFlag, print_json, read_settings, time_option

if TYPE_CHECKING:
    from app.backtest import Backtest

_DAYS = 30


def backtest(
    feed: Annotated[str, typer.Argument(help="Such as btc-usdt-4h.")],
    candles: Annotated[Path, typer.Option(help="One-minute candles of the feed's market, .parquet or .csv.")],
    start: Annotated[
        str | None, typer.Option("--from", help=f"First window end; {_DAYS} days before the last by default.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Exclusive end of the windows; by default the file's.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A released model's name; the feed's newest by default.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Store what the feed's model would have said of recorded candles, and what came of it.

    The API and the dashboard show it apart from forecasts that were really served, marked as a back-test. It takes the
    place of the feed's former back-test of that model. Judging the same windows with `evaluate` gives the same scores.
    """
    from app.backtest import backtest as run
    from app.backtest import store_backtest
    from app.candles.files import read_candles
    from app.inference.release import load_models
    from app.progress import watched
    from app.settings import parse_feed
    from app.training.evaluate import choose_model
    from app.types import DAY_MS, MINUTE_MS
    from app.wiring import model_for, open_database

    settings = read_settings()
    start_ms, end_ms = time_option("--from", start), time_option("--to", end)
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise typer.BadParameter("--to must be later than --from")
    try:
        known = parse_feed(feed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    models = load_models(settings.models_dir)
    judged = model_for(known, models) if model is None else choose_model(models, settings.models_dir, model)
    with watched("backtest") as say, closing(open_database(settings)) as database:
        say(f"reading {candles}")
        recorded = read_candles(candles)
        if start_ms is None:
            last_ms = int(recorded.open_time_ms[-1]) + MINUTE_MS if end_ms is None else end_ms
            start_ms = last_ms - _DAYS * DAY_MS
        say("forecasting")
        done = run(recorded, str(candles), known.name, judged, start_ms, end_ms)
        say(f"storing {len(done.windows):,} windows")
        database.upgrade()
        store_backtest(database, done)
    result = _told(done)
    if as_json:
        print_json(result)
    else:
        print(
            f"{known.name}: {result['windows']:,} windows from {result['from']} to {result['to']} by {judged.name}, "
            f"{result['left_out']:,} left out; see /v1/feeds/{known.name}/track-record?origin=backtest"
        )


def _told(done: Backtest) -> dict[str, Any]:
    from app.types import iso

    return {
        "feed": done.feed,
        "model_name": done.model.name,
        "model_id": done.model.model_id,
        "windows": len(done.windows),
        "left_out": done.windows.left_out,
        "from": iso(int(done.windows.end_ms[0])),
        "to": iso(int(done.windows.end_ms[-1])),
    }
