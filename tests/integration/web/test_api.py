"""The HTTP API on a real forecast."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from app.audit.bundle import Bundle
from app.chain.attestation import feed_id
from app.clock import Clock
from app.steps.update import Update, ready_update
from app.types import Prediction, iso, parse_time
from app.web.application import create_web
from app.wiring import Application

FEED = "/v1/feeds/btc-usdt-4h"


@pytest.fixture(scope="module")
def update(app: Application, confirmed: Prediction) -> Update:
    """What was published of it."""
    target = app.pipeline.target
    assert target is not None
    with app.database.unit_of_work(write=False) as store:
        found = ready_update(store, confirmed, target.oracle, target.reader.panel())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def client(app: Application, confirmed: Prediction) -> Iterator[TestClient]:
    app.pipeline.tell()
    with TestClient(create_web(app)) as client:
        yield client


def test_latest__is_the_proved_forecast_with_its_age_and_transaction(client: TestClient, confirmed: Prediction) -> None:
    body = client.get(f"{FEED}/latest").json()
    assert body["id"] == confirmed.id
    assert body["window_end"] == iso(confirmed.window_end_ms)
    assert body["status"] == "confirmed"
    assert body["regime"] == confirmed.regime
    assert 0 < body["age_seconds"] < 600
    assert "proof" not in body
    onchain = body["onchain"]
    assert (onchain["state"], onchain["ours"], onchain["chain_id"]) == ("confirmed", True, 31337)
    assert 300_000 < onchain["gas_used"] <= 560_000


def test_latest__serves_what_the_circuit_says(client: TestClient, confirmed: Prediction, bundle: Bundle) -> None:
    body = client.get(f"{FEED}/latest").json()
    assert (body["p_high"], body["vol_annualised"]) == (bundle.p_high, bundle.vol_annualised)


def test_latest__includes_what_is_asked_for(client: TestClient, confirmed: Prediction, update: Update) -> None:
    body = client.get(f"{FEED}/latest", params={"include": "proof,observation,calldata"}).json()
    assert body["observation"] == list(confirmed.observation)
    assert body["proof"]["commitment"] == body["proof"]["proof"][:130]
    assert body["calldata"] == "0x" + update.calldata.hex()
    assert "attestations" not in body


def test_latest__attestations__tell_what_each_attester_answered_by_its_host(client: TestClient, update: Update) -> None:
    told = client.get(f"{FEED}/latest", params={"include": "attestations"}).json()["attestations"]
    signed = {one["signer"] for one in told if one["outcome"] == "signed"}
    assert {one.signer for one in update.signatures} <= signed
    assert "own" in {one["attester"] for one in told}
    assert not [one["attester"] for one in told if "/" in one["attester"]]


def test_update__is_the_call_that_was_sent_and_says_what_it_does(
    client: TestClient, app: Application, confirmed: Prediction, update: Update
) -> None:
    body = client.get(f"{FEED}/update").json()
    target = app.pipeline.target
    assert target is not None
    assert (body["chain_id"], body["contract"]) == (target.oracle.chain_id, target.oracle.contract)
    assert (body["calldata"], body["gas"]) == ("0x" + update.calldata.hex(), update.gas)
    assert body["windows"] == [{"feed": confirmed.feed, "window_end": iso(confirmed.window_end_ms)}]
    assert (body["model_id"], body["published"]) == (confirmed.model_id, True)
    assert body["signers"] == [one.signer for one in update.signatures]
    limit_ms = target.reader.submission_limit_s() * 1000
    assert parse_time(body["expires"]) == confirmed.window_end_ms + limit_ms


def test_latest__with_its_etag__is_not_modified(client: TestClient) -> None:
    first = client.get(f"{FEED}/latest")
    again = client.get(f"{FEED}/latest", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    other = client.get(f"{FEED}/latest?include=proof", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


def test_latest__older_than_the_caller_accepts__is_503_and_never_stale(client: TestClient) -> None:
    answer = client.get(f"{FEED}/latest", params={"max_age": 0.001})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["type"] == "forecast-stale"
    assert client.get(f"{FEED}/latest", params={"max_age": 3600}).status_code == 200


def test_latest__in_a_cache__never_outlives_what_the_caller_accepts(
    client: TestClient, app: Application, confirmed: Prediction
) -> None:
    age = client.get(f"{FEED}/latest").json()["age_seconds"]
    headers = client.get(f"{FEED}/latest", params={"max_age": age + 5}).headers["cache-control"]
    if confirmed.window_end_ms == app.clock.last_minute_ms():
        assert headers.startswith("public, max-age=")
        assert int(headers.rpartition("=")[2]) <= 5
    else:  # a newer window is due: nothing may be kept
        assert headers == "no-cache"


def test_update__older_than_the_oracle_takes__is_503_with_where_to_look(
    app: Application, confirmed: Prediction, update: Update
) -> None:
    target = app.pipeline.target
    assert target is not None
    too_late_ms = confirmed.window_end_ms + target.reader.submission_limit_s() * 1000
    with TestClient(create_web(replace(app, clock=Clock(market_start_ms=too_late_ms, speed=0)))) as client:
        answer = client.get(f"{FEED}/update")
    assert (answer.status_code, answer.json()["type"]) == (503, "attestations-missing")
    assert (answer.headers["retry-after"], "include=attestations" in answer.json()["detail"]) == ("5", True)


@pytest.mark.parametrize(
    ("path", "status", "kind", "words"),
    [
        ("/v1/feeds/doge-usdt-4h/latest", 404, "unknown-feed", "btc-usdt-4h"),
        (f"{FEED}/latest?include=everything", 400, "bad-input", "include"),
        (f"{FEED}/latest?max_age=-1", 400, "bad-input", "max_age"),
        (f"{FEED}/predictions?start=yesterday", 400, "bad-input", "2025-09-15T12:00:00Z"),
        (f"{FEED}/predictions?limit=0", 400, "bad-input", "limit"),
        (f"{FEED}/predictions?cursor=%00", 400, "bad-input", "cursor"),
        (f"{FEED}/candles?step=7", 400, "bad-input", "step"),
        (f"{FEED}/candles?start=2020-01-01T00:00:00Z", 400, "bad-input", "seven days"),
        ("/v1/feeds/doge-usdt-4h/update", 404, "unknown-feed", "btc-usdt-4h"),
        ("/v1/predictions/nothing", 404, "unknown-prediction", "nothing"),
        ("/v1/predictions/nothing/bundle", 404, "unknown-prediction", "nothing"),
        ("/v1/models/nothing", 404, "unknown-model", "nothing"),
        ("/v1/srs/nothing", 404, "unknown-srs", "nothing"),
        ("/nowhere", 404, "about:blank", "Not Found"),
    ],
)
def test_bad_request__is_a_problem_that_says_what_to_do(
    client: TestClient, path: str, status: int, kind: str, words: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["status"]) == (kind, status)
    assert words in body["detail"]


def test_history__holds_the_prediction_and_pages(client: TestClient, confirmed: Prediction) -> None:
    body = client.get(f"{FEED}/predictions", params={"limit": 1}).json()
    assert [item["id"] for item in body["predictions"]] == [confirmed.id]
    assert body["predictions"][0]["prove_seconds"] > 0
    assert body["next"] is None
    none = client.get(f"{FEED}/predictions", params={"end": iso(confirmed.window_end_ms)}).json()
    assert none["predictions"] == []


def test_candles__are_put_together_to_five_minutes(client: TestClient, app: Application) -> None:
    body = client.get(f"{FEED}/candles").json()
    assert body["step_seconds"] == 300
    assert 287 <= len(body["candles"]) <= 289
    assert all(row[0] % 300_000 == 0 for row in body["candles"])
    assert all(low <= min(o, c) and max(o, c) <= high for _, o, high, low, c, _ in body["candles"])


def test_bundle__downloaded_and_posted__holds(client: TestClient, confirmed: Prediction) -> None:
    bundle = client.get(f"/v1/predictions/{confirmed.id}/bundle", headers={"Accept-Encoding": "gzip"})
    assert confirmed.id in bundle.headers["content-disposition"]
    verdict = client.post("/v1/verify", content=bundle.content).json()
    assert verdict["holds"], verdict["reason"]
    assert verdict["signers"] == [one["signer"] for one in bundle.json()["attested"]["signatures"]]


@pytest.mark.parametrize(("accept_encoding", "packed"), [("br, gzip", True), ("gzip;q=0, *", False)])
def test_bundle__is_packed_for_who_takes_that_and_is_the_same_content(
    client: TestClient, confirmed: Prediction, accept_encoding: str, packed: bool
) -> None:
    path, asked = f"/v1/predictions/{confirmed.id}/bundle", {"Accept-Encoding": accept_encoding}
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    with client.stream("GET", path, headers=asked) as answer:
        sent = b"".join(answer.iter_raw())
    weak = "W/" if packed else ""
    assert (answer.headers["vary"], answer.headers["etag"]) == ("Accept-Encoding", weak + plain.headers["etag"])
    assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
    assert int(answer.headers["content-length"]) == len(sent)
    assert (gzip.decompress(sent) if packed else sent) == plain.content
    again = client.get(path, headers=asked | {"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["vary"]) == (304, b"", "Accept-Encoding")


def test_verify__of_a_changed_bundle__names_what_fails(client: TestClient, bundle: Bundle) -> None:
    changed = bundle.model_dump(mode="json")
    changed["observation"][3] += 1
    verdict = client.post("/v1/verify", json=changed).json()
    assert (verdict["holds"], verdict["failed"]) == (False, "observation")
    assert verdict["checks"] == ["model_id", "markets", "candles", "window_end"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 422, "bundle-malformed"),
        (b"<html>", 422, "bundle-malformed"),
        (b"[]", 422, "bundle-malformed"),
        (b"{}", 422, "bundle-malformed"),
        (b"[" * 100_000, 422, "bundle-malformed"),
        (b"x" * (16 * 2**20 + 1), 413, "bundle-too-large"),
    ],
    ids=["empty", "html", "list", "no fields", "deep", "oversized"],
)
def test_verify__of_something_else__is_refused(client: TestClient, body: bytes, status: int, kind: str) -> None:
    answer = client.post("/v1/verify", content=body)
    assert (answer.status_code, answer.json()["type"]) == (status, kind)


def test_verify__of_a_bundle_out_of_form__names_the_field(client: TestClient, bundle: Bundle) -> None:
    document = bundle.model_dump(mode="json")
    document["proof"]["proof"] = "0xzz"
    answer = client.post("/v1/verify", content=json.dumps(document))
    assert answer.status_code == 422
    assert "proof.proof" in answer.json()["detail"]


def test_feeds__tell_model_venues_chain_and_that_the_market_is_simulated(client: TestClient, app: Application) -> None:
    (feed,) = client.get("/v1/feeds").json()["feeds"]
    assert feed["market"] == "simulated"
    assert feed["srs"]["development"] is True
    assert feed["venues"][0]["venue"] == "binance"
    assert client.get(f"/v1/models/{feed['model_id']}").json()["name"] == feed["model_name"]
    srs = client.get(f"/v1/srs/{feed['srs']['sha256']}")
    assert srs.content == app.pipeline.feeds["btc-usdt-4h"].keys.srs.read_bytes()


def test_feed__chain__tells_oracle_attesters_payer_and_how_the_last_steps_ended(
    client: TestClient, app: Application, update: Update
) -> None:
    target = app.pipeline.target
    assert target is not None
    assert target.sender is not None
    chain = client.get(FEED).json()["chain"]
    assert (chain["chain_id"], chain["oracle"]) == (31337, target.oracle.contract)
    assert chain["feed_id"] == "0x" + feed_id("btc-usdt-4h").hex()
    assert (len(chain["signers"]), chain["threshold"]) == (3, 2)
    assert {one.signer for one in update.signatures} <= set(chain["signers"])
    assert chain["sender"] == target.sender.address
    assert (chain["attesting"]["outcome"], chain["publishing"]["outcome"]) == ("attested", "confirmed")


def test_health_readiness_and_metrics(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz").json()
    assert ready["prover_process_ids"]
    assert ready["feeds"]["btc-usdt-4h"] > 0
    metrics = client.get("/metrics").text
    assert (ready["attesting"]["outcome"], ready["publishing"]["outcome"]) == ("attested", "confirmed")
    assert 'veriregime_proofs_total{outcome="proved"} 1.0' in metrics
    assert 'veriregime_submissions_total{outcome="confirmed"} 1.0' in metrics
    assert 'veriregime_attestations_total{attester="own",outcome="signed"} 1.0' in metrics
    assert "veriregime_submitter_balance_ether" in metrics
    assert "veriregime_forecast_age_seconds" in metrics


def test_openapi__describes_every_route(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert f"{FEED.replace('btc-usdt-4h', '{feed}')}/latest" in paths
    assert "/v1/verify" in paths
    assert all(operation["summary"] for methods in paths.values() for operation in methods.values())
