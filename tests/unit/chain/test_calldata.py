from __future__ import annotations

from collections.abc import Callable

import pytest
from eth_abi.abi import decode

from app.chain.calldata import verify_calldata
from app.types import SCALAR_FIELD, Proof

SELECTOR = "1e8e1e13"


def arguments(calldata: str) -> tuple[bytes, tuple[int, ...]]:
    proof, instances = decode(["bytes", "uint256[]"], bytes.fromhex(calldata[2:])[4:])
    return proof, instances


def test_verify_calldata__begins_with_the_selector_of_verify_proof(make_proof: Callable[..., Proof]) -> None:
    assert verify_calldata(make_proof())[:10] == "0x" + SELECTOR


@pytest.mark.parametrize("length", [0, 1, 31, 32, 2080])
def test_verify_calldata__decoded__gives_the_proof_back(make_proof: Callable[..., Proof], length: int) -> None:
    proof = bytes(index % 251 for index in range(length))
    assert arguments(verify_calldata(make_proof(proof=proof)))[0] == proof


def test_verify_calldata__decoded__gives_positive_instances_back(make_proof: Callable[..., Proof]) -> None:
    assert arguments(verify_calldata(make_proof(instances=(0, 1, 2**40))))[1] == (0, 1, 2**40)


def test_verify_calldata__negative_instance__is_its_complement_in_the_field(make_proof: Callable[..., Proof]) -> None:
    found = arguments(verify_calldata(make_proof(instances=(-1, -(2**40)))))[1]
    assert found == (SCALAR_FIELD - 1, SCALAR_FIELD - 2**40)
