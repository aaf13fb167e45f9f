from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from app.chain.reverts import error_name, explain

SIGNER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def reverted(signature: str, *values: object) -> bytes:
    kinds = signature.partition("(")[2].rstrip(")")
    return bytes(keccak(text=signature)[:4] + encode(kinds.split(",") if kinds else [], values))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (reverted("WindowTooOld(uint64,uint256)", 5, 6), "WindowTooOld(windowEnd=5, earliestAllowed=6)"),
        (reverted("OutputOutOfRange(uint256,int256)", 2, -7), "OutputOutOfRange(index=2, value=-7)"),
        (reverted("ModelIsFrozen(bytes32)", b"\xab" * 32), f"ModelIsFrozen(modelId=0x{'ab' * 32})"),
        (reverted("UnknownSigner(address)", SIGNER), f"UnknownSigner(signer={SIGNER})"),
        (reverted("ChangesAreFrozen()"), "ChangesAreFrozen()"),
        (reverted("OwnableUnauthorizedAccount(address)", SIGNER), f"OwnableUnauthorizedAccount(account={SIGNER})"),
        (reverted("Error(string)", "too late"), "Error(reason=too late)"),
        (reverted("Panic(uint256)", 17), "Panic(code=17)"),
    ],
)
def test_revert__by_an_error_of_ours_or_of_the_language__is_said_in_words(data: bytes, words: str) -> None:
    assert explain(data) == words
    assert explain("0x" + data.hex()) == words


def test_revert__by_an_unknown_error__is_shown_in_hex() -> None:
    assert explain("0xdeadbeef") == "0xdeadbeef"
    assert error_name("0xdeadbeef") is None


def test_revert__with_arguments_cut_short__is_shown_in_hex() -> None:
    data = reverted("WindowTooOld(uint64,uint256)", 5, 6)[:-1]
    assert explain(data) == "0x" + data.hex()


def test_revert__longer_than_a_line__is_cut() -> None:
    assert explain(b"\x01" * 200) == "0x" + "01" * 100 + "…"


@pytest.mark.parametrize("data", [b"", "0x", "execution reverted"])
def test_revert__without_data__has_no_reason(data: bytes | str) -> None:
    assert explain(data) == "no reason given"
    assert error_name(data) is None


def test_error_name__is_without_arguments() -> None:
    assert error_name(reverted("WindowTooOld(uint64,uint256)", 5, 6)) == "WindowTooOld"
