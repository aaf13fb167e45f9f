"""Proofs made by a Dask cluster, for a service that has more windows to prove than its own machine can.

Dask is asked from one thread with an event loop of its own; `prove` hands over to it and blocks. What a worker needs
and lacks, it says, and gets with the order when that is repeated: nobody keeps a list of who has what, so a scheduler
or a worker can start anew at any time.

Retries are the store's affair. Within one attempt Dask moves an order on when its worker disappears, as often as the
scheduler's setting ``allowed-failures`` says; a worker that hangs is found out by our own time limit, and avoided.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import OracleError, ProofTimedOut, ProverDied, ProverUnavailable, ProvingFailed, ToolMissing
from app.proving.cluster_worker import RESOURCE, Answer, Material, MaterialNeeded, Order, fulfil, quieten_dask
from app.types import Keys, Proof

try:
    from distributed import Client, KilledWorker
except ModuleNotFoundError as error:
    raise ToolMissing(f"{error.name} is not installed: pip install 'veriregime[cluster]'") from error

log = logging.getLogger(__name__)

_CONNECT_LIMIT_S = 10.0
_ANSWER_LIMIT_S = 3.0
_LOOK_EVERY_S = 0.5
_STOP_LIMIT_S = 5.0
_MARGIN_S = 10.0
"""On top of a proof's time limit: waiting within the cluster, and on a worker's first order building its keys."""
_AVOID_S = 60.0
_SILENT_S = 15.0
"""A worker reports to the scheduler every half second, every six when there are a thousand; after this it hangs."""
_ROUNDS = 4
"""One to ask, one with the circuit, one with the SRS, one for a worker that stepped in for another."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker as the scheduler describes it, and since when (monotonic, seconds) that is all it knows."""

    name: str
    slots: int
    last_seen: float
    since: float


class Roster:
    """The workers that are there, and which of them to ask. Times are of our monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._workers: Mapping[str, Seen] = {}
        self._avoided: dict[str, float] = {}

    def update(self, scheduler: Mapping[str, Any], now: float) -> None:
        """From what the scheduler says of itself; an empty answer empties the roster."""
        workers = {}
        for address, told in scheduler.get("workers", {}).items():
            slots, last_seen = int(told["resources"].get(RESOURCE, 0)), float(told["last_seen"])
            before = self._workers.get(address)
            since = before.since if before and before.last_seen == last_seen else now
            if slots and told["status"] == "running":
                workers[address] = Seen(str(told["name"]), slots, last_seen, since)
        self._workers = workers

    def avoid(self, address: str, now: float) -> str:
        """Ask others for a while; gives the worker's name."""
        self._avoided[address] = now + _AVOID_S
        seen = self._workers.get(address)
        return seen.name if seen else address

    def fit(self, now: float) -> Mapping[str, Seen]:
        """Workers to ask, by address: not those that hang or were too late a while ago, unless there are only such."""
        workers = self._workers
        fit = {
            address: seen
            for address, seen in workers.items()
            if now - seen.since < _SILENT_S and now >= self._avoided.get(address, 0)
        }
        return fit or workers

    def preference(self, now: float) -> list[str]:
        """Addresses of the fit workers, where these are not all."""
        fit = self.fit(now)
        return list(fit) if len(fit) < len(self._workers) else []


class ClusterProver:
    """Proves on the workers of the scheduler at ``address``. Connects again by itself when the scheduler was away.

    What comes back was made by others: verify it. Raises `ProverUnavailable` when no scheduler answers.
    """

    def __init__(self, address: str, *, time_limit_s: float) -> None:
        quieten_dask()
        self._address = address
        self._patience_s = time_limit_s + _MARGIN_S
        self._client: Any = None
        self._trouble = ""
        self._roster = Roster()
        self._guard = threading.Lock()
        self._stopped = False
        self._proofs: set[concurrent.futures.Future[Proof]] = set()
        self._connected = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)
        self._thread.start()
        if not self._connected.wait(_CONNECT_LIMIT_S):
            self.stop()
            why = f" ({self._trouble})" if self._trouble else ""
            raise ProverUnavailable(f"no Dask scheduler answers at {address}{why}: start one with `dask scheduler`")

    @property
    def slots(self) -> int:
        """Proofs that the cluster can make at once, as of half a second ago; 0 while it cannot be reached."""
        return sum(seen.slots for seen in self._roster.fit(time.monotonic()).values())

    @property
    def patience_s(self) -> float:
        """`prove` has returned or raised by then, so a lease must be longer."""
        return self._patience_s + _ANSWER_LIMIT_S

    def prove(self, keys: Keys, observation: Sequence[int]) -> Proof:
        """Raises `ProverUnavailable`, `ProofTimedOut`, `ProverDied`, or what went wrong on the worker."""
        order = Order.of(keys, observation)
        with self._guard:
            if self._stopped:
                raise ProverDied("the connection to the cluster was closed")
            proof = asyncio.run_coroutine_threadsafe(self._prove(keys, order), self._loop)
            self._proofs.add(proof)
        try:
            return proof.result()
        except concurrent.futures.CancelledError:
            raise ProverDied("the connection to the cluster was closed") from None
        finally:
            self._proofs.discard(proof)

    def stop(self) -> None:
        """Let go of the cluster; a `prove` under way raises `ProverDied`."""
        with self._guard:
            if self._stopped:
                return
            self._stopped = True
            for proof in list(self._proofs):
                proof.cancel()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_LIMIT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # its end cancels what Dask left behind
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        keeping = asyncio.create_task(self._keep_connected())
        await self._stopping.wait()
        keeping.cancel()
        await asyncio.wait({keeping})

    # The connection

    async def _keep_connected(self) -> None:
        while True:
            try:
                await self._connect()
            except Exception as error:  # noqa: BLE001  whatever it is, the next connection may fare better
                if self._trouble != str(error):
                    log.warning("cluster %s: %s", self._address, error)
                self._trouble = str(error)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _connect(self) -> None:
        """One connection, to its end."""
        client = Client(self._address, asynchronous=True, set_as_default=False, timeout=_CONNECT_LIMIT_S)
        try:
            await client
            self._client = client
            await self._watch(client)
        finally:
            self._client = None
            self._roster.update({}, time.monotonic())
            with contextlib.suppress(OSError, TimeoutError):  # its `async with` would leave it open when cancelled
                await client.close(timeout=_ANSWER_LIMIT_S)

    async def _watch(self, client: Any) -> None:
        """Until Dask's client gives up; it connects again by itself for as long as the time limit it was made with."""
        slots = None
        while client.status != "closed":
            try:
                async with asyncio.timeout(_ANSWER_LIMIT_S):
                    scheduler = await client.scheduler.identity(n_workers=-1)
            except (OSError, TimeoutError, AttributeError):  # a client that was just closed has no scheduler
                scheduler = {}
            else:
                self._connected.set()
            self._roster.update(scheduler if client.status == "running" else {}, time.monotonic())
            if slots != (slots := self.slots):
                log.info("cluster %s: %d proofs at once", self._address, slots)
            await asyncio.sleep(_LOOK_EVERY_S)

    # A proof

    async def _prove(self, keys: Keys, order: Order) -> Proof:
        give_up = self._loop.time() + self._patience_s
        material, nearest = Material(), None
        for _ in range(_ROUNDS):
            answer = await self._ask(order, material, nearest, give_up)
            outcome, nearest = answer.outcome, answer.worker
            if isinstance(outcome, Proof):
                return outcome
            if isinstance(outcome, OracleError):
                kind = type(outcome) if isinstance(outcome, ProvingFailed) else ProvingFailed
                raise kind(f"{answer.name}: {outcome}")
            material = await asyncio.to_thread(_collect, keys, outcome, material)
        raise ProvingFailed(f"{answer.name} goes on asking for files that it was sent")

    async def _ask(self, order: Order, material: Material, nearest: str | None, give_up: float) -> Answer:
        client = self._client
        if client is None or client.status != "running":
            raise ProverUnavailable(f"the scheduler at {self._address} does not answer")
        prefer = [nearest] if nearest else self._roster.preference(time.monotonic())
        future = client.submit(
            fulfil,
            order,
            material,
            key=f"proof-{uuid.uuid4().hex}",
            pure=False,
            retries=0,
            resources={RESOURCE: 1},
            workers=prefer or None,
            allow_other_workers=bool(prefer),  # where these have gone
        )
        try:
            async with asyncio.timeout_at(give_up):
                answer = await future
        except TimeoutError:
            raise await self._too_late(client, future.key) from None
        except KilledWorker as error:
            raise ProverDied(f"its workers died, the last one at {error.last_worker.address}") from error
        except concurrent.futures.CancelledError as error:
            raise ProverUnavailable(f"the connection to the scheduler at {self._address} was lost") from error
        except Exception as error:
            raise ProvingFailed(f"the cluster could not run the order: {type(error).__name__}: {error}") from error
        finally:
            future.release()
        assert isinstance(answer, Answer)  # noqa: S101  what `fulfil` returns
        return answer

    async def _too_late(self, client: Any, key: str) -> ProvingFailed:
        """Who let us wait, and is not asked for a while."""
        waited = f"{self._patience_s:g} s"
        try:
            async with asyncio.timeout(_ANSWER_LIMIT_S):
                address = await _holder(client, key)
        except (OSError, TimeoutError, AttributeError):
            return ProverUnavailable(f"the scheduler at {self._address} does not answer")
        if address is None:
            return ProverUnavailable(f"no worker of {self._address} took the proof within {waited}")
        name = self._roster.avoid(address, time.monotonic())
        return ProofTimedOut(f"{name} gave no proof within {waited}")


async def _holder(client: Any, key: str) -> str | None:
    """The worker that an order lies with: still at it, or done and not handing over."""
    for address, orders in (await client.scheduler.processing(workers=None)).items():
        if key in orders:
            return str(address)
    having = (await client.scheduler.who_has(keys=[key])).get(key)
    return str(having[0]) if having else None


def _collect(keys: Keys, needed: MaterialNeeded, so_far: Material) -> Material:
    """What was sent, and what is needed besides. Reads files."""
    circuit = keys.circuit
    return Material(
        compiled=circuit.compiled.read_bytes() if needed.circuit else so_far.compiled,
        settings=circuit.settings.read_bytes() if needed.circuit else so_far.settings,
        srs=keys.srs.read_bytes() if needed.srs else so_far.srs,
    )
