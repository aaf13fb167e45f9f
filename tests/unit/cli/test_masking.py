"""Which words of the settings are kept out of logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from app.cli.masking import secrets_of
from app.settings import Settings


def settings(tmp_path: Path, **given: Any) -> Settings:
    return Settings(_env_file=None, var_dir=tmp_path, **given)  # type: ignore[call-arg]


def test_secrets__nothing_secret_set__are_none(tmp_path: Path) -> None:
    given = {"rpc_urls": "http://127.0.0.1:8545/v2", "otlp_endpoint": "http://127.0.0.1:4318/v1/traces"}
    assert secrets_of(settings(tmp_path, **given)) == []


def test_secrets__keys_passwords_and_tokens__are_all_there(tmp_path: Path) -> None:
    keystore = tmp_path / "key.json"
    keystore.write_text('{"crypto": 1}\n')
    given = {
        "database_url": "postgresql+psycopg://oracle:of%2Fdatabase@db/oracle",
        "attester_key": "0xaffe",
        "proposer_token": "a-token-to-be-shown",
        "submitter_key_file": keystore,
        "attesters": "https://me:of-attester@attester.example",
        "rpc_urls": "https://rpc.example/v2/AbCdEfGhIjKlMnOpQrSt,https://rpc.example/?apikey=0123456789abcdef",
    }
    found = secrets_of(settings(tmp_path, **given))
    assert {"of%2Fdatabase", "of/database", "0xaffe", "a-token-to-be-shown", '{"crypto": 1}', "of-attester"} < set(
        found
    )
    assert {"AbCdEfGhIjKlMnOpQrSt", "0123456789abcdef"} < set(found)


def test_secrets__a_file_that_is_not_there_or_a_pipe__is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    given = {"submitter_key_file": tmp_path / "pipe", "attester_key_file": tmp_path / "nowhere"}
    assert secrets_of(settings(tmp_path, **given)) == []
