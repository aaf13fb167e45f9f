"""The only door to ccxt: closed one-minute candles of one venue, paged, at the venue's own pace."""

from __future__ import annotations

import itertools
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ccxt

from app.errors import Misconfigured, VenueUnavailable
from app.types import MINUTE_MS, Candles, iso

PAGE_MINUTES = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the candles asked for, and how many minutes of the whole are covered so far."""

    candles: Candles
    done: int
    total: int


class Venue:
    """One exchange. Its calls block, and one runs at a time: ccxt's rate limiter counts per client."""

    def __init__(self, name: str, *, base_url: str | None = None, timeout_s: float = 10) -> None:
        if name not in ccxt.exchanges:
            raise Misconfigured(f"{name!r} is not a venue that ccxt knows: see VERIREGIME_VENUES, or --venue")
        self.name = name
        self._client: Any = getattr(ccxt, name)(
            {
                "enableRateLimit": True,
                "timeout": round(timeout_s * 1000),
                "options": {"fetchMarkets": {"types": ["spot"]}},
            }
        )
        if base_url is not None:
            self._point_at(base_url.rstrip("/"))
        self._turn = threading.Lock()

    def time_ms(self) -> int:
        """The venue's own clock; this machine's for a venue that does not show its own."""
        if not self._client.has["fetchTime"]:
            return time.time_ns() // 1_000_000
        return int(self._call("its time", self._client.fetch_time))

    def pages(self, symbol: str, start_ms: int, end_ms: int) -> Iterator[Page]:
        """Closed candles with ``start_ms <= open_time < end_ms``, page by page; ``end_ms`` must be a minute boundary.

        A minute the venue leaves out is not there. Raises `VenueUnavailable` when the venue does not answer, answers
        with an error, or with something that is no candle.
        """
        self._require_listed(symbol)
        cursor = start_ms
        while cursor < end_ms:
            rows = self._rows(symbol, cursor, end_ms)
            # An empty page: nothing traded in this stretch, so look past it.
            cursor = int(rows[-1][0]) + MINUTE_MS if rows else cursor + PAGE_MINUTES * MINUTE_MS
            done = (min(cursor, end_ms) - start_ms) // MINUTE_MS
            yield Page(Candles.from_rows(rows), done=done, total=(end_ms - start_ms) // MINUTE_MS)

    def close(self) -> None:
        if getattr(self._client, "session", None):
            self._client.session.close()

    def _require_listed(self, symbol: str) -> None:
        """ccxt would keep the empty list that it reads from an error page for good, and blame the symbol ever after."""
        if not self._client.markets:
            self._call("its list of markets", self._client.load_markets)
        if not self._client.markets:
            self._client.markets = None
            raise VenueUnavailable(f"{self.name} answered without a list of markets: an error page, perhaps")
        if symbol not in self._client.markets:
            raise Misconfigured(
                f"{self.name} does not list {symbol}: choose another symbol or venue "
                "(in the service, VERIREGIME_FEEDS and VERIREGIME_VENUES)"
            )
        if "1m" not in (self._client.timeframes or {}):
            raise Misconfigured(f"{self.name} has no one-minute candles: choose another venue")

    def _rows(self, symbol: str, start_ms: int, end_ms: int) -> list[list[float]]:
        limit = min(PAGE_MINUTES, (end_ms - start_ms) // MINUTE_MS)
        raw = self._call(
            f"the candles of {symbol} from {iso(start_ms)}",
            lambda: self._client.fetch_ohlcv(symbol, "1m", since=start_ms, limit=limit),
        )
        if not raw and not _holds_an_empty_list(self._client.last_http_response):
            raise VenueUnavailable(f"{self.name} answered with something that holds no candles: an error page, perhaps")
        page = [_checked(self.name, row) for row in raw]
        # A venue also shows the minute that is still running: not closed, so not ours.
        page = [row for row in page if start_ms <= row[0] < end_ms]
        if any(later[0] <= row[0] for row, later in itertools.pairwise(page)):
            raise VenueUnavailable(f"{self.name} answered with candles that are not in order of time")
        return page

    def _call(self, what: str, ask: Callable[[], Any]) -> Any:
        try:
            with self._turn:
                return ask()
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
            raise VenueUnavailable(f"{self.name} asks us to slow down", retry_after_s=self._asked_wait_s()) from error
        except ccxt.NetworkError as error:
            raise VenueUnavailable(f"{self.name} cannot be reached for {what}: {_short(error)}") from error
        except ccxt.BaseError as error:
            raise VenueUnavailable(f"{self.name} refused {what}: {_short(error)}") from error
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            # ccxt parses before it checks: an error page in place of JSON ends up here.
            raise VenueUnavailable(f"{self.name} answered {what} with something unreadable") from error

    def _asked_wait_s(self) -> int:
        """What the refusal says, else a minute: venues count requests by the minute."""
        said = str((self._client.last_response_headers or {}).get("Retry-After", ""))
        return int(said) if re.fullmatch("[0-9]{1,9}", said) else 60

    def _point_at(self, base_url: str) -> None:
        if self.name != "binance":
            raise Misconfigured(f"VERIREGIME_VENUE_URLS cannot move {self.name}: only binance can be moved")
        self._client.urls["api"]["public"] = f"{base_url}/api/v3"


def _holds_an_empty_list(response: str | None) -> bool:
    """Whether a venue really said "no candles": ccxt makes an empty list of any page that it cannot read as well."""
    try:
        said = json.loads(response or "")
    except ValueError:
        return False
    # Bare, or wrapped once or twice, as venues do it.
    wrapped = [*said.values()] if isinstance(said, dict) else []
    wrapped += [inner for outer in wrapped if isinstance(outer, dict) for inner in outer.values()]
    return said == [] or [] in wrapped


def _checked(venue: str, row: Any) -> list[float]:
    """A candle row whose numbers can be trusted to be numbers."""
    try:
        opens_at, opened, high, low, close, volume = (float(value) for value in row)
    except (TypeError, ValueError) as error:
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


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
