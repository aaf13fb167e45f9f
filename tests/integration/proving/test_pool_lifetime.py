"""How worker processes of the pool live and end: limits, recycling, threads. Real workers, real keys."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest

from app.clock import Clock
from app.errors import OracleError, ProverDied, ProverOutOfMemory
from app.features.variation import INPUTS
from app.inference.release import ReleasedModel
from app.metrics import Metrics
from app.proving.cores import usable_cores
from app.proving.pool import Limits, ProverPool
from app.settings import Settings
from app.steps.backlog import Backlog
from app.steps.prove import ProofStep, ProveOutcome, ProvingPolicy
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import AttemptOutcome, Keys, Prediction, Status

MIB = 2**20
OBSERVATION = tuple((index * 37) % 257 - 128 for index in range(INPUTS))
TOO_LITTLE_MIB = 40
"""A worker holds more than this before it has taken its first call."""


@pytest.fixture(scope="module")
def keys(settings: Settings, model: ReleasedModel) -> Keys:
    with ProverPool(1, Limits()) as pool:
        return pool.serving_keys(settings.var_dir, model.circuit)


@pytest.fixture(scope="module")
def joint(settings: Settings, model: ReleasedModel) -> tuple[Keys, tuple[int, ...]]:
    """Keys of the circuit for several windows, and what is to be proved of so many."""
    assert model.batch is not None
    with ProverPool(1, Limits()) as pool:
        return pool.serving_keys(settings.var_dir, model.batch), OBSERVATION * model.batch.windows


def workers() -> set[int]:
    """Worker processes that this process started and that have not ended."""
    children = psutil.Process().children()
    return {child.pid for child in children if "app.proving.worker" in child.cmdline()}


@pytest.fixture
def before() -> set[int]:
    """Workers of other pools."""
    return workers()


def until(condition: Callable[[], bool], limit_s: float = 30.0) -> bool:
    """Whether it came true; it is asked until then and not once more."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        if condition():
            return True
        time.sleep(0.02)
    return False


def threads_of(pool: ProverPool) -> set[str]:
    return {psutil.Process(pid).environ()["RAYON_NUM_THREADS"] for pid in pool.process_ids()}


def test_workers__share_the_cores_among_them(before: set[int]) -> None:
    with ProverPool(2, Limits()) as pool:
        assert threads_of(pool) == {str(max(1, usable_cores() // 2))}
        assert workers() - before == set(pool.process_ids())
        assert pool.slots == len(pool.process_ids()) == 2
    assert workers() == before


def test_workers__with_a_number_of_threads_of_their_own__have_that() -> None:
    with ProverPool(1, Limits(threads=7)) as pool:
        assert threads_of(pool) == {"7"}


def test_witness__is_what_the_proof_shows_and_calls_from_many_threads_do_not_mix(keys: Keys) -> None:
    inputs = [(number, *OBSERVATION[1:]) for number in range(4)]
    with ProverPool(2, Limits()) as pool, ThreadPoolExecutor(8) as threads:
        witnesses = threads.map(lambda values: pool.witness(keys, values), inputs)
        proofs = threads.map(lambda values: pool.prove(keys, values), inputs)
        commitments = threads.map(lambda values: pool.commit(keys, values), inputs)
        told = [(proof.instances, proof.commitment) for proof in proofs]
        assert told == list(zip(witnesses, commitments, strict=True))
        assert len(set(told)) == 4


def test_worker_killed_while_idle__costs_one_call_and_is_replaced(keys: Keys) -> None:
    with ProverPool(1, Limits()) as pool:
        pool.commit(keys, OBSERVATION)
        (victim,) = pool.process_ids()
        psutil.Process(victim).kill()
        assert until(lambda: psutil.Process(victim).status() == psutil.STATUS_ZOMBIE)
        with pytest.raises(ProverDied, match="-9"):
            pool.commit(keys, OBSERVATION)
        assert pool.process_ids() != [victim]
        assert pool.commit(keys, OBSERVATION)


def test_joint_proof_beyond_the_memory_limit__is_killed_and_a_single_one_still_made(
    keys: Keys, joint: tuple[Keys, tuple[int, ...]]
) -> None:
    with ProverPool(1, Limits(memory_mib=110)) as pool:
        assert pool.prove(keys, OBSERVATION).proof
        (victim,) = pool.process_ids()
        with pytest.raises(ProverOutOfMemory, match=r"killed at \d+ MiB, 110 are allowed"):
            pool.prove(*joint)
        assert not psutil.pid_exists(victim)
        assert pool.prove(keys, OBSERVATION).proof


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than glibc's keeps what it likes")
def test_joint_proofs__once_made__leave_their_memory_to_others(keys: Keys, joint: tuple[Keys, tuple[int, ...]]) -> None:
    with ProverPool(1, Limits()) as pool:
        pool.witness(keys, OBSERVATION)
        worker = psutil.Process(pool.process_ids()[0])
        before_any = worker.memory_full_info().uss
        for _ in range(3):
            assert pool.prove(*joint).proof
        give_up = time.monotonic() + 10
        while (held := worker.memory_full_info().uss - before_any) > 40 * MIB and time.monotonic() < give_up:
            time.sleep(0.05)
        assert held <= 40 * MIB  # of 110 and more while it is made
    assert not worker.is_running()


def test_recycling__a_fresh_process_takes_over_and_no_call_fails_or_waits_for_it(keys: Keys, before: set[int]) -> None:
    seen, living, slowest = set(), 0, 0.0
    with ProverPool(1, Limits(calls=3)) as pool:
        pool.commit(keys, OBSERVATION)  # the first process had to start
        give_up = time.monotonic() + 60
        while len(seen) < 3 and time.monotonic() < give_up:
            started = time.perf_counter()
            assert pool.commit(keys, OBSERVATION)
            slowest = max(slowest, time.perf_counter() - started)
            seen.add(pool.process_ids()[0])
            living = max(living, len(workers() - before))
    assert len(seen) == 3
    assert living == 2  # one at work and one that warms up
    assert slowest < _start_of_a_worker(keys)
    assert workers() == before


def _start_of_a_worker(keys: Keys) -> float:
    """Seconds from nothing to an answer, on this machine as it is now."""
    started = time.perf_counter()
    with ProverPool(1, Limits()) as pool:
        pool.commit(keys, OBSERVATION)
    return time.perf_counter() - started


def test_stop__while_a_successor_warms_up__leaves_no_process(keys: Keys, before: set[int]) -> None:
    pool = ProverPool(1, Limits(calls=1))
    pool.commit(keys, OBSERVATION)
    pool.commit(keys, OBSERVATION)
    assert len(workers() - before) == 2
    pool.stop()
    assert workers() == before
    with pytest.raises(ProverDied):
        pool.commit(keys, OBSERVATION)
    pool.stop()
    assert workers() == before


def test_successor_that_dies_before_it_took_over__is_never_noticed(keys: Keys, before: set[int]) -> None:
    with ProverPool(1, Limits(calls=1)) as pool:
        for _ in range(2):
            pool.commit(keys, OBSERVATION)
        (first,) = pool.process_ids()
        (successor,) = workers() - before - {first}
        os.kill(successor, signal.SIGKILL)
        assert until(lambda: psutil.Process(successor).status() == psutil.STATUS_ZOMBIE)
        for _ in range(3):
            assert pool.commit(keys, OBSERVATION)
        assert until(lambda: bool(pool.commit(keys, OBSERVATION)) and pool.process_ids() != [first])
    assert workers() == before


def test_call_that_waits_for_a_worker__ends_when_the_pool_is_stopped(keys: Keys) -> None:
    pool = ProverPool(1, Limits())
    os.kill(pool.process_ids()[0], signal.SIGSTOP)
    ended: list[type[BaseException]] = []

    def call() -> None:
        try:
            pool.commit(keys, OBSERVATION)
        except OracleError as error:
            ended.append(type(error))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    pool.stop()
    for thread in threads:
        thread.join(5)
    assert ended == [ProverDied] * 3


@pytest.fixture
def step_with(
    sqlite_database: Database, serve: Callable[..., ServedFeed], keys: Keys, window_end_ms: int
) -> Callable[..., ProofStep]:
    """The proving step on a real store, real keys and a given pool."""

    def make(pool: ProverPool, max_attempts: int = 2) -> ProofStep:
        served = replace(serve(), keys=keys)
        policy = ProvingPolicy(owner="host:1", lease_ms=60_000, max_attempts=max_attempts)
        clock = Clock(market_start_ms=window_end_ms + 1_500, speed=0)
        backlog = Backlog(catch_up_s=600, arrivals_per_s=1 / 60, windows_at_once=1)
        return ProofStep({served.feed.name: served}, sqlite_database, pool, clock, Metrics(), policy, backlog)

    return make


@pytest.fixture
def waiting(
    sqlite_database: Database, make_prediction: Callable[..., Prediction], serve: Callable[..., ServedFeed]
) -> Prediction:
    """A stored prediction of what the network really says."""
    served = serve()
    outputs = served.network.forecast(OBSERVATION).outputs
    made = make_prediction(model_id=served.model.model_id, observation=OBSERVATION, network_outputs=outputs)
    with sqlite_database.unit_of_work() as store:
        store.predictions.add(made)
    return made


def attempts(database: Database, prediction: Prediction) -> list[tuple[int, AttemptOutcome, str | None]]:
    with database.unit_of_work(write=False) as store:
        return [(tried.number, tried.outcome, tried.reason) for tried in store.attempts.of(prediction.id)]


def failure(database: Database, prediction: Prediction) -> tuple[Status, str | None]:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found.status, found.failure


def until_given_up(step: ProofStep, database: Database, prediction: Prediction, each_try: Callable[[], object]) -> None:
    give_up = time.monotonic() + 30
    while failure(database, prediction)[0] is not Status.FAILED and time.monotonic() < give_up:
        each_try()
        if step.next() is ProveOutcome.IDLE:
            time.sleep(0.1)


def test_proof_that_hangs_every_time__is_killed_tried_again_and_reported_as_failed(
    step_with: Callable[..., ProofStep], waiting: Prediction, sqlite_database: Database, before: set[int]
) -> None:
    hung: set[int] = set()
    with ProverPool(1, Limits(time_s=0.5)) as pool:

        def hang() -> None:
            os.kill(pool.process_ids()[0], signal.SIGSTOP)
            hung.add(pool.process_ids()[0])

        started = time.monotonic()
        until_given_up(step_with(pool), sqlite_database, waiting, hang)
        assert time.monotonic() - started < 15
        assert not any(psutil.pid_exists(pid) for pid in hung - set(pool.process_ids()))
    reason = "killed after 0.5 s"
    assert failure(sqlite_database, waiting) == (Status.FAILED, f"given up after 2 attempts: {reason}")
    assert attempts(sqlite_database, waiting) == [(number, AttemptOutcome.TIMED_OUT, reason) for number in (1, 2)]
    assert workers() == before


def test_proof_that_hangs_once__is_killed_and_proved_at_the_next_attempt(
    step_with: Callable[..., ProofStep], waiting: Prediction, sqlite_database: Database, keys: Keys
) -> None:
    with ProverPool(1, Limits(time_s=2)) as pool:
        pool.commit(keys, OBSERVATION)
        step = step_with(pool, max_attempts=9)
        os.kill(pool.process_ids()[0], signal.SIGSTOP)
        assert step.next() is ProveOutcome.WILL_RETRY
        assert until(lambda: step.next() is ProveOutcome.PROVED)
    outcomes = [outcome for _, outcome, _ in attempts(sqlite_database, waiting)]
    assert (outcomes[0], outcomes[-1]) == (AttemptOutcome.TIMED_OUT, AttemptOutcome.PROVED)


def test_proof_beyond_the_memory_limit_every_time__is_killed_tried_again_and_reported_as_failed(
    step_with: Callable[..., ProofStep], waiting: Prediction, sqlite_database: Database, before: set[int]
) -> None:
    used: set[int] = set()
    with ProverPool(1, Limits(memory_mib=TOO_LITTLE_MIB)) as pool:
        until_given_up(step_with(pool), sqlite_database, waiting, lambda: used.update(pool.process_ids()))
        assert len(used) > 1
    status, reason = failure(sqlite_database, waiting)
    tried = attempts(sqlite_database, waiting)
    assert [one[:2] for one in tried] == [(number, AttemptOutcome.OUT_OF_MEMORY) for number in (1, 2)]
    assert (status, reason) == (Status.FAILED, f"given up after 2 attempts: {tried[-1][2]}")
    assert reason is not None
    assert reason.endswith(f" MiB, {TOO_LITTLE_MIB} are allowed")
    assert workers() == before
    assert not any(psutil.pid_exists(pid) for pid in used)
