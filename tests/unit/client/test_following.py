"""The stream, over connections that are lost at every place."""

from __future__ import annotations

import math
from typing import Any

import httpx2
import pytest

from app.client.dialogue import NoAnswer
from app.client.errors import ServiceUnreachable, UnexpectedAnswer
from app.client.following import follow
from app.errors import UnknownFeed

URL = "http://oracle.example"
LOST = NoAnswer("peer closed connection")
GREETING = httpx2.ServerSentEvent("message", "", "40", retry=2000)
"""The service says where a client is before anything has happened."""


@pytest.fixture
def opened(answer: Any) -> Any:
    return answer(content_type="text/event-stream; charset=utf-8")


def followed(played: Any, last: int | None = None, patience_s: float = 30.0) -> list[tuple[int, str]]:
    """What was seen until the service was away for good."""
    with pytest.raises(ServiceUnreachable):
        played.run(follow(URL, played.manners(patience_s), {}, last, None))
    return [(event.id, event.kind) for event in played.found]


def away_for(times: int) -> list[NoAnswer]:
    return [NoAnswer("Connection refused")] * times


def places(played: Any) -> list[str | None]:
    return [ask.headers.get("Last-Event-ID") for ask in played.asked]


def test_lost_connection__goes_on_after_the_last_event(play: Any, opened: Any, events: Any) -> None:
    played = play(opened, *events(41, 42), LOST, opened, *events(43), LOST, *away_for(99))
    assert followed(played) == [(41, "proof"), (42, "proof"), (43, "proof")]
    assert places(played)[:3] == [None, "42", "43"]
    assert played.pauses[:3] == [0.25, 0.25, 0.5]  # only failures in a row count


def test_event_that_comes_again__is_shown_once(play: Any, opened: Any, events: Any) -> None:
    played = play(opened, *events(41, 42), LOST, opened, *events(41, 42, 43), LOST, *away_for(99))
    assert [number for number, _ in followed(played)] == [41, 42, 43]


def test_connection_lost_before_the_first_event__keeps_the_place(play: Any, opened: Any, events: Any) -> None:
    played = play(opened, GREETING, LOST, opened, *events(41), LOST, *away_for(99))
    assert followed(played) == [(41, "proof")]
    assert places(played)[:2] == [None, "40"]


def test_place_of_the_callers__is_asked_for(play: Any, opened: Any, events: Any) -> None:
    played = play(opened, *events(8), LOST, *away_for(99))
    assert followed(played, last=7) == [(8, "proof")]
    assert places(played)[:2] == ["7", "8"]


def test_reset__is_shown_and_goes_on_from_the_newest_even_if_numbers_begin_anew(
    play: Any, opened: Any, events: Any
) -> None:
    reset = httpx2.ServerSentEvent("reset", '{"oldest": 1, "newest": 3}', "3")
    played = play(opened, reset, *events(4), LOST, *away_for(99))
    assert followed(played, last=900) == [(3, "reset"), (4, "proof")]
    assert places(played)[1] == "4"


def test_pause__is_what_the_stream_asked_for_and_is_told(play: Any, opened: Any, events: Any) -> None:
    told: list[tuple[str | None, float]] = []
    played = play(opened, GREETING, *events(41), LOST, *away_for(99))
    with pytest.raises(ServiceUnreachable):
        played.run(follow(URL, played.manners(), {}, None, lambda reason, pause_s: told.append((reason, pause_s))))
    assert 2 <= played.pauses[0] <= 2.5
    lost = (f"the stream of {URL} was lost (peer closed connection)", played.pauses[0])
    assert told[:2] == [(None, 0), lost]


def test_service_that_hangs_up_again_and_again__is_asked_ever_more_slowly(play: Any, opened: Any) -> None:
    played = play(*[opened, LOST] * 7, *away_for(99))
    followed(played)
    assert played.pauses[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]


def test_quiet_hours__do_not_use_up_patience(play: Any, opened: Any, events: Any) -> None:
    played = play(opened, *events(41), LOST, opened, *events(42), LOST, *away_for(99))
    dialogue = follow(URL, played.manners(), {}, None, None)
    real = played._do

    def slow(step: Any) -> Any:
        played.now += 3600 if type(step).__name__ == "Listen" else 0
        return real(step)

    played._do = slow
    with pytest.raises(ServiceUnreachable):
        played.run(dialogue)
    assert [event.id for event in played.found] == [41, 42]


def test_endless_patience__outlasts_any_outage(play: Any, opened: Any, events: Any, problem: Any) -> None:
    played = play(*away_for(500), opened, *events(1), LOST, problem(404, "unknown-feed", "it was taken away"))
    with pytest.raises(UnknownFeed, match="taken away"):
        played.run(follow(URL, played.manners(math.inf), {}, None, None))
    assert [event.id for event in played.found] == [1]


def test_what_is_no_stream__is_said_at_once(play: Any, answer: Any) -> None:
    played = play(answer(body=b"<html>", content_type="text/html"))
    with pytest.raises(UnexpectedAnswer, match="text/html instead of a stream"):
        played.run(follow(URL, played.manners(), {}, None, None))
