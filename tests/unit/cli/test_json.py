"""``--json``: one document on stdout, whatever else there is to say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli

COMMANDS = (
    "version",
    "settings",
    "settings --current",
    "db upgrade",
    "db status",
    "db backup backup.db",
    "db prune --dry-run",
    "alarms list",
    "srs info",
    "keys info",
)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An installation of its own, with a setting that is misspelt."""
    monkeypatch.chdir(tmp_path)
    return {"VERIREGIME_VAR_DIR": str(tmp_path / "var"), "VERIREGIME_FEED": "btc-usdt-4h"}


def test_json__is_one_document_on_stdout(environment: dict[str, str]) -> None:
    for command in COMMANDS:
        done = CliRunner().invoke(cli, [*command.split(), "--json"], env=environment)
        assert done.exit_code == 0, (command, done.output)
        json.loads(done.stdout)


def test_settings_current__names_what_is_misspelt_on_stderr(environment: dict[str, str]) -> None:
    done = CliRunner().invoke(cli, ["settings", "--current", "--json"], env=environment)
    assert "VERIREGIME_FEED is set, and no setting has this name" in done.stderr
    assert "VERIREGIME_VAR_DIR" in {one["name"] for one in json.loads(done.stdout) if one["source"] == "environment"}
