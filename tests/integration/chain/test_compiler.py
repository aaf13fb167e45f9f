"""The real compiler: the same code as forge's, kept once it is known."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from app.chain import compiler
from app.chain.abi import CONTRACTS, FOLDER, abi_text
from app.chain.compiler import compile_contract, compile_project, node_tool
from app.errors import ChainError, Misconfigured, ToolMissing
from app.settings import Settings

HEAD = "// SPDX-License-Identifier: MIT\npragma solidity ^0.8.24;\n"
SOURCE = f"""{HEAD}
import {{Two}} from "./Two.sol";
import "@openzeppelin/contracts/utils/Context.sol";
contract One is Two, Context {{ uint256 public immutable one; constructor(uint256 one_) {{ one = one_; }} }}
"""
IMPORTED = f"{HEAD}contract Two {{ uint256 public immutable two = 2; }}\n"


@pytest.fixture
def project(settings: Settings, tmp_path: Path) -> Path:
    """Two contracts of the test's own, with the settings and the packages of the real ones."""
    folder = tmp_path / "contracts"
    (folder / "src").mkdir(parents=True)
    (folder / "node_modules").symlink_to(settings.contracts_dir / "node_modules")
    shutil.copy(settings.contracts_dir / "foundry.toml", folder)
    (folder / "src" / "One.sol").write_text(SOURCE)
    (folder / "src" / "Two.sol").write_text(IMPORTED)
    return folder


def test_code__of_every_contract__is_what_forge_builds(settings: Settings, tmp_path: Path) -> None:
    forge = node_tool(settings.contracts_dir, ".bin/forge")
    folders = ["--out", str(tmp_path / "out"), "--cache-path", str(tmp_path / "cache")]
    built = [str(settings.contracts_dir / "src" / f"{name}.sol") for name in CONTRACTS]
    subprocess.run([forge, "build", *folders, *built], cwd=settings.contracts_dir, check=True, capture_output=True)
    for name, contract in compile_project(settings.contracts_dir, CONTRACTS).items():
        forged = json.loads((tmp_path / "out" / f"{name}.sol" / f"{name}.json").read_text())
        assert contract.bytecode == forged["bytecode"]["object"]
        assert contract.runtime == forged["deployedBytecode"]["object"]
        places = forged["deployedBytecode"]["immutableReferences"].values()
        assert sorted(contract.immutables.values()) == sorted([place["start"] for place in found] for found in places)


def test_interfaces_in_the_package__are_those_that_compile(settings: Settings) -> None:
    compiled = compile_project(settings.contracts_dir, CONTRACTS, settings.var_dir / "build")
    differing = [name for name in CONTRACTS if abi_text(compiled[name].abi) != (FOLDER / f"{name}.json").read_text()]
    assert not differing, "run `veriregime contracts abi`"


def test_contract__with_imports__has_its_immutables_by_name(project: Path) -> None:
    contract = compile_project(project, ["One"])["One"]
    assert set(contract.immutables) == {"one", "two"}
    places = [place for found in contract.immutables.values() for place in found]
    assert all(contract.runtime[2 + 2 * place :].startswith("0" * 64) for place in places)


def test_contract__compiled_before__is_not_compiled_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_project(project, ["One"], project / "kept")

    def asked(*_: object) -> NoReturn:
        raise AssertionError("the compiler was asked")

    monkeypatch.setattr(compiler, "_run", asked)
    assert compile_project(project, ["One"], project / "kept") == first


def test_contract__whose_import_changed__is_compiled_again(project: Path) -> None:
    first = compile_project(project, ["One"], project / "kept")
    (project / "src" / "Two.sol").write_text(IMPORTED.replace("= 2", "= 3"))
    assert compile_project(project, ["One"], project / "kept") != first


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: text.replace('"0x60', '"0x61', 1)])
def test_contract__whose_kept_form_is_damaged__is_compiled_again(project: Path, damage: object) -> None:
    assert callable(damage)
    first = compile_project(project, ["One"], project / "kept")
    (kept,) = (project / "kept").iterdir()
    whole = kept.read_text()
    kept.write_text(damage(whole))
    assert compile_project(project, ["One"], project / "kept") == first
    assert kept.read_text() == whole


def test_source__that_does_not_compile__is_named_with_the_compilers_words(project: Path) -> None:
    (project / "src" / "Two.sol").write_text(IMPORTED.replace("= 2", "= true"))
    with pytest.raises(ChainError, match=r"src/Two\.sol does not compile: .*not implicitly convertible"):
        compile_project(project, ["One"])


def test_source__whose_import_is_missing__is_named(project: Path) -> None:
    (project / "src" / "Two.sol").unlink()
    with pytest.raises(ChainError, match=r"src/One\.sol does not compile: Source .*Two\.sol"):
        compile_project(project, ["One"])


def test_source__of_one_file__is_compiled_alone(settings: Settings, tmp_path: Path) -> None:
    alone = tmp_path / "Alone.sol"
    alone.write_text(IMPORTED)
    contract = compile_contract(settings.contracts_dir, alone, "Two")
    assert contract.bytecode.startswith("0x60")


def test_settings_that_are_missing__are_named(project: Path) -> None:
    (project / "foundry.toml").unlink()
    with pytest.raises(Misconfigured, match=r"foundry\.toml cannot be read"):
        compile_project(project, ["One"])


def test_compiler_that_is_missing__is_said_to_be_installed_by_setup(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="make setup"):
        compile_project(tmp_path, ["One"])
