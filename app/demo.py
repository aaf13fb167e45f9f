"""The whole system on this machine: a market, a chain, the service. Everything is real but the money.

The market is a child process that speaks Binance's protocol; the chain is anvil, with the generated verifier deployed
on it. Both end with this process, however it ends.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AnyHttpUrl, SecretStr

from app.chain.anvil import KEY, running_anvil
from app.chain.compiler import compile_contract
from app.chain.verifier import Chain
from app.clock import Clock, wall_ms
from app.once import forecast_once
from app.processes import running
from app.serve import serve
from app.settings import Settings
from app.steps.collect import Progress
from app.steps.served import ServedFeed
from app.steps.submit import ChainTarget
from app.types import MINUTE_MS, Keys
from app.web.server import listen
from app.wiring import Application, application

log = logging.getLogger(__name__)

_DEMO_SETTLE_S = 0.2


@dataclass(frozen=True, slots=True)
class MarketOptions:
    """Which market to play: simulated from ``seed``, or ``candles`` of a file; its clock starts at ``at_ms``."""

    candles: Path | None = None
    at_ms: int | None = None
    seed: int = 0
    speed: float = 1.0


def run_demo(settings: Settings, market: MarketOptions, progress: Progress | None = None) -> None:
    """Run until Ctrl-C."""
    listener = listen(settings.host, settings.port)
    with demo_application(settings, market, progress) as app:
        serve(app, listener)


def run_once(settings: Settings, market: MarketOptions, progress: Progress | None = None) -> dict[str, Any]:
    """One forecast all the way: candles, proof, transaction, bundle. Gives what ``demo --once --json`` prints."""
    started = time.perf_counter()
    with demo_application(settings, market, progress) as app:
        at_ms = app.clock.now_ms() if market.at_ms is None else market.at_ms
        feed = next(iter(app.pipeline.feeds))
        result = forecast_once(app, feed, at_ms // MINUTE_MS * MINUTE_MS, submit=True)
    return result | {"total_seconds": round(time.perf_counter() - started, 3)}


@contextmanager
def demo_application(
    settings: Settings, market: MarketOptions, progress: Progress | None = None
) -> Iterator[Application]:
    """The service wired to a market and a chain of its own, on a database that goes with it."""
    with ExitStack() as stack:
        scratch = stack.enter_context(_scratch(settings.var_dir / "demo"))
        rpc_url = stack.enter_context(running_anvil(settings.contracts_dir))
        url, clock = stack.enter_context(running_market(market))
        wired = settings.model_copy(
            update={
                "venues": ("binance",),
                "venue_urls": {"binance": AnyHttpUrl(url)},
                "database_url": SecretStr(f"sqlite:///{scratch / 'veriregime.db'}"),
                "settle_s": _DEMO_SETTLE_S,
            }
        )
        yield stack.enter_context(
            application(
                wired,
                clock=clock,
                market="recorded" if market.candles else "simulated",
                target=_deployed(settings, rpc_url),
                progress=progress,
            )
        )


def _deployed(settings: Settings, rpc_url: str) -> Callable[[Mapping[str, ServedFeed]], ChainTarget]:
    """Deploys the verifiers of the first feed's model once the keys exist."""

    def deploy(feeds: Mapping[str, ServedFeed]) -> ChainTarget:
        served = next(iter(feeds.values()))
        chain = Chain(rpc_url, KEY)
        verifier = _deploy(settings, chain, served.keys)
        batch_verifier = _deploy(settings, chain, served.batch_keys) if served.batch_keys else None
        log.info("anvil at %s, chain %d: verifier deployed at %s", rpc_url, chain.chain_id, verifier)
        return ChainTarget(chain, verifier, batch_verifier)

    return deploy


def _deploy(settings: Settings, chain: Chain, keys: Keys) -> str:
    return chain.deploy(compile_contract(settings.contracts_dir, keys.verifier_sol, "Halo2Verifier"))


@contextmanager
def running_market(options: MarketOptions) -> Iterator[tuple[str, Clock]]:
    """The market's child process: its URL, and the clock it shares with us."""
    wall_start_ms = wall_ms()
    at_ms = wall_start_ms if options.at_ms is None else options.at_ms
    clock = Clock(market_start_ms=at_ms, wall_start_ms=wall_start_ms, speed=options.speed)
    command = [sys.executable, "-m", "app.sim", "--follow-stdin", "--seed", str(options.seed)]
    command += ["--at", str(at_ms), "--wall-start-ms", str(wall_start_ms), "--speed", str(options.speed)]
    if options.candles is not None:
        command += ["--candles", str(options.candles)]
    with running(command, announces="listening on ") as url:
        yield url, clock


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix="run-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
