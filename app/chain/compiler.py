"""Solidity to bytecode, with the compiler that npm installs under `contracts/`."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ChainError, ToolMissing

_TIME_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Contract:
    """A compiled contract: its ABI and creation bytecode."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str


def node_tool(contracts_dir: Path, pattern: str) -> Path:
    """A program under `contracts/node_modules`. Raises `ToolMissing` with how to get it."""
    found = sorted((contracts_dir / "node_modules").glob(pattern))
    if not found:
        raise ToolMissing(
            f"{contracts_dir}/node_modules has no {pattern.rsplit('/', 1)[-1]}: run `make setup` "
            "(it needs Node 20 or newer with npm)"
        )
    return found[0]


def compile_contract(contracts_dir: Path, source: Path, name: str) -> Contract:
    """Contract ``name`` of one Solidity file without imports.

    Raises `ToolMissing` when npm's compiler is not installed and `ChainError` with the compiler's own complaint.
    """
    solc = node_tool(contracts_dir, ".bin/solcjs")
    if shutil.which("node") is None:
        raise ToolMissing("node is not on the PATH: install Node 20 or newer")
    request = {
        "language": "Solidity",
        "sources": {source.name: {"content": source.read_text()}},
        "settings": {
            "optimizer": {"enabled": True, "runs": 1_000_000},
            "evmVersion": "cancun",
            "metadata": {"bytecodeHash": "none"},
            "outputSelection": {"*": {name: ["abi", "evm.bytecode.object"]}},
        },
    }
    return _contract(*_run(solc, json.dumps(request)), source, name)


def _run(solc: Path, request: str) -> tuple[str, str]:
    """What the compiler says on its outputs.

    It is given files: from a pipe node may find nothing to read yet and give up, and into one it writes no more than
    the pipe holds before it ends.
    """
    with tempfile.TemporaryFile("w+") as asked, tempfile.TemporaryFile("w+") as said:
        asked.write(request)
        asked.seek(0)
        command = [str(solc), "--standard-json"]
        try:
            done = subprocess.run(
                command, stdin=asked, stdout=said, stderr=subprocess.PIPE, text=True, check=False, timeout=_TIME_LIMIT_S
            )
        except subprocess.TimeoutExpired as error:
            raise ChainError(f"the Solidity compiler gave no answer within {_TIME_LIMIT_S} s") from error
        said.seek(0)
        return said.read(), done.stderr


def _contract(said: str, complaints: str, source: Path, name: str) -> Contract:
    # npm's solc may print a line about SMT solvers before the JSON.
    start = said.find("{")
    try:
        answer = json.loads(said[start:]) if start >= 0 else None
    except ValueError:
        answer = None
    if answer is None:
        raise ChainError(f"the Solidity compiler failed: {complaints.strip()[:300] or 'its answer is cut short'}")
    errors = [entry["message"] for entry in answer.get("errors", ()) if entry["severity"] == "error"]
    if errors:
        raise ChainError(f"{source.name} does not compile: {errors[0][:300]}")
    compiled = answer["contracts"][source.name][name]
    return Contract(name=name, abi=compiled["abi"], bytecode="0x" + compiled["evm"]["bytecode"]["object"])
