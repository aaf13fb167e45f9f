"""Request bodies of strangers, read no further than they may be long."""

from __future__ import annotations

from fastapi import Request

from app.errors import BadInput


async def bounded_body(request: Request, limit: int, too_long: type[BadInput]) -> bytes:
    """The body; raises ``too_long`` as soon as it grows beyond ``limit``."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_long(f"at most {limit:,} bytes are read")
    return bytes(body)
