"""The stream of events."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.types import EventKind
from app.web.problems import documented
from app.web.reading import Reader
from app.web.stream import EventStream, Streams, read_last_event_id, wanted_of

_TAGS: list[Any] = ["stream"]
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events for as long as the connection lasts: `id`, `event` (the kind), `data` (JSON)",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class _Streaming(Response):
    """Hands the connection to the stream."""

    media_type = "text/event-stream"

    def __init__(self, stream: EventStream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream(scope, receive, send)


def stream_routes(reader: Reader, streams: Streams) -> APIRouter:
    router = APIRouter(tags=_TAGS)

    @router.get(
        "/v1/stream",
        summary="What happens, as it happens",
        response_class=_Streaming,
        status_code=200,
        responses=_EVENTS | documented(400, 404),
    )
    async def stream(
        feed: Annotated[list[str] | None, Query(description="only these feeds; repeat for more")] = None,
        kinds: Annotated[str, Query(description=f"only these, comma separated: {', '.join(EventKind)}")] = "",
        last_event_id: Annotated[
            str | None, Header(alias="Last-Event-ID", description="`id` of the last event that you have")
        ] = None,
        resume: Annotated[
            str | None, Query(alias="last_event_id", description="the same, where headers cannot be set")
        ] = None,
    ) -> Response:
        """Server-sent events, from now on, or from where you were: after a reconnect with ``Last-Event-ID`` nothing is
        missing and nothing comes twice. A comment line comes every 15 s when nothing else does. Who reads too slowly is
        cut off, and resumes.

        An event ``reset`` says that the place asked for is not kept: read the state anew. Every other event has a kind:
        ``prediction``, ``proof``, ``failure``, ``attestation``, ``transaction``, ``round``, ``outcome``.
        """
        for name in feed or ():
            reader.served(name)
        last = read_last_event_id(last_event_id if last_event_id is not None else resume)
        return _Streaming(streams.open(wanted_of(feed or (), kinds), last))

    return router
