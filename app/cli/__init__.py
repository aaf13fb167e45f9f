"""``veriregime``: the command line. Commands import what they join only when they run, so that ``--help`` is quick.

Exit code 0 is success, 1 a negative answer, 2 bad usage or a failed step with one line on stderr.
"""

from __future__ import annotations

import logging
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from app import __version__, logs
from app.cli.alarms import alarms
from app.cli.attest import attest
from app.cli.bench import bench
from app.cli.contracts import contracts
from app.cli.keys import keys
from app.cli.prover import prover
from app.cli.srs import bring_srs, srs
from app.cli.training import JsonFlag, evaluate, print_json, time_option, train
from app.errors import (
    BundleMalformed,
    BundleOutOfForm,
    OracleError,
    UnknownFeed,
)
from app.progress import history_progress
from app.settings import Settings

if TYPE_CHECKING:
    from app.demo import MarketOptions

cli = typer.Typer(
    help="A volatility oracle whose every forecast carries a zero-knowledge proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = typer.Typer(help="The database schema.", no_args_is_help=True)
cli.add_typer(db, name="db")
cli.add_typer(train, name="train")
cli.add_typer(bench, name="bench")
cli.add_typer(srs, name="srs")
cli.add_typer(keys, name="keys")
cli.add_typer(contracts, name="contracts")
cli.add_typer(alarms, name="alarms")
cli.command()(evaluate)
cli.command()(prover)
cli.command()(attest)


def main() -> None:
    """The console script: turns the errors we expect into one line and exit code 2."""
    try:
        cli()
    except OracleError as error:
        _fail(str(error))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "VERIREGIME_" + "_".join(str(part) for part in first["loc"]).upper() if first["loc"] else "settings"
        _fail(f"{name}: {first['msg']}")


def _fail(reason: str) -> None:
    print(f"veriregime: {reason}", file=sys.stderr)
    sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")] = False,
) -> None:
    logs.set_up(logging.WARNING if quiet else logging.INFO)


@cli.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="One forecast all the way to the chain, then end.")] = False,
    as_json: JsonFlag = False,
    candles: Annotated[
        Path | None, typer.Option(help="Recorded candles (.parquet, .csv) instead of a simulated market.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="Market time to begin at, such as 2025-09-15T12:00:00Z.")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated market.")] = 0,
    speed: Annotated[
        float, typer.Option(min=0.1, max=60, help="How much faster than real time the market runs.")
    ] = 1.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VENUE:KIND[:key=value,…]",
            help="Let a simulated venue misbehave, such as kraken:frozen:from=2,minutes=10; repeat for more.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Of the dashboard and API; 0 takes a free one.")
    ] = None,
) -> None:
    """The whole system on this machine: market, proofs, anvil, service, dashboard."""
    from app.demo import run_demo, run_once

    settings = _settings(port=port)
    market = _market(candles, at, seed, speed, tuple(fault or ()))
    if as_json and not once:
        raise typer.BadParameter("--json goes with --once")
    with history_progress() as progress:
        if once:
            _print_forecast(run_once(settings, market, progress), as_json)
        else:
            run_demo(settings, market, progress)


@cli.command()
def serve(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Instead of VERIREGIME_PORT.")] = None,
) -> None:
    """Everything in one process: ticks, proofs, submissions, HTTP. Settings: VERIREGIME_* or .env."""
    from app.serve import serve as serve_until_stopped
    from app.web.server import listen
    from app.wiring import application

    settings = _settings(port=port)
    listener = listen(settings.host, settings.port)
    with history_progress() as progress, application(settings, progress=progress) as app:
        serve_until_stopped(app, listener)


@cli.command()
def predict(
    feed: Annotated[str, typer.Argument(help="Such as btc-usdt-4h.")],
    as_json: JsonFlag = False,
) -> None:
    """Forecast once, now, from the configured venues, and prove it."""
    from app.once import forecast_once
    from app.wiring import application

    settings = _settings()
    if feed not in settings.feeds:
        raise UnknownFeed(f"{feed!r} is not among the feeds {', '.join(settings.feeds)}: see VERIREGIME_FEEDS")
    with history_progress() as progress, application(settings, progress=progress) as app:
        result = forecast_once(app, feed, app.clock.last_minute_ms(), submit=False)
    _print_forecast(result, as_json)


@cli.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle file, or - for standard input.")],
    srs: Annotated[
        Path | None, typer.Option(help="The SRS file that the bundle names, where it is not here yet.")
    ] = None,
    signed_by: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="An attester that must have signed; repeat for more.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Audit a bundle: recompute everything from its candles up. Exit code 1 and the reason when it does not hold."""
    from app.audit.bundle import parse_bundle
    from app.audit.checks import Auditor, Verdict
    from app.inference.release import load_models
    from app.wiring import open_pool

    settings = _settings()
    raw = _read(bundle, settings.max_bundle_bytes)
    if srs is not None:
        bring_srs(srs, settings)
    try:
        parsed = parse_bundle(raw, settings.max_bundle_bytes)
    except BundleOutOfForm as error:
        verdict = Verdict(holds=False, failed="form", reason=str(error), checks=())
    else:
        models = load_models(settings.models_dir)
        with open_pool(settings, 1) as pool:
            verdict = Auditor(models, pool, settings.var_dir, settings.trusted_srs).verify(parsed, signed_by or ())
    if as_json:
        print_json(asdict(verdict))
    elif verdict.holds:
        print(f"holds: {', '.join(verdict.checks)}")
        print(f"from {', '.join(verdict.venues)}, of which {verdict.quorum} must have a minute")
        print(f"signed by {', '.join(verdict.signers) or 'nobody'}")
    else:
        print(f"does not hold: {verdict.failed}: {verdict.reason}")
    if not verdict.holds:
        raise typer.Exit(1)


@cli.command()
def check(as_json: JsonFlag = False) -> None:
    """Look over the installation: what is there, what is missing, what to do. Exit code 1 when something is wrong."""
    from app.check import Level, check_installation

    findings = check_installation(_settings())
    if as_json:
        print_json([{"subject": f.subject, "level": f.level, "detail": f.detail} for f in findings])
    else:
        for finding in findings:
            print(f"{finding.level:8} {finding.subject:10} {finding.detail}")
    if any(finding.level is Level.FAILED for finding in findings):
        raise typer.Exit(1)


@db.command()
def upgrade(revision: Annotated[str, typer.Argument(help="Schema revision.")] = "head") -> None:
    """Bring the database to the newest schema (or the one named)."""
    from app.wiring import open_database

    with closing(open_database(_settings())) as database:
        database.upgrade(revision)
        print(f"{database.name}: schema {database.revisions()[0]}")


@db.command()
def status() -> None:
    """The schema's revision. Exit code 1 when it is not the newest."""
    from app.wiring import open_database

    with closing(open_database(_settings())) as database:
        current, newest = database.revisions()
    print(f"{database.name}: schema {current}, newest {newest}")
    if current != newest:
        raise typer.Exit(1)


def _settings(port: int | None = None) -> Settings:
    return Settings() if port is None else Settings(port=port)


def _market(candles: Path | None, at: str | None, seed: int, speed: float, faults: tuple[str, ...]) -> MarketOptions:
    from app.demo import MarketOptions

    if at is None and candles is not None:
        raise typer.BadParameter("--candles also needs --at, a time within the file")
    return MarketOptions(candles=candles, at_ms=time_option("--at", at), seed=seed, speed=speed, faults=faults)


def _read(path: Path, limit: int) -> bytes:
    """At most one byte more than ``limit``, which is enough to refuse the rest."""
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(limit + 1)
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise BundleMalformed(f"{path} cannot be read: {error.strerror}") from error


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
