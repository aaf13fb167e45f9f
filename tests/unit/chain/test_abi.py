from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from app.chain.abi import CONTRACTS, contract_abi, decode_answer, encode_call, entry, input_types, signature

WORD = bytes(range(32))
ADDRESS = "0x" + "11" * 20


@pytest.mark.parametrize("name", CONTRACTS)
def test_abi__of_each_contract__ships_with_the_package(name: str) -> None:
    kinds = {found["type"] for found in contract_abi(name)}
    assert {"constructor", "function"} <= kinds


def test_signature__of_nested_structures__is_what_the_selector_hashes() -> None:
    submit = entry(contract_abi("VolatilityOracle"), "function", "submit")
    update = "(bytes32,uint64,bytes32,bytes32,bytes,uint256[],(address,bytes32,bytes32)[])"
    assert signature(submit) == f"submit({update})"


def test_entry__that_is_not_there__is_a_key_error() -> None:
    with pytest.raises(KeyError, match="function launch"):
        entry(contract_abi("ModelRegistry"), "function", "launch")


def test_call__with_a_structure__is_encoded_with_its_selector() -> None:
    model = (ADDRESS, ADDRESS, 10, 27, WORD, WORD, WORD, WORD)
    call = encode_call("ModelRegistry", "propose", WORD, model, [WORD])
    kinds = input_types(entry(contract_abi("ModelRegistry"), "function", "propose"))
    assert call[:4] == keccak(text=f"propose({','.join(kinds)})")[:4]
    assert call[4:] == encode(kinds, [WORD, model, [WORD]])


def test_answer__of_several_values__is_decoded() -> None:
    answer = encode(["uint64", "uint64", "uint64"], [3, 1_757_937_600, 32])
    assert decode_answer("VolatilityOracle", "feedState", answer) == (3, 1_757_937_600, 32)
