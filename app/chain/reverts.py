"""Why a contract reverted, in words: revert data decoded by the errors that our contracts declare."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from app.chain.abi import CONTRACTS, Abi, contract_abi, input_types, signature

_SELECTOR_BYTES = 4
_SHOWN_BYTES = 100
_BUILT_IN: Abi = [
    {"type": "error", "name": "Error", "inputs": [{"name": "reason", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
]


def explain(data: bytes | str) -> str:
    """``WindowTooOld(windowEnd=…, earliestAllowed=…)``; the data in hex when no error of ours fits."""
    raw = _raw(data)
    error = _errors().get(raw[:_SELECTOR_BYTES])
    if error is None:
        return _hex(raw)
    try:
        values = decode(input_types(error), raw[_SELECTOR_BYTES:])
    except (DecodingError, OverflowError):
        return _hex(raw)
    shown = (_argument(given, value) for given, value in zip(error["inputs"], values, strict=True))
    return f"{error['name']}({', '.join(shown)})"


def error_name(data: bytes | str) -> str | None:
    """The error's name alone, none when no error of ours fits."""
    error = _errors().get(_raw(data)[:_SELECTOR_BYTES])
    return str(error["name"]) if error else None


@cache
def _errors() -> Mapping[bytes, dict[str, Any]]:
    declared = [entry for name in CONTRACTS for entry in contract_abi(name) if entry["type"] == "error"]
    return {keccak(text=signature(error))[:_SELECTOR_BYTES]: error for error in [*declared, *_BUILT_IN]}


def _raw(data: bytes | str) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return bytes.fromhex(data.removeprefix("0x"))
    except ValueError:
        return b""


def _hex(raw: bytes) -> str:
    if not raw:
        return "no reason given"
    return f"0x{raw[:_SHOWN_BYTES].hex()}{'…' * (len(raw) > _SHOWN_BYTES)}"


def _argument(given: Mapping[str, Any], value: Any) -> str:
    if isinstance(value, bytes):
        value = f"0x{value.hex()}"
    elif given["type"] == "address":
        value = to_checksum_address(value)
    return f"{given['name']}={value}" if given["name"] else str(value)
