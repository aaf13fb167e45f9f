"""A Dask scheduler and `veriregime prover` processes of their own, killed and stopped as machines do it to them."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from app.clock import Clock
from app.errors import ProofTimedOut, ProverDied, ProverUnavailable, ProvingFailed
from app.features.variation import INPUTS
from app.inference.network import dequantise
from app.inference.release import ReleasedModel
from app.metrics import Metrics
from app.proving.checked import CheckedProver
from app.proving.cluster import ClusterProver
from app.proving.pool import Limits, ProverPool
from app.settings import Settings
from app.steps.backlog import Backlog
from app.steps.prove import ProofStep, ProveOutcome, ProvingPolicy
from app.steps.served import ServedFeed
from app.steps.standing import Role
from app.store.database import Database
from app.types import MINUTE_MS, PROVED_STATES, Keys, Prediction
from app.wiring import application

JOBS = int(os.environ.get("VERIREGIME_TEST_CLUSTER_JOBS", "24"))
"""200 takes some minutes on two cores."""
KILL_EVERY_S = 4.0
OBSERVATION = tuple((index * 37) % 257 - 128 for index in range(INPUTS))
VERIREGIME = Path(sys.executable).with_name("veriregime")
Proved = concurrent.futures.Future[object]


def _end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


class Site:
    """A scheduler at one address and the provers that serve it; everything it started ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._ends = ExitStack()
        self._logs: dict[int, str] = {}
        self._names = (f"prover-{number}" for number in count(1))

    def close(self) -> None:
        self._ends.close()

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        port = self.address.rpartition(":")[2]
        return self._start(
            [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"],
            "scheduler",
            DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES="[]",
        )

    def start_prover(self, var: str = "var", **settings: str) -> subprocess.Popen[bytes]:
        """Named prover-1, prover-2 and so on."""
        name = next(self._names)
        return self._start(
            [str(VERIREGIME), "prover", self.address, "--name", name],
            name,
            VERIREGIME_VAR_DIR=str(self.folder / var),
            **settings,
        )

    def freeze_provers_of(self, process: subprocess.Popen[bytes]) -> None:
        """Stop the children that run ezkl, so that what was begun there cannot be finished."""
        for child in psutil.Process(process.pid).children(recursive=True):
            child.suspend()
            self._ends.callback(_end, child)  # stopped, it would not notice that its parent is gone

    def is_connected(self, prover: subprocess.Popen[bytes]) -> bool:
        return " at once for " in self.said(self._logs[prover.pid])

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _start(self, command: list[str], log: str, **environment: str) -> subprocess.Popen[bytes]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("VERIREGIME_", "DASK_"))}
        with (self.folder / f"{log}.log").open("a") as output:
            process = subprocess.Popen(
                command,
                env=own | environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._logs[process.pid] = log
        self._ends.callback(process.wait)
        self._ends.callback(process.kill)
        return process


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.start_scheduler()
    yield site
    site.close()


@pytest.fixture
def connect(site: Site) -> Iterator[Callable[[float], ClusterProver]]:
    with ExitStack() as stack:

        def make(time_limit_s: float) -> ClusterProver:
            cluster = ClusterProver(site.address, time_limit_s=time_limit_s)
            stack.callback(cluster.stop)
            return cluster

        yield make


@pytest.fixture
def cluster(connect: Callable[[float], ClusterProver]) -> ClusterProver:
    return connect(30)


@pytest.fixture(scope="module")
def model(models: dict[str, ReleasedModel]) -> ReleasedModel:
    """Any will do."""
    return next(iter(models.values()))


@pytest.fixture(scope="module")
def pool() -> Iterator[ProverPool]:
    with ProverPool(1, Limits()) as pool:
        yield pool


@pytest.fixture(scope="module")
def keys(pool: ProverPool, settings: Settings, model: ReleasedModel) -> Keys:
    return pool.serving_keys(settings.var_dir, model.circuit)


def until(holds: Callable[[], bool], within_s: float = 20) -> None:
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def begin(prove: Callable[[], object]) -> Proved:
    """In a thread of its own, which nobody has to wait for."""
    future: Proved = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(prove())
        except Exception as error:  # noqa: BLE001  it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_worker_without_circuit_and_srs__is_sent_them_and_proves(
    site: Site, cluster: ClusterProver, pool: ProverPool, keys: Keys
) -> None:
    (site.folder / "no-models").mkdir()
    site.start_prover("fresh", VERIREGIME_MODELS_DIR=str(site.folder / "no-models"))
    until(lambda: cluster.slots == 1)
    proof = CheckedProver(cluster, pool).prove(keys, OBSERVATION)
    assert pool.verify(keys, proof.proof, proof.instances)
    received = site.folder / "fresh" / "circuits" / keys.circuit.compiled_sha256
    assert (received / "circuit.ezkl").read_bytes() == keys.circuit.compiled.read_bytes()
    assert (site.folder / "fresh" / "srs" / f"{keys.srs_hash}.srs").read_bytes() == keys.srs.read_bytes()


def test_what_is_not_as_ordered__is_refused(site: Site, cluster: ClusterProver, keys: Keys, tmp_path: Path) -> None:
    other_srs = tmp_path / "other.srs"
    other_srs.write_bytes(keys.srs.read_bytes()[:-1] + b"\x01")
    site.start_prover("fresh")
    until(lambda: cluster.slots == 1)
    with pytest.raises(ProvingFailed, match=r"prover-1: the SRS that was sent does not have the SHA-256"):
        cluster.prove(replace(keys, srs=other_srs), OBSERVATION)
    assert not list((site.folder / "fresh").glob("srs/*"))
    with pytest.raises(ProvingFailed, match=r"prover-1: the verifying key built here is .* the order names 12121212"):
        cluster.prove(replace(keys, vk_hash="12" * 32), OBSERVATION)
    with pytest.raises(ProvingFailed, match="prover-1: ezkl"):
        cluster.prove(keys, OBSERVATION[:-1])
    assert cluster.prove(keys, OBSERVATION).vk_hash == keys.vk_hash


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_worker_that_ends_in_the_middle__loses_nothing(
    site: Site, cluster: ClusterProver, keys: Keys, number: signal.Signals
) -> None:
    first = site.start_prover("first")
    until(lambda: cluster.slots == 1)
    cluster.prove(keys, OBSERVATION)
    site.freeze_provers_of(first)
    proved = begin(lambda: cluster.prove(keys, OBSERVATION))
    time.sleep(0.5)
    assert not proved.done()
    site.start_prover("second")
    until(lambda: cluster.slots == 2)
    first.send_signal(number)
    first.wait(10)
    assert proved.result(20)
    assert "prover-2" in site.said("prover-2")


@pytest.mark.slow
def test_worker_that_hangs__is_timed_out_and_avoided(
    site: Site, connect: Callable[[float], ClusterProver], keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.proving.cluster._MARGIN_S", 1.0)
    cluster = connect(4)
    first = site.start_prover("first")
    until(lambda: cluster.slots == 1)
    cluster.prove(keys, OBSERVATION)
    first.send_signal(signal.SIGSTOP)
    hung = begin(lambda: cluster.prove(keys, OBSERVATION))
    site.start_prover("second")
    with pytest.raises(ProofTimedOut, match="prover-1 gave no proof within 5 s"):
        hung.result(20)
    until(lambda: cluster.slots == 1)
    for _ in range(3):
        assert cluster.prove(keys, OBSERVATION)


@pytest.mark.slow
def test_scheduler_that_goes__fails_the_proof_at_once_and_is_found_again(
    site: Site, cluster: ClusterProver, keys: Keys
) -> None:
    prover = site.start_prover()
    until(lambda: cluster.slots == 1)
    cluster.prove(keys, OBSERVATION)
    site.freeze_provers_of(prover)
    proved = begin(lambda: cluster.prove(keys, OBSERVATION))
    time.sleep(0.5)
    scheduler = next(c for c in psutil.Process().children() if "scheduler" in c.cmdline())
    scheduler.kill()
    with pytest.raises(ProverUnavailable, match="connection to the scheduler at tcp://"):
        proved.result(5)
    until(lambda: cluster.slots == 0)
    with pytest.raises(ProverUnavailable, match="does not answer"):
        cluster.prove(keys, OBSERVATION)
    for child in psutil.Process(prover.pid).children(recursive=True):
        child.resume()
    site.start_scheduler()
    until(lambda: cluster.slots == 1, 40)
    assert cluster.prove(keys, OBSERVATION)
    assert prover.poll() is None


def test_scheduler_that_is_not_there__is_said_clearly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("app.proving.cluster._CONNECT_LIMIT_S", 1.0)
    nowhere = Site(tmp_path).address
    with pytest.raises(ProverUnavailable, match=f"no Dask scheduler answers at {nowhere}.*: start one with"):
        ClusterProver(nowhere, time_limit_s=5)


def test_prover__waits_for_its_scheduler(tmp_path: Path) -> None:
    site = Site(tmp_path)
    try:
        site.start_prover()
        until(lambda: "waiting for tcp://" in site.said("prover-1"))
        site.start_scheduler()
        until(lambda: f"veriregime prover prover-1: 1 proof at once for {site.address}" in site.said("prover-1"), 40)
    finally:
        site.close()


def test_stop__ends_a_proof_that_nobody_takes(cluster: ClusterProver, keys: Keys) -> None:
    proved = begin(lambda: cluster.prove(keys, OBSERVATION))
    time.sleep(0.3)
    cluster.stop()
    with pytest.raises(ProverDied, match="closed"):
        proved.result(2)
    with pytest.raises(ProverDied, match="closed"):
        cluster.prove(keys, OBSERVATION)


@pytest.mark.slow
def test_workers_killed_again_and_again__every_window_is_proved_once(
    site: Site,
    cluster: ClusterProver,
    pool: ProverPool,
    keys: Keys,
    serve: Callable[..., ServedFeed],
    sqlite_database: Database,
    make_prediction: Callable[..., Prediction],
) -> None:
    served = replace(serve(), keys=keys)
    windows = store_windows(sqlite_database, pool, served, make_prediction, JOBS)
    step = proof_step(served, sqlite_database, CheckedProver(cluster, pool))
    with ThreeProvers(site) as provers:
        until(lambda: cluster.slots == 3, 40)
        provers.let_die()
        prove_all(step, cluster, sqlite_database, limit_s=30 + 3 * JOBS)
    print(f"{JOBS} windows, {provers.killed} provers killed")
    with sqlite_database.unit_of_work(write=False) as store:
        for window in windows:
            found = store.predictions.get(window.id)
            assert found is not None
            assert found.status in PROVED_STATES
            stored = store.predictions.proof(window.id)
            assert stored is not None
            proof, _ = stored
            assert pool.verify(keys, proof.proof, proof.instances)
    with sqlite_database._engine.connect() as connection:
        rows = connection.execute(sa.text("select count(*), count(distinct prediction_id) from proofs")).one()
    assert tuple(rows) == (JOBS, JOBS)
    assert provers.killed >= 2


class ThreeProvers:
    """Started again whenever they end, as a service manager does; once told so, one is killed every few seconds."""

    def __init__(self, site: Site) -> None:
        self.killed = 0
        self._site = site
        self._running: list[subprocess.Popen[bytes]] = []
        self._done = threading.Event()
        self._die = threading.Event()
        self._thread = threading.Thread(target=self._manage)

    def __enter__(self) -> ThreeProvers:
        self._running = [self._site.start_prover(f"var-{place}") for place in range(3)]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def let_die(self) -> None:
        self._die.set()

    def _manage(self) -> None:
        dice = random.Random(0)
        next_kill = time.monotonic() + KILL_EVERY_S / 2
        while not self._done.wait(0.2):
            if self._die.is_set() and time.monotonic() > next_kill:
                next_kill = time.monotonic() + KILL_EVERY_S
                self._kill_one(dice)
            self._running = [
                process if process.poll() is None else self._site.start_prover(f"var-{place}")
                for place, process in enumerate(self._running)
            ]

    def _kill_one(self, dice: random.Random) -> None:
        """One that is at work: there are as many orders under way as provers."""
        at_work = [process for process in self._running if self._site.is_connected(process)]
        if at_work:
            dice.choice(at_work).kill()
            self.killed += 1


def store_windows(
    database: Database,
    pool: ProverPool,
    served: ServedFeed,
    make_prediction: Callable[..., Prediction],
    number: int,
) -> list[Prediction]:
    """Predictions that wait for their proofs; the network says just what the circuit says."""
    dice = random.Random(1)
    made = []
    for minute in range(number):
        observation = tuple(dice.randint(-200, 200) for _ in range(INPUTS))
        outputs = dequantise(pool.witness(served.keys, observation), served.model.output_scale)
        window = make_prediction(
            window_end_ms=1_757_937_600_000 + minute * MINUTE_MS,
            model_id=served.model.model_id,
            observation=observation,
            network_outputs=outputs,
        )
        with database.unit_of_work() as store:
            assert store.predictions.add(window)
        made.append(window)
    return made


def proof_step(served: ServedFeed, database: Database, prover: CheckedProver) -> ProofStep:
    policy = ProvingPolicy(owner="host:1", lease_ms=60_000, max_attempts=5)
    backlog = Backlog(catch_up_s=1e6, arrivals_per_s=0, windows_at_once=1)
    return ProofStep({served.feed.name: served}, database, prover, Clock(), Metrics(), policy, backlog)


def prove_all(step: ProofStep, cluster: ClusterProver, database: Database, limit_s: float) -> None:
    """As the service does it: a thread for each proof that can be made at once, until nothing waits."""
    give_up = time.monotonic() + limit_s

    def keep_going() -> None:
        while time.monotonic() < give_up:
            with database.unit_of_work(write=False) as store:
                if not store.jobs.waiting():
                    return
            if cluster.slots == 0 or step.next() is ProveOutcome.IDLE:
                time.sleep(0.2)

    threads = [threading.Thread(target=keep_going) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_pipeline_alone__where_a_cluster_proves__gives_it_its_jobs(site: Site, scratch_settings: Settings) -> None:
    placed = scratch_settings.model_copy(update={"prover": site.address})
    with application(placed, roles=frozenset({Role.PIPELINE})) as ticks:
        assert ticks.roles == {Role.PIPELINE, Role.PROVER}
        assert ticks.prover is not ticks.pool
