"""What the files under ops/ may name: the commands and the settings of the product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.cli import cli
from app.cli.settings_table import settings_table

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def understood() -> Callable[[Sequence[str]], None]:
    """Has a command line parsed without running it; one that the CLI does not know fails."""

    def parse(command: Sequence[str]) -> None:
        program, *words = command
        assert program == "veriregime"
        found: Any = get_command(cli)
        while hasattr(found, "commands"):
            assert words[0] in found.commands, f"veriregime has no command {words[0]}"
            found, words = found.commands[words[0]], words[1:]
        found.make_context("veriregime", list(words))

    return parse


@pytest.fixture(scope="session")
def setting_names() -> frozenset[str]:
    return frozenset(one.name for one in settings_table())
