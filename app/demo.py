"""The whole system on this machine: a market, a chain, the service. Everything is real but the money.

The market is a child process that speaks the protocols of three venues; the chain is anvil, with all contracts deployed
on it; two attesters are child processes that watch the market themselves, and the service is the third: two of three
must sign. All of them end with this process, however it ends.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AnyHttpUrl, SecretStr

from app.backtest import in_background
from app.chain.account import Account
from app.chain.anvil import ATTESTER_KEYS, KEY, running_anvil, set_time
from app.chain.build import Build
from app.chain.deploying import deploy
from app.chain.deployment import Deployment, DeploymentPlan, Parameters
from app.clock import Clock, wall_ms
from app.errors import ChainUnavailable, StoreUnavailable
from app.once import forecast_once
from app.processes import running
from app.progress import Work, running_block
from app.serve import serve
from app.settings import Settings
from app.steps.deployment import served_plans
from app.steps.served import ServedFeed
from app.types import MINUTE_MS
from app.web.server import address, listen
from app.wiring import Application, Onchain, application, open_rpc, oracle_target

log = logging.getLogger(__name__)

SIMULATED_VENUES = ("binance", "coinbase", "kraken")
_UNLESS_SET = {"feeds": ("btc-usdt-4h", "eth-usdt-4h"), "batching": "off"}
"""Both feeds of the released model, each proved alone: on anvil gas costs nothing, and so it is soonest."""
_RESERVED_ROUNDS = 256
_CLIENTS = 3
"""The service and two attesters share this machine's address, by which venues count requests."""
_CHAIN_CLOCK_S = 0.2
_LOOK_EVERY_S = 0.1
_TELLS_OF_EACH_CONTRACT = "app.chain.operations"
_MADE_OF = "It runs: a {} market, proofs, three attesters and a chain, all on this machine."
_OF_THE_DEMO = {
    "feed_venues": {},
    "markets": {},
    "quorum": {},
    "settle_s": 0.2,
    "verify_rate": "",
    "bundle_rate": "",
    "attesters": (),
    "attester_key": SecretStr(ATTESTER_KEYS[0]),
    "attester_key_file": None,
    "submitter_key": SecretStr(KEY),
    "submitter_key_file": None,
    "chain_id": None,
    "explorer_url": None,
    "oracle_address": None,
    "heartbeat_s": 60.0,
    "confirmations": 1,
    "dry_run": False,
}
"""Every forecast goes on chain, and is settled at once: anvil makes a block for each transaction and no other."""


@dataclass(frozen=True, slots=True)
class MarketOptions:
    """Which market to play: simulated from ``seed``, or ``candles`` of a file; its clock starts at ``at_ms``.

    A simulated market is shown by all `SIMULATED_VENUES`, a recorded one by the first of them as it was recorded.
    """

    candles: Path | None = None
    at_ms: int | None = None
    seed: int = 0
    speed: float = 1.0
    faults: tuple[str, ...] = ()
    """Misbehaviour of venues, each as `app.sim.faults.parse_fault` reads it."""

    @property
    def venues(self) -> tuple[str, ...]:
        return SIMULATED_VENUES[:1] if self.candles else SIMULATED_VENUES


def venue_urls(market_url: str, venues: Sequence[str]) -> dict[str, AnyHttpUrl]:
    """Where each venue of a market's child process answers."""
    return {name: AnyHttpUrl(f"{market_url}/{name}") for name in venues}


def run_demo(settings: Settings, market: MarketOptions, work: Work) -> None:
    """Run until Ctrl-C. What it is doing until the first forecast goes to ``work``, which is finished then."""
    listener = listen(settings.host, settings.port)
    logging.getLogger(_TELLS_OF_EACH_CONTRACT).setLevel(logging.WARNING)
    with (
        demo_application(settings, market, work) as app,
        _announced(app, address(listener), work),
        in_background(app, market.candles),
    ):
        serve(app, listener)


@contextmanager
def _announced(app: Application, url: str, work: Work) -> Iterator[None]:
    """Wait beside the block for the first proved forecast, and say then what there is to look at."""
    ended = threading.Event()

    def wait() -> None:
        work.step("making the first forecast")
        while not ended.wait(_LOOK_EVERY_S):
            first = None
            with suppress(StoreUnavailable), app.database.unit_of_work(write=False) as store:
                first = next((one for one in map(store.predictions.latest, app.settings.feeds) if one), None)
            if first is not None:
                work.finish()
                print(running_block(url, first.feed, _MADE_OF.format(app.market)), file=sys.stderr, flush=True)
                return

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        work.finish()


def run_once(settings: Settings, market: MarketOptions, work: Work | None = None) -> dict[str, Any]:
    """One forecast all the way: candles, proof, transaction, bundle. Gives what ``demo --once --json`` prints."""
    started = time.perf_counter()
    feeds = settings.feeds[:1]
    with demo_application(settings.model_copy(update={"feeds": feeds}), market, work) as app:
        if work is not None:
            work.step("forecasting, proving, signing and submitting")
        at_ms = app.clock.now_ms() if market.at_ms is None else market.at_ms
        result = forecast_once(app, feeds[0], at_ms // MINUTE_MS * MINUTE_MS, submit=True)
    return result | {"total_seconds": round(time.perf_counter() - started, 3)}


@contextmanager
def demo_application(settings: Settings, market: MarketOptions, work: Work | None = None) -> Iterator[Application]:
    """The service wired to a market, attesters and a chain of its own, on a database that goes with it."""
    step = work.step if work is not None else _silently
    with ExitStack() as stack:
        step("starting market and chain")
        scratch = stack.enter_context(_scratch(settings.var_dir / "demo"))
        url, clock = stack.enter_context(running_market(market))
        rpc_url = stack.enter_context(running_anvil(settings.contracts_dir, "--timestamp", str(clock.now_ms() // 1000)))
        stack.enter_context(chain_on_market_time(rpc_url, clock))
        wired = settings.model_copy(
            update=_OF_THE_DEMO
            | {name: value for name, value in _UNLESS_SET.items() if name not in settings.model_fields_set}
            | {
                "venues": market.venues,
                "venue_urls": venue_urls(url, market.venues),
                "database_url": SecretStr(f"sqlite:///{scratch / 'veriregime.db'}"),
                "rpc_urls": (AnyHttpUrl(rpc_url),),
                "public_rpc_url": AnyHttpUrl(rpc_url),
                "deployments_dir": scratch,
            }
        )
        step("loading models, keys and a week of candles")
        yield stack.enter_context(
            application(
                wired,
                clock=clock,
                market="recorded" if market.candles else "simulated",
                chain=lambda feeds: _onchain(wired, clock, scratch, feeds, stack, step),
                progress=work.history if work is not None else None,
            )
        )


def _onchain(
    settings: Settings,
    clock: Clock,
    scratch: Path,
    feeds: Mapping[str, ServedFeed],
    stack: ExitStack,
    step: Callable[[str], None],
) -> Onchain:
    """The contracts, deployed once the keys exist, and the attesters that read the registry."""
    step("deploying the contracts, compiled first where they have changed")
    deployment = deploy_for(settings, feeds)
    log.info("chain %d: oracle deployed at %s", deployment.chain_id, deployment.oracle)
    placed = settings.model_copy(update={"oracle_address": deployment.oracle})
    step("starting two attesters, which load a week of candles themselves")
    with ThreadPoolExecutor() as starting:
        others = [
            starting.submit(stack.enter_context, running_attester(placed, clock, key, scratch / f"attester-{number}"))
            for number, key in enumerate(ATTESTER_KEYS[1:], start=1)
        ]
    return Onchain(oracle_target(placed, feeds), [AnyHttpUrl(one.result()) for one in others])


def _silently(step: str) -> None:
    """Nobody looks on."""


def deploy_for(settings: Settings, feeds: Mapping[str, ServedFeed], threshold: int = 2) -> Deployment:
    """All contracts on the chain of the settings, owned by anvil's first account, for its attesters."""
    rpc, owner = open_rpc(settings), Account.from_secret(KEY, None, "submitter")
    signers = tuple(Account.from_secret(key, None, "attester").address for key in ATTESTER_KEYS)
    plan = DeploymentPlan(
        parameters=Parameters(owner=owner.address, delay=0, signers=signers, threshold=threshold),
        models=served_plans(feeds),
        feeds=tuple(feeds),
        reserve=_RESERVED_ROUNDS,
    )
    build = Build(settings.contracts_dir, settings.var_dir / "build")
    return deploy(rpc, owner, plan, build, settings.deployments)


@contextmanager
def running_attester(settings: Settings, clock: Clock, key: str, folder: Path) -> Iterator[str]:
    """An attester's child process; gives its URL. Its journal is in ``folder``, keys and SRS are ours."""
    folder.mkdir()
    secret = folder / "key"
    secret.touch(mode=0o600)
    secret.write_text(key)
    command = [sys.executable, "-m", "app.cli", "--quiet", "attest", "--follow-stdin", "--port", "0"]
    command += ["--market-start-ms", str(clock.market_start_ms), "--wall-start-ms", str(clock.wall_start_ms)]
    env = _plain_environment() | {
        "VERIREGIME_VAR_DIR": str(settings.var_dir),
        "VERIREGIME_MODELS_DIR": str(settings.models_dir),
        "VERIREGIME_DATABASE_URL": f"sqlite:///{folder / 'veriregime.db'}",
        "VERIREGIME_FEEDS": ",".join(settings.feeds),
        "VERIREGIME_VENUES": ",".join(settings.venues),
        "VERIREGIME_VENUE_URLS": json.dumps({name: str(url) for name, url in settings.venue_urls.items()}),
        "VERIREGIME_BATCHING": settings.batching,
        "VERIREGIME_TRUSTED_SRS": ",".join(settings.trusted_srs),
        "VERIREGIME_USE_SRS": ",".join(settings.use_srs),
        "VERIREGIME_QUORUM": json.dumps(settings.quorum),
        "VERIREGIME_SETTLE_S": str(settings.settle_s),
        "VERIREGIME_RPC_URLS": ",".join(str(url) for url in settings.rpc_urls),
        "VERIREGIME_ORACLE_ADDRESS": str(settings.oracle_address),
        "VERIREGIME_ATTESTER_KEY_FILE": str(secret),
    }
    with running([*command, "--speed", str(clock.speed)], announces="attesting at ", env=env, cwd=folder) as url:
        yield url


def _plain_environment() -> dict[str, str]:
    """Ours without the settings: what is meant for the service is not for an attester."""
    return {name: value for name, value in os.environ.items() if not name.startswith("VERIREGIME_")}


@contextmanager
def chain_on_market_time(rpc_url: str, clock: Clock) -> Iterator[None]:
    """Keep anvil's clock with the market's where that runs faster or slower than real time."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(_CHAIN_CLOCK_S):
            with suppress(ChainUnavailable):
                set_time(rpc_url, clock.now_ms() // 1000)

    thread = threading.Thread(target=follow, daemon=True)
    if clock.speed != 1:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()


@contextmanager
def running_market(options: MarketOptions) -> Iterator[tuple[str, Clock]]:
    """The market's child process: its URL, under which each venue has its own, and the clock it shares with us."""
    wall_start_ms = wall_ms()
    at_ms = wall_start_ms if options.at_ms is None else options.at_ms
    clock = Clock(market_start_ms=at_ms, wall_start_ms=wall_start_ms, speed=options.speed)
    command = [sys.executable, "-m", "app.sim", "--follow-stdin", "--seed", str(options.seed)]
    command += ["--at", str(at_ms), "--wall-start-ms", str(wall_start_ms), "--speed", str(options.speed)]
    command += ["--clients", str(_CLIENTS)]
    if options.candles is not None:
        command += ["--candles", str(options.candles)]
    for fault in options.faults:
        command += ["--fault", fault]
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
