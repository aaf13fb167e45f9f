"""What every command has to do with the terminal it is run from: its settings, its options, its answers.

stdout holds the answer only, one JSON document with ``--json``; whatever else there is to say goes to stderr.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import logs, tracing

if TYPE_CHECKING:
    from app.clock import Clock
    from app.settings import Settings

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Instead of VERIREGIME_PORT; 0 takes a free one.", metavar="PORT")
]
MarketStart = Annotated[int | None, typer.Option("--market-start-ms", hidden=True)]
WallStart = Annotated[int, typer.Option("--wall-start-ms", hidden=True)]
Speed = Annotated[float, typer.Option("--speed", hidden=True)]


def read_settings(**given: Any) -> Settings:
    """The settings of the environment and ``.env``; an option that was given goes before them."""
    from app.cli.masking import secrets_of
    from app.settings import Settings  # numpy comes with it, and ``--help`` needs none

    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    logs.use(settings.log_format, secrets_of(settings), tracing.trace_id)
    return settings


def market_clock(market_start_ms: int | None, wall_start_ms: int, speed: float) -> Clock | None:
    """The clock of the market that whoever started this process plays; none for the wall's."""
    from app.clock import Clock

    return None if market_start_ms is None else Clock(market_start_ms, wall_start_ms, speed)


def time_option(name: str, value: str | None) -> int | None:
    """An option's time in ms UTC; a bad one is bad usage."""
    from app.types import parse_time

    try:
        return None if value is None else parse_time(value)
    except ValueError as error:
        raise typer.BadParameter(f"{name}: {error}") from None


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def say(line: str) -> None:
    """On stderr, at once."""
    print(line, file=sys.stderr, flush=True)


def examples(*commands: str) -> str:
    """The end of a command's help: lines to copy."""
    return "\n".join(["Examples:" if len(commands) > 1 else "Example:", *(f"  {command}" for command in commands)])
