"""What can be asked of the service, each question as a dialogue: the request, and what its answer means."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

from app.client.auditing import LocalAudit
from app.client.dialogue import Answer, Ask, Dialogue, Found, Manners, T, Work, base_url, patiently
from app.client.following import Tell, follow
from app.client.values import (
    Feed,
    Feeds,
    Forecast,
    Page,
    Proof,
    TrackRecord,
    Update,
    Verdict,
    read,
)
from app.errors import BadInput, ForecastStale

Time = datetime | str
"""A string is written like 2025-09-15T12:00:00Z; a time without a zone is UTC."""
Bundle = bytes | str | Mapping[str, object]
Origin = Literal["live", "backtest"]
Several = str | Collection[str]
"""One name, or any number of them."""

_PAGE = 500
_MOST_KEPT = 64
_NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class _Kept:
    """The last answer to a question about the newest forecast."""

    etag: str
    forecast: Forecast
    at: float


class Questions:
    """All questions to the service at ``url``. Remembers what saves asking in full again."""

    def __init__(self, url: str, patience_s: float, timeout_s: float) -> None:
        self.url = base_url(url)
        self.manners = Manners(patience_s, timeout_s)
        self._audit = LocalAudit()
        self._kept: dict[_Key, _Kept] = {}
        self._speeds: dict[str, float] = {}

    def close(self) -> None:
        self._audit.close()

    def feeds(self) -> Dialogue[tuple[Feed, ...]]:
        found = yield from self._read(Feeds, Ask("GET", "/v1/feeds"))
        return found.feeds

    def feed(self, name: str) -> Dialogue[Feed]:
        return self._read(Feed, Ask("GET", _feed(name)))

    def latest(self, feed: str, max_age: float | None, include: Several, proved: bool) -> Dialogue[Forecast]:
        path = f"{_feed(feed)}/latest"
        params = _present(include=",".join(sorted(_several(include))), proved="" if proved else "false")
        key: _Key = (path, *params.items())
        kept = self._kept.get(key)
        answer = yield from self._ask(
            Ask(
                "GET",
                path,
                params | _present(max_age=str(max_age) if max_age is not None else ""),
                headers={"If-None-Match": kept.etag} if kept else {},
            )
        )
        if answer.status == _NOT_MODIFIED and kept:
            forecast = yield from self._aged(kept)
        else:
            forecast = self._fresh(answer, path, key)
        if max_age is not None and forecast.age_seconds > max_age:  # something between us kept it for too long
            raise ForecastStale(f"the newest forecast is {forecast.age_seconds:.0f} s old, you allow {max_age:g} s")
        return forecast

    def history(self, feed: str, start: Time | None, end: Time | None, limit: int | None) -> Dialogue[None]:
        """Finds all of them, or the first ``limit``, newest window first."""
        cursor: str | None = None
        left = sys.maxsize if limit is None else limit
        while left > 0:
            page = yield from self._page(feed, start, end, cursor, min(left, _PAGE))
            for forecast in page.predictions:
                yield Found(forecast)
            left -= len(page.predictions)
            if page.next is None:
                return
            cursor = page.next

    def arrivals(self, feed: str, cursor: str | None) -> Dialogue[Page]:
        return self._page(feed, cursor=cursor, order="arrival")

    def prediction(self, prediction_id: str) -> Dialogue[Forecast]:
        return self._read(Forecast, Ask("GET", _prediction(prediction_id)))

    def proof(self, prediction_id: str) -> Dialogue[Proof]:
        return self._read(Proof, Ask("GET", f"{_prediction(prediction_id)}/proof"))

    def bundle(self, prediction_id: str) -> Dialogue[bytes]:
        answer = yield from self._ask(Ask("GET", f"{_prediction(prediction_id)}/bundle"))
        return answer.body

    def update(self, feed: str) -> Dialogue[Update]:
        return self._read(Update, Ask("GET", f"{_feed(feed)}/update"))

    def track_record(self, feed: str, start: Time | None, end: Time | None, origin: Origin) -> Dialogue[TrackRecord]:
        params = _present(start=_written(start), end=_written(end), origin=origin)
        return self._read(TrackRecord, Ask("GET", f"{_feed(feed)}/track-record", params))

    def verify(self, bundle: Bundle) -> Dialogue[Verdict]:
        headers = {"Content-Type": "application/json"}
        return self._read(Verdict, Ask("POST", "/v1/verify", headers=headers, body=_bytes(bundle)))

    def verify_locally(self, subject: Forecast | Bundle, signed_by: Several) -> Dialogue[Verdict]:
        """The audit of this package's own, of the very bytes that the service gives for this id."""
        wanted_id = _id(subject)
        raw = _bytes(subject) if wanted_id is None else (yield from self.bundle(wanted_id))
        lacking: str | None = yield Work(lambda: self._audit.lacking_srs(raw))
        if lacking is not None:
            srs = yield from self._ask(
                Ask("GET", f"/v1/srs/{quote(lacking, safe='')}", most_bytes=self._audit.most_srs_bytes())
            )
            yield Work(lambda: self._audit.keep_srs(lacking, srs.body))
        shown = subject if isinstance(subject, Forecast) else None
        verdict: Verdict = yield Work(lambda: self._audit.verify(raw, _several(signed_by), wanted_id, shown))
        return verdict

    def stream(
        self,
        feed: Several,
        kinds: Several,
        last_event_id: int | None,
        patience_s: float | None,
        tell: Tell | None,
    ) -> Dialogue[None]:
        """Finds events, see `app.client.following`."""
        manners = self.manners if patience_s is None else replace(self.manners, patience_s=patience_s)
        params = ({"feed": _several(feed)} if feed else {}) | _present(kinds=",".join(_several(kinds)))
        return follow(self.url, manners, params, last_event_id, tell)

    def _page(
        self,
        feed: str,
        start: Time | None = None,
        end: Time | None = None,
        cursor: str | None = None,
        limit: int = _PAGE,
        order: str = "newest",
    ) -> Dialogue[Page]:
        params = _present(start=_written(start), end=_written(end), cursor=cursor or "", order=order)
        return self._read(Page, Ask("GET", f"{_feed(feed)}/predictions", params | {"limit": f"{limit:d}"}))

    def _fresh(self, answer: Answer, path: str, key: _Key) -> Forecast:
        """A forecast that was sent in full, kept where it can be asked for by its ETag."""
        sent = read(Forecast, answer.body, path)
        cached_s = answer.headers.get("age", "")  # what lay in a cache on the way is older than it says
        forecast = replace(sent, age_seconds=sent.age_seconds + int(cached_s[:9] if cached_s.isdecimal() else 0))
        self._kept.pop(key, None)
        if etag := answer.headers.get("etag"):
            while len(self._kept) >= _MOST_KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[key] = _Kept(etag, forecast, self.manners.now())
        return forecast

    def _aged(self, kept: _Kept) -> Dialogue[Forecast]:
        """A kept forecast with the age it has by now. The market's clock is not ours, and may run faster."""
        forecast = kept.forecast
        if forecast.feed not in self._speeds:
            self._speeds[forecast.feed] = (yield from self.feed(forecast.feed)).market_speed
        passed_s = (self.manners.now() - kept.at) * self._speeds[forecast.feed]
        return replace(forecast, age_seconds=round(forecast.age_seconds + passed_s, 3))

    def _read(self, form: type[T], ask: Ask) -> Dialogue[T]:
        answer = yield from self._ask(ask)
        return read(form, answer.body, ask.path)

    def _ask(self, ask: Ask) -> Dialogue[Answer]:
        return patiently(ask, self.manners, self.url)


_Key = tuple[str | tuple[str, str], ...]


def _feed(name: str) -> str:
    return f"/v1/feeds/{quote(name, safe='')}"


def _prediction(prediction_id: str) -> str:
    return f"/v1/predictions/{quote(prediction_id, safe='')}"


def _present(**params: str) -> dict[str, str]:
    """Those that say something."""
    return {name: value for name, value in params.items() if value}


def _several(names: Several) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _written(time: Time | None) -> str:
    if time is None or isinstance(time, str):
        return time or ""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")


def _id(subject: object) -> str | None:
    """None: it is a bundle itself."""
    if isinstance(subject, Forecast):
        return subject.id
    return subject if isinstance(subject, str) and not subject.lstrip().startswith("{") else None


def _bytes(bundle: object) -> bytes:
    """A bundle as JSON bytes."""
    if isinstance(bundle, bytes):
        return bundle
    if isinstance(bundle, str):
        return bundle.encode()
    if isinstance(bundle, Mapping):
        return json.dumps(bundle).encode()
    raise BadInput(f"a bundle is bytes, a string or a mapping, not {type(bundle).__name__}")
