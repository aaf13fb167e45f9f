"""The attester's HTTP service: form of a proposal, and what an operator sees."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import requests
from fastapi.testclient import TestClient

from app.types import MINUTE_MS, iso
from app.web.attesting import create_attester_web
from app.wiring import Application

FEED = "btc-usdt-4h"


@pytest.fixture
def proposal(app: Application, attesters: list[Any]) -> dict[str, Any]:
    """In form; its commitment is of nothing. Of a window that no other test has signed."""
    judge, end_ms = attesters[0].role.judge, app.clock.last_minute_ms() - 13 * MINUTE_MS
    return {
        "chain_id": judge.oracle.chain_id,
        "contract": judge.oracle.contract,
        "model_id": judge.feeds[FEED].model.model_id,
        "windows": [{"feed": FEED, "window_end": iso(end_ms), "observation": [0] * 85}],
        "joint": False,
        "input_commitment": "0x" + "11" * 32,
    }


def post(attesters: list[Any], body: Any) -> requests.Response:
    return requests.post(f"{attesters[0].url}/v1/attest", json=body, timeout=10)


def window(proposal: dict[str, Any], **fields: object) -> dict[str, Any]:
    return proposal | {"windows": [proposal["windows"][0] | fields]}


def test_refusal__is_a_problem_with_a_reason_for_machines(attesters: list[Any], proposal: dict[str, Any]) -> None:
    response = post(attesters, proposal)
    assert (response.status_code, response.headers["content-type"]) == (409, "application/problem+json")
    body = response.json()
    assert (body["outcome"], body["reason"], body["status"]) == ("refused", "inputs-differ", 409)
    assert "proposed 0" in body["detail"]


def test_refusal__that_may_pass__says_when_to_ask_again(
    app: Application, attesters: list[Any], proposal: dict[str, Any]
) -> None:
    later = iso(app.clock.last_minute_ms() + 120_000)
    response = post(attesters, window(proposal, window_end=later))
    assert (response.status_code, response.json()["reason"]) == (503, "window-not-closed")
    assert 60 <= int(response.headers["Retry-After"]) <= 120


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: {**p, "chain_id": "31337"}, "chain_id"),
        (lambda p: {**p, "contract": "0x12"}, "contract"),
        (lambda p: {**p, "model_id": "AB" * 32}, "model_id"),
        (lambda p: {**p, "windows": []}, "windows"),
        (lambda p: {**p, "windows": p["windows"] * 2}, "windows"),
        (lambda p: {**p, "input_commitment": "0x11"}, "input_commitment"),
        (lambda p: {**p, "more": 1}, "more"),
        (lambda p: window(p, feed="btc\nusdt"), "windows.0.feed"),
        (lambda p: window(p, window_end="2025-09-15T12:00:30Z"), "window_end"),
        (lambda p: window(p, window_end="2025-09-15T12:00Z"), "window_end"),
        (lambda p: window(p, window_end="1757937600000"), "window_end"),
        (lambda p: window(p, observation=[0] * 84), "windows.0.observation"),
        (lambda p: window(p, observation=[0.5] * 85), "windows.0.observation.0"),
        (lambda p: window(p, observation=[2**40] * 85), "windows.0.observation.0"),
        (lambda p: [p], "proposal"),
    ],
)
def test_proposal__out_of_form__is_a_bad_request_that_names_the_field(
    attesters: list[Any], proposal: dict[str, Any], change: Callable[[dict[str, Any]], Any], named: str
) -> None:
    response = post(attesters, change(proposal))
    assert response.status_code == 400
    assert response.json()["detail"].startswith(f"{named}:")


def test_proposal__that_is_no_json__is_a_bad_request(attesters: list[Any]) -> None:
    assert requests.post(f"{attesters[0].url}/v1/attest", data=b"\xff{", timeout=10).status_code == 400


def test_proposal__too_large__is_not_read(attesters: list[Any], proposal: dict[str, Any]) -> None:
    response = post(attesters, {**proposal, "more": "x" * 300_000})
    assert (response.status_code, response.json()["type"]) == (413, "proposal-too-large")


def test_description__says_who_signs_for_what_and_how_strictly(attesters: list[Any]) -> None:
    judge = attesters[0].role.judge
    body = requests.get(f"{attesters[0].url}/v1/attester", timeout=10).json()
    assert (body["address"], body["contract"]) == (judge.account.address, judge.oracle.contract)
    assert (body["venues"], body["submission_limit_seconds"]) == (["binance", "coinbase", "kraken"], 900)
    assert body["feeds"] == {FEED: judge.feeds[FEED].model.model_id}
    assert body["tolerance"]["inputs"]["level of the last 5 minutes"] == 128


def test_readiness__with_fresh_candles_and_the_registrys_keys__is_good(attesters: list[Any]) -> None:
    response = requests.get(f"{attesters[0].url}/readyz", timeout=10)
    assert (response.status_code, response.json()) == (200, {"ready": True, "feeds": {FEED: True}, "problems": []})
    assert requests.get(f"{attesters[0].url}/healthz", timeout=10).json() == {"status": "ok"}


def test_metrics__count_the_answers(attesters: list[Any], proposal: dict[str, Any]) -> None:
    post(attesters, proposal)
    said = requests.get(f"{attesters[0].url}/metrics", timeout=10).text
    assert 'veriregime_attester_answers_total{answer="inputs-differ"}' in said


def test_openapi__describes_proposal_and_both_answers(attesters: list[Any]) -> None:
    described = requests.get(f"{attesters[0].url}/openapi.json", timeout=10).json()
    attest = described["paths"]["/v1/attest"]["post"]
    assert set(attest["responses"]) >= {"200", "409", "503"}
    assert "input_commitment" in attest["requestBody"]["content"]["application/json"]["schema"]["properties"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": "Bearer open-sesame-open"}, 409)],
)
def test_token__when_set__is_asked_of_every_proposer(
    attesters: list[Any], proposal: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    client = TestClient(create_attester_web(replace(attesters[0].role, token="open-sesame-open")))
    response = client.post("/v1/attest", json=proposal, headers=headers)
    assert response.status_code == status
    assert "open-sesame-open" not in response.text


def test_proposals__with_wrong_tokens__are_soon_not_listened_to_and_those_with_the_token_always(
    attesters: list[Any],
) -> None:
    client = TestClient(create_attester_web(replace(attesters[0].role, token="open-sesame-open")))
    guesses = [client.post("/v1/attest", headers={"Authorization": f"Bearer {number}"}) for number in range(40)]
    assert [one.status_code for one in guesses] == [401] * 30 + [429] * 10
    assert 0 < int(guesses[-1].headers["retry-after"]) <= 60
    shown = {"Authorization": "Bearer open-sesame-open"}
    assert {client.post("/v1/attest", content=b"{}", headers=shown).status_code for _ in range(100)} == {400}


def test_proposal__that_is_packed__is_not_unpacked(attesters: list[Any]) -> None:
    client = TestClient(create_attester_web(attesters[0].role))
    answer = client.post("/v1/attest", content=gzip.compress(b" " * 10**7), headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["type"]) == (415, "encoding-refused")
