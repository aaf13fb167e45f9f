"""How often one client may ask for what is costly, and how many may have a place at once."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from fastapi import Request
from limits import RateLimitItem, parse_many
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from app.errors import Busy, Misconfigured, TooManyRequests
from app.settings import Settings
from app.web.clients import Clients

MOST_CLIENTS = 10_000
"""That are remembered: whoever has been away longest is forgotten for the next one."""
_MOST_REQUESTS = 2_000_000
"""That are remembered of all clients together, at 32 bytes each: of fewer clients where a limit is high."""
_MOST_A_CLIENT = 10_000
"""Requests that are remembered of one client: no higher limit can be counted."""

Limit = Callable[[Request], Awaitable[None]]
"""A FastAPI dependency; raises `TooManyRequests`."""


class Recent(Storage, MovingWindowSupport):
    """When each client asked, for the moving window of `limits`.

    Its own storage in memory holds whoever comes and starts threads to forget them; this one is bounded, lives in the
    event loop and does not heed jumps of the wall's clock.
    """

    STORAGE_SCHEME = None

    def __init__(self, most_clients: int = MOST_CLIENTS) -> None:
        super().__init__()
        self._most_clients = most_clients
        self._asked: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._asked)

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        asked = self._within(key, expiry)
        if len(asked) + amount > limit:
            return False
        asked.extend([time.monotonic()] * amount)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        asked = self._within(key, expiry)
        return (asked[0], len(asked)) if asked else (time.monotonic(), 0)

    def get(self, key: str) -> int:
        return len(self._asked.get(key, ()))

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        asked = self._within(key, expiry)
        asked.extend([time.monotonic()] * amount)
        return len(asked)

    def get_expiry(self, key: str) -> float:
        """When it was last asked: how long that counts is the limit's."""
        return self._asked[key][-1] if self._asked.get(key) else time.monotonic()

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        forgotten = len(self._asked)
        self._asked.clear()
        return forgotten

    def clear(self, key: str) -> None:
        self._asked.pop(key, None)

    def _within(self, key: str, expiry: int) -> deque[float]:
        asked = self._asked.setdefault(key, deque())
        self._asked.move_to_end(key)
        while len(self._asked) > self._most_clients:
            self._asked.popitem(last=False)
        oldest = time.monotonic() - expiry
        while asked and asked[0] <= oldest:
            asked.popleft()
        return asked


def rate_limit(clients: Clients, setting: str, rate: str) -> Limit:
    """At most so many requests of one client, counted together over all routes that depend on it.

    Raises `Misconfigured`, naming the setting, for a rate that `limits` cannot read.
    """
    item = read_rate(setting, rate)
    limiter = MovingWindowRateLimiter(Recent(min(MOST_CLIENTS, _MOST_REQUESTS // (item.amount if item else 1))))

    async def limit(request: Request) -> None:
        if item is None or limiter.hit(item, client := clients.of(request.scope)):
            return
        wait_s = limiter.get_window_stats(item, client).reset_time - time.monotonic()
        raise TooManyRequests(
            f"one client may ask for this {item.amount} times in {item.get_expiry()} s: see Retry-After",
            retry_after_s=max(1, math.ceil(wait_s)),
        )

    return limit


def read_rate(setting: str, rate: str) -> RateLimitItem | None:
    """None for no limit. Raises `Misconfigured`."""
    if not rate.strip():
        return None
    try:
        (item,) = parse_many(rate)
    except ValueError:
        raise Misconfigured(f"{setting}: {rate[:64]!r} is no rate: write 30/minute, or nothing for no limit") from None
    if not 0 < item.amount <= _MOST_A_CLIENT:
        raise Misconfigured(f"{setting}: {item.amount} is too many or none: 1 to {_MOST_A_CLIENT:,} can be counted")
    return item


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Of the service's costly routes."""

    clients: Clients
    verify: Limit
    costly: Limit
    """Bundles, files and pages of history, counted together."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises `Misconfigured`, naming the setting."""
        clients = Clients(settings.trusted_proxies)
        return cls(
            clients,
            verify=rate_limit(clients, "VERIREGIME_VERIFY_RATE", settings.verify_rate),
            costly=rate_limit(clients, "VERIREGIME_BUNDLE_RATE", settings.bundle_rate),
        )


class Places:
    """So many at once, and so many of one client. Lives in the event loop."""

    def __init__(self, what: str, most: int, most_of_one: int) -> None:
        self._what = what
        self._most = most
        self._most_of_one = most_of_one
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """A place for as long as the block lasts. Raises `Busy`, or `TooManyRequests` where only this client waits."""
        if self._taken[client] >= self._most_of_one:
            raise TooManyRequests(f"one client may have {self._most_of_one} {self._what} at once", retry_after_s=5)
        if len(self) >= self._most:
            raise Busy(f"all {self._most} {self._what} are taken", retry_after_s=5)
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]
