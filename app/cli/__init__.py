"""``veriregime``: the command line. Commands import what they join only when they run, so that ``--help`` is quick.

Exit code 0 is success, 1 a negative answer, 2 bad usage or a failed step with one line on stderr.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from app import logs
from app.cli.alarms import alarms
from app.cli.api import api
from app.cli.attest import attest
from app.cli.backtest import backtest
from app.cli.bench import bench
from app.cli.check import check, version
from app.cli.contracts import contracts
from app.cli.db import db
from app.cli.keys import keys
from app.cli.roles import pipeline, prover, submitter
from app.cli.running import demo, predict, serve
from app.cli.settings import settings
from app.cli.srs import srs
from app.cli.terminal import examples
from app.cli.training import evaluate, train
from app.cli.verify import verify
from app.cli.watch import watch
from app.errors import OracleError

_TRY, _RUN, _CHECK, _MODELS = "Try it", "Run it", "Check it", "Models"
_CHAIN, _KEPT, _MEASURE = "Chain", "Keys and database", "Measure"

cli = typer.Typer(
    help="A volatility oracle whose every forecast carries a zero-knowledge proof.",
    epilog=examples(
        "veriregime demo                        the whole system, at once",
        "veriregime check                       what is wrong here, what to do",
        "veriregime verify veriregime-ID.json   audit a forecast yourself",
    )
    + """

Exit codes:
  0  done, or yes
  1  no: it does not hold, something is wrong
  2  bad usage, or a step failed: stderr says why in one line

Settings are VERIREGIME_… variables or lines of .env: veriregime settings""",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(panel: str, command: Callable[..., Any], *lines: str) -> None:
    """A command in its panel, with lines to copy at the end of its help."""
    cli.command(rich_help_panel=panel, epilog=examples(*lines))(command)


_add(_TRY, demo, "veriregime demo", "veriregime demo --once --json", "veriregime demo --speed 20 --fault kraken:frozen")
_add(_TRY, predict, "veriregime predict btc-usdt-4h --json")
_add(_TRY, watch, "veriregime watch", "veriregime watch --url http://127.0.0.1:8000 --feed btc-usdt-4h")
_add(_RUN, serve, "VERIREGIME_FEEDS=btc-usdt-4h,eth-usdt-4h veriregime serve --port 8000")
_add(_RUN, api, "VERIREGIME_DATABASE_URL=postgresql+psycopg://… veriregime api --port 8001")
_add(_RUN, attest, "VERIREGIME_ATTESTER_KEY_FILE=key.json veriregime attest --port 8100")
_add(_RUN, pipeline, "VERIREGIME_DATABASE_URL=postgresql+psycopg://… veriregime pipeline")
_add(_RUN, prover, "veriregime prover --workers 2", "veriregime prover tcp://scheduler:8786 --workers 2")
_add(_RUN, submitter, "VERIREGIME_SUBMITTER_KEY_FILE=key.json veriregime submitter")
_add(_CHECK, check, "veriregime check", "veriregime check --json | jq '.[] | select(.level != \"ok\")'")
_add(_CHECK, settings, "veriregime settings", "veriregime settings --current")
_add(_CHECK, verify, "veriregime verify veriregime-ID.json", "curl -s …/v1/predictions/ID/bundle | veriregime verify -")
_add(_CHECK, version, "veriregime version --json")
cli.add_typer(alarms, name="alarms", rich_help_panel=_CHECK)
_add(_MODELS, evaluate, "veriregime evaluate --candles btc.parquet --from 2025-10-01 --json")
_add(_MODELS, backtest, "veriregime backtest btc-usdt-4h --candles btc.parquet --from 2025-09-01")
cli.add_typer(train, name="train", rich_help_panel=_MODELS)
cli.add_typer(contracts, name="contracts", rich_help_panel=_CHAIN)
cli.add_typer(srs, name="srs", rich_help_panel=_KEPT)
cli.add_typer(keys, name="keys", rich_help_panel=_KEPT)
cli.add_typer(db, name="db", rich_help_panel=_KEPT)
cli.add_typer(bench, name="bench", rich_help_panel=_MEASURE)


def _let_help_flow(app: typer.Typer) -> None:
    """Typer breaks help where the docstring breaks its lines; a terminal has a width of its own."""
    for command in app.registered_commands:
        paragraphs = inspect.cleandoc((command.callback and command.callback.__doc__) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _let_help_flow(group.typer_instance)


_let_help_flow(cli)


def main() -> None:
    """The console script: turns the errors we expect into one line and exit code 2."""
    with logs.crashes_told():
        _run()


def _run() -> None:
    try:
        cli()
    except OracleError as error:
        _fail(str(error))
    except ValueError as error:
        _fail_by_setting(error)


def _fail_by_setting(error: ValueError) -> None:
    """Names the setting, and never shows its value. Raises what has nothing to do with settings."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    if isinstance(error, SettingsError):
        field = re.search(r'field "(\w+)"', str(error))
        _fail(f"VERIREGIME_{field[1].upper() if field else '…'}: it is not JSON: see docs/settings.md")
    if not isinstance(error, ValidationError):
        raise error
    first = error.errors(include_url=False)[0]
    name = "VERIREGIME_" + "_".join(str(part) for part in first["loc"]).upper() if first["loc"] else "settings"
    _fail(f"{name}: {first['msg']}")


def _fail(reason: str) -> NoReturn:
    logs.last_words(reason)
    sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from app import __version__

        print(__version__)
        raise typer.Exit


@cli.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say warnings and errors only: no log, no progress.")
    ] = False,
) -> None:
    logs.set_up(logging.WARNING if quiet else logging.INFO, context.invoked_subcommand or "")
