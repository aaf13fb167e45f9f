"""The table of settings against the settings themselves, and docs/settings.md against the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.settings_table import (
    UNGROUPED,
    Current,
    as_markdown,
    current_settings,
    settings_table,
    unknown_settings,
)
from app.settings import Settings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "settings.md"
KEY = "0x" + "5e" * 32


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Current]:
    """As in a folder whose `.env` sets the port, with secrets and two venues in the environment."""
    token = tmp_path / "token"
    token.write_text("abracadabra-abracadabra")
    environment = {
        "VERIREGIME_SUBMITTER_KEY": KEY,
        "VERIREGIME_PROPOSER_TOKEN_FILE": str(token),
        "VERIREGIME_RPC_URLS": "https://user:hunter2@rpc.example/v3/hunter3",
        "VERIREGIME_VENUES": "binance,kraken",
        "VERIREGIME_VENUE_URLS": '{"binance": "http://user:hunter4@127.0.0.1:9000/hunter5"}',
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text("VERIREGIME_PORT=8123\n")
    monkeypatch.chdir(tmp_path)
    found = current_settings(Settings(), environment, {"VERIREGIME_PORT": "8123"})
    return {one.name.removeprefix("VERIREGIME_"): one for one in found}


def test_table__has_every_setting_once_and_in_a_group() -> None:
    table = settings_table()
    assert sorted(one.name for one in table) == sorted(f"VERIREGIME_{name.upper()}" for name in Settings.model_fields)
    assert [one.name for one in table if one.group == UNGROUPED or not one.description] == []


def test_page__is_the_table_of_today() -> None:
    assert PAGE.read_text() == as_markdown(settings_table()), "run `veriregime settings --markdown > docs/settings.md`"


def test_form__says_unit_and_bounds() -> None:
    forms = {one.name: one.form for one in settings_table()}
    assert forms["VERIREGIME_SETTLE_S"] == "seconds, ≥ 0, < 30"
    assert forms["VERIREGIME_PROVER_WORKERS"] == "whole number, 1 to 64"
    assert forms["VERIREGIME_BATCHING"] == "`auto`, `off`, `always`"


def test_current__names_where_each_is_set(current: dict[str, Current]) -> None:
    assert (current["VENUES"].value, current["VENUES"].source) == ("binance,kraken", "environment")
    assert (current["PORT"].value, current["PORT"].source) == ("8123", ".env")
    assert (current["QUORUM"].value, current["QUORUM"].source) == ("", "default")
    assert current["PROPOSER_TOKEN"].source == "file of VERIREGIME_PROPOSER_TOKEN_FILE"


def test_current__shows_no_secret(current: dict[str, Current]) -> None:
    told = repr(current)
    assert not [word for word in (KEY, "5e5e", "hunter", "abracadabra") if word in told]
    assert current["VENUE_URLS"].value == '{"binance": "http://127.0.0.1:9000/…"}'


def test_unknown__misspelt_settings_are_found() -> None:
    environment = {"VERIREGIME_FEED": "btc-usdt-4h", "veriregime_port": "1", "HOME": "/"}
    assert unknown_settings(environment, {"VERIREGIME_QOURUM": "2"}) == ["VERIREGIME_FEED", "VERIREGIME_QOURUM"]
