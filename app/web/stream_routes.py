"""The stream of events."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.types import EventKind
from app.web.clients import Clients
from app.web.openapi import name_of
from app.web.parameters import Kinds, LastEventId, ResumeAt, StreamedFeeds, read_kinds, read_last_event_id
from app.web.problems import documented
from app.web.reading import Reader
from app.web.stream import EventStream, Streams, Wanted

_TAGS: list[Any] = ["stream"]
_EVENT = {
    "type": "object",
    "description": "one event; `data` is JSON",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"type": "string", "enum": [*EventKind, "reset"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events for as long as the connection lasts: `id`, `event` (the kind), `data` (JSON)",
        "content": {"text/event-stream": {"schema": _EVENT}},
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


def stream_routes(reader: Reader, streams: Streams, clients: Clients) -> APIRouter:
    router = APIRouter(tags=_TAGS, generate_unique_id_function=name_of)

    @router.get(
        "/v1/stream",
        summary="Follow what happens, as it happens",
        response_class=_Streaming,
        status_code=200,
        responses=_EVENTS | documented(400, 404, 429),
    )
    async def stream(
        request: Request,
        feed: StreamedFeeds = None,
        kinds: Kinds = "",
        last_event_id: LastEventId = None,
        resume: ResumeAt = None,
    ) -> Response:
        """Server-sent events, from now on, or from where you were: after a reconnect with ``Last-Event-ID`` nothing is
        missing and nothing comes twice. A comment line comes every 15 s when nothing else does. Who reads too slowly is
        cut off, and resumes.

        An event ``reset`` says that the place asked for is not kept: read the state anew. Every other event has a kind:
        ``prediction``, ``proof``, ``failure``, ``attestation``, ``transaction``, ``round``, ``outcome``.
        """
        for name in feed or ():
            reader.served(name)
        of_header, of_query = read_last_event_id(last_event_id), read_last_event_id(resume)
        wanted = Wanted(frozenset(feed or ()), read_kinds(kinds))
        last = of_query if of_header is None else of_header
        return _Streaming(streams.open(clients.of(request.scope), wanted, last))

    return router
