"""The only door to ccxt: closed one-minute candles of one venue, paged as it likes it, at its own pace.

habits.py says what is peculiar about each venue; bounded.py keeps every answer within its time and size.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import ccxt
import requests

from app.candles.bounded import BoundedSession, Unbearable
from app.candles.files import END_OF_TIME_MS, FIRST_TIME_MS
from app.candles.habits import KNOWN, Habits, habits_of
from app.errors import Misconfigured, VenueUnavailable
from app.types import MINUTE_MS, Candles, iso

_FRESH_S = 60
"""A `Date` that came longer ago is asked for anew: the machine may have slept since."""
_TOO_OFTEN = (418, 429)
_LIMITED_REST_S = 60
"""For a venue that asks us to slow down and does not say for how long: they count requests by the minute."""

Row = list[float]
"""Open time in ms, open, high, low, close, volume."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the candles asked for, and how many minutes of the whole are covered so far."""

    candles: Candles
    done: int
    total: int


class Venue:
    """One exchange. Its calls block, and one runs at a time: ccxt's rate limiter counts per client.

    A call may take ``timeout_s``, all in all, and the pause that the venue's rate limit asks for before it. Raises
    `Misconfigured` for a name that ccxt does not know, and for a ``base_url`` where the venue cannot be moved.
    """

    def __init__(self, name: str, *, base_url: str | None = None, timeout_s: float = 10) -> None:
        if name not in ccxt.exchanges:
            raise Misconfigured(f"{name!r} is not a venue that ccxt knows: see VERIREGIME_VENUES, or --venue")
        self.name = name
        self._timeout_s = timeout_s
        self._session = BoundedSession()
        options = {"enableRateLimit": True, "timeout": round(timeout_s * 1000), "session": self._session}
        self._client: Any = getattr(ccxt, name)(options | {"options": dict(self.habits.options)})
        if base_url is not None:
            self._point_at(base_url.rstrip("/"))
        self._turn = threading.Lock()

    @property
    def habits(self) -> Habits:
        return habits_of(self.name)

    def time_ms(self) -> int:
        """The venue's own clock when it answered, by the time that it tells, else by the `Date` of its last answer.

        Most tell whole seconds, cut off: then it is the middle of that second, right to within 500 ms. Raises
        `VenueUnavailable`.
        """
        told_ms = self._call("its time", self._told_time if self._client.has["fetchTime"] else self._dated_time)
        if not FIRST_TIME_MS <= told_ms < END_OF_TIME_MS:
            raise VenueUnavailable(f"{self.name} answered its time with {told_ms}")
        return int(told_ms) + self.habits.clock_step_ms // 2

    def pages(self, symbol: str, start_ms: int, end_ms: int) -> Iterator[Page]:
        """Closed candles with ``start_ms <= open_time < end_ms``, page by page; ``end_ms`` must be a minute boundary.

        A minute without a trade is not there. Minutes that the venue no longer shows are done with the first page.
        Raises `VenueUnavailable` when the venue does not answer, answers with an error, or with something that is no
        candle, and `Misconfigured` for a symbol that it does not list.
        """
        self._require_listed(symbol)
        total = (end_ms - start_ms) // MINUTE_MS
        reached_ms = start_ms
        while reached_ms < end_ms:
            rows, reached_ms = self._page(symbol, reached_ms, end_ms)
            traded = [row for row in rows if row[5] > 0]
            yield Page(Candles.from_rows(traded), done=(reached_ms - start_ms) // MINUTE_MS, total=total)

    def close(self) -> None:
        self._session.close()

    def _page(self, symbol: str, start_ms: int, end_ms: int) -> tuple[list[Row], int]:
        """Candles from ``start_ms`` on, and the time up to which there are no others."""
        if self.habits.keeps_minutes is not None:
            # It shows all that it has at once: a second question would get the same answer.
            return [row for row in self._rows(symbol, start_ms, None) if row[0] < end_ms], end_ms
        longest = self.habits.page_minutes_at(start_ms, time.time_ns() // 1_000_000)
        minutes = min(longest, (end_ms - start_ms) // MINUTE_MS)
        shown = self._rows(symbol, start_ms, minutes)
        asked_to_ms = start_ms + minutes * MINUTE_MS
        if not shown:
            return [], asked_to_ms
        # Candles beyond a stretch say nothing about what lies between, unless they are the next ones there are.
        horizon_ms = end_ms if self.habits.counts_candles else asked_to_ms
        # A venue may cut its answer short, so that nothing is known of the minutes after its last candle.
        reached_ms = min(int(shown[-1][0]) + MINUTE_MS, horizon_ms)
        return [row for row in shown if row[0] < horizon_ms], reached_ms

    def _rows(self, symbol: str, start_ms: int, minutes: int | None) -> list[Row]:
        """What the venue shows from ``start_ms`` on, checked and in order of time; the running minute may be there."""
        options = {"limit": minutes, "params": self._candle_parameters(start_ms)}
        raw = self._call(
            f"the candles of {symbol} from {iso(start_ms)}",
            lambda: self._client.fetch_ohlcv(symbol, "1m", since=start_ms, **options),
        )
        if not raw and not _holds_an_empty_list(self._client.last_http_response):
            raise VenueUnavailable(f"{self.name} answered with something that holds no candles: an error page, perhaps")
        rows = [_checked(self.name, row) for row in raw]
        if any(later[0] <= row[0] for row, later in itertools.pairwise(rows)):
            raise VenueUnavailable(f"{self.name} answered with candles that are not in order of time")
        return [row for row in rows if row[0] >= start_ms]

    def _candle_parameters(self, start_ms: int) -> dict[str, str]:
        if self.name != "okx":
            return {}
        # ccxt would decide it by our clock to the minute, and the wrong endpoint answers with nothing.
        longest = self.habits.page_minutes_at(start_ms, time.time_ns() // 1_000_000)
        return {"type": "Candles" if longest == self.habits.page_minutes else "HistoryCandles"}

    def _require_listed(self, symbol: str) -> None:
        """Raises `Misconfigured` unless the symbol has one-minute candles here."""
        if not self._client.has["fetchOHLCV"] or "1m" not in (self._client.timeframes or {}):
            raise Misconfigured(f"{self.name} has no one-minute candles: choose another venue")
        if symbol not in (self._client.markets or {}):
            # Asked again for a symbol that it lacks: a list that was cut short must not be believed for good.
            listed = self._call("its list of markets", lambda: self._list(symbol))
            if not listed:
                raise VenueUnavailable(f"{self.name} answered without a list of markets: an error page, perhaps")
            self._client.markets = (self._client.markets or {}) | listed
        if symbol not in self._client.markets:
            raise self._not_listed(symbol)

    def _list(self, symbol: str) -> dict[str, Any]:
        """Markets by symbol, from as few and as small answers as the venue gives."""
        client = self._client
        if self.name not in KNOWN:
            return dict(client.load_markets(reload=True))
        # Where ccxt keeps an answer for the next time: an error page as well.
        client.options["fetchMarkets"] = dict(self.habits.options.get("fetchMarkets", {}))
        match self.name:
            case "binance":
                # One by one, for all of them are some 15 MB.
                if symbol != symbol.upper() or symbol.count("/") != 1:
                    raise self._not_listed(symbol)
                try:
                    found = client.fetch_markets({"symbol": symbol.replace("/", "")})
                except ccxt.BadSymbol as error:
                    raise self._not_listed(symbol) from error
            case "coinbase":
                # ccxt's own would ask for futures as well, which not everybody may see.
                said = client.v3PublicGetBrokerageMarketProducts({"product_type": "SPOT"})
                found = [client.parse_spot_market(product, {}) for product in said["products"]]
            case _:
                found = client.fetch_markets()
        client.options.pop("marketsByAltname", None)
        return {one["symbol"]: _without_details(one) for one in found if one is not None and one["spot"]}

    def _not_listed(self, symbol: str) -> Misconfigured:
        return Misconfigured(
            f"{self.name} does not list {symbol}: choose another symbol or venue "
            "(in the service, VERIREGIME_FEEDS and VERIREGIME_VENUES)"
        )

    def _told_time(self) -> int:
        return int(self._client.fetch_time())

    def _dated_time(self) -> int:
        if not self._session.said or time.monotonic() - self._session.said_at > _FRESH_S:
            question = self.habits.tells_time_by
            (getattr(self._client, question) if question else self._client.fetch_markets)()
        elapsed_ms = round((time.monotonic() - self._session.said_at) * 1000)
        # What a cache between us kept for a while says so by its `Age`.
        age_ms = int(self._session.said.get("Age", 0)) * 1000
        return round(parsedate_to_datetime(self._session.said["Date"]).timestamp() * 1000) + age_ms + elapsed_ms

    def _call(self, what: str, ask: Callable[[], Any]) -> Any:
        with self._turn:
            # ccxt paces itself by the wall clock: where that was set back, it would sleep until it has caught up.
            last_ms, now_ms = self._client.lastRestRequestTimestamp, self._client.milliseconds()
            self._client.lastRestRequestTimestamp = min(last_ms, now_ms)
            try:
                return ask()
            except ccxt.BaseError as error:
                raise self._refusal(what, error) from error
            except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
                # ccxt parses before it checks: an error page in place of JSON ends up here.
                raise VenueUnavailable(f"{self.name} answered {what} with something unreadable") from error

    def _refusal(self, what: str, error: ccxt.BaseError) -> VenueUnavailable:
        asked_s = self._asked_wait_s()
        if self._session.status in _TOO_OFTEN or isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
            return VenueUnavailable(f"{self.name} asks us to slow down", retry_after_s=asked_s or _LIMITED_REST_S)
        if isinstance(error, ccxt.RequestTimeout):
            words = f"cannot be reached for {what}: it took longer than {self._timeout_s:g} s"
        elif isinstance(error, ccxt.NetworkError):
            words = f"cannot be reached for {what}: {self._reason(error)}"
        else:
            words = f"refused {what}: {self._reason(error)}"
        return VenueUnavailable(f"{self.name} {words}", retry_after_s=asked_s)

    def _reason(self, error: ccxt.BaseError) -> str:
        """Without the address, which may hold a password, and without the pages that servers send along."""
        if self._session.status >= HTTPStatus.BAD_REQUEST:
            said = str(error).partition("{")[2].partition("}")[0]
            return f"HTTP {self._session.status}" + (f" {{{said[:120]}}}" if said else "")
        for cause in _causes(error):
            if isinstance(cause, Unbearable):
                return str(cause)
            if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, requests.RequestException):
                return cause.strerror
        words = " ".join(str(error).removeprefix(self.name).split())
        return type(error).__name__ if "://" in words else words[:160] or type(error).__name__

    def _asked_wait_s(self) -> int | None:
        """Seconds that the answer asks us to wait, by number or by date; none where it does not."""
        said = self._session.said.get("Retry-After", "").strip()
        if re.fullmatch("[0-9]{1,9}", said):
            return max(1, int(said))
        try:
            now = self._session.said.get("Date")
            now_s = parsedate_to_datetime(now).timestamp() if now else time.time()
            return max(1, math.ceil(parsedate_to_datetime(said).timestamp() - now_s))
        except (ValueError, OverflowError):
            return None

    def _point_at(self, base_url: str) -> None:
        if not self.habits.moves:
            raise Misconfigured(f"VERIREGIME_VENUE_URLS cannot move {self.name}: only {', '.join(sorted(KNOWN))}")
        for key, path in self.habits.moves.items():
            self._client.urls["api"][key] = base_url + path


def _without_details(market: Mapping[str, Any]) -> dict[str, Any]:
    """What ccxt needs of a spot market to ask for its candles: the rest is megabytes for a whole list."""
    return {name: market.get(name) for name in ("id", "symbol", "type", "spot", "linear", "inverse", "option")}


def _holds_an_empty_list(response: str | None) -> bool:
    """Whether a venue really said "no candles": ccxt makes an empty list of any page that it cannot read as well."""
    try:
        said = json.loads(response or "")
    except (ValueError, RecursionError):
        return False
    # Bare, or wrapped once or twice, as venues do it; an empty list of errors says nothing.
    wrapped = [value for name, value in said.items() if name != "error"] if isinstance(said, dict) else []
    wrapped += [inner for outer in wrapped if isinstance(outer, dict) for inner in outer.values()]
    return said == [] or [] in wrapped


def _checked(venue: str, row: Any) -> Row:
    """A candle row whose numbers can be trusted to be numbers."""
    try:
        opens_at, opened, high, low, close, volume = (float(value) for value in row)
    except (TypeError, ValueError, OverflowError) as error:
        raise VenueUnavailable(f"{venue} answered with a candle that is not six numbers") from error
    numbers = all(math.isfinite(value) for value in (opens_at, opened, high, low, close, volume))
    if not (
        numbers
        and opens_at % MINUTE_MS == 0
        and 0 < low <= min(opened, close) <= max(opened, close) <= high
        and volume >= 0
    ):
        raise VenueUnavailable(f"{venue} answered with an impossible candle: {row}")
    return [opens_at, opened, high, low, close, volume]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, the last first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
