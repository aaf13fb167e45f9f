"""How often and for how long the service is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.client.dialogue import Ask, Body, Manners, NoAnswer, patiently
from app.client.errors import ServiceBusy, ServiceUnreachable, UnexpectedAnswer
from app.errors import BadInput, CandlesGone, ForecastStale, OracleError, UnknownFeed

URL = "http://oracle.example"
ASK = Ask("GET", "/v1/feeds")
REFUSED = NoAnswer("Connection refused")


def test_passing_failures__are_asked_again_after_growing_pauses(play: Any, answer: Any) -> None:
    played = play(REFUSED, answer(502, b"<html>"), answer(429), REFUSED, answer(body={}))
    assert played.run(patiently(ASK, played.manners(), URL)).status == 200
    assert played.pauses == [0.25, 0.5, 1.0, 2.0]
    assert len(played.asked) == 5


def test_retry_after__is_honoured(play: Any, answer: Any, problem: Any) -> None:
    stale = problem(503, "forecast-stale", "it is old", retry_after="7")
    played = play(stale, answer())
    played.run(patiently(ASK, played.manners(), URL))
    assert 7 <= played.pauses[0] <= 7.5


def test_retry_after__longer_than_our_patience__is_not_waited_for(play: Any, problem: Any) -> None:
    played = play(problem(503, "forecast-stale", "the newest forecast is 130 s old", retry_after="42"))
    with pytest.raises(ForecastStale, match="130 s old") as raised:
        played.run(patiently(ASK, played.manners(patience_s=30), URL))
    assert raised.value.retry_after_s == 42
    assert played.pauses == []


def test_nothing_answers__in_all_the_time__says_where_and_why(play: Any) -> None:
    played = play(*[REFUSED] * 99)
    with pytest.raises(ServiceUnreachable, match=r"nothing answers at http://oracle.example \(Connection refused\)"):
        played.run(patiently(ASK, played.manners(patience_s=30), URL))
    assert sum(played.pauses) <= 30


def test_last_request__gets_no_more_time_than_is_left(play: Any) -> None:
    played = play(*[REFUSED] * 99)
    with pytest.raises(ServiceUnreachable):
        played.run(patiently(ASK, played.manners(patience_s=4), URL))
    assert played.asked[0].timeout_s == 4
    assert played.asked[-1].timeout_s < 1


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (404, "unknown-feed", UnknownFeed),
        (400, "bad-input", BadInput),
        (410, "candles-gone", CandlesGone),
        (422, "of-tomorrow", BadInput),
        (404, "about:blank", UnexpectedAnswer),
        (500, "about:blank", UnexpectedAnswer),
    ],
)
def test_refusal__is_raised_at_once_as_what_it_is(
    play: Any, problem: Any, status: int, kind: str, error: type[OracleError]
) -> None:
    played = play(problem(status, kind, "the reason"))
    with pytest.raises(error, match="the reason") as raised:
        played.run(patiently(ASK, played.manners(), URL))
    assert type(raised.value) is error
    assert played.pauses == []


def test_busy_proxy__without_a_problem__is_a_member_of_the_tree_too(play: Any, answer: Any) -> None:
    played = play(*[answer(502, b"<html>bad gateway</html>")] * 99)
    with pytest.raises(ServiceBusy, match="answered 502: ask again later"):
        played.run(patiently(ASK, played.manners(), URL))


@pytest.mark.parametrize(("text", "longest_s"), [("Wed, 21 Oct 2015 07:28:00 GMT", 0.25), ("soon", 0.25)])
def test_retry_after__date_that_has_passed_or_nonsense__costs_no_time(
    play: Any, answer: Any, text: str, longest_s: float
) -> None:
    played = play(answer(503, b"", retry_after=text), answer())
    played.run(patiently(ASK, played.manners(), URL))
    assert played.pauses[0] <= longest_s


@pytest.mark.parametrize("failures", [0, 3, 2_000])
def test_pause__is_never_the_same_for_all_and_never_endless(failures: int) -> None:
    made: Callable[[float], Manners] = lambda chance: Manners(chance=lambda: chance)  # noqa: E731
    low, high = (made(chance).pause_s(failures, None) for chance in (0.0, 1.0))
    assert 0 < low < high <= 8


def test_body__longer_than_allowed__is_refused() -> None:
    body = Body(Ask("GET", "/v1/srs/x", most_bytes=10))
    body.add(b"12345")
    with pytest.raises(UnexpectedAnswer, match="more than 10 bytes"):
        body.add(b"678901")
