"""The command line as it introduces itself."""

from __future__ import annotations

import re
import subprocess
import sys

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from app.cli import cli

WITHOUT_JSON = {
    "serve",
    "api",
    "pipeline",
    "submitter",
    "attest",
    "prover",
    "alarms show",
    "contracts abi",
    "watch",
}
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


def test_commands__begin_their_help_with_one_sentence() -> None:
    firsts = {name: (command.help or "").split("\n\n")[0] for name, command in COMMANDS.items()}
    assert {name: said for name, said in firsts.items() if not re.fullmatch("[A-Z][^\n]{8,105}[.]", said)} == {}


def test_commands__that_answer_have_json() -> None:
    options = {name: {one for option in command.params for one in option.opts} for name, command in COMMANDS.items()}
    assert {name for name, known in options.items() if "--json" not in known} - WITHOUT_JSON == set()


def test_options__say_what_they_are() -> None:
    shown = {
        (name, option.name): getattr(option, "help", None)
        for name, command in COMMANDS.items()
        for option in command.params
        if not getattr(option, "hidden", False)
    }
    assert [which for which, said in shown.items() if not said] == []
