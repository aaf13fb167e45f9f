"""The client for asyncio: the questions and steps of `app.client.blocking`, carried out without blocking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import httpx2

from app.client.blocking import DEFAULT_URL
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


class AsyncVeriRegime:
    """`app.client.VeriRegime` for asyncio: same methods, same errors; iterate what iterates with ``async for``.

    Who leaves a stream before its end closes it: ``async with contextlib.aclosing(client.stream()) as events``.
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
        self._http = httpx2.AsyncClient(base_url=self._questions.url, headers=headers, follow_redirects=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()
        await asyncio.to_thread(self._questions.close)

    async def feeds(self) -> tuple[Feed, ...]:
        return await self._run(self._questions.feeds())

    async def feed(self, name: str) -> Feed:
        return await self._run(self._questions.feed(name))

    async def latest(
        self, feed: str, *, max_age: float | None = None, include: Several = (), proved: bool = True
    ) -> Forecast:
        return await self._run(self._questions.latest(feed, max_age, include, proved))

    def history(
        self, feed: str, start: Time | None = None, end: Time | None = None, *, limit: int | None = None
    ) -> AsyncGenerator[Forecast, None]:
        return self._each(self._questions.history(feed, start, end, limit))

    async def arrivals(self, feed: str, cursor: str | None = None) -> Page:
        return await self._run(self._questions.arrivals(feed, cursor))

    async def prediction(self, prediction_id: str) -> Forecast:
        return await self._run(self._questions.prediction(prediction_id))

    async def proof(self, prediction_id: str) -> Proof:
        return await self._run(self._questions.proof(prediction_id))

    async def bundle(self, prediction_id: str) -> bytes:
        return await self._run(self._questions.bundle(prediction_id))

    async def update(self, feed: str) -> Update:
        return await self._run(self._questions.update(feed))

    async def track_record(
        self, feed: str, start: Time | None = None, end: Time | None = None, *, origin: Origin = "live"
    ) -> TrackRecord:
        return await self._run(self._questions.track_record(feed, start, end, origin))

    async def verify(self, bundle: Bundle) -> Verdict:
        return await self._run(self._questions.verify(bundle))

    async def verify_locally(self, subject: Forecast | Bundle, *, signed_by: Several = ()) -> Verdict:
        return await self._run(self._questions.verify_locally(subject, signed_by))

    def stream(
        self,
        feed: Several = (),
        kinds: Several = (),
        last_event_id: int | None = None,
        *,
        patience_s: float | None = None,
        tell: Tell | None = None,
    ) -> AsyncGenerator[Event, None]:
        return self._each(self._questions.stream(feed, kinds, last_event_id, patience_s, tell))

    async def _run(self, dialogue: Dialogue[T]) -> T:
        told: Any = None
        while True:
            try:
                step = dialogue.send(told)
            except StopIteration as done:
                result: T = done.value
                return result
            told = await self._do(step)

    async def _each(self, dialogue: Dialogue[None]) -> AsyncGenerator[Any, None]:
        told: Any = None
        async with _Line(self._http) as line:
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
                        told = await line.open(step)
                    case Listen():
                        told = await line.listen()
                    case _:
                        told = await self._do(step)

    async def _do(self, step: Step) -> Any:
        match step:
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Work(do):
                return await asyncio.to_thread(do)
            case Ask():
                return await self._exchange(step)
        raise TypeError(f"no step of a question: {step}")

    async def _exchange(self, ask: Ask) -> Answer | NoAnswer:
        try:
            async with self._http.stream(**ask.request(), timeout=ask.timeout_s) as response:
                return await _read(ask, response)
        except httpx2.HTTPError as error:
            return NoAnswer.of(error)


class _Line:
    """The stream that is open, if one is."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._held = AsyncExitStack()
        self._events: AsyncIterator[httpx2.ServerSentEvent] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._held.aclose()

    async def open(self, step: Open) -> Answer | NoAnswer:
        await self._held.aclose()
        try:
            response = await self._held.enter_async_context(
                self._http.stream(**step.ask.request(), timeout=step.timeout())
            )
            if response.status_code != httpx2.codes.OK:
                return await _read(step.ask, response)
        except httpx2.HTTPError as error:
            return NoAnswer.of(error)
        self._events = aiter(httpx2.EventSource(response))
        return Answer(response.status_code, response.headers, b"")

    async def listen(self) -> httpx2.ServerSentEvent | NoAnswer:
        try:
            return await anext(self._events) if self._events else NoAnswer("it was never opened")
        except StopAsyncIteration:
            return NoAnswer("it ended")
        except httpx2.HTTPError as error:
            return NoAnswer.of(error)


async def _read(ask: Ask, response: httpx2.Response) -> Answer:
    body = Body(ask)
    async for piece in response.aiter_bytes():
        body.add(piece)
    return body.answer(response)
