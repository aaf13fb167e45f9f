"""``veriregime demo``, ``serve`` and ``predict``: forecasts made here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.terminal import (
    JsonFlag,
    MarketStart,
    Port,
    Speed,
    WallStart,
    market_clock,
    print_json,
    read_settings,
    time_option,
)
from app.errors import UnknownFeed

if TYPE_CHECKING:
    from app.demo import MarketOptions


def demo(
    once: Annotated[bool, typer.Option("--once", help="One forecast all the way to the chain, then end.")] = False,
    as_json: JsonFlag = False,
    candles: Annotated[
        Path | None, typer.Option(help="Recorded one-minute candles (.parquet, .csv) instead of a simulated market.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Market time to begin at, such as 2025-09-15T12:00:00Z.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated market: the same seed shows the same prices.")] = 0,
    speed: Annotated[
        float, typer.Option(min=0.1, max=60, help="Market minutes per minute: faster than real time above 1.")
    ] = 1.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VENUE:KIND[:key=value,…]",
            help="Let a simulated venue misbehave, such as kraken:frozen:from=2,minutes=10; repeat for more.",
        ),
    ] = None,
    port: Port = None,
) -> None:
    """Run the whole system on this machine, with nothing to set up.

    Starts a simulated market (or plays a candle file), anvil with all contracts, two attesters and the service, and
    goes on until Ctrl-C. It needs no settings and keeps no data but keys.
    """
    from app.demo import run_demo, run_once
    from app.progress import working

    settings = read_settings(port=port)
    market = _market(candles, at, seed, speed, tuple(fault or ()))
    if as_json and not once:
        raise typer.BadParameter("--json goes with --once")
    with working("demo") as work:
        if not once:
            run_demo(settings, market, work)
            return
        result = run_once(settings, market, work)
    _print_forecast(result, as_json)


def serve(
    port: Port = None, market_start_ms: MarketStart = None, wall_start_ms: WallStart = 0, speed: Speed = 1.0
) -> None:
    """Run the service: ticks, proofs, signatures, submissions, HTTP.

    Everything in one process. Goes on until Ctrl-C or SIGTERM; what is unfinished then is taken up at the next start.
    The database is brought to the newest schema, keys that are not there are built.
    """
    from app.progress import history_progress
    from app.serve import serve as serve_until_stopped
    from app.web.server import listen
    from app.wiring import application

    settings = read_settings(port=port)
    listener = listen(settings.host, settings.port)
    clock = market_clock(market_start_ms, wall_start_ms, speed)
    with (
        history_progress() as progress,
        application(settings, at_work=True, clock=clock, progress=progress) as app,
    ):
        serve_until_stopped(app, listener)


def predict(
    feed: Annotated[str, typer.Argument(help="Such as btc-usdt-4h.")],
    as_json: JsonFlag = False,
) -> None:
    """Forecast once, now, and prove it.

    Reads the venues of the settings and writes the bundle into the bundles folder of VERIREGIME_VAR_DIR. Nothing is
    sent to a chain. The first time a week of candles is fetched, which takes a minute or so.
    """
    from app.once import forecast_once
    from app.progress import working
    from app.wiring import application

    settings = read_settings()
    if feed not in settings.feeds:
        raise UnknownFeed(f"{feed!r} is not among the feeds {', '.join(settings.feeds)}: see VERIREGIME_FEEDS")
    with working("predict") as work:
        work.step("loading models, keys and candles")
        with application(settings, progress=work.history) as app:
            work.step("forecasting and proving")
            result = forecast_once(app, feed, app.clock.last_minute_ms(), submit=False)
    _print_forecast(result, as_json)


def _market(candles: Path | None, at: str | None, seed: int, speed: float, faults: tuple[str, ...]) -> MarketOptions:
    from app.demo import MarketOptions

    if at is None and candles is not None:
        raise typer.BadParameter("--candles also needs --at, a time within the file")
    return MarketOptions(candles=candles, at_ms=time_option("--at", at), seed=seed, speed=speed, faults=faults)


def _print_forecast(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    prediction = result["prediction"]
    print(f"{prediction['feed']} at {prediction['window_end']}: {prediction['regime']} volatility")
    print(f"  {prediction['vol_annualised']:.1%} a year, probability of high {prediction['p_high']:.1%}")
    print(f"  proved in {result['proof_seconds']:.2f} s")
    if "tx_hash" in result:
        print(f"  accepted on chain for {result['submit_gas']:,} gas in transaction {result['tx_hash']}")
    print(f"  check it yourself: veriregime verify {result['bundle']}")
