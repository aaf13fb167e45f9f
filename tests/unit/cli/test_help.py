"""The command line as it introduces itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from app.cli import cli

WITHOUT_JSON = {"serve", "api", "attest", "prover", "alarms show", "contracts abi", "watch"}
"""They go on until they are ended, or always print JSON, or write files for developers."""


def _commands(group: TyperGroup, before: str = "") -> dict[str, TyperCommand]:
    found: dict[str, TyperCommand] = {}
    for name, command in group.commands.items():
        path = f"{before}{name}"
        found |= _commands(command, f"{path} ") if isinstance(command, TyperGroup) else {path: command}  # type: ignore[dict-item]
    return found


COMMANDS = _commands(get_command(cli))  # type: ignore[arg-type]


def test_help__has_panels_examples_and_exit_codes() -> None:
    told = CliRunner().invoke(cli, ["--help"]).stdout
    panels = ("Try it", "Run it", "Check it", "Models", "Chain", "Keys and database", "Measure")
    assert [panel for panel in (*panels, "veriregime demo", "Exit codes") if panel not in told] == []


def test_help__is_quick_for_it_loads_nothing_heavy() -> None:
    look = "import sys, app.cli; print([m for m in ('numpy', 'pydantic', 'web3', 'ccxt', 'ezkl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_command__begins_its_help_with_one_sentence(name: str) -> None:
    first = (COMMANDS[name].help or "").split("\n\n")[0]
    assert first[0].isupper()
    assert first.endswith(".")
    assert "\n" not in first
    assert len(first) <= 110


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_JSON))
def test_command__that_answers__has_json(name: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_options__say_what_they_are(name: str) -> None:
    shown = [parameter for parameter in COMMANDS[name].params if not getattr(parameter, "hidden", False)]
    assert [parameter.name for parameter in shown if not getattr(parameter, "help", None)] == []
