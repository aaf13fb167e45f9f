"""What a client raises: the error that the service names in its problem+json, as a member of the tree in `app.errors`,
or one of these when the service itself could not say what is wrong.

NotNow
├── ServiceUnreachable   nothing answers at the URL
└── ServiceBusy          the service, or a proxy before it, wants to be asked later
OracleError
└── UnexpectedAnswer     what came is no answer of this API
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from app import errors
from app.errors import BadInput, NotNow, OracleError

_WORDS = 400
_BY_SLUG: Mapping[str, type[OracleError]] = {
    found.slug(): found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, OracleError)
}
_BUSY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


class ServiceUnreachable(NotNow):
    """Nothing answers at the service's URL."""

    retry_after_s = 5


class ServiceBusy(NotNow):
    """The service wants to be asked later."""

    retry_after_s = 5


class UnexpectedAnswer(OracleError):
    """This is no answer of the API: is the URL that of a VeriRegime service of this version?"""


def is_passing(status: int) -> bool:
    """Whether the same request may well be answered a little later."""
    return status in _BUSY


def error_of(what: str, status: int, headers: Mapping[str, str], body: bytes) -> OracleError:
    """The error behind an answer that is none of 2xx and 304; ``what`` was asked names the request in a sentence."""
    kind, detail = _problem(body)
    wait_s = retry_after_s(headers)
    if known := _BY_SLUG.get(kind):
        return known(detail or None, retry_after_s=wait_s)
    said = f"{what} answered {status}{': ' + detail if detail else ''}"
    if is_passing(status):
        return ServiceBusy(f"{said}: ask again later", retry_after_s=wait_s)
    if kind and kind != "about:blank" and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return BadInput(detail or said)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnexpectedAnswer(f"{said}: it is the service's fault, tell whoever runs it")
    return UnexpectedAnswer(f"{said}: is the URL that of a VeriRegime service of this version?")


def retry_after_s(headers: Mapping[str, str]) -> int | None:
    """Seconds that a Retry-After asks for, written as such or as a date; None where it asks for nothing legible."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return int(text[:6])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0, round((until - datetime.now(UTC)).total_seconds()))


def _problem(body: bytes) -> tuple[str, str]:
    """Type and sentence of a problem+json, empty where it is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    kind, detail = (str(found.get(name) or "") for name in ("type", "detail"))
    return kind, "".join(c if c.isprintable() else " " for c in detail)[:_WORDS]
