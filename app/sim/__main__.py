"""``python -m app.sim``: the market and its venues as a child process.

Exit code 0 when told to stop, 2 with one line on stderr when it cannot start.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from app.clock import Clock, wall_ms
from app.errors import BadInput, OracleError
from app.sim.binance import WEIGHT_LIMIT
from app.sim.faults import FaultKind, parse_fault
from app.sim.market import VENUES, Market, SimulatedMarket
from app.sim.server import serve
from app.sim.views import market_at
from app.sim.world import World
from app.types import iso, parse_time

CANNOT_START = 2
MOST_CLIENTS = 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.follow_stdin:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        wall_start = wall_ms() if options.wall_start_ms is None else options.wall_start_ms
        clock = Clock(wall_start if options.at is None else options.at, wall_start, options.speed)
        start_ms = clock.market_start_ms
        world = World(
            markets_of(options.candles, options.symbol, options.seed, start_ms),
            clock,
            faults=[parse_fault(text, start_ms) for text in options.fault],
            weight_limit=options.weight_limit,
            clients=options.clients,
        )
        serve(world, port=options.port, follow_stdin=options.follow_stdin)
    except OracleError as error:
        print(error, file=sys.stderr)
        return CANNOT_START
    except KeyboardInterrupt:  # before the server took over
        pass
    return 0


def markets_of(files: Sequence[str], symbol: str, seed: int, at_ms: int) -> dict[str, Market]:
    """The market of each venue: one simulated for all of them, or what is recorded in ``FILE`` and ``VENUE=FILE``.

    Raises `CandleFileInvalid`, and `BadInput` for a time outside a file or two files for a venue.
    """
    if not files:
        simulated = SimulatedMarket(seed)
        return {venue: market_at(venue, simulated, seed) for venue in VENUES}
    markets: dict[str, Market] = {}
    for told in files:
        venue, path = venue_and_file(told)
        if venue in markets:
            raise BadInput(f"{venue} has two files of candles: give each venue one")
        markets[venue] = _recorded(path, symbol, at_ms)
    return markets


def venue_and_file(told: str) -> tuple[str, Path]:
    """The venue and the file of ``VENUE=FILE``; a file alone is Binance's."""
    venue, equals, path = told.partition("=")
    return (venue, Path(path)) if equals and venue in VENUES else (VENUES[0], Path(told))


def _recorded(path: Path, symbol: str, at_ms: int) -> Market:
    from app.sim.recorded import RecordedMarket  # here, for pyarrow doubles the memory of a simulated market

    market = RecordedMarket.of_file(path, symbol)
    first, end = market.span(symbol)
    if not first <= at_ms <= end:
        raise BadInput(
            f"{iso(at_ms)} is outside {path}, which runs from {iso(first)} to {iso(end)}: choose a time with --at"
        )
    return market


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app.sim", description="A market at three venues, each with its REST API."
    )
    parser.add_argument("--port", type=_port, default=0, help="0 takes a free one (default)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated market")
    parser.add_argument(
        "--candles",
        action="append",
        default=[],
        metavar="[VENUE=]FILE",
        help="serve recorded candles, .parquet or .csv, at a venue (default binance); then there is no other",
    )
    parser.add_argument("--symbol", type=_symbol, default="BTC/USDT", help="of the files (default BTC/USDT)")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="VENUE:KIND[:key=value,...]",
        help=f"a fault: {', '.join(FaultKind)}; keys from (minutes after the start), minutes, seconds, amount",
    )
    parser.add_argument("--at", type=_time, metavar="TIME", help="market time to start at, ISO 8601 (default now)")
    parser.add_argument("--speed", type=_speed, default=1.0, help="market seconds per second (default 1)")
    parser.add_argument("--wall-start-ms", type=int, metavar="MS", help="wall time at which TIME was (default now)")
    parser.add_argument("--weight-limit", type=int, default=WEIGHT_LIMIT, help="request weight per client and minute")
    parser.add_argument("--clients", type=_clients, default=1, help="that share an address (default 1)")
    parser.add_argument("--follow-stdin", action="store_true", help="stop when stdin ends; ignore Ctrl-C")
    return parser


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def _clients(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= MOST_CLIENTS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of clients: 1 to {MOST_CLIENTS}")
    return int(text)


def _symbol(text: str) -> str:
    base, _, quote = text.partition("/")
    if not (base.isalnum() and quote.isalnum() and text.isupper()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a symbol: write it like BTC/USDT")
    return text


def _time(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed: a number above 0")
    return speed


if __name__ == "__main__":
    sys.exit(main())
