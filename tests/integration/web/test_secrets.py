"""A secret that was planted in every setting that may hold one shows nowhere, whatever goes wrong."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import AnyHttpUrl, SecretStr

from app import cli, logs
from app.chain.anvil import ATTESTER_KEYS
from app.cli.masking import secrets_of
from app.errors import NotNow
from app.settings import Settings
from app.steps.attester_client import AttesterClient
from app.store.database import Database
from app.types import Prediction
from app.web import server
from app.web.application import create_web
from app.web.reading import Reader
from app.web.server import listen
from app.wiring import ApiRole, Application, application, attester

FEED = "btc-usdt-4h"
WORD = "pl4nted-s3cret"
KEY = ATTESTER_KEYS[2]
NOWHERE = "127.0.0.1:1"
LOGIN = f"http://me:{WORD}@{NOWHERE}"
MIGRATIONS = Path(__file__).resolve().parents[3] / "migrations"
DATABASE = f"postgresql+psycopg://me:{WORD}@{NOWHERE}/oracle"
VENUES = ("binance", "coinbase", "kraken")
PLANTED: dict[str, Any] = {
    "database_url": SecretStr(DATABASE),
    "rpc_urls": (AnyHttpUrl(f"{LOGIN}/v2/{WORD}?key={WORD}"),),
    "chain_id": 31337,
    "submitter_key": SecretStr(KEY),
    "attester_key": SecretStr(KEY),
    "proposer_token": SecretStr(WORD * 2),
    "attesters": (AnyHttpUrl(LOGIN),),
    "venue_urls": dict.fromkeys(VENUES, AnyHttpUrl(LOGIN)),
    "late_candle_s": 0.01,
    "attest_timeout_s": 0.5,
}


def shows_a_secret(text: str) -> bool:
    return WORD in text or KEY.removeprefix("0x").lower() in text.lower()


@pytest.fixture
def planted(settings: Settings, app: Application, tmp_path: Path) -> Callable[..., Settings]:
    """The settings of this run with secrets in them, and nobody where they lead to."""

    def make(**own: Any) -> Settings:
        assert app.target is not None
        local = {"database_url": SecretStr(f"sqlite:///{tmp_path / 'veriregime.db'}")}
        oracle = {"oracle_address": app.target.oracle.contract}
        return settings.model_copy(update=PLANTED | local | oracle | own)

    return make


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest, planted: Callable[..., Settings]) -> Callable[[], str]:
    """The log as it is written, in either form."""
    logs.set_up(logging.DEBUG)
    handler, stream = logging.getLogger().handlers[0], io.StringIO()
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    logs.use(request.param, secrets_of(planted()))
    return stream.getvalue


def ask_everything(role: ApiRole, prediction: Prediction) -> dict[str, str]:
    """Every route, in form and out of form; what came of it, with its headers."""
    ids = {"feed": FEED, "prediction_id": prediction.id, "model_id": prediction.model_id, "sha256": "0" * 64}
    wrong = dict.fromkeys(ids, WORD[:6])
    web, answers = create_web(role), {}
    with TestClient(web, raise_server_exceptions=False) as client:
        asked = [path.format_map(named) for path in web.openapi()["paths"] for named in (ids, wrong)]
        everything = f"/v1/feeds/{FEED}/latest?include=proof,observation,calldata,attempts,attestations"
        for path in (*asked, everything, "/v1/feeds?x=%00", "/nothing", f"/v1/feeds/{FEED}/candles?start=x"):
            if path != "/v1/stream":
                answer = client.get(path)
                answers[f"{answer.status_code} {path}"] = answer.text + str(answer.headers)
        for body in (b"", b"{", b"[]" * 100, b'{"format": 1}'):
            answer = client.post("/v1/verify", content=body)
            answers[f"{answer.status_code} {body!r}"] = answer.text + str(answer.headers)
    return answers


def unlike(answers: dict[str, str]) -> list[str]:
    return [f"{asked}: {told}" for asked, told in answers.items() if shows_a_secret(told)]


def test_answers__of_a_service_that_works__show_no_secret(
    app: Application, confirmed: Prediction, planted: Callable[..., Settings]
) -> None:
    answers = ask_everything(replace(app, settings=planted()), confirmed)
    assert sum(asked.startswith("200") for asked in answers) > 12
    assert unlike(answers) == []


def test_answers_and_logs__with_the_database_away__show_no_secret(
    app: Application,
    confirmed: Prediction,
    planted: Callable[..., Settings],
    written: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = Database(DATABASE, MIGRATIONS)
    answers = ask_everything(replace(app, settings=planted(), database=away), confirmed)
    away.close()
    assert sum(asked.startswith("503") for asked in answers) > 5
    assert unlike(answers) == []
    said = written() + "".join(record.getMessage() for record in caplog.records)
    assert "***@127.0.0.1:1" in said
    assert not shows_a_secret(said)


def test_answers_and_logs__with_venues_chain_and_attesters_away__show_no_secret(
    confirmed: Prediction,
    planted: Callable[..., Settings],
    written: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with application(planted()) as alone:
        alone.pipeline.tick(FEED, alone.clock.last_minute_ms())
        for step in (alone.pipeline.attest_next, alone.pipeline.submit_next, alone.pipeline.tell):
            step()
        answers = ask_everything(alone, confirmed)
    with pytest.raises(NotNow) as refused:
        AttesterClient(LOGIN, 0.5, WORD * 2).introduce()
    assert sum(asked.startswith("5") for asked in answers) > 2
    assert unlike(answers) == []
    said = written() + str(refused.value) + "".join(record.getMessage() for record in caplog.records)
    assert "cannot be reached" in said
    assert not shows_a_secret(said)


def test_bug__that_holds_a_secret__shows_it_neither_in_the_answer_nor_in_the_log(
    app: Application,
    confirmed: Prediction,
    planted: Callable[..., Settings],
    written: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"cannot open {DATABASE} with {KEY}")

    monkeypatch.setattr(Reader, "bundle", broken)
    with TestClient(create_web(replace(app, settings=planted())), raise_server_exceptions=False) as client:
        answer = client.get(f"/v1/predictions/{confirmed.id}/bundle")
    said = written()
    assert (answer.status_code, answer.json()["type"], "unexpected error" in said) == (500, "about:blank", True)
    assert not shows_a_secret(answer.text + str(answer.headers) + said)


ENVIRONMENT = {
    "DATABASE_URL": DATABASE,
    "RPC_URLS": f"{LOGIN}/v2/{WORD}?key={WORD}",
    "SUBMITTER_KEY": KEY,
    "ATTESTER_KEY": KEY,
    "PROPOSER_TOKEN": WORD * 2,
    "ATTESTERS": LOGIN,
    "VENUE_URLS": json.dumps(dict.fromkeys(VENUES, LOGIN)),
    "OTLP_ENDPOINT": f"{LOGIN}/{WORD}",
    "ORACLE_ADDRESS": "0x" + "11" * 20,
    "PORT": "0",
}
SQLITE = {"DATABASE_URL": ""}


@pytest.fixture
def _listeners_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of commands that do not come to serving: their process would end with them."""
    with ExitStack() as stack:
        monkeypatch.setattr(server, "listen", lambda *where: stack.enter_context(closing(listen(*where))))
        yield


@pytest.mark.usefixtures("_listeners_closed")
@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("api", {}),
        ("attest", SQLITE),
        ("check --json", {}),
        ("settings --current", {}),
        ("settings --current --json", {}),
        ("settings", {}),
        ("--help", {}),
        ("contracts status", SQLITE),
        ("serve", {"DATABASE_URL": WORD}),
        ("serve", {"DATABASE_URL": f"nosuch://me:{WORD}@host/oracle"}),
        ("serve", {"RPC_URLS": f"wrong://{WORD}"}),
        ("attest", SQLITE | {"ATTESTER_KEY": WORD}),
        ("attest", SQLITE | {"ATTESTER_KEY": f'{{"crypto": "{WORD}"}}'}),
        ("attest", SQLITE | {"ATTESTERS": f"http://me:{WORD}@[bad"}),
    ],
    ids=str,
)
def test_command__whatever_it_meets__shows_no_secret(
    command: str,
    own: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in (ENVIRONMENT | own).items():
        monkeypatch.setenv(f"VERIREGIME_{name}", value)
    monkeypatch.setenv("VERIREGIME_VAR_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["veriregime", *command.split()])
    with pytest.raises(SystemExit):
        cli.main()
    said = "".join(capsys.readouterr())
    assert len(said) > 20
    assert not shows_a_secret(said)


def test_attester__that_cannot_start__shows_no_secret(planted: Callable[..., Settings]) -> None:
    with pytest.raises(Exception) as refused, attester(planted()):  # noqa: PT011  whatever it is
        pass
    assert not shows_a_secret(repr(refused.value) + str(refused.value))
