from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from app.chain.build import NO_SALT, create2_address, part
from app.chain.compiler import Contract
from app.errors import ChainError

ORACLE = "0x" + "11" * 20
FEED = Contract(
    name="Feed",
    abi=[
        {
            "type": "constructor",
            "inputs": [{"name": "oracle_", "type": "address"}, {"name": "maxAge_", "type": "uint256"}],
        }
    ],
    bytecode="0x6001",
    runtime="0x" + "00" * 32 + "fe" + "00" * 64,
    immutables={"oracle": [0, 65], "maxAge": [33]},
)


def test_part__has_its_arguments_behind_the_creation_code() -> None:
    assert part(FEED, ORACLE, 7200, chain_id=1).creation == b"\x60\x01" + encode(["address", "uint256"], [ORACLE, 7200])


def test_part__has_its_immutables_in_every_place_of_its_code() -> None:
    oracle, max_age = encode(["address"], [ORACLE]), encode(["uint256"], [7200])
    assert part(FEED, ORACLE, 7200, chain_id=1).runtime == oracle + b"\xfe" + max_age + oracle


def test_part__with_an_immutable_of_unknown_value__is_refused() -> None:
    with pytest.raises(ChainError, match="Feed has an immutable, colour, whose value is not known"):
        part(replace(FEED, immutables={"colour": [0]}), ORACLE, 7200, chain_id=1)


def test_part__knows_the_domain_that_a_contract_keeps_in_its_code() -> None:
    names = ["_cachedThis", "_cachedChainId", "_name"]
    places = {name: [32 * place] for place, name in enumerate(names)}
    made = part(replace(FEED, runtime="0x" + "00" * 96, immutables=places), ORACLE, 7200, chain_id=31337)
    assert made.runtime[:64] == encode(["address", "uint256"], [made.address, 31337])
    assert made.runtime[64:] == b"VeriRegime".ljust(31, b"\0") + b"\x0a"


def test_address__follows_from_creation_code_and_salt() -> None:
    deployer = bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c")
    word = keccak(b"\xff" + deployer + NO_SALT + keccak(b"\x60\x01"))
    assert create2_address(b"\x60\x01").lower() == "0x" + word[12:].hex()
    assert create2_address(b"\x60\x01", b"\x01" * 32) != create2_address(b"\x60\x01")


def test_part__with_a_purpose__is_labelled_with_it() -> None:
    assert part(FEED, ORACLE, 1, chain_id=1, purpose="btc-usdt-4h").label == "Feed btc-usdt-4h"
