"""Calldata of updates, read back by the ABI that the oracle was compiled to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import decode
from eth_utils.crypto import keccak

from app.chain.abi import contract_abi, entry, input_types, signature
from app.chain.attestation import feed_id
from app.chain.updates import SUBMIT_GAS, SUBMIT_JOINT_GAS, gas_limit, update_calldata
from app.types import SCALAR_FIELD, AttesterSignature, Claim, ModelId, Proof

END_MS = 1_757_937_600_000
SINGLE = Claim((("btc-usdt-4h", END_MS),), ModelId("ab" * 32), b"\7" * 32, joint=False)
JOINT = replace(SINGLE, windows=(("btc-usdt-4h", END_MS), ("eth-usdt-4h", END_MS - 60_000)), joint=True)
SIGNATURES = [AttesterSignature("0x" + f"{number:02x}" * 20, b"\3" * 32, b"\4" * 32) for number in (1, 2)]


def read(calldata: bytes, function: str) -> dict[str, Any]:
    """What the call gives for each field of its update, by the names that the oracle has for them."""
    found = entry(contract_abi("VolatilityOracle"), "function", function)
    assert calldata[:4] == keccak(text=signature(found))[:4]
    ((*values,),) = decode(input_types(found), calldata[4:])
    names = [part["name"] for part in found["inputs"][0]["components"]]
    return dict(zip(names, values, strict=True))


def test_single__read_by_the_oracle__is_what_was_claimed_proved_and_signed(make_proof: Callable[..., Proof]) -> None:
    proof = make_proof()
    assert read(update_calldata(SINGLE, proof, SIGNATURES), "submit") == {
        "feedId": feed_id("btc-usdt-4h"),
        "windowEnd": END_MS // 1000,
        "modelId": bytes.fromhex(SINGLE.model_id),
        "inputCommitment": SINGLE.input_commitment,
        "proof": proof.proof,
        "outputs": tuple(value % SCALAR_FIELD for value in proof.instances),
        "signatures": tuple((one.signer, one.r, one.vs) for one in SIGNATURES),
    }


def test_joint__read_by_the_oracle__has_its_windows_in_order(make_proof: Callable[..., Proof]) -> None:
    proof = make_proof(instances=tuple(range(30)))
    found = read(update_calldata(JOINT, proof, SIGNATURES[:1]), "submitJoint")
    assert found["windows"] == ((feed_id("btc-usdt-4h"), END_MS // 1000), (feed_id("eth-usdt-4h"), END_MS // 1000 - 60))
    assert found["outputs"] == tuple(range(30))
    assert [signer for signer, *_ in found["signatures"]] == [SIGNATURES[0].signer]


def test_joint__of_one_window__goes_to_the_joint_function(make_proof: Callable[..., Proof]) -> None:
    alone = replace(JOINT, windows=JOINT.windows[:1])
    assert len(read(update_calldata(alone, make_proof(), SIGNATURES), "submitJoint")["windows"]) == 1


@pytest.mark.parametrize(
    ("value", "word"),
    [(0, 0), (2**40, 2**40), (-1, SCALAR_FIELD - 1), (-(2**40), SCALAR_FIELD - 2**40)],
)
def test_outputs__are_field_elements(make_proof: Callable[..., Proof], value: int, word: int) -> None:
    assert read(update_calldata(SINGLE, make_proof(instances=(value,)), []), "submit")["outputs"] == (word,)


def test_gas_limit__covers_what_an_update_costs() -> None:
    """The most that the issue allows, with half as much again for colder slots and more signers."""
    assert (gas_limit(SINGLE), gas_limit(JOINT)) == (SUBMIT_GAS, SUBMIT_JOINT_GAS)
    assert SUBMIT_GAS >= 1.4 * 560_000
    assert SUBMIT_JOINT_GAS >= 1.5 * 750_000
