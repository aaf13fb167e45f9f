"""Interfaces of the project's contracts, kept beside this file: an installed package has no `contracts/` folder.

`veriregime contracts abi` writes them anew after a contract has changed.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

CONTRACTS = ("AttesterSet", "ModelRegistry", "VolatilityOracle", "VolatilityFeed")
FOLDER = Path(__file__).with_name("abi")

Abi = list[dict[str, Any]]


@cache
def contract_abi(name: str) -> Abi:
    """The ABI of one of `CONTRACTS`, its errors and those of its libraries included. Not to be changed."""
    abi: Abi = json.loads((FOLDER / f"{name}.json").read_text())
    return abi


def entry(abi: Abi, kind: str, name: str = "") -> dict[str, Any]:
    """The function, event or error ``name``, or the constructor. Raises `KeyError` when there is none."""
    for found in abi:
        if found["type"] == kind and found.get("name", "") == name:
            return found
    raise KeyError(f"{kind} {name}")


def input_types(entry: dict[str, Any]) -> list[str]:
    """Types of what a function, an error or a constructor takes, as signatures and `eth_abi` write them."""
    return [_type(given) for given in entry["inputs"]]


def signature(entry: dict[str, Any]) -> str:
    """``name(type,type)``: what a selector is the hash of."""
    return f"{entry['name']}({','.join(input_types(entry))})"


def encode_call(contract: str, function: str, *arguments: Any) -> bytes:
    """Calldata of a call of one of `CONTRACTS`; structures are given as tuples."""
    found = entry(contract_abi(contract), "function", function)
    return bytes(keccak(text=signature(found))[:4] + encode(input_types(found), arguments))


def decode_answer(contract: str, function: str, answer: bytes) -> tuple[Any, ...]:
    """What a call answered, one value for each that the function returns. Raises `DecodingError`."""
    found = entry(contract_abi(contract), "function", function)
    return decode([_type(given) for given in found["outputs"]], answer)


def abi_text(abi: Abi) -> str:
    """How an ABI is written to its file."""
    return json.dumps(abi, indent=1, sort_keys=True) + "\n"


def _type(given: dict[str, Any]) -> str:
    kind = str(given["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_type(part) for part in given["components"])
    return f"({inner}){kind.removeprefix('tuple')}"
