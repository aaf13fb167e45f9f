"""The prover pool with real workers and real proofs."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from app.errors import ProofTimedOut, ProverDied, ProvingFailed
from app.features.variation import INPUTS
from app.inference.release import ReleasedModel
from app.proving.pool import Limits, ProverPool
from app.settings import Settings
from app.types import Keys

OBSERVATION = tuple((index * 37) % 257 - 128 for index in range(INPUTS))


@pytest.fixture(scope="module")
def pool() -> Iterator[ProverPool]:
    with ProverPool(1, Limits()) as pool:
        yield pool


@pytest.fixture(scope="module")
def keys(pool: ProverPool, settings: Settings, model: ReleasedModel) -> Keys:
    return pool.serving_keys(settings.var_dir, model.circuit)


def test_proof__is_bound_to_its_inputs_and_outputs(pool: ProverPool, keys: Keys) -> None:
    proof = pool.prove(keys, OBSERVATION)
    assert pool.verify(keys, proof.proof, proof.instances)
    assert proof.commitment == proof.proof[:64] == pool.commit(keys, OBSERVATION)
    assert proof.commitment != pool.commit(keys, (1, *OBSERVATION[1:]))


@pytest.mark.parametrize("place", [0, 63, 64, 1000, -1])
def test_proof__with_one_changed_byte__does_not_verify(pool: ProverPool, keys: Keys, place: int) -> None:
    proof = pool.prove(keys, OBSERVATION)
    changed = bytearray(proof.proof)
    changed[place] ^= 1
    assert not pool.verify(keys, bytes(changed), proof.instances)


def test_proof__with_bytes_after_its_end__does_not_verify(pool: ProverPool, keys: Keys) -> None:
    proof = pool.prove(keys, OBSERVATION)
    assert not pool.verify(keys, proof.proof + b"\0", proof.instances)
    assert not pool.verify(keys, proof.proof[:-1], proof.instances)


def test_proof__with_another_output__does_not_verify(pool: ProverPool, keys: Keys) -> None:
    proof = pool.prove(keys, OBSERVATION)
    first, *rest = proof.instances
    assert not pool.verify(keys, proof.proof, (first + 1, *rest))


def test_observation_of_the_wrong_length__is_refused_with_a_reason(pool: ProverPool, keys: Keys) -> None:
    with pytest.raises(ProvingFailed, match="ezkl"):
        pool.prove(keys, OBSERVATION[:-1])


def test_worker_killed_in_the_middle__is_reported_and_replaced(pool: ProverPool, keys: Keys) -> None:
    (victim,) = pool.process_ids()
    os.kill(victim, signal.SIGSTOP)  # so that the proof cannot be done before it is killed
    killer = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
    killer.start()
    with pytest.raises(ProverDied, match="-9"):
        pool.prove(keys, OBSERVATION)
    killer.join()
    assert pool.process_ids() != [victim]
    assert pool.prove(keys, OBSERVATION).proof


def test_worker_that_hangs__is_killed_at_the_time_limit(keys: Keys) -> None:
    with ProverPool(1, Limits(time_s=1)) as pool:
        (victim,) = pool.process_ids()
        os.kill(victim, signal.SIGSTOP)
        with pytest.raises(ProofTimedOut):
            pool.prove(keys, OBSERVATION)
        assert not psutil.pid_exists(victim)
        assert len(pool.process_ids()) == 1


def test_stop__ends_a_proof_under_way_and_every_worker(keys: Keys) -> None:
    pool = ProverPool(2, Limits())
    workers = pool.process_ids()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    ended: list[BaseException] = []

    def prove() -> None:
        try:
            pool.prove(keys, OBSERVATION)
        except ProverDied as error:
            ended.append(error)

    thread = threading.Thread(target=prove)
    thread.start()
    time.sleep(0.2)
    pool.stop()
    thread.join(5)
    assert len(ended) == 1
    assert not any(psutil.pid_exists(worker) for worker in workers)


def test_damaged_key__is_built_again(pool: ProverPool, keys: Keys, settings: Settings) -> None:
    whole = keys.pk.read_bytes()
    keys.pk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = pool.serving_keys(settings.var_dir, keys.circuit)
    assert again.pk.read_bytes() == whole
    assert again.vk_hash == keys.vk_hash


def test_keys__under_an_srs_that_is_not_here__are_none(pool: ProverPool, keys: Keys, settings: Settings) -> None:
    assert pool.keys_for_srs(settings.var_dir, keys.circuit, "0" * 64) is None
    found = pool.keys_for_srs(settings.var_dir, keys.circuit, keys.srs_hash)
    assert found is not None
    assert dataclasses.astuple(found) == dataclasses.astuple(keys)
