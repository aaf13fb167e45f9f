"""The client for programs that wait: it carries out the steps of `app.client.questions` one after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import httpx2

from app.client.dialogue import (
    Answer,
    Ask,
    Body,
    Dialogue,
    Found,
    Listen,
    NoAnswer,
    Open,
    Pause,
    Step,
    T,
    Work,
)
from app.client.following import Tell
from app.client.questions import Bundle, Origin, Questions, Several, Time
from app.client.values import Event, Feed, Forecast, Page, Proof, TrackRecord, Update, Verdict

DEFAULT_URL = "http://127.0.0.1:8000"


class VeriRegime:
    """A VeriRegime service, asked over HTTP. Close it after use, or use it in a ``with`` block.

    A question that fails in passing (no connection, 429, 502, 503, 504) is asked again, as the service's Retry-After or
    a growing pause says, until ``patience_s`` have passed in all; ``timeout_s`` is the limit of a single request. Then
    it raises an `app.errors.OracleError`: a `NotNow` may be tried later, anything else needs another question. One
    client may be used by many threads. ``headers`` go with every request, for instance to a proxy that wants a token.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        patience_s: float = 30.0,
        timeout_s: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._questions = Questions(url, patience_s, timeout_s)
        self._http = httpx2.Client(base_url=self._questions.url, headers=headers, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()
        self._questions.close()

    def feeds(self) -> tuple[Feed, ...]:
        """All feeds of the service."""
        return self._run(self._questions.feeds())

    def feed(self, name: str) -> Feed:
        """One feed: its model, venues and chain, and how the last tick went. Raises `UnknownFeed`."""
        return self._run(self._questions.feed(name))

    def latest(
        self, feed: str, *, max_age: float | None = None, include: Several = (), proved: bool = True
    ) -> Forecast:
        """The newest forecast whose proof was verified; of any state with ``proved=False``.

        ``max_age`` is in seconds since the window's end; ``include`` names evidence to send along: proof, observation,
        calldata, attempts, attestations. Raises `ForecastStale` when there is none so young within our patience,
        `NoForecastYet`, `UnknownFeed`.
        """
        return self._run(self._questions.latest(feed, max_age, include, proved))

    def history(
        self, feed: str, start: Time | None = None, end: Time | None = None, *, limit: int | None = None
    ) -> Iterator[Forecast]:
        """The forecasts of windows that end in [start, end), newest first, page after page; at most ``limit``."""
        return self._each(self._questions.history(feed, start, end, limit))

    def arrivals(self, feed: str, cursor: str | None = None) -> Page:
        """Forecasts in the order in which they came, from ``cursor`` on or the first one.

        Keep the page's ``next`` and pass it later for what has come since: nothing is skipped or repeated.
        """
        return self._run(self._questions.arrivals(feed, cursor))

    def prediction(self, prediction_id: str) -> Forecast:
        """One forecast with all its evidence. Raises `UnknownPrediction`."""
        return self._run(self._questions.prediction(prediction_id))

    def proof(self, prediction_id: str) -> Proof:
        """Raises `ProofNotReady` while the proof is being made."""
        return self._run(self._questions.proof(prediction_id))

    def bundle(self, prediction_id: str) -> bytes:
        """Everything an auditor needs, as the JSON file that `veriregime verify` takes.

        Raises `ProofNotReady`, and `CandlesGone` when the candles behind it are no longer kept.
        """
        return self._run(self._questions.bundle(prediction_id))

    def update(self, feed: str) -> Update:
        """A signed call to the oracle that anyone may send. Raises `AttestationsMissing`, `NoChain`."""
        return self._run(self._questions.update(feed))

    def track_record(
        self, feed: str, start: Time | None = None, end: Time | None = None, *, origin: Origin = "live"
    ) -> TrackRecord:
        """How forecasts of [start, end) did; ``backtest`` are those that nobody was served."""
        return self._run(self._questions.track_record(feed, start, end, origin))

    def verify(self, bundle: Bundle) -> Verdict:
        """The service's own verdict on a bundle: convenient, but it is the service that you believe then."""
        return self._run(self._questions.verify(bundle))

    def verify_locally(self, subject: Forecast | Bundle, *, signed_by: Several = ()) -> Verdict:
        """Audit on this machine: recompute everything from the candles up, and believe nobody but ``signed_by``.

        ``subject`` is a forecast (then the bundle must also say what it says), a prediction's id, or a bundle. Every
        account of ``signed_by`` must have signed. Settings are those of `veriregime verify`; an SRS that is not here is
        fetched from the service, checked and kept. Mind the verdict's ``srs_development``.
        """
        return self._run(self._questions.verify_locally(subject, signed_by))

    def stream(
        self,
        feed: Several = (),
        kinds: Several = (),
        last_event_id: int | None = None,
        *,
        patience_s: float | None = None,
        tell: Tell | None = None,
    ) -> Iterator[Event]:
        """Events as they happen, of all feeds and kinds unless some are named; after ``last_event_id`` if given.

        A lost connection is made again and goes on after the last event: none comes twice, none is left out. An event
        ``reset`` says that the place is no longer kept: read the state anew. Ends with `ServiceUnreachable` when the
        service is away for longer than ``patience_s`` (the client's; ``math.inf``: never). ``tell`` is called with a
        reason and the seconds until the next try when the stream is lost, and with None and 0 when it stands.
        """
        return self._each(self._questions.stream(feed, kinds, last_event_id, patience_s, tell))

    def _run(self, dialogue: Dialogue[T]) -> T:
        told: Any = None
        while True:
            try:
                step = dialogue.send(told)
            except StopIteration as done:
                result: T = done.value
                return result
            told = self._do(step)

    def _each(self, dialogue: Dialogue[None]) -> Iterator[Any]:
        """What a dialogue finds, as it finds it."""
        told: Any = None
        with _Line(self._http) as line:
            while True:
                try:
                    step = dialogue.send(told)
                except StopIteration:
                    return
                match step:
                    case Found(item):
                        told = None
                        yield item
                    case Open():
                        told = line.open(step)
                    case Listen():
                        told = line.listen()
                    case _:
                        told = self._do(step)

    def _do(self, step: Step) -> Any:
        match step:
            case Pause(seconds):
                return time.sleep(seconds)
            case Work(do):
                return do()
            case Ask():
                return self._exchange(step)
        raise TypeError(f"no step of a question: {step}")

    def _exchange(self, ask: Ask) -> Answer | NoAnswer:
        try:
            with self._http.stream(**ask.request(), timeout=ask.timeout_s) as response:
                return _read(ask, response)
        except httpx2.HTTPError as error:
            return NoAnswer.of(error)


class _Line:
    """The stream that is open, if one is."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http
        self._held = ExitStack()
        self._events: Iterator[httpx2.ServerSentEvent] = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def open(self, step: Open) -> Answer | NoAnswer:
        self._held.close()
        try:
            response = self._held.enter_context(self._http.stream(**step.ask.request(), timeout=step.timeout()))
            if response.status_code != httpx2.codes.OK:
                return _read(step.ask, response)
        except httpx2.HTTPError as error:
            return NoAnswer.of(error)
        self._events = iter(httpx2.EventSource(response))
        return Answer(response.status_code, response.headers, b"")

    def listen(self) -> httpx2.ServerSentEvent | NoAnswer:
        try:
            return next(self._events)
        except StopIteration:
            return NoAnswer("it ended")
        except httpx2.HTTPError as error:
            return NoAnswer.of(error)


def _read(ask: Ask, response: httpx2.Response) -> Answer:
    body = Body(ask)
    for piece in response.iter_bytes():
        body.add(piece)
    return body.answer(response)
