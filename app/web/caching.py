"""What may be kept by whom for how long: ETags, 304, and the answers that are packed for the way."""

from __future__ import annotations

import gzip
import hashlib
import re

from fastapi import Request, Response

REVALIDATE = "no-cache"
"""May be kept, but is to be asked for again each time; a 304 then costs next to nothing."""
FOREVER = "public, max-age=31536000, immutable"
_ZIP_LEVEL = 5
_WORTH_ZIPPING = 1024


def etag_of(content: bytes | str) -> str:
    """A strong ETag, quotes included."""
    raw = content.encode() if isinstance(content, str) else content
    return f'"{hashlib.sha256(raw).hexdigest()[:24]}"'


def is_current(if_none_match: str | None, etag: str) -> bool:
    """Whether the caller has this very answer: RFC 9110 §13.1.2, which compares weakly."""
    if not if_none_match:
        return False
    held = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in held or etag in held


def conditional(request: Request, body: bytes, cache_control: str, media_type: str = "application/json") -> Response:
    """The body with its ETag, or a 304 for who has it."""
    headers = {"ETag": etag_of(body), "Cache-Control": cache_control}
    if is_current(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


def zipped(request: Request, answer: Response, packed_body: bytes | None = None) -> Response:
    """The answer packed with gzip for who takes that; ``packed_body`` where that was done before.

    Packed, its ETag is a weak one: the same content in other bytes.
    """
    answer.headers["Vary"] = "Accept-Encoding"
    body = bytes(answer.body)
    if len(body) >= _WORTH_ZIPPING and takes_gzip(request.headers.get("accept-encoding", "")):
        answer.body = packed(body) if packed_body is None else packed_body
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Content-Length"] = str(len(answer.body))
        answer.headers["ETag"] = "W/" + answer.headers["ETag"]
    return answer


def packed(body: bytes) -> bytes:
    """By gzip, the same bytes each time."""
    return gzip.compress(body, _ZIP_LEVEL, mtime=0)


def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is named, or anything goes, and is not refused by ``q=0``: RFC 9110 §12.5.3."""
    weights: dict[str, str] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.partition(";")
        weights[coding.strip()] = weight.replace(" ", "")
    weight = weights.get("gzip", weights.get("*", "q=0"))
    return not re.fullmatch(r"q=0(\.0*)?", weight)
