"""`veriregime check` where nobody answers: neither venues nor chain, database or attesters."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import AnyHttpUrl, SecretStr

import app.check
from app.check import Finding, Level, check_installation
from app.settings import Settings

PATIENCE_S = 2.0
PLANTED = "5ec2e7" * 10 + "0f1e"


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def findings(silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    monkeypatch.setattr(app.check, "_PATIENCE_S", PATIENCE_S)
    url = AnyHttpUrl(f"http://127.0.0.1:{silent}")
    keyed = AnyHttpUrl(f"http://name:{PLANTED}@127.0.0.1:{silent}/{PLANTED}")
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        var_dir=tmp_path,
        port=silent,
        venue_urls=dict.fromkeys(("binance", "coinbase", "kraken"), url),
        rpc_urls=(keyed,),
        attesters=(keyed,),
        database_url=SecretStr(f"postgresql+psycopg://user:{PLANTED}@127.0.0.1:{silent}/oracle"),
        submitter_key=SecretStr(f"0x{PLANTED}"),
        attester_key=SecretStr(PLANTED),
        proposer_token=SecretStr(PLANTED),
    )
    started = time.monotonic()
    found = check_installation(settings)
    assert time.monotonic() - started < PATIENCE_S + 3
    return {one.subject: one for one in found}


def test_check__where_nobody_answers__ends_and_says_what_to_do(findings: dict[str, Finding]) -> None:
    assert {findings[name].level for name in ("database", "chain", "port")} == {Level.FAILED}
    assert findings["venues"].level is Level.WARNING
    assert [one for one in findings.values() if one.level in (Level.WARNING, Level.FAILED) and not one.remedy] == []
    assert findings["model of btc-usdt-4h"].level is Level.OK


def test_check__planted_secrets__are_nowhere_in_what_it_says(findings: dict[str, Finding]) -> None:
    assert findings["secrets"].level is Level.NOTE  # they stand in the environment: that much is told
    assert PLANTED not in repr(findings)
