"""Proofs from elsewhere, honest and not, checked by real keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from app.errors import ProofRejected, ProverUnavailable
from app.features.variation import INPUTS
from app.inference.release import ReleasedModel
from app.proving.checked import CheckedProver
from app.proving.pool import Limits, ProverPool
from app.settings import Settings
from app.types import Keys, PredictionId, Proof

OBSERVATION = tuple((index * 37) % 257 - 128 for index in range(INPUTS))
Change = Callable[[Proof], Proof]


class Elsewhere:
    """A prover that is not ours: it hands over what it likes."""

    slots = 4
    patience_s = 40.0

    def __init__(self, made: Proof, change: Change = lambda proof: proof) -> None:
        self._made = made
        self._change = change
        self.stopped = False

    def prove(self, keys: Keys, observation: Sequence[int]) -> Proof:
        return self._change(self._made)

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture(scope="module")
def pool() -> Iterator[ProverPool]:
    with ProverPool(1, Limits(time_s=20)) as pool:
        yield pool


@pytest.fixture(scope="module")
def keys(pool: ProverPool, settings: Settings, model: ReleasedModel) -> Keys:
    return pool.serving_keys(settings.var_dir, model.circuit)


@pytest.fixture(scope="module")
def honest(pool: ProverPool, keys: Keys) -> Proof:
    return pool.prove(keys, OBSERVATION)


@pytest.fixture(scope="module")
def of_other_inputs(pool: ProverPool, keys: Keys) -> Proof:
    return pool.prove(keys, (OBSERVATION[0] + 1, *OBSERVATION[1:]))


def flipped(proof: Proof, place: int) -> Proof:
    changed = bytearray(proof.proof)
    changed[place] ^= 1
    return replace(proof, proof=bytes(changed), commitment=bytes(changed[:64]))


def test_prove__honest__is_what_the_other_made(pool: ProverPool, keys: Keys, honest: Proof) -> None:
    assert CheckedProver(Elsewhere(honest), pool).prove(keys, OBSERVATION) == honest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda proof: replace(proof, vk_hash="00" * 32), "other keys"),
        (lambda proof: replace(proof, srs_hash="00" * 32), "other keys"),
        (lambda proof: flipped(proof, 1_000), "does not verify"),
        (lambda proof: flipped(proof, 3), "does not verify"),
        (lambda proof: replace(proof, proof=proof.proof + b"\0"), "does not verify"),
        (lambda proof: replace(proof, proof=b"", commitment=b""), "does not verify"),
        (lambda proof: replace(proof, instances=(proof.instances[0] + 1, *proof.instances[1:])), "does not verify"),
        (lambda proof: replace(proof, instances=proof.instances[:-1]), "does not verify"),
        (lambda proof: replace(proof, instances=()), "does not verify"),
        (lambda proof: replace(proof, commitment=bytes(64)), "other inputs"),
        (lambda proof: replace(proof, commitment=b""), "other inputs"),
    ],
    ids=[
        "another vk",
        "another SRS",
        "a changed byte",
        "a changed commitment",
        "a byte more",
        "nothing",
        "another output",
        "an output less",
        "no outputs",
        "another commitment beside it",
        "no commitment beside it",
    ],
)
def test_prove__not_honest__is_rejected(
    pool: ProverPool, keys: Keys, honest: Proof, change: Change, words: str
) -> None:
    with pytest.raises(ProofRejected, match=words):
        CheckedProver(Elsewhere(honest, change), pool).prove(keys, OBSERVATION)


def test_prove__a_sound_proof_of_other_inputs__is_rejected(
    pool: ProverPool, keys: Keys, of_other_inputs: Proof
) -> None:
    with pytest.raises(ProofRejected, match="other inputs"):
        CheckedProver(Elsewhere(of_other_inputs), pool).prove(keys, OBSERVATION)


def test_prove__says_nothing_of_whom_it_was_proved_with__whatever_the_other_says(
    pool: ProverPool, keys: Keys, honest: Proof
) -> None:
    claims = {"members": (PredictionId("ab" * 16), None), "slot": 1}
    proof = CheckedProver(Elsewhere(honest, lambda proof: replace(proof, **claims)), pool).prove(keys, OBSERVATION)
    assert (proof.members, proof.slot, proof.outputs) == ((), 0, proof.instances)


def test_prove__the_other_is_away__says_so(pool: ProverPool, keys: Keys, honest: Proof) -> None:
    def away(_: Proof) -> Proof:
        raise ProverUnavailable("no scheduler answers")

    with pytest.raises(ProverUnavailable, match="no scheduler answers"):
        CheckedProver(Elsewhere(honest, away), pool).prove(keys, OBSERVATION)


def test_slots_and_patience__are_the_others_and_the_time_to_check_what_it_made(pool: ProverPool, honest: Proof) -> None:
    prover = CheckedProver(Elsewhere(honest), pool)
    assert (prover.slots, prover.patience_s) == (4, 40 + 2 * 20)


def test_stop__lets_go_of_the_other_and_leaves_our_own_processes(pool: ProverPool, keys: Keys, honest: Proof) -> None:
    elsewhere = Elsewhere(honest)
    CheckedProver(elsewhere, pool).stop()
    assert elsewhere.stopped
    assert pool.commit(keys, OBSERVATION)
