"""`latest` from its ready body: what it says is what a new process would say, after everything that happens."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from app.clock import Clock, wall_ms
from app.settings import Settings
from app.steps.publishing import OracleReader, OracleTarget, Rounds
from app.store.database import Database
from app.store.outcomes import Origin, Outcome
from app.store.repository import Store
from app.types import (
    Attestation,
    AttestationOutcome,
    EventKind,
    OracleAt,
    Prediction,
    Receipt,
    SignedTransaction,
)
from app.web import watching
from app.web.reading import Reader
from app.web.ready import Asked, Ready
from app.wiring import ApiRole
from tests.integration.web.live.conftest import FEEDS, Served, wait_until

Add = Callable[..., Prediction]
MakeRole = Callable[..., ApiRole]
Serve = Callable[[ApiRole], Served]
LATEST = "/v1/feeds/btc-usdt-4h/latest"
OF_ITS_OWN = ("date", "cache-control", "x-request-id")
"""Headers that each answer has for itself."""
ALL_PARTS = f"{LATEST}?include=proof,observation,attestations"
ORACLE = OracleAt(31337, "0x" + "11" * 20)
SIGNED = SignedTransaction(31337, ORACLE.contract, "0x" + "aa" * 20, 0, "0x" + "22" * 32, b"raw", 20, 2)
RECEIPT = Receipt(True, 12, "0x" + "12" * 32, 500_000, SIGNED.tx_hash)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What bodies were made for, in order."""
    asked: list[Asked] = []
    make = Reader.ready

    def noted(reader: Reader, one: Asked) -> Ready:
        asked.append(one)
        return make(reader, one)

    monkeypatch.setattr(Reader, "ready", noted)
    return asked


@pytest.fixture
def role(sqlite_database: Database, make_role: MakeRole, window_end_ms: int) -> ApiRole:
    """Its clock hardly moves; it publishes to an oracle that nobody has to ask here."""
    target = OracleTarget(ORACLE, cast(OracleReader, None), cast(Rounds, None))
    clock = Clock(market_start_ms=window_end_ms + 20_000, wall_start_ms=wall_ms(), speed=1e-6)
    return make_role(sqlite_database, target=target, clock=clock)


@pytest.fixture
def api(made: list[Asked], role: ApiRole, served: Serve, add: Add, prove: Callable[[Database], None]) -> Served:
    """With a proved forecast; what it makes is noted."""
    add(role.database)
    prove(role.database)
    return served(role)


def test_body__from_what_is_ready__is_the_one_that_is_made(api: Served, made: list[Asked]) -> None:
    for path in (LATEST, ALL_PARTS, f"{LATEST}?max_age=60"):
        first, second, third = (api.get(path) for _ in range(3))
        assert first.read() == second.read() == third.read()
        told = [
            {name: value for name, value in answer.headers.items() if name not in OF_ITS_OWN}
            for answer in (first, second, third)
        ]
        assert told[0] == told[1] == told[2]
    assert made == [Asked(FEEDS[0]), Asked(FEEDS[0], frozenset({"proof", "observation", "attestations"}))]


def attest(store: Store, one: Prediction) -> None:
    store.attestations.record([Attestation(one.id, "own", AttestationOutcome.REFUSED, None, "why", 5)], ORACLE)


def judge(store: Store, one: Prediction) -> None:
    kinds: dict[str, Any] = {"score": 1.0, "high_said": True, "realised": 4e-4, "past_60": None, "past_240": None}
    said = {"p_high": one.p_high, "vol_annualised": one.vol_annualised, "missing": None, "judged_at_ms": 9}
    store.outcomes.add([Outcome(one.feed, Origin.LIVE, one.model_id, one.window_end_ms, one.id, **kinds, **said)])
    store.events.note(EventKind.OUTCOME, one.id, high=True)


CHANGES: list[Callable[[Store, Prediction], object]] = [
    attest,
    lambda store, one: store.submissions.record([one.id], SIGNED, 9),
    lambda store, one: store.submissions.include(SIGNED, RECEIPT),
    lambda store, one: store.submissions.vanished(SIGNED),
    lambda store, one: store.submissions.include(SIGNED, RECEIPT),
    lambda store, one: store.submissions.settle(SIGNED, RECEIPT),
    judge,
]


def test_etag_and_body__change_with_everything_that_happens_to_it_in_this_process_or_another(
    api: Served, role: ApiRole, served: Serve, add: Add, prove: Callable[[Database], None], migrations: Any
) -> None:
    """Each change is made by the one, by another process or by its successor; a newer proof comes last."""
    other = Database(role.database.name, migrations)
    beside = served(replace(role, database=other))
    with role.database.unit_of_work(write=False) as store:
        found = store.predictions.latest(FEEDS[0])
    assert found is not None
    etags = [api.get(ALL_PARTS).headers["etag"]]

    def changes(database: Database, change: Callable[[Store, Prediction], object]) -> None:
        with database.unit_of_work() as store:
            change(store, found)
        wait_until(lambda: api.get(ALL_PARTS).headers["etag"] != etags[-1])
        etags.append(api.get(ALL_PARTS).headers["etag"])
        wait_until(lambda: beside.get(ALL_PARTS).headers["etag"] == etags[-1])
        assert api.get(ALL_PARTS).read() == beside.get(ALL_PARTS).read()

    for place, change in enumerate(CHANGES):
        changes(role.database if place % 2 else other, change)
    add(other, 1)
    prove(other)
    wait_until(lambda: api.json(ALL_PARTS)["id"] != found.id)
    new = served(role)
    assert api.get(ALL_PARTS).read() == new.get(ALL_PARTS).read()
    other.close()


@pytest.mark.parametrize("path", [LATEST, f"{LATEST}?include=proof"])
def test_if_none_match__with_the_etag_in_any_form__is_304_without_a_body_first_and_later(
    api: Served, path: str
) -> None:
    etag = api.get(path).headers["etag"]
    for _ in range(2):
        for held in (etag, f"W/{etag}", f'"other", W/{etag}', "*"):
            answer = api.get(path, **{"If-None-Match": held})
            assert (answer.status, answer.read(), answer.headers["etag"]) == (304, b"", etag)
            assert answer.headers["cache-control"]
        assert api.get(path, **{"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize(
    "path", [f"{LATEST}?proved=false", f"{LATEST}?include=attempts", f"{LATEST}?include=calldata,proof"]
)
def test_body__that_may_change_untold__is_made_for_each_request(
    made: list[Asked],
    sqlite_database: Database,
    make_role: MakeRole,
    served: Serve,
    add: Add,
    prove: Callable[[Database], None],
    path: str,
) -> None:
    add(sqlite_database)
    prove(sqlite_database)
    api = served(make_role(sqlite_database))
    assert [api.get(path).status for _ in range(3)] == [200] * 3
    assert len(made) == 3


def test_body__while_the_watcher_is_behind__is_made_for_each_request(
    api: Served, made: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.json(LATEST)
    monkeypatch.setattr(watching, "_CURRENT_FOR_S", 0.0)
    assert [api.get(LATEST).status for _ in range(3)] == [200] * 3
    assert len(made) == 4


def test_max_age__as_time_goes_by__is_503_from_then_on_with_when_to_ask_again(
    sqlite_database: Database,
    make_role: MakeRole,
    served: Serve,
    add: Add,
    prove: Callable[[Database], None],
) -> None:
    add(sqlite_database)
    prove(sqlite_database)
    api = served(make_role(sqlite_database))
    path = f"{LATEST}?max_age={api.json(LATEST)['age_seconds'] + 0.3:.3f}"
    statuses = []
    deadline = time.monotonic() + 5
    while 503 not in statuses and time.monotonic() < deadline:
        answer = api.get(path)
        statuses.append(answer.status)
        said = answer.read().decode()
    assert statuses[0] == 200
    assert "forecast-stale" in said
    assert 20 < int(answer.headers["retry-after"]) <= 42
    assert api.get(path).status == 503
    assert api.get(LATEST).status == 200


def test_cache_control__of_a_proved_forecast_without_a_chain__is_until_the_next_tick(
    sqlite_database: Database, make_role: MakeRole, served: Serve, add: Add, prove: Callable[[Database], None]
) -> None:
    """20 s after its window's end, and candles settle for 2 s."""
    add(sqlite_database)
    prove(sqlite_database)
    api = served(make_role(sqlite_database))
    for _ in range(2):
        said = re.fullmatch(r"public, max-age=(\d+)", api.get(LATEST).headers["cache-control"])
        assert said
        assert 36 <= int(said[1]) <= 42


def test_cache_control__of_one_that_may_still_be_sent__is_none(api: Served, role: ApiRole) -> None:
    with role.database.unit_of_work() as store:
        found = store.predictions.latest(FEEDS[0])
        assert found is not None
        store.submissions.record([found.id], SIGNED, 9)
    wait_until(lambda: api.json(LATEST)["status"] == "submitted")
    assert api.get(LATEST).headers["cache-control"] == "no-cache"


def test_forecast__not_there_yet__is_503_until_it_is(
    sqlite_database: Database, make_role: MakeRole, served: Serve, add: Add, prove: Callable[[Database], None]
) -> None:
    api = served(make_role(sqlite_database))
    answer = api.get(LATEST)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    add(sqlite_database)
    assert api.get(LATEST).status == 503
    prove(sqlite_database)
    wait_until(lambda: api.get(LATEST).status == 200)


def test_cors__is_for_the_origins_of_the_settings_alone_on_ready_answers_too(api: Served, role: ApiRole) -> None:
    assert "access-control-allow-origin" not in api.get(LATEST, Origin="https://a.example").headers


def test_cors__of_a_named_origin__allows_to_read_answers_and_problems(role: ApiRole, served: Serve, add: Add) -> None:
    add(role.database)
    settings = Settings(_env_file=None, feeds=FEEDS, cors_origins=("https://a.example",))  # type: ignore[call-arg]
    api = served(replace(role, settings=settings))
    for path in (LATEST, f"{LATEST}?proved=false", "/v1/feeds/doge/latest", "/v1/stream"):
        answer = api.get(path, Origin="https://a.example")
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert {"ETag", "Retry-After"} <= set(answer.headers["access-control-expose-headers"].split(", "))
        assert "access-control-allow-origin" not in api.get(path, Origin="https://b.example").headers
