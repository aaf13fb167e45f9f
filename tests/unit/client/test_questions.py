"""What is asked, and what the answers mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.client.errors import UnexpectedAnswer
from app.client.questions import Questions
from app.errors import BadInput, ForecastStale, UnknownFeed
from app.types import Regime, Status

FEED = {
    "feed": "btc-usdt-4h",
    "symbol": "BTC/USDT",
    "horizon_minutes": 240,
    "cadence_seconds": 60,
    "model_id": "ab" * 32,
    "model_name": "btc-usdt-4h-v3",
    "market": "simulated",
    "market_time": "2025-09-15T12:00:00Z",
    "market_speed": 20.0,
    "venues": [],
    "quorum": 2,
    "clock_skew_seconds": None,
    "srs": {"sha256": "cd" * 32, "development": True},
    "chain": None,
    "last_tick": None,
    "alarms": [],
}


@pytest.fixture
def questions() -> Questions:
    return Questions("http://oracle.example/", 30, 10)


def played_by(questions: Questions, played: Any) -> Any:
    questions.manners = played.manners()
    return played


def test_latest__is_a_frozen_value_in_the_units_of_the_field(
    questions: Questions, play: Any, answer: Any, forecast: Any
) -> None:
    played = played_by(questions, play(answer(body=forecast(7, of_a_newer_service=1))))
    found = played.run(questions.latest("btc-usdt-4h", 120, ("proof", "calldata"), True))
    assert found.window_end == datetime(2025, 9, 15, 12, 7, tzinfo=UTC)
    assert (found.regime, found.status, found.age_seconds) == (Regime.LOW, Status.CONFIRMED, 12.5)
    assert (found.proof, found.onchain, found.outcome) == (None, None, None)
    assert played.asked[0].path == "/v1/feeds/btc-usdt-4h/latest"
    assert played.asked[0].params == {"include": "calldata,proof", "max_age": "120"}


def test_latest__again__asks_by_etag_and_tells_the_age_it_has_by_then(
    questions: Questions, play: Any, answer: Any, forecast: Any
) -> None:
    played = played_by(
        questions,
        play(answer(body=forecast(), etag='"1"'), answer(304), answer(body=FEED), answer(304)),
    )
    played.run(questions.latest("btc-usdt-4h", None, (), True))
    ages = []
    for _ in range(2):
        played.now += 2
        ages.append(played.run(questions.latest("btc-usdt-4h", 300, (), True)).age_seconds)
    assert ages == [12.5 + 2 * 20, 12.5 + 4 * 20]  # this market runs twenty times as fast
    assert [ask.headers.get("If-None-Match") for ask in played.asked] == [None, '"1"', None, '"1"']


def test_latest__with_other_parts__is_another_question(
    questions: Questions, play: Any, answer: Any, forecast: Any
) -> None:
    played = played_by(questions, play(*[answer(body=forecast(), etag='"1"')] * 3))
    played.run(questions.latest("btc-usdt-4h", None, (), True))
    played.run(questions.latest("btc-usdt-4h", None, ("proof",), True))
    played.run(questions.latest("btc-usdt-4h", None, (), False))
    assert [dict(ask.headers) for ask in played.asked] == [{}, {}, {}]


def test_latest__from_a_cache_on_the_way__is_older_by_what_it_lay_there(
    questions: Questions, play: Any, answer: Any, forecast: Any
) -> None:
    played = played_by(questions, play(*[answer(body=forecast(), age="50")] * 2))
    assert played.run(questions.latest("btc-usdt-4h", 120, (), True)).age_seconds == 62.5
    with pytest.raises(ForecastStale, match="62 s old, you allow 60 s"):
        played.run(questions.latest("btc-usdt-4h", 60, (), True))


def test_history__goes_through_all_pages(questions: Questions, play: Any, answer: Any, forecast: Any) -> None:
    pages = [
        {"predictions": [forecast(3), forecast(2)], "next": "older"},
        {"predictions": [], "next": "oldest"},
        {"predictions": [forecast(1)], "next": None},
    ]
    played = played_by(questions, play(*[answer(body=page) for page in pages]))
    start = datetime(2025, 9, 15, 14, tzinfo=timezone(timedelta(hours=2)))
    played.run(questions.history("btc-usdt-4h", start, "2025-09-16T00:00:00Z", None))
    assert [one.window_end.minute for one in played.found] == [3, 2, 1]
    assert [ask.params.get("cursor") for ask in played.asked] == [None, "older", "oldest"]
    assert {ask.params["start"] for ask in played.asked} == {"2025-09-15T12:00:00Z"}


def test_history__of_some__asks_for_no_more(questions: Questions, play: Any, answer: Any, forecast: Any) -> None:
    page = {"predictions": [forecast(3), forecast(2)], "next": "older"}
    played = played_by(questions, play(answer(body=page)))
    played.run(questions.history("btc-usdt-4h", None, None, 2))
    assert (len(played.found), played.asked[0].params["limit"]) == (2, "2")


def test_arrivals__hand_on_the_cursor(questions: Questions, play: Any, answer: Any, forecast: Any) -> None:
    played = played_by(questions, play(answer(body={"predictions": [forecast(1)], "next": "b"})))
    page = played.run(questions.arrivals("btc-usdt-4h", "a"))
    assert (len(page.predictions), page.next) == (1, "b")
    assert (played.asked[0].params["order"], played.asked[0].params["cursor"]) == ("arrival", "a")


def test_names__cannot_leave_their_place_in_the_path(questions: Questions, play: Any, answer: Any) -> None:
    played = played_by(questions, play(answer(body=FEED)))
    played.run(questions.feed("../models?x"))
    assert played.asked[0].path == "/v1/feeds/..%2Fmodels%3Fx"


def test_answer_in_another_form__names_the_first_field(questions: Questions, play: Any, answer: Any) -> None:
    played = played_by(questions, play(answer(body=FEED | {"horizon_minutes": "long"})))
    with pytest.raises(UnexpectedAnswer, match=r"/v1/feeds/x: horizon_minutes: .*of this version"):
        played.run(questions.feed("x"))


def test_verify__takes_a_bundle_in_any_of_its_forms(questions: Questions, play: Any, answer: Any) -> None:
    verdict = {"holds": False, "failed": "proof", "reason": "no", "checks": ["model_id"], "signers": [], "venues": []}
    played = played_by(questions, play(*[answer(body=verdict | {"quorum": None})] * 3))
    for bundle in (b'{"a": 1}', '{"a": 1}', {"a": 1}):
        assert played.run(questions.verify(bundle)).failed == "proof"
    assert {ask.body for ask in played.asked} == {b'{"a": 1}'}
    with pytest.raises(BadInput, match="not int"):
        played.run(questions.verify(5))  # type: ignore[arg-type]


def test_one_name__is_as_good_as_several(questions: Questions, play: Any, answer: Any, forecast: Any) -> None:
    played = played_by(questions, play(answer(body=forecast()), answer(404, {"type": "unknown-feed"})))
    played.run(questions.latest("btc-usdt-4h", None, "proof", True))
    with pytest.raises(UnknownFeed):
        played.run(questions.stream("btc-usdt-4h", "round", None, None, None))
    assert [dict(ask.params) for ask in played.asked] == [
        {"include": "proof"},
        {"feed": ["btc-usdt-4h"], "kinds": "round"},
    ]


@pytest.mark.parametrize("url", ["oracle.example", "ftp://oracle.example", "http://", "http://host:port", ""])
def test_url__that_is_none__is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="write it like http"):
        Questions(url, 30, 10)
