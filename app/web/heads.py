"""HEAD wherever there is GET: the same headers and no body, as RFC 9110 §9.3.2 wants it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._inner(scope, receive, send)
            return
        asked: Scope = {**scope, "method": "GET"}
        ended = False

        async def send_head(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                scope["route"] = asked.get("route")
                await send(message)
            elif not ended:  # what would follow, for as long as a stream lasts, is not sent
                ended = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._inner(asked, receive, send_head)
