"""How a simulated venue misbehaves, and when: what ``--fault`` and ``POST /faults`` say.

A fault holds for a stretch of market time at one venue. Those of requests go by the market's clock when the request
comes, those of candles by the time at which a candle opens. Several may hold at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.errors import BadInput
from app.sim.market import FOREVER_MS, VENUES
from app.types import MINUTE_MS

MOST_MINUTES = 525_600
MOST_SECONDS = 86_400.0
MOST_FAULTS = 1_000
LEAST_AMOUNT, MOST_AMOUNT = -0.9, 9.0


class FaultKind(StrEnum):
    TIMEOUT = "timeout"
    """Takes the request, says nothing for ``seconds``, hangs up."""
    RATE_LIMIT = "rate-limit"
    """429 with ``Retry-After: seconds``."""
    SERVER_ERROR = "server-error"
    """503 with a page of HTML."""
    HTML = "html"
    """200 with a page of HTML: down for maintenance."""
    MISSING = "missing"
    """The candles of these minutes are never shown."""
    LATE = "late"
    """A candle is shown ``seconds`` after its minute ended, and not before."""
    REVISED = "revised"
    """A candle shows a close that is off by ``amount`` until ``seconds`` after its minute ended: up in even minutes of
    the hour, down in odd ones."""
    FROZEN = "frozen"
    """The candles show the last price before the stretch, with volume, and stay so."""
    WRONG_PRICE = "wrong-price"
    """Prices are off by ``amount``, and stay so."""
    CLOCK_SKEW = "clock-skew"
    """The venue's clock is ahead by ``seconds``, behind if they are negative; it closes its minutes by that clock."""


REQUEST_FAULTS = (FaultKind.TIMEOUT, FaultKind.RATE_LIMIT, FaultKind.SERVER_ERROR, FaultKind.HTML)
"""Where several hold at once, the first of these is played."""

CANDLE_FAULTS = (FaultKind.FROZEN, FaultKind.WRONG_PRICE, FaultKind.REVISED, FaultKind.MISSING, FaultKind.LATE)
"""In the order in which they come over a candle: its prices first, then whether it is there."""

USUAL_SECONDS: Mapping[FaultKind, float] = {
    FaultKind.TIMEOUT: 60.0,
    FaultKind.RATE_LIMIT: 30.0,
    FaultKind.LATE: 25.0,
    FaultKind.REVISED: 90.0,
    FaultKind.CLOCK_SKEW: -90.0,
}
USUAL_AMOUNT: Mapping[FaultKind, float] = {FaultKind.REVISED: 0.002, FaultKind.WRONG_PRICE: 0.05}


@dataclass(frozen=True, slots=True)
class Fault:
    """One venue's misbehaviour from ``from_ms`` (market time) on, for some minutes. Make it with `Fault.of`."""

    venue: str
    kind: FaultKind
    from_ms: int
    minutes: int = 10
    seconds: float = 0.0
    """Market seconds for candles and clock; the wall's for ``timeout`` and ``rate-limit``, as a client counts them. 0
    for a kind that has none."""
    amount: float = 0.0
    """Relative, 0.05 is five percent; 0 for a kind that has none."""

    @classmethod
    def of(
        cls,
        venue: str,
        kind: str,
        from_ms: int,
        *,
        minutes: int = 10,
        seconds: float | None = None,
        amount: float | None = None,
    ) -> Fault:
        """With the usual seconds and amount of its kind where none are given. Raises `BadInput`."""
        _require(venue in VENUES, f"{venue!r} is not a simulated venue: it is one of {', '.join(VENUES)}")
        _require(kind in list(FaultKind), f"{kind!r} is not a fault: it is one of {', '.join(FaultKind)}")
        known = FaultKind(kind)
        _require(0 <= from_ms < FOREVER_MS, f"{from_ms} is not a time to start at, in ms since 1970")
        _require(1 <= minutes <= MOST_MINUTES, f"minutes is {minutes}: a fault lasts 1 to {MOST_MINUTES} minutes")
        return cls(venue, known, from_ms, minutes, _seconds(known, seconds), _amount(known, amount))

    @property
    def until_ms(self) -> int:
        """Exclusive."""
        return self.from_ms + self.minutes * MINUTE_MS

    def holds_at(self, time_ms: int) -> bool:
        return self.from_ms <= time_ms < self.until_ms

    def as_json(self) -> dict[str, str | int | float]:
        """The fields of ``POST /faults``, without those that the kind does not have."""
        fields: dict[str, str | int | float] = {"venue": self.venue, "kind": self.kind.value}
        fields |= {"from_ms": self.from_ms, "minutes": self.minutes}
        fields |= {"seconds": self.seconds} if self.kind in USUAL_SECONDS else {}
        return fields | ({"amount": self.amount} if self.kind in USUAL_AMOUNT else {})


class FaultBook:
    """The faults told so far, for the venues there are. Those that are over are kept: their mark on candles stays."""

    def __init__(self, venues: Iterable[str], faults: Iterable[Fault] = ()) -> None:
        self._venues = tuple(venues)
        self._faults: list[Fault] = []
        for fault in faults:
            self.add(fault)

    def all(self) -> tuple[Fault, ...]:
        return tuple(self._faults)

    def add(self, fault: Fault) -> None:
        """Raises `BadInput` for a venue that does not run here."""
        self._require_running(fault.venue)
        _require(len(self._faults) < MOST_FAULTS, f"there are {MOST_FAULTS} faults already: DELETE /faults first")
        self._faults.append(fault)

    def clear(self, venue: str | None = None) -> None:
        """Forget the faults, of one venue or of all, as if they had never been."""
        if venue is not None:
            self._require_running(venue)
        self._faults = [] if venue is None else [fault for fault in self._faults if fault.venue != venue]

    def of_request(self, venue: str, now_ms: int) -> Fault | None:
        """What is played on a request that comes now."""
        holding = [fault for fault in self._now(venue, now_ms) if fault.kind in REQUEST_FAULTS]
        return min(holding, key=lambda fault: REQUEST_FAULTS.index(fault.kind), default=None)

    def of_candles(self, venue: str) -> tuple[Fault, ...]:
        """In the order in which they come over a candle."""
        told = [fault for fault in self._faults if fault.venue == venue and fault.kind in CANDLE_FAULTS]
        return tuple(sorted(told, key=lambda fault: CANDLE_FAULTS.index(fault.kind)))

    def skew_ms(self, venue: str, now_ms: int) -> int:
        """By how much the venue's clock is ahead of the market's."""
        skews = [fault.seconds for fault in self._now(venue, now_ms) if fault.kind is FaultKind.CLOCK_SKEW]
        return round(1_000 * sum(skews))

    def _now(self, venue: str, now_ms: int) -> list[Fault]:
        return [fault for fault in self._faults if fault.venue == venue and fault.holds_at(now_ms)]

    def _require_running(self, venue: str) -> None:
        _require(venue in self._venues, f"{venue!r} does not run here: only {', '.join(self._venues)}")


def parse_fault(text: str, start_ms: int) -> Fault:
    """``VENUE:KIND[:key=value,...]`` with keys ``from``, ``minutes``, ``seconds``, ``amount``.

    ``from`` counts minutes after the one in which the market starts, at ``start_ms``: 1 unless given, the first minute
    that is seen from its beginning. Raises `BadInput`.
    """
    venue, colon, rest = text.partition(":")
    kind, _, listed = rest.partition(":")
    _require(bool(colon), f"{text!r} is not a fault: write it like kraken:late:minutes=10,seconds=25")
    told = _told(text, listed)
    after = _whole("from", told.pop("from", 1.0))
    minutes = _whole("minutes", told.pop("minutes", 10.0))
    _require(abs(after) <= MOST_MINUTES, f"from is {after}: a fault starts within a year of the market's start")
    from_ms = (start_ms // MINUTE_MS + after) * MINUTE_MS
    return Fault.of(venue, kind, from_ms, minutes=minutes, seconds=told.get("seconds"), amount=told.get("amount"))


def read_fault(fields: object, now_ms: int) -> Fault:
    """The JSON form; ``from_ms`` is the start of the minute that forms now unless given. Raises `BadInput`."""
    if not isinstance(fields, dict):
        raise BadInput("a fault is a JSON object with venue and kind")
    known = ("venue", "kind", "from_ms", "minutes", "seconds", "amount")
    _require_known(fields, known)
    for name in ("venue", "kind"):
        _require(isinstance(fields.get(name), str), f"a fault needs its {name}, as text")
    return Fault.of(
        fields["venue"],
        fields["kind"],
        _whole("from_ms", _number(fields, "from_ms", now_ms // MINUTE_MS * MINUTE_MS)),
        minutes=_whole("minutes", _number(fields, "minutes", 10)),
        seconds=_number(fields, "seconds", None),
        amount=_number(fields, "amount", None),
    )


def _told(text: str, listed: str) -> dict[str, float]:
    pairs = [pair.partition("=") for pair in listed.split(",")] if listed else []
    told: dict[str, float] = {}
    for key, _, value in pairs:
        _require(key not in told, f"{key!r} stands twice in {text!r}")
        try:
            told[key] = float(value)
        except ValueError as error:
            raise BadInput(f"{value!r} is not a number: {key!r} in {text!r} wants one") from error
        _require(math.isfinite(told[key]), f"{value!r} is not a number: {key!r} in {text!r} wants one")
    _require_known(told, ("from", "minutes", "seconds", "amount"))
    return told


def _require_known(told: Iterable[Any], known: Sequence[str]) -> None:
    for key in told:
        _require(key in known, f"a fault has no {key!r}: only {', '.join(known)}")


def _number(fields: Mapping[str, Any], name: str, default: float | None) -> Any:
    value = fields.get(name)
    if value is None:
        return default
    sound = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FOREVER_MS
    _require(sound, f"{name} is {value!r}: it wants a number")
    return value


def _whole(name: str, value: float) -> int:
    _require(value == int(value), f"{name} is {value}: it wants a whole number")
    return int(value)


def _seconds(kind: FaultKind, given: float | None) -> float:
    if kind not in USUAL_SECONDS:
        _require(given is None, f"a fault of kind {kind} has no seconds")
        return 0.0
    seconds = USUAL_SECONDS[kind] if given is None else float(given)
    either = kind is FaultKind.CLOCK_SKEW
    words = f"seconds is {seconds:g}: {kind} wants {'any but 0' if either else 'more than 0'}, {MOST_SECONDS:g} at most"
    _require(0 < (abs(seconds) if either else seconds) <= MOST_SECONDS, words)
    return seconds


def _amount(kind: FaultKind, given: float | None) -> float:
    if kind not in USUAL_AMOUNT:
        _require(given is None, f"a fault of kind {kind} has no amount")
        return 0.0
    amount = USUAL_AMOUNT[kind] if given is None else float(given)
    fits = LEAST_AMOUNT <= amount <= MOST_AMOUNT and amount != 0
    _require(fits, f"amount is {amount:g}: {kind} wants {LEAST_AMOUNT:g} to {MOST_AMOUNT:g}, and not 0")
    return amount


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadInput(otherwise)
