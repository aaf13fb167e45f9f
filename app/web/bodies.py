"""Request bodies of strangers, read no further than they may be long, and never unpacked."""

from __future__ import annotations

from fastapi import Request

from app.errors import BadInput, EncodingRefused


async def bounded_body(request: Request, limit: int, too_long: type[BadInput]) -> bytes:
    """The body; raises ``too_long`` as soon as it grows beyond ``limit`` or says that it will.

    Raises `EncodingRefused` for a packed one: a few bytes of that can be any number when unpacked.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise EncodingRefused
    stated = request.headers.get("content-length", "")
    body = bytearray()
    if stated.isdecimal() and len(stated) < 20 and int(stated) > limit:
        raise too_long(f"at most {limit:,} bytes are read")
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_long(f"at most {limit:,} bytes are read")
    return bytes(body)
