"""What the clients have in common: a dialogue is a generator that says what to do next and is told what came of it.

Whether to ask again, how long to wait and what an answer means is decided here and in `app.client.questions`, once; the
blocking and the asynchronous client only carry the steps out, each in its own way.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import httpx2

from app.client.errors import ServiceUnreachable, UnexpectedAnswer, error_of, is_passing, retry_after_s
from app.errors import BadInput, OracleError

T = TypeVar("T")

_MOST_BYTES = 16 * 2**20
_NOT_MODIFIED = 304
_LONGEST_PAUSE_S = 8.0
_FIRST_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class Ask:
    """Make one request and read its whole answer. Told an `Answer`, or `NoAnswer`."""

    method: str
    path: str
    params: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    most_bytes: int = _MOST_BYTES
    timeout_s: float = 10.0

    def request(self) -> dict[str, Any]:
        """As httpx2 takes it."""
        parts = {"params": self.params, "headers": self.headers, "content": self.body}
        return {"method": self.method, "url": self.path} | {name: part for name, part in parts.items() if part}


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a request whose answer is a stream of events; it takes the place of the one that was open.

    Told an `Answer` without a body when it is, an ordinary `Answer` when it is not, or `NoAnswer`.
    """

    ask: Ask
    silence_s: float
    """After this long without a byte the connection counts as lost."""

    def timeout(self) -> httpx2.Timeout:
        return httpx2.Timeout(self.ask.timeout_s, read=self.silence_s)


@dataclass(frozen=True, slots=True)
class Listen:
    """Wait for the next event of the open stream. Told an `httpx2.ServerSentEvent`, or `NoAnswer` when it has ended."""


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Do something that takes a while without the network. Told what it returns."""

    do: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Found:
    """Hand this to whoever iterates."""

    item: Any


Step: TypeAlias = Ask | Open | Listen | Pause | Work | Found
Dialogue: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class NoAnswer:
    reason: str

    @classmethod
    def of(cls, error: Exception) -> NoAnswer:
        return cls(re.sub(r"^\[Errno \d+\] ", "", str(error)) or type(error).__name__)


@dataclass(frozen=True, slots=True)
class Manners:
    """How long and how often the service is asked."""

    patience_s: float = 30.0
    """Time limit of a question with all its repetitions."""
    timeout_s: float = 10.0
    """Of one request."""
    now: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random

    def pause_s(self, failures: int, asked_for_s: float | None) -> float:
        """How long to wait after this many failures in a row, counted from 0.

        Clients that lost the same service at the same moment must not come back together: part of it is left to chance.
        """
        backoff_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures, 10)) * (0.5 + self.chance() / 2)
        return backoff_s if asked_for_s is None else max(backoff_s, asked_for_s + _FIRST_PAUSE_S * self.chance())


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no usable answer, and whether asking again may help."""

    error: OracleError
    passing: bool
    asked_for_s: float | None


def failure_of(ask: Ask, reply: Answer | NoAnswer, url: str) -> Failure | None:
    """None for an answer to go on with."""
    if isinstance(reply, NoAnswer):
        return Failure(ServiceUnreachable(f"nothing answers at {url} ({reply.reason}): is it running?"), True, None)
    if 200 <= reply.status < 300 or reply.status == _NOT_MODIFIED:
        return None
    error = error_of(f"{ask.method} {url}{ask.path}", reply.status, reply.headers, reply.body)
    return Failure(error, is_passing(reply.status), retry_after_s(reply.headers))


def patiently(ask: Ask, manners: Manners, url: str) -> Dialogue[Answer]:
    """Ask until there is an answer, within the time limit; then raise the error that the last try ended with.

    It is raised at once where the service asks for a longer pause than is left.
    """
    ends = manners.now() + manners.patience_s
    failures = 0
    while True:
        left_s = max(0.1, ends - manners.now())
        reply: Answer | NoAnswer = yield replace(ask, timeout_s=min(manners.timeout_s, left_s))
        failure = failure_of(ask, reply, url)
        if failure is None and isinstance(reply, Answer):
            return reply
        if failure is not None:
            yield Pause(pause_or_raise(failure, failures, manners, ends))
        failures += 1


def pause_or_raise(failure: Failure, failures: int, manners: Manners, ends: float) -> float:
    """Seconds to wait before the next try. Raises the failure's error where that would be useless, or too late."""
    pause_s = manners.pause_s(failures, failure.asked_for_s)
    if not failure.passing or manners.now() + pause_s > ends:
        raise failure.error
    return pause_s


class Body:
    """What has come of an answer's body so far; neither its length nor its time is the sender's to choose."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._ends = time.monotonic() + ask.timeout_s
        self._read = bytearray()

    def add(self, piece: bytes) -> None:
        """Raises `UnexpectedAnswer` when it grows too long, and what httpx2 raises when it takes too long."""
        self._read += piece
        if len(self._read) > self._ask.most_bytes:
            raise UnexpectedAnswer(f"{self._ask.path} answered more than {self._ask.most_bytes:,} bytes")
        if time.monotonic() > self._ends:
            raise httpx2.ReadTimeout("the answer did not end in time")

    def answer(self, response: httpx2.Response) -> Answer:
        return Answer(response.status_code, response.headers, bytes(self._read))


def base_url(text: str) -> str:
    """Raises `BadInput` for what is no address of a service."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        url = httpx2.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise BadInput(f"{text!r} is no URL of a service: write it like http://127.0.0.1:8000")
    return text.rstrip("/")
