"""Solidity to bytecode, with the compiler that npm installs under `contracts/` and the settings of `foundry.toml`.

The settings leave no trace of where a contract was compiled, so the code is forge's and the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from app.errors import ChainError, Misconfigured, ToolMissing

_TIME_LIMIT_S = 120
_IMPORT = re.compile(r"""^\s*import\b[^"';]*["']([^"']+)["']\s*(?:as\s+\w+\s*)?;""", re.MULTILINE)
_SELECTION = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences"]


@dataclass(frozen=True, slots=True)
class Contract:
    """A compiled contract: its ABI, creation bytecode, and the code that it has on a chain (hex with 0x)."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    runtime: str = "0x"
    """With zeros in the places of immutables."""
    immutables: Mapping[str, list[int]] = field(default_factory=dict)
    """For each immutable by its name, the offsets in `runtime` where its 32 bytes go."""


def node_tool(contracts_dir: Path, pattern: str) -> Path:
    """A program under `contracts/node_modules`. Raises `ToolMissing` with how to get it."""
    found = sorted((contracts_dir / "node_modules").glob(pattern))
    if not found:
        raise ToolMissing(
            f"{contracts_dir}/node_modules has no {pattern.rsplit('/', 1)[-1]}: run `make setup` "
            "(it needs Node 20 or newer with npm)"
        )
    return found[0]


def compile_contract(contracts_dir: Path, source: Path, name: str, cache: Path | None = None) -> Contract:
    """Contract ``name`` of one Solidity file without imports, such as a generated verifier.

    Raises `ToolMissing` when npm's compiler is not installed and `ChainError` with the compiler's own complaint.
    """
    solc = node_tool(contracts_dir, ".bin/solcjs")
    return _compiled(solc, _request(contracts_dir, {source.name: source.read_text()}, {source.name: [name]}), cache)[
        name
    ]


def compile_project(contracts_dir: Path, names: Iterable[str], cache: Path | None = None) -> dict[str, Contract]:
    """The project's contracts ``names``, each of the file under ``src`` that has its name.

    What was compiled before is read from the folder ``cache``, as long as neither sources nor settings nor the compiler
    changed. Raises like `compile_contract`.
    """
    solc = node_tool(contracts_dir, ".bin/solcjs")
    files = {f"src/{name}.sol": [name] for name in names}
    settings = _foundry(contracts_dir)
    return _compiled(
        solc, _request(contracts_dir, _sources(contracts_dir, files, settings["remappings"]), files), cache
    )


def _foundry(contracts_dir: Path) -> dict[str, Any]:
    path = contracts_dir / "foundry.toml"
    try:
        profile: dict[str, Any] = tomllib.loads(path.read_text())["profile"]["default"]
        return {
            "remappings": profile["remappings"],
            "optimizer": {"enabled": profile["optimizer"], "runs": profile["optimizer_runs"]},
            "metadata": {"bytecodeHash": profile["bytecode_hash"], "appendCBOR": profile["cbor_metadata"]},
            "evmVersion": profile["evm_version"],
            "viaIR": profile.get("via_ir", False),
        }
    except (OSError, ValueError, KeyError) as error:
        raise Misconfigured(f"{path} cannot be read: {type(error).__name__} {error}") from error


def _request(contracts_dir: Path, sources: Mapping[str, str], wanted: Mapping[str, list[str]]) -> str:
    outputs: dict[str, dict[str, list[str]]] = {
        file: dict.fromkeys(names, _SELECTION) for file, names in wanted.items()
    }
    # Immutables are referred to by a number of the syntax tree: only that knows their names.
    outputs["*"] = {"": ["ast"]}
    return json.dumps(
        {
            "language": "Solidity",
            "sources": {file: {"content": text} for file, text in sources.items()},
            "settings": {**_foundry(contracts_dir), "outputSelection": outputs},
        },
        sort_keys=True,
    )


def _sources(contracts_dir: Path, files: Iterable[str], remappings: list[str]) -> dict[str, str]:
    """The files and all that they import, by path under ``contracts_dir``. The compiler complains of the missing."""
    targets = [entry.partition("=")[::2] for entry in remappings]
    found: dict[str, str] = {}
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        path = contracts_dir / file
        if file not in found and path.is_file():
            found[file] = path.read_text()
            waiting += [_resolved(name, file, targets) for name in _IMPORT.findall(found[file])]
    return found


def _resolved(name: str, importer: str, remappings: Iterable[tuple[str, ...]]) -> str:
    if name.startswith("."):
        return os.path.normpath(PurePosixPath(importer).parent / name)
    return next((there + name.removeprefix(here) for here, there in remappings if name.startswith(here)), name)


def _compiled(solc: Path, request: str, cache: Path | None) -> dict[str, Contract]:
    if cache is None:
        return _contracts(*_run(solc, request))
    version = json.loads((solc.resolve().parent / "package.json").read_text())["version"]
    kept = cache / f"{hashlib.sha256((version + request).encode()).hexdigest()}.json"
    contracts = _read_kept(kept)
    if contracts is None:
        contracts = _contracts(*_run(solc, request))
        _keep(kept, contracts)
    return contracts


def _read_kept(path: Path) -> dict[str, Contract] | None:
    """What is kept under ``path``; none when it is not there, or not as it was written."""
    try:
        kept = json.loads(path.read_text())
        body = kept["contracts"]
        if kept["sha256"] != _digest(body):
            return None
        return {name: Contract(**fields) for name, fields in body.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(path: Path, contracts: Mapping[str, Contract]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {name: asdict(contract) for name, contract in contracts.items()}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
        json.dump({"sha256": _digest(body), "contracts": body}, file)
    Path(file.name).replace(path)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _run(solc: Path, request: str) -> tuple[str, str]:
    """What the compiler says on its outputs.

    It is given files: from a pipe node may find nothing to read yet and give up, and into one it writes no more than
    the pipe holds before it ends.
    """
    if shutil.which("node") is None:
        raise ToolMissing("node is not on the PATH: install Node 20 or newer")
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


def _contracts(said: str, complaints: str) -> dict[str, Contract]:
    # npm's solc may print a line about SMT solvers before the JSON.
    start = said.find("{")
    try:
        answer = json.loads(said[start:]) if start >= 0 else None
    except ValueError:
        answer = None
    if answer is None:
        raise ChainError(f"the Solidity compiler failed: {complaints.strip()[:300] or 'its answer is cut short'}")
    for entry in answer.get("errors", ()):
        if entry["severity"] == "error":
            file = entry.get("sourceLocation", {}).get("file", "the request")
            raise ChainError(f"{file} does not compile: {entry['message'][:300]}")
    names = {number: name for source in answer["sources"].values() for number, name in _immutables(source["ast"])}
    return {
        name: _contract(name, compiled, names)
        for file in answer["contracts"].values()
        for name, compiled in file.items()
    }


def _immutables(node: Any) -> Iterator[tuple[str, str]]:
    """Number and name of every immutable that a syntax tree declares."""
    for contract in node["nodes"]:
        for member in contract.get("nodes", ()):
            if member.get("mutability") == "immutable":
                yield str(member["id"]), member["name"]


def _contract(name: str, compiled: Mapping[str, Any], names: Mapping[str, str]) -> Contract:
    evm = compiled["evm"]
    places = evm["deployedBytecode"].get("immutableReferences", {})
    return Contract(
        name=name,
        abi=compiled["abi"],
        bytecode="0x" + evm["bytecode"]["object"],
        runtime="0x" + evm["deployedBytecode"]["object"],
        immutables={names[number]: [place["start"] for place in found] for number, found in places.items()},
    )
