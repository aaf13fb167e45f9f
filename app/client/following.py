"""The stream of events as a dialogue: it connects again after a loss and goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2

from app.client.dialogue import (
    Answer,
    Ask,
    Dialogue,
    Failure,
    Found,
    Listen,
    Manners,
    NoAnswer,
    Open,
    Pause,
    failure_of,
    pause_or_raise,
)
from app.client.errors import ServiceUnreachable, UnexpectedAnswer
from app.client.values import Event

SILENCE_S = 45.0
"""The service sends a sign of life every 15 seconds."""

_STEADY_S = 5.0
"""A connection that held for this long was no failure, even if nothing has happened."""

Tell = Callable[[str | None, float], None]
"""Called with why the stream was lost and the seconds until the next try; with None and 0 when it stands (again)."""


class Place:
    """How far a stream was read: what was seen is not shown again."""

    def __init__(self, last: int | None) -> None:
        self.last = last

    def take(self, sent: httpx2.ServerSentEvent) -> Event | None:
        """The event to show, if this is one. Raises `UnexpectedAnswer` when it cannot be read."""
        if sent.event == "reset":
            data = _data(sent)
            self.last = int(data["newest"])
            return Event(self.last, "reset", data)
        if not sent.id.isdecimal() or (self.last is not None and int(sent.id) <= self.last):
            return None
        self.last = int(sent.id)
        return Event(self.last, sent.event, _data(sent)) if sent.data else None


def follow(
    url: str, manners: Manners, params: Mapping[str, str | Sequence[str]], last: int | None, tell: Tell | None
) -> Dialogue[None]:
    """Finds events, each once. Ends only by an error: the service refuses, or was away for longer than our patience."""
    place, asked_for_s = Place(last), None
    failures, ends = 0, manners.now() + manners.patience_s
    while True:
        headers = {"Accept": "text/event-stream"} | ({} if place.last is None else {"Last-Event-ID": str(place.last)})
        ask = Ask("GET", "/v1/stream", params, headers, timeout_s=manners.timeout_s)
        reply: Answer | NoAnswer = yield Open(ask, SILENCE_S)
        failure = failure_of(ask, reply, url)
        if failure is None and isinstance(reply, Answer):
            _check_type(ask, reply)
            if tell:
                tell(None, 0)
            before, opened = place.last, manners.now()
            lost, told_s = yield from _listen(place)
            asked_for_s = told_s if told_s is not None else asked_for_s
            ends = manners.now() + manners.patience_s
            if place.last != before or manners.now() - opened > _STEADY_S:
                failures = 0
            failure = Failure(ServiceUnreachable(f"the stream of {url} was lost ({lost})"), True, asked_for_s)
        if failure is not None:
            pause_s = pause_or_raise(failure, failures, manners, ends)
            if tell:
                tell(str(failure.error), pause_s)
            yield Pause(pause_s)
        failures += 1


def _listen(place: Place) -> Dialogue[tuple[str, float | None]]:
    """Finds the events of one connection; gives why it ended, and the pause that the service asked for, in seconds."""
    pause_s: float | None = None
    while True:
        sent: httpx2.ServerSentEvent | NoAnswer = yield Listen()
        if isinstance(sent, NoAnswer):
            return sent.reason, pause_s
        if sent.retry is not None:
            pause_s = sent.retry / 1000
        event = place.take(sent)
        if event is not None:
            yield Found(event)


def _check_type(ask: Ask, answer: Answer) -> None:
    kind = answer.headers.get("content-type", "nothing")
    if not kind.startswith("text/event-stream"):
        raise UnexpectedAnswer(
            f"{ask.path} answered {kind} instead of a stream: is the URL that of a VeriRegime service?"
        )


def _data(sent: httpx2.ServerSentEvent) -> Mapping[str, Any]:
    try:
        found = json.loads(sent.data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnexpectedAnswer(f"the event {sent.id} of the stream is no JSON object")
    return found
