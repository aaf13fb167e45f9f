"""What the deployed oracle refuses, each by its own error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_abi.abi import decode
from eth_utils.crypto import keccak

from app.chain.abi import encode_call
from app.chain.account import Account
from app.chain.attestation import feed_id, input_commitment, sign
from app.chain.build import Build
from app.inference.release import ReleasedModel
from app.proving.pool import ProverPool
from app.settings import Settings
from app.types import SCALAR_FIELD, AttesterSignature, Claim, Keys, ModelId, OracleAt, Proof

FEED, OTHER_FEED = "btc-usdt-4h", "eth-usdt-4h"
SECOND_MODEL = ModelId(keccak(text="the same circuit, another reference string").hex())
MAX_SKEW_S, SUBMISSION_LIMIT_S = 30, 900

Signatures = Callable[..., list[AttesterSignature]]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of ``submit``, of which anything can be changed."""

    claim: Claim
    proof: bytes
    outputs: tuple[int, ...]
    signatures: tuple[AttesterSignature, ...]

    @property
    def data(self) -> bytes:
        (feed, end_ms), claim = self.claim.windows[0], self.claim
        return encode_call(
            "VolatilityOracle",
            "submit",
            (
                feed_id(feed),
                end_ms // 1000,
                bytes.fromhex(claim.model_id),
                claim.input_commitment,
                self.proof,
                self.outputs,
                [(one.signer, one.r, one.vs) for one in self.signatures],
            ),
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """A good update, another window's, and the means to change them."""

    good: Call
    other: Call
    oracle: OracleAt
    attesters: Sequence[Account]

    def signed(self, call: Call, *, over: Claim | None = None, oracle: OracleAt | None = None) -> Call:
        """The call with two attesters' signatures over its claim, or over something else."""
        made = [sign(one, oracle or self.oracle, over or call.claim) for one in self.attesters[:2]]
        return replace(call, signatures=tuple(made))

    def claiming(self, **fields: Any) -> Call:
        """The good update with another claim, signed."""
        call = replace(self.good, claim=replace(self.good.claim, **fields))
        return self.signed(call)

    def signed_over(self, **fields: Any) -> Call:
        """The good update with signatures over another claim."""
        return self.signed(self.good, over=replace(self.good.claim, **fields))

    def signed_for(self, **fields: Any) -> Call:
        return self.signed(self.good, oracle=replace(self.oracle, **fields))

    def with_output(self, index: int, value: int) -> Call:
        outputs = list(self.good.outputs)
        outputs[index] = value
        return replace(self.good, outputs=tuple(outputs))


@pytest.fixture
def bench(chain: Any, windows: list[Any], signatures: Signatures, attesters: list[Account]) -> Bench:
    def call(made: Any) -> Call:
        outputs = tuple(value % SCALAR_FIELD for value in made.proof.instances)
        return Call(made.claim, made.proof.proof, outputs, tuple(signatures(made.claim, chain.oracle)))

    return Bench(call(windows[0]), call(windows[1]), chain.oracle, attesters)


@pytest.fixture
def refused(chain: Any) -> Callable[[Call], tuple[str | None, str]]:
    """The error by which the oracle refuses a call, and its words."""

    def ask(call: Call) -> tuple[str | None, str]:
        answer = chain.call(chain.oracle.contract, call.data)
        return answer.error, answer.words

    return ask


@pytest.fixture
def publish(chain: Any) -> Callable[[Call], None]:
    def send(call: Call) -> None:
        assert chain.send(chain.oracle.contract, call.data).succeeded

    return send


@pytest.fixture(scope="module")
def second_model(
    prover: ProverPool, settings: Settings, model: ReleasedModel, tmp_path_factory: pytest.TempPathFactory
) -> Keys:
    """The released circuit under a reference string of its own: another verifying key, so another model."""
    return prover.serving_keys(tmp_path_factory.mktemp("second"), model.circuit)


@pytest.fixture(scope="module")
def second_proof(prover: ProverPool, second_model: Keys, windows: list[Any]) -> Proof:
    """Of the very inputs that the first model's proof is of."""
    return prover.prove(second_model, windows[0].observations[0])


@pytest.fixture
def register(chain: Any, build: Build, model: ReleasedModel, second_model: Keys) -> Callable[..., None]:
    """The second model, proposed for a feed with its own verifier and, unless told otherwise, activated."""

    def run(feed: str, *, activate: bool = True) -> None:
        registry, verifier = chain.deployment.registry, chain.create(build.verifier(second_model))
        hashes = [bytes.fromhex(text) for text in (second_model.srs_hash, second_model.vk_hash)]
        entry = (verifier, "0x" + "00" * 20, 0, model.output_scale, *hashes, bytes(32), bytes(32))
        chain.owned("ModelRegistry", registry, "propose", bytes.fromhex(SECOND_MODEL), entry, [feed_id(feed)])
        if activate:
            chain.owned("ModelRegistry", registry, "activate", bytes.fromhex(SECOND_MODEL))

    return run


@pytest.fixture
def of_second_model(bench: Bench, second_proof: Proof) -> Call:
    """An update of the second model, properly signed."""
    claim = replace(bench.good.claim, model_id=SECOND_MODEL, input_commitment=input_commitment(second_proof.proof))
    outputs = tuple(value % SCALAR_FIELD for value in second_proof.instances)
    return bench.signed(Call(claim, second_proof.proof, outputs, ()))


def test_submit__as_it_should_be__is_taken(bench: Bench, refused: Callable[[Call], Any]) -> None:
    assert refused(bench.good) == (None, "")
    assert refused(bench.other) == (None, "")


PROOFS: dict[str, tuple[str, Callable[[Bench], Call]]] = {
    "a byte of the proof flipped": (
        "ProofRejected",
        lambda b: replace(b.good, proof=b.good.proof[:1000] + bytes([b.good.proof[1000] ^ 1]) + b.good.proof[1001:]),
    ),
    "the last byte of the proof flipped": (
        "ProofRejected",
        lambda b: replace(b.good, proof=b.good.proof[:-1] + bytes([b.good.proof[-1] ^ 1])),
    ),
    "a byte of the commitment flipped": (
        "CommitmentMismatch",
        lambda b: replace(b.good, proof=bytes([b.good.proof[0] ^ 1]) + b.good.proof[1:]),
    ),
    "a proof of nothing but a commitment": ("ProofRejected", lambda b: replace(b.good, proof=b.good.proof[:64])),
    "a proof shorter than a commitment": ("ProofTooShort", lambda b: replace(b.good, proof=b.good.proof[:63])),
    "a byte too many": ("ProofRejected", lambda b: replace(b.good, proof=b.good.proof + b"\0")),
    "another window's proof": ("CommitmentMismatch", lambda b: replace(b.good, proof=b.other.proof)),
    "another window's proof with its outputs": (
        "CommitmentMismatch",
        lambda b: replace(b.good, proof=b.other.proof, outputs=b.other.outputs),
    ),
    "another window's proof, its commitment stated": (
        "InvalidSignature",
        lambda b: replace(
            b.other, claim=replace(b.other.claim, windows=b.good.claim.windows), signatures=b.good.signatures
        ),
    ),
    "another window's proof, its own signatures": (
        "InvalidSignature",
        lambda b: replace(b.other, claim=replace(b.other.claim, windows=b.good.claim.windows)),
    ),
    "the first output one unit larger": ("ProofRejected", lambda b: b.with_output(0, b.good.outputs[0] + 1)),
    "the last output one unit smaller": ("ProofRejected", lambda b: b.with_output(2, b.good.outputs[2] - 1)),
    "outputs in another order": (
        "ProofRejected",
        lambda b: replace(b.good, outputs=(b.good.outputs[1], b.good.outputs[0], b.good.outputs[2])),
    ),
    "another window's outputs": ("ProofRejected", lambda b: replace(b.good, outputs=b.other.outputs)),
    "an output left out": ("WrongOutputCount", lambda b: replace(b.good, outputs=b.good.outputs[:2])),
    "an output in its second form": (
        "NonCanonicalOutput",
        lambda b: b.with_output(1, b.good.outputs[1] % SCALAR_FIELD + SCALAR_FIELD),
    ),
    "the order of the field": ("NonCanonicalOutput", lambda b: b.with_output(0, SCALAR_FIELD)),
    "the largest word": ("NonCanonicalOutput", lambda b: b.with_output(2, 2**256 - 1)),
    "an output beyond any forecast": ("OutputOutOfRange", lambda b: b.with_output(2, SCALAR_FIELD // 2)),
    "a logit beyond any forecast": ("OutputOutOfRange", lambda b: b.with_output(0, SCALAR_FIELD - 2**40)),
}

SIGNATURES: dict[str, tuple[str, Callable[[Bench], Call]]] = {
    "none": ("TooFewSignatures", lambda b: replace(b.good, signatures=())),
    "one of two": ("TooFewSignatures", lambda b: replace(b.good, signatures=b.good.signatures[:1])),
    "the same twice": ("DuplicateSigner", lambda b: replace(b.good, signatures=b.good.signatures[:1] * 2)),
    "a third that repeats the first": (
        "DuplicateSigner",
        lambda b: replace(b.good, signatures=(*b.good.signatures, b.good.signatures[0])),
    ),
    "of an account that is no attester": (
        "UnknownSigner",
        lambda b: replace(
            b.good,
            signatures=(
                b.good.signatures[0],
                sign(Account.from_secret("0x" + "17" * 32, None, "attester"), b.oracle, b.good.claim),
            ),
        ),
    ),
    "of another attester than the one named": (
        "InvalidSignature",
        lambda b: replace(
            b.good, signatures=(b.good.signatures[0], replace(b.good.signatures[0], signer=b.attesters[2].address))
        ),
    ),
    "a bit of it changed": (
        "InvalidSignature",
        lambda b: replace(
            b.good,
            signatures=(
                b.good.signatures[0],
                replace(b.good.signatures[1], r=bytes([*b.good.signatures[1].r[:-1], b.good.signatures[1].r[-1] ^ 1])),
            ),
        ),
    ),
    "for another chain": ("InvalidSignature", lambda b: b.signed_for(chain_id=1)),
    "for another contract": ("InvalidSignature", lambda b: b.signed_for(contract="0x" + "11" * 20)),
    "for another feed": (
        "InvalidSignature",
        lambda b: b.signed_over(windows=((OTHER_FEED, b.good.claim.windows[0][1]),)),
    ),
    "for another window": ("InvalidSignature", lambda b: b.signed_over(windows=b.other.claim.windows)),
    "for another model": ("InvalidSignature", lambda b: b.signed_over(model_id=SECOND_MODEL)),
    "for another commitment": (
        "InvalidSignature",
        lambda b: b.signed_over(input_commitment=b.other.claim.input_commitment),
    ),
    "for a joint proof of this window": ("InvalidSignature", lambda b: b.signed_over(joint=True)),
}

MODELS: dict[str, tuple[str, Callable[[Bench], Call]]] = {
    "a model that nobody registered": ("ModelUnknown", lambda b: b.claiming(model_id=SECOND_MODEL)),
    "a feed that the model does not speak for": (
        "ModelNotOfFeed",
        lambda b: b.claiming(windows=(("doge-usdt-4h", b.good.claim.windows[0][1]),)),
    ),
}


@pytest.mark.parametrize("case", PROOFS)
def test_submit__proof_or_outputs_changed__is_refused(case: str, bench: Bench, refused: Callable[[Call], Any]) -> None:
    error, change = PROOFS[case]
    assert refused(change(bench))[0] == error


@pytest.mark.parametrize("case", SIGNATURES)
def test_submit__wrong_signatures__are_refused(case: str, bench: Bench, refused: Callable[[Call], Any]) -> None:
    error, change = SIGNATURES[case]
    assert refused(change(bench))[0] == error


@pytest.mark.parametrize("case", MODELS)
def test_submit__wrong_model__is_refused(case: str, bench: Bench, refused: Callable[[Call], Any]) -> None:
    error, change = MODELS[case]
    assert refused(change(bench))[0] == error


def test_submit__another_models_proof__is_refused(
    register: Callable[..., None],
    of_second_model: Call,
    bench: Bench,
    refused: Callable[[Call], Any],
) -> None:
    """It holds under its own verifier, and under no other."""
    register(OTHER_FEED)
    end_ms = bench.good.claim.windows[0][1]
    its_own = replace(of_second_model, claim=replace(of_second_model.claim, windows=((OTHER_FEED, end_ms),)))
    as_firsts = replace(of_second_model, claim=replace(of_second_model.claim, model_id=bench.good.claim.model_id))
    assert refused(bench.signed(its_own)) == (None, "")
    assert refused(bench.signed(as_firsts))[0] == "ProofRejected"
    assert refused(bench.claiming(model_id=SECOND_MODEL))[0] == "ModelNotOfFeed"


def test_submit__model_that_waits_to_be_activated__is_refused(
    register: Callable[..., None], of_second_model: Call, refused: Callable[[Call], Any]
) -> None:
    register(FEED, activate=False)
    assert refused(of_second_model)[0] == "ModelNotActive"


def test_submit__model_that_was_replaced__is_refused(
    register: Callable[..., None], of_second_model: Call, bench: Bench, refused: Callable[[Call], Any]
) -> None:
    register(FEED)
    assert refused(of_second_model) == (None, "")
    assert refused(bench.good)[0] == "ModelNotOfFeed"


def test_submit__frozen_model__is_refused(chain: Any, bench: Bench, refused: Callable[[Call], Any]) -> None:
    model = bytes.fromhex(bench.good.claim.model_id)
    chain.owned("ModelRegistry", chain.deployment.registry, "freeze", model)
    assert refused(bench.good)[0] == "ModelIsFrozen"


def test_submit__the_same_update_again__is_refused(
    bench: Bench, publish: Callable[[Call], None], refused: Callable[[Call], Any]
) -> None:
    publish(bench.good)
    assert refused(bench.good)[0] == "WindowAlreadyPublished"


def test_submit__after_a_later_window__is_refused(
    bench: Bench, publish: Callable[[Call], None], refused: Callable[[Call], Any]
) -> None:
    publish(bench.other)
    assert refused(bench.good)[0] == "WindowNotIncreasing"


def test_submit__window_in_the_future__is_refused(chain: Any, bench: Bench, refused: Callable[[Call], Any]) -> None:
    latest_s = chain.time_s() + MAX_SKEW_S
    # A second may pass between the two questions.
    beyond, within = (latest_s + 10) * 1000, latest_s * 1000
    assert refused(bench.claiming(windows=((FEED, beyond),)))[0] == "WindowInFuture"
    assert refused(bench.claiming(windows=((FEED, within),))) == (None, "")


def test_submit__window_too_long_ago__is_refused(chain: Any, bench: Bench, refused: Callable[[Call], Any]) -> None:
    end_s = bench.good.claim.windows[0][1] // 1000
    chain.pass_time(end_s + SUBMISSION_LIMIT_S - chain.time_s() - 5)
    assert refused(bench.good) == (None, "")
    chain.pass_time(10)
    assert refused(bench.good)[0] == "WindowTooOld"


def test_submit__refused_as_a_transaction__leaves_no_round(chain: Any, bench: Bench) -> None:
    flipped = PROOFS["a byte of the proof flipped"][1](bench)
    assert not chain.send(chain.oracle.contract, flipped.data).succeeded
    assert chain.published() == []
    assert chain.send(chain.oracle.contract, bench.good.data).succeeded
    assert [end_ms for end_ms, _ in chain.published()] == [bench.good.claim.windows[0][1]]


def test_refusal__says_what_is_wrong(bench: Bench, refused: Callable[[Call], Any]) -> None:
    stated, proof = bench.good.claim.input_commitment, input_commitment(bench.other.proof)
    _, words = refused(replace(bench.good, proof=bench.other.proof))
    assert words == f"CommitmentMismatch(stated=0x{stated.hex()}, ofProof=0x{proof.hex()})"
    _, words = refused(SIGNATURES["the same twice"][1](bench))
    assert words == f"DuplicateSigner(signer={bench.attesters[0].address})"


def test_forecast__of_a_frozen_model__is_not_read_as_fresh(
    chain: Any, bench: Bench, publish: Callable[[Call], None]
) -> None:
    publish(bench.good)
    latest = encode_call("VolatilityOracle", "latestForecast", feed_id(FEED))
    end_s = decode(["uint64", "uint64"], chain.call(chain.oracle.contract, latest).data[:64])[1]
    assert end_s * 1000 == bench.good.claim.windows[0][1]
    model = bytes.fromhex(bench.good.claim.model_id)
    chain.owned("ModelRegistry", chain.deployment.registry, "freeze", model)
    assert chain.call(chain.oracle.contract, latest).error == "ModelIsFrozen"
