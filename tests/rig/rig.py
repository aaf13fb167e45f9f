"""A whole installation on this machine, of real processes, with every way to hurt one of them.

A simulated market that runs fast, anvil with the contracts, one attester, a store, and processes of the product by name
and role. Nothing is known of them but what the database, the chain and their HTTP side say.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psutil
import requests
import sqlalchemy as sa
from eth_utils.crypto import keccak
from pydantic import AnyHttpUrl

from app.chain.anvil import running_anvil
from app.chain.attestation import feed_id
from app.clock import Clock
from app.demo import MarketOptions, chain_on_market_time, deploy_for, running_market
from app.types import OracleAt
from tests.rig.environments import ANSWERS_PEOPLE, attester_environment, service_environment
from tests.rig.ground import FEED, Ground
from tests.rig.postgres import PostgresServer
from tests.rig.processes import Child, free_ports
from tests.rig.proxy import FaultProxy

Role = Literal["serve", "pipeline", "prover", "submitter", "api"]
ALONE: Mapping[str, Role] = {"serve": "serve"}
TWO_OF_EACH: Mapping[str, Role] = {
    f"{role}-{number}": role  # type: ignore[misc]
    for number in (1, 2)
    for role in ("pipeline", "prover", "submitter", "api")
}
ATTESTER = "attester"
_PUBLISHED = "ForecastPublished(bytes32,uint64,bytes32,uint64,uint8,uint256,uint256)"
_START_LIMIT_S = 120.0
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class RigOptions:
    """What a rig is made of. ``settings`` are further ones of the service's processes, without ``VERIREGIME_``."""

    name: str
    store: Literal["sqlite", "postgresql"] = "sqlite"
    processes: Mapping[str, Role] = field(default_factory=lambda: dict(ALONE))
    speed: float = 60.0
    seed: int = 0
    threshold: int = 2
    """Signatures that the oracle wants, of the service's own key and the attester's."""
    heartbeat_s: float = 300.0
    """Of the market."""
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """A ``ForecastPublished`` event on the chain."""

    feed: bytes
    """Its id there."""
    window_end_ms: int
    tx_hash: str
    block: int


class Rig:
    """Made by `rig`. Its processes are in ``children`` by name, the attester among them."""

    def __init__(self, options: RigOptions, ground: Ground, folder: Path) -> None:
        self.options = options
        self.ground = ground
        self.folder = folder
        self.children: dict[str, Child] = {}
        self.clock = Clock()
        self.market_url = ""
        self.anvil_url = ""
        self.oracle = OracleAt(0, "")
        self.postgres: PostgresServer | None = None
        self.rpc: FaultProxy
        self.attesting: FaultProxy
        self.to_database: FaultProxy | None = None
        self._started_ms = 0
        self._seen: dict[int, psutil.Process] = {}

    @property
    def services(self) -> list[Child]:
        """All processes of the product but the attester."""
        return [child for name, child in self.children.items() if name != ATTESTER]

    def of_role(self, role: Role) -> list[Child]:
        return [self.children[name] for name, one in self.options.processes.items() if one == role]

    @property
    def url(self) -> str:
        """Of the first process that answers over HTTP."""
        name = next(name for name, role in self.options.processes.items() if role in ANSWERS_PEOPLE)
        return self.children[name].alive_url.removesuffix("/healthz")

    @property
    def database_url(self) -> str:
        """The way of the rig itself, past the proxy."""
        return self.postgres.url() if self.postgres else f"sqlite:///{self.sqlite_file}"

    @property
    def sqlite_file(self) -> Path:
        return self.var / "veriregime.db"

    @property
    def var(self) -> Path:
        return self.folder / "var"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def journal(self) -> Path:
        """The attester's database."""
        return self.folder / "attester-var" / "veriregime.db"

    def market_ms(self) -> int:
        return self.clock.now_ms()

    def lived_ms(self) -> int:
        """Market time since the rig was up."""
        return self.clock.now_ms() - self._started_ms

    def all_up(self) -> bool:
        return all(child.is_up() for child in self.children.values())

    def wait_until(self, holds: Callable[[], bool], what: str, limit_s: float = _START_LIMIT_S) -> float:
        """Wall seconds until it held. Raises `TimeoutError` that says ``what`` did not come."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > limit_s:
                raise TimeoutError(f"rig {self.options.name}: {what}: not within {limit_s:g} s; logs in {self.folder}")
            time.sleep(_LOOK_EVERY_S)
        return time.monotonic() - began

    def market_fault(self, **fields: Any) -> None:
        """As ``POST /faults`` of the simulated market takes it."""
        requests.post(f"{self.market_url}/faults", json=fields, timeout=5).raise_for_status()

    def market_faults(self) -> list[dict[str, Any]]:
        """All that were told, those that are over too."""
        found: list[dict[str, Any]] = requests.get(f"{self.market_url}/faults", timeout=5).json()
        return found

    def anvil(self, method: str, *params: Any) -> Any:
        """Ask the chain itself, past the proxy."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = requests.post(self.anvil_url, json=request, timeout=10).json()
        if "error" in answer:
            raise RuntimeError(f"anvil: {answer['error']}")
        return answer["result"]

    def anvil_process(self) -> psutil.Process:
        """Behind its leash, found by the port that it listens on."""
        port = urlsplit(self.anvil_url).port
        for child in psutil.Process().children(recursive=True):
            try:
                if any(at.laddr.port == port and at.status == "LISTEN" for at in child.net_connections("tcp4")):
                    return child
            except psutil.Error:
                continue
        raise ProcessLookupError("anvil is not among our processes")

    def published(self, since_block: int = 0) -> list[Published]:
        """All rounds on the chain as it is now, in the order of their blocks."""
        wanted = {
            "address": self.oracle.contract,
            "fromBlock": hex(since_block),
            "topics": ["0x" + _topic().hex(), "0x" + feed_id(FEED).hex()],
        }
        return [
            Published(
                feed=bytes.fromhex(log["topics"][1][2:]),
                window_end_ms=1000 * int(log["topics"][2], 16),
                tx_hash=log["transactionHash"],
                block=int(log["blockNumber"], 16),
            )
            for log in self.anvil("eth_getLogs", wanted)
        ]

    def engine(self) -> sa.Engine:
        """Reads the database beside the product; no connection is kept."""
        return sa.create_engine(self.database_url, poolclass=sa.NullPool)

    def left_behind(self) -> list[str]:
        """What did not end with the process that had started it."""
        return [words for child in self.children.values() for words in child.left_behind]

    def note_processes(self) -> None:
        """Remember who is there, to see at the end that nobody has stayed."""
        for child in self.children.values():
            for process in child.children():
                self._seen.setdefault(process.pid, process)

    def still_there(self) -> list[str]:
        """Of those that were ever noted; to be asked once the rig is closed."""
        alive = psutil.wait_procs(list(self._seen.values()), timeout=5)[1]
        return [f"{one.pid} {one.name()}" for one in alive]

    def command(self, *arguments: str, child: str | None = None, limit_s: float = 60.0) -> tuple[int, str]:
        """``veriregime ARGUMENTS`` to its end with the settings of a process: exit code, and what it said."""
        env = dict(self.children[child or next(iter(self.options.processes))].env)
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            env=env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def _close(self) -> None:
        self.note_processes()
        for child in self.children.values():
            if child.is_running:
                child.resume()
        with ThreadPoolExecutor(max_workers=max(1, len(self.children))) as ending:
            list(ending.map(_end, self.children.values()))


def _end(child: Child) -> None:
    if child.is_running:
        child.stop()


def _topic() -> bytes:
    return bytes(keccak(text=_PUBLISHED))


@contextmanager
def rig(options: RigOptions, ground: Ground, folder: Path, *, start: bool = True) -> Iterator[Rig]:
    """Everything up, with a first window proved, unless it is not to ``start``. Everything ends with the block."""
    made = Rig(options, ground, folder)
    with ExitStack() as stack:
        _lay_out(made)
        _start_world(made, stack)
        _start_store(made, stack)
        _place_children(made)
        stack.callback(made._close)
        if start:
            start_all(made)
        yield made


def start_all(rig: Rig) -> None:
    """One process that loads the week of candles and migrates the database first, the others once it is up."""
    first, *others = rig.services
    rig.children[ATTESTER].start()
    first.start()
    rig.wait_until(lambda: _is_up(first), f"{first.name} up")
    for child in others:
        child.start()
    rig.wait_until(lambda: all(_is_up(child) for child in rig.children.values()), "every process up")
    rig.wait_until(lambda: newest_proved(rig) is not None, "a first proof")
    rig.note_processes()


def _is_up(child: Child) -> bool:
    """Raises `RuntimeError` where it has ended instead."""
    if child.is_up():
        return True
    if not child.is_running:
        last = (child.said().strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"{child.name} ended with {child.exit_code}: {last}")
    return False


def newest_proved(rig: Rig) -> int | None:
    """End of the newest window behind which a proof stands, ms of the market; none while there is none."""
    query = sa.text("SELECT max(window_end_ms) FROM predictions WHERE status IN ('proved', 'submitted', 'confirmed')")
    engine = rig.engine()
    try:
        with engine.connect() as connection:
            found = connection.execute(query).scalar_one_or_none()
            return None if found is None else int(found)
    except sa.exc.DBAPIError:
        return None
    finally:
        engine.dispose()


def _lay_out(rig: Rig) -> None:
    rig.folder.mkdir(parents=True, exist_ok=True)
    rig.ground.install(rig.var)
    rig.ground.install(rig.journal.parent)
    shutil.copytree(rig.ground.settings.models_dir, rig.models)


def _start_world(rig: Rig, stack: ExitStack) -> None:
    options, ground = rig.options, rig.ground
    market = MarketOptions(seed=options.seed, speed=options.speed)
    rig.market_url, rig.clock = stack.enter_context(running_market(market))
    rig._started_ms = rig.clock.now_ms()
    at = ("--timestamp", str(rig.clock.now_ms() // 1000))
    rig.anvil_url = stack.enter_context(running_anvil(ground.settings.contracts_dir, *at))
    stack.enter_context(chain_on_market_time(rig.anvil_url, rig.clock))
    placed = ground.settings.model_copy(
        update={"rpc_urls": (AnyHttpUrl(rig.anvil_url),), "deployments_dir": rig.folder / "deployments"}
    )
    deployment = deploy_for(placed, {FEED: ground.served}, options.threshold)
    rig.oracle = OracleAt(deployment.chain_id, deployment.oracle)
    rig.rpc = FaultProxy(urlsplit(rig.anvil_url).port or 0).start()
    stack.callback(rig.rpc.close)


def _start_store(rig: Rig, stack: ExitStack) -> None:
    if rig.options.store == "sqlite":
        return
    rig.postgres = PostgresServer(rig.folder, free_ports(1)[0])
    stack.callback(rig.postgres.close)
    rig.postgres.start()
    rig.to_database = FaultProxy(rig.postgres.port).start()
    stack.callback(rig.to_database.close)


def _place_children(rig: Rig) -> None:
    ports = free_ports(len(rig.options.processes) + 1)
    rig.attesting = FaultProxy(ports[-1]).start()
    clock = ["--market-start-ms", str(rig.clock.market_start_ms), "--wall-start-ms", str(rig.clock.wall_start_ms)]
    clock += ["--speed", str(rig.clock.speed)]
    for (name, role), port in zip(rig.options.processes.items(), ports, strict=False):
        answers = role in ANSWERS_PEOPLE
        rig.children[name] = Child(
            name=name,
            arguments=[role, *(["--port", str(port)] if answers else []), *clock],
            env=service_environment(rig, role, port),
            folder=rig.folder / "logs",
            alive_url=f"http://127.0.0.1:{port}/{'healthz' if answers else 'metrics'}",
        )
    rig.children[ATTESTER] = Child(
        name=ATTESTER,
        arguments=["attest", "--port", str(ports[-1]), *clock],
        env=attester_environment(rig),
        folder=rig.folder / "logs",
        alive_url=f"http://127.0.0.1:{ports[-1]}/healthz",
    )
