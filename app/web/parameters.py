"""What a caller may ask, parameter by parameter: how each is read, and what the OpenAPI document says of it.

Whatever is in no form that we know ends here, before it meets the database.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic import AfterValidator, BeforeValidator

from app.errors import BadInput, UnknownPrediction
from app.types import EventKind, parse_time

INCLUDABLE = ("proof", "observation", "calldata", "attempts", "attestations")
STEPS_S = (60, 300, 900, 3600)
_LAST_MS = 253_402_300_799_999
"""The end of the year 9999."""
_ID = re.compile("[0-9a-f]{32}")
_PLACE = re.compile("([0-9]{1,19}):([0-9a-f]{32}|)")
_TIME: dict[str, Any] = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": "^[0-9]{13}$"}],
    "examples": ["2025-09-15T12:00:00Z"],
}


def _among(names: tuple[str, ...]) -> dict[str, Any]:
    """JSON schema of a list with commas."""
    one = f"({'|'.join(names)})"
    return {"pattern": f"^({one}(,{one})*)?$", "examples": [",".join(names[:2])]}


def read_time(name: str, text: str | None) -> int | None:
    """Milliseconds, between 1970 and 9999: before and after that there is nothing. Raises `BadInput`."""
    if text is None:
        return None
    try:
        return min(max(parse_time(text), 0), _LAST_MS)
    except (ValueError, OverflowError):
        raise BadInput(f"{name}: {text[:40]!r} is not a time: write it like 2025-09-15T12:00:00Z") from None


def _time(name: str) -> Callable[[str | None], int | None]:
    return lambda text: read_time(name, text)


def _known_form(prediction_id: str) -> str:
    if not _ID.fullmatch(prediction_id):
        raise UnknownPrediction(f"there is no prediction {prediction_id[:64]!r}")
    return prediction_id


FeedName = Annotated[str, Path(description="name of a feed", examples=["btc-usdt-4h"])]
IdOfPrediction = Annotated[
    str,
    Path(description="`id` of a prediction", json_schema_extra={"pattern": f"^{_ID.pattern}$"}),
    AfterValidator(_known_form),
]
IdOfModel = Annotated[str, Path(description="`model_id` of a feed or a prediction")]
HashOfSrs = Annotated[str, Path(description="`srs.sha256` of a feed, or `srs_hash` of a proof")]

StartMs = Annotated[
    int | None,
    BeforeValidator(_time("start")),
    Query(
        alias="start",
        description="from this time on, ISO 8601 or milliseconds since 1970: of windows, that at which they end",
        json_schema_extra=_TIME,
    ),
]
EndMs = Annotated[
    int | None,
    BeforeValidator(_time("end")),
    Query(alias="end", description="before this time, written in the same way", json_schema_extra=_TIME),
]
Include = Annotated[
    str,
    Query(
        description=f"parts to tell as well, comma separated: {', '.join(INCLUDABLE)}",
        json_schema_extra=_among(INCLUDABLE),
    ),
]
MaxAge = Annotated[
    float | None,
    Query(gt=0, le=1e9, allow_inf_nan=False, description="seconds: 503 when the forecast is older", examples=[120]),
]
Proved = Annotated[bool, Query(description="false: the newest forecast of any state, proved or not")]
HistoryCursor = Annotated[str | None, Query(description="`next` of the page before, unchanged")]
OutcomesCursor = Annotated[
    str | None,
    Query(description="`next` of the page before, unchanged", json_schema_extra={"pattern": "^[0-9]{1,15}$"}),
]
Venue = Annotated[str | None, Query(description="one of the feed's venues; its first where none is named")]
StepS = Annotated[
    int,
    Query(alias="step", description="seconds of each candle", json_schema_extra={"enum": list(STEPS_S)}),
]
StepMinutes = Annotated[
    int, Query(alias="step", ge=1, le=1440, description="minutes: only windows that end on a multiple of so many")
]
StreamedFeeds = Annotated[
    list[str] | None, Query(description="only these feeds; repeat it for more", examples=[["btc-usdt-4h"]])
]
Kinds = Annotated[
    str,
    Query(
        description=f"only these, comma separated: {', '.join(EventKind)}", json_schema_extra=_among(tuple(EventKind))
    ),
]
_EVENT_ID: dict[str, Any] = {"pattern": "^[0-9]{0,18}$"}
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="`id` of the last event that you have", json_schema_extra=_EVENT_ID),
]
ResumeAt = Annotated[
    str | None,
    Query(alias="last_event_id", description="the same, where headers cannot be set", json_schema_extra=_EVENT_ID),
]


def read_included(text: str) -> frozenset[str]:
    """Raises `BadInput` for parts that there are not."""
    parts = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = sorted(parts - set(INCLUDABLE))
    if unknown:
        raise BadInput(f"include: {unknown[0][:40]!r} is not one of {', '.join(INCLUDABLE)}")
    return parts


def read_last_event_id(text: str | None) -> int | None:
    """Raises `BadInput` for what no stream of ours has sent."""
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadInput("Last-Event-ID: pass the `id` of the last event that you have, a number")
    return int(text)


def read_kinds(text: str) -> frozenset[EventKind]:
    """Raises `BadInput` for kinds that there are not."""
    return frozenset(_kind(part.strip()) for part in text.split(",") if part.strip())


def _kind(text: str) -> EventKind:
    try:
        return EventKind(text)
    except ValueError:
        raise BadInput(f"kinds: {text[:40]!r} is not one of {', '.join(EventKind)}") from None


def cursor_of(time_or_seq: int, prediction_id: str = "") -> str:
    """Where a page ended: a window end and an id in the order of windows, a number in the order of arrival."""
    return base64.urlsafe_b64encode(f"{time_or_seq}:{prediction_id}".encode()).decode()


def read_cursor(text: str | None, *, with_id: bool) -> tuple[int, str] | None:
    """Raises `BadInput` for anything that is not the `next` of a page in the same order."""
    if text is None:
        return None
    try:
        found = _PLACE.fullmatch(base64.urlsafe_b64decode(text.encode()).decode())
    except (ValueError, binascii.Error):
        found = None
    if found is None or int(found[1]) >= 2**63 or bool(found[2]) != with_id:
        raise BadInput("cursor: pass the `next` of the page before, unchanged, and the same order")
    return int(found[1]), found[2]
