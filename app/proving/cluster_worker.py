"""What runs on a machine of the cluster: orders for proofs go in, proofs come out.

The Dask worker is a plain one inside this process, without Dask's nanny: the service manager of the machine restarts
it, and there is little in it that could crash, because ezkl runs in the children of a `ProverPool`. For the same reason
its event loop never freezes, and time limit, memory limit and recycling are those of the pool.

Dask sends tasks by the name of their function, so the scheduler's machine has this package installed as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from app.errors import Misconfigured, OracleError, ProvingFailed, ToolMissing
from app.proving.pool import ProverPool
from app.types import Circuit, Keys, Proof

try:
    from distributed import Worker, get_worker
    from distributed.diagnostics.plugin import WorkerPlugin
except ModuleNotFoundError as error:
    raise ToolMissing(f"{error.name} is not installed: pip install 'veriregime[cluster]'") from error

log = logging.getLogger(__name__)

RESOURCE = "prover"
"""What a worker has one of for each prover process, and what each proof needs one of."""

_MAKER = "veriregime-prover"
_PATHS = ("compiled", "settings")
_SAY_WAITING_AFTER_S = 2.0
_AGAIN_S = 2.0
_LEAVE_LIMIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Order:
    """A proof that is wanted, in terms that mean the same on every machine: hashes and numbers, no paths."""

    circuit: Mapping[str, Any]
    """The fields of `Circuit` but for its paths."""
    settings_sha256: str
    srs_sha256: str
    vk_hash: str
    observation: tuple[int, ...]

    @classmethod
    def of(cls, keys: Keys, observation: Sequence[int]) -> Order:
        circuit = keys.circuit
        return cls(
            circuit={f.name: getattr(circuit, f.name) for f in fields(circuit) if f.name not in _PATHS},
            settings_sha256=_sha256(circuit.settings.read_bytes()),
            srs_sha256=keys.srs_hash,
            vk_hash=keys.vk_hash,
            observation=tuple(observation),
        )

    @property
    def compiled_sha256(self) -> str:
        return str(self.circuit["compiled_sha256"])

    @property
    def what_for(self) -> tuple[str, ...]:
        """Equal for orders that are served with the same keys."""
        return self.compiled_sha256, self.settings_sha256, self.srs_sha256, self.vk_hash


@dataclass(frozen=True, slots=True)
class Material:
    """Files that travel with an order to a worker that lacks them."""

    compiled: bytes | None = None
    settings: bytes | None = None
    srs: bytes | None = None


@dataclass(frozen=True, slots=True)
class MaterialNeeded:
    """Order again, with these."""

    circuit: bool = False
    srs: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an order. An error travels as a value: Dask would otherwise take it for one of its own."""

    worker: str
    """Its address."""
    name: str
    outcome: Proof | MaterialNeeded | OracleError


def fulfil(order: Order, material: Material) -> Answer:
    """The task that the cluster runs; it needs one `RESOURCE`."""
    worker = get_worker()
    maker = worker.plugins[_MAKER]
    assert isinstance(maker, ProofMaker)  # noqa: S101  no other worker has the resource
    return Answer(worker.address, str(worker.name), maker.answer(order, material))


class ProofMaker(WorkerPlugin):
    """Serves orders with the prover processes of this machine. ``released`` are circuits that are here already."""

    name = _MAKER

    def __init__(self, pool: ProverPool, var_dir: Path, released: Iterable[Circuit]) -> None:
        self.slots = pool.slots
        self._pool = pool
        self._var_dir = var_dir
        self._released = [(circuit, _sha256(circuit.settings.read_bytes())) for circuit in released]
        self._keys: dict[tuple[str, ...], Keys] = {}
        self._building = threading.Lock()

    def answer(self, order: Order, material: Material) -> Proof | MaterialNeeded | OracleError:
        try:
            keys = self._keys_for(order, material)
            if isinstance(keys, MaterialNeeded):
                return keys
            return self._pool.prove(keys, order.observation)
        except OracleError as error:
            self._keys.pop(order.what_for, None)  # should they be damaged, the next attempt builds them anew
            return error
        except Exception as error:
            log.exception("an order met a bug")
            return ProvingFailed(f"{type(error).__name__}: {error}")

    def _keys_for(self, order: Order, material: Material) -> Keys | MaterialNeeded:
        keys = self._keys.get(order.what_for)
        if keys is not None:
            return keys
        with self._building:
            found = self._keys.get(order.what_for) or self._build(order, material)
        if isinstance(found, Keys):
            self._keys[order.what_for] = found
        return found

    def _build(self, order: Order, material: Material) -> Keys | MaterialNeeded:
        circuit = self.find_circuit(order) or self._keep_circuit(order, material)
        if circuit is None:
            return MaterialNeeded(circuit=True)
        keys = self._pool.keys_for_srs(self._var_dir, circuit, order.srs_sha256)
        if keys is None and self._keep_srs(order, material):
            keys = self._pool.keys_for_srs(self._var_dir, circuit, order.srs_sha256)
        if keys is None:
            return MaterialNeeded(srs=True)
        if keys.vk_hash != order.vk_hash:
            raise ProvingFailed(
                f"the verifying key built here is {keys.vk_hash[:16]}…, the order names {order.vk_hash[:16]}…: "
                "install the same version of veriregime on every machine"
            )
        return keys

    def find_circuit(self, order: Order) -> Circuit | None:
        """The circuit of the order among the released ones and those received earlier."""
        for circuit, settings_sha256 in self._released:
            if (circuit.compiled_sha256, settings_sha256) == (order.compiled_sha256, order.settings_sha256):
                return replace(circuit, **order.circuit)
        received = self._received(order)
        return received if _holds(received, order) else None

    def _keep_circuit(self, order: Order, material: Material) -> Circuit | None:
        if material.compiled is None or material.settings is None:
            return None
        circuit = self._received(order)
        _keep(circuit.compiled, material.compiled, order.compiled_sha256, "compiled circuit")
        _keep(circuit.settings, material.settings, order.settings_sha256, "circuit settings")
        return circuit

    def _keep_srs(self, order: Order, material: Material) -> bool:
        if material.srs is None:
            return False
        _keep(self._var_dir / "srs" / f"{order.srs_sha256}.srs", material.srs, order.srs_sha256, "SRS")
        return True

    def _received(self, order: Order) -> Circuit:
        """Where the circuit of the order lies, or would lie, once it was received."""
        folder = self._var_dir / "circuits" / order.compiled_sha256
        return Circuit(compiled=folder / "circuit.ezkl", settings=folder / "circuit.json", **order.circuit)


def _holds(circuit: Circuit, order: Order) -> bool:
    try:
        found = _sha256(circuit.compiled.read_bytes()), _sha256(circuit.settings.read_bytes())
    except OSError:
        return False
    return found == (order.compiled_sha256, order.settings_sha256)


def _keep(path: Path, content: bytes, sha256: str, what: str) -> None:
    """Write what was received, whole or not at all. Raises `ProvingFailed` when it is not what was ordered."""
    if _sha256(content) != sha256:
        raise ProvingFailed(f"the {what} that was sent does not have the SHA-256 {sha256[:16]}… that the order names")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".receiving-", delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
    except OSError as error:
        raise ProvingFailed(f"{path} cannot be written: {error.strerror}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def quieten_dask(level: int = logging.WARNING) -> None:
    """Have Dask log like everything else; it sets levels and handlers of its own when it is imported."""
    for name in ("distributed", "distributed.client"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level)


async def work(scheduler: str, maker: ProofMaker, *, name: str, say: Callable[[str], None]) -> None:
    """Prove for ``scheduler`` until SIGTERM or SIGINT; wait for it while it is not there.

    A Dask worker does not outlive the connection to its scheduler, so each connection gets a new one. What ``maker``
    has built stays. Raises `Misconfigured` for TLS without certificates.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    stopped = asyncio.create_task(stopping.wait())
    while not stopping.is_set():
        worker = Worker(
            scheduler,
            nthreads=maker.slots,
            name=name,
            resources={RESOURCE: maker.slots},
            memory_limit=0,
            plugins=(maker,),
        )
        try:
            await _serve(worker, scheduler, stopped, say)
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            reason = f"{scheduler} does not take this prover: {error.__cause__ or error}"
            if isinstance(error.__cause__, TypeError):  # how Dask reports TLS without certificates
                raise Misconfigured(reason) from error
            say(reason)
        finally:
            await _leave(worker)
        await asyncio.wait({stopped}, timeout=_AGAIN_S)


async def _serve(worker: Worker, scheduler: str, stopped: asyncio.Task[Any], say: Callable[[str], None]) -> None:
    """Until the scheduler is gone or we are to stop."""
    starting = asyncio.ensure_future(worker.start())
    try:
        await asyncio.wait({starting, stopped}, timeout=_SAY_WAITING_AFTER_S, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done() and not stopped.done():
            say(f"waiting for {scheduler}")
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return
        starting.result()
    finally:
        starting.cancel()
    proofs = "1 proof" if worker.state.nthreads == 1 else f"{worker.state.nthreads} proofs"
    say(f"veriregime prover {worker.name}: {proofs} at once for {scheduler}")
    finished = asyncio.create_task(worker.finished())
    await asyncio.wait({finished, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finished.cancel()
    if not stopped.done():
        say(f"{scheduler} is gone")


async def _leave(worker: Worker) -> None:
    """Hand orders under way back to the scheduler, which then does not count this as a crash, and close."""
    if worker.status.name == "running":
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LEAVE_LIMIT_S):
                await worker.scheduler.retire_workers(
                    workers=[worker.address], close_workers=False, remove=True, stimulus_id=f"leave-{worker.address}"
                )
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_LEAVE_LIMIT_S):
            await worker.close(timeout=1, executor_wait=False, nanny=False)
