"""Who else is needed: the venues of every feed, and the attesters of the oracle."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from app.candles.venue import Venue
from app.chain.account import Account
from app.chain.registry import OracleReader
from app.check.finding import Finding, Level, side_by_side
from app.clock import wall_ms
from app.errors import ChainError, Misconfigured, NotNow, VenueUnavailable
from app.settings import Settings, parse_feed
from app.steps.attester_client import AttesterClient
from app.types import MINUTE_MS
from app.wiring import open_venue

_MAX_SKEW_MS = 2_000
"""A minute's candle is asked for a second after its end: a clock that is off by more comes too early, or late."""
_PATIENCE_S = 9.0
_OLD_MINUTES = 5
_REACH = "see whether this machine may reach it (firewall, proxy, country); the others go on without it"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A venue as it shows itself."""

    name: str
    finding: Finding
    skew_ms: int | None = None
    """Its clock minus ours; none where it does not answer."""


def venues(settings: Settings) -> Iterator[Finding]:
    """Each venue, whether each feed has enough of them, and what their clocks say of ours."""
    names = list(dict.fromkeys(venue for feed in settings.feeds for venue in settings.venues_of(feed)))
    answers = side_by_side([partial(_venue, settings, name) for name in names], _PATIENCE_S)
    seen = [answer or _silent(name) for name, answer in zip(names, answers, strict=True)]
    yield from (one.finding for one in seen)
    answering = {one.name for one in seen if one.skew_ms is not None}
    for feed in settings.feeds:
        yield _quorum(settings, feed, len(answering.intersection(settings.venues_of(feed))))
    yield _clock(settings, [one.skew_ms for one in seen if one.skew_ms is not None])


def attesters(settings: Settings, reader: OracleReader) -> Iterator[Finding]:
    """Whether those who can be asked are enough for the oracle."""
    try:
        panel = reader.panel()
    except ChainError as error:
        yield Finding("attesters", Level.WARNING, f"not asked: {error}", "see `veriregime contracts status`")
        return
    ready, words = _who_signs(settings, reader)
    strangers = sorted(ready - set(panel.signers))
    words += [f"{signer} is not an attester of the oracle" for signer in strangers]
    count = len(ready) - len(strangers)
    found = f"{count} of {len(panel.signers)} can be asked, {panel.threshold} must sign"
    if words or count < panel.threshold:
        remedy = "see VERIREGIME_ATTESTERS and VERIREGIME_ATTESTER_KEY_FILE, and whether each attester runs"
        yield Finding("attesters", Level.WARNING, "; ".join([found, *words]), remedy)
    else:
        yield Finding("attesters", Level.OK, found)


def _venue(settings: Settings, name: str) -> _Seen:
    try:
        with closing(open_venue(settings, name)) as venue:
            started = time.monotonic()
            skew_ms = venue.time_ms() - wall_ms()
            took_s = time.monotonic() - started
            now_ms = wall_ms() + (skew_ms if settings.venue_clock else 0)
            ages = _ages(_newest_ms(settings, venue, now_ms), now_ms)
    except VenueUnavailable as error:
        return _Seen(name, Finding(f"venue {name}", Level.WARNING, str(error), _REACH))
    except Misconfigured as error:
        detail = str(error).partition(": choose")[0]
        remedy = "choose others with VERIREGIME_VENUES, or what is read there with VERIREGIME_MARKETS"
        return _Seen(name, Finding(f"venue {name}", Level.WARNING, detail, remedy))
    return _Seen(name, _answered(settings, name, skew_ms, took_s, ages), skew_ms)


def _newest_ms(settings: Settings, venue: Venue, now_ms: int) -> dict[str, int]:
    """When the last closed candle of everything that is read there ended; 0 where there is no recent one."""
    end_ms = now_ms // MINUTE_MS * MINUTE_MS
    markets = (settings.markets_of(parse_feed(feed)).get(venue.name) for feed in settings.feeds)
    newest = {}
    for symbol in dict.fromkeys(one for one in markets if one is not None):
        pages = venue.pages(symbol, end_ms - _OLD_MINUTES * MINUTE_MS, end_ms)
        opened = [int(page.candles.open_time_ms[-1]) + MINUTE_MS for page in pages if len(page.candles)]
        newest[symbol] = max(opened, default=0)
    return newest


def _ages(newest_ms: dict[str, int], now_ms: int) -> dict[str, float | None]:
    """Seconds since the last candle of each symbol was closed; none where there is no recent one."""
    return {symbol: (now_ms - at_ms) / 1000 if at_ms else None for symbol, at_ms in newest_ms.items()}


def _answered(settings: Settings, name: str, skew_ms: int, took_s: float, ages: dict[str, float | None]) -> Finding:
    words = [f"answers in {took_s:.2f} s", f"clock {skew_ms / 1000:+.2f} s"]
    words += [
        f"last candle of {symbol} {'is older than five minutes' if age is None else f'{age:.0f} s old'}"
        for symbol, age in ages.items()
    ]
    remedy = ""
    if any(age is None for age in ages.values()):
        remedy = "see whether the venue still trades it; a feed goes on while the others are enough"
    elif abs(skew_ms) > settings.max_clock_skew_s * 1000 and not settings.venue_clock:
        remedy = "it is left out while its clock and ours differ so much: set the clock (NTP)"
    return Finding(f"venue {name}", Level.WARNING if remedy else Level.OK, ", ".join(words), remedy)


def _silent(name: str) -> _Seen:
    return _Seen(name, Finding(f"venue {name}", Level.WARNING, f"no answer within {_PATIENCE_S:g} s", _REACH))


def _quorum(settings: Settings, feed: str, here: int) -> Finding:
    quorum, asked = settings.quorum_of(feed), len(settings.venues_of(feed))
    detail = f"{here} of {asked} venue(s) answer, {quorum} must"
    if here >= quorum:
        return Finding(f"feed {feed}", Level.OK, detail)
    remedy = "bring venues back, or see VERIREGIME_VENUES and VERIREGIME_QUORUM: until then there is no forecast"
    return Finding(f"feed {feed}", Level.WARNING, detail, remedy)


def _clock(settings: Settings, skews_ms: list[int]) -> Finding:
    if not skews_ms:
        return Finding("clock", Level.NOTE, "not compared: no venue tells its time")
    skew_s = statistics.median(skews_ms) / 1000
    if settings.venue_clock:
        return Finding("clock", Level.OK, f"the venues' is taken, {skew_s:+.2f} s from this machine's")
    if abs(skew_s) * 1000 <= _MAX_SKEW_MS:
        return Finding("clock", Level.OK, f"{skew_s:+.2f} s from the venues' median")
    detail = f"the venues' median is {skew_s:+.1f} s from this machine's"
    return Finding("clock", Level.WARNING, detail, "set the clock (NTP), or VERIREGIME_VENUE_CLOCK=true")


def _who_signs(settings: Settings, reader: OracleReader) -> tuple[set[str], list[str]]:
    """Addresses that can be asked for signatures, and what is wrong with those that cannot."""
    ready, words = set(), []
    secret = settings.key_of("attester")
    if secret is not None:
        ready.add(Account.from_secret(*secret, "attester").address)
    urls = [str(url) for url in settings.attesters]
    clients = [AttesterClient(url, settings.attest_timeout_s, settings.token()) for url in urls]
    for client, said in zip(
        clients, side_by_side([partial(_introduced, one) for one in clients], _PATIENCE_S), strict=True
    ):
        if not isinstance(said, tuple):
            words.append(said or f"the attester {client.name} gives no answer within {_PATIENCE_S:g} s")
        elif said[1].lower() != reader.oracle.contract.lower():
            words.append(f"the attester {client.name} signs for the oracle {said[1]}")
        else:
            ready.add(said[0])
    return ready, words


def _introduced(client: AttesterClient) -> tuple[str, str] | str:
    try:
        return client.introduce()
    except NotNow as error:
        return str(error)
