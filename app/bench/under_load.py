"""Whether ticks stay in time while as much is asked as can be answered: ``veriregime bench serving --only load``.

A demo in processes of its own runs in a fast market, first alone, then while visitors (`visitors`) ask its HTTP side,
then while they ask a ``veriregime api`` beside it. Each stretch is as long as the others, on the same machine, so that
what differs is the load. Somebody calm asks ``latest`` all the time and notes when each window is there.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from app.bench.dialogue import helper
from app.bench.figures import p95
from app.bench.looks import lateness, missed, newest_ms
from app.bench.own_demo import OwnDemo, api_beside, own_demo
from app.bench.visitors import Visit
from app.clock import Clock
from app.settings import Settings
from app.types import MINUTE_MS, parse_time

Say = Callable[[str], None]
MOST_LATER_S = 1.0
"""No tick may be later than that beyond the quiet stretch."""
QUIET = "quiet"
_ASK_EVERY_S = 0.05
_LAST_PROOFS_S = 15.0
_PACED_PER_S = 2.0
"""What costs more, together as often as one client may by the settings' default."""
_SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class BusyEffort:
    seconds: float = 60.0
    connections: int = 16
    speed: float = 20.0


def bench_under_load(settings: Settings, effort: BusyEffort, say: Say) -> dict[str, Any]:
    """Every stretch with its ticks and answers, and by how much its latest tick is later than the quiet one's."""
    with own_demo(settings, effort.speed, say) as demo:
        feed = demo.feeds()[0]
        asked = _asked(demo, feed)
        stretches = [_stretch(QUIET, demo, demo.url, feed, None, effort, say)]
        for name, what in asked.items():
            stretches.append(_stretch(f"serve, {name}", demo, demo.url, feed, what, effort, say))
        with api_beside(demo) as server:
            for name, what in asked.items():
                stretches.append(_stretch(f"api beside it, {name}", demo, server.url, feed, what, effort, say))
    return {"load": asdict(effort) | {"feed": feed} | compared(stretches)}


def compared(stretches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Beside the quiet stretch, which is the first. ``holds``: no tick too late, none missed, no 5xx, nothing lost."""
    quiet = stretches[0]["ticks"]
    for one in stretches[1:]:
        ticks, statuses = one["ticks"], one["answers"]["statuses"]
        errors = sum(count for status, count in statuses.items() if not status.startswith(("2", "3", "4")))
        later = {step: _later(ticks[step], quiet[step]) for step in ("stored_s", "served_s")}
        in_time = all(seconds is not None and seconds <= MOST_LATER_S for seconds in later.values())
        whole = not ticks["missed"] and not ticks["not_proved"] and not errors
        one |= {"later_than_quiet_s": later, "server_errors": errors, "holds": in_time and whole}
    return {"stretches": list(stretches), "holds": all(one["holds"] for one in stretches[1:])}


def _later(busy: Mapping[str, float] | None, quiet: Mapping[str, float] | None) -> float | None:
    return None if busy is None or quiet is None else round(busy["largest"] - quiet["largest"], 3)


def _asked(demo: OwnDemo, feed: str) -> dict[str, tuple[list[str], list[str]]]:
    """What visitors ask for as fast as they can, and what at a pace."""
    with urllib.request.urlopen(f"{demo.url}/v1/feeds/{feed}/latest", timeout=30) as answer:  # noqa: S310  our own
        one = json.load(answer)["id"]
    latest = f"/v1/feeds/{feed}/latest"
    mixed = [
        *[latest] * 12,
        *[f"{latest}?include=proof"] * 3,
        f"/v1/predictions/{one}",
        "/v1/feeds",
        f"/v1/feeds/{feed}",
    ]
    costly = [f"/v1/predictions/{one}/bundle", f"/v1/feeds/{feed}/predictions?limit=100"]
    return {"latest": ([latest], []), "mixed": ([*mixed, "/", f"/v1/feeds/{feed}/track-record"], costly)}


def _stretch(
    name: str,
    demo: OwnDemo,
    url: str,
    feed: str,
    what: tuple[list[str], list[str]] | None,
    effort: BusyEffort,
    say: Say,
) -> dict[str, Any]:
    say(f"{name}, {effort.seconds:g} s")
    time.sleep(_SETTLE_S)
    since_ms = newest_ms(demo.database)
    with _calm(f"{url}/v1/feeds/{feed}/latest", _clock(demo)) as seen:
        answers = None
        if what:
            answers = _visit(url, what, effort)
        else:
            time.sleep(effort.seconds)
        until_ms = newest_ms(demo.database)
        windows = _proved_windows(demo, since_ms, until_ms, seen, feed)
    ticks = _ticks(windows, {end: at for end, at in seen.items() if since_ms < end <= until_ms}, effort.speed)
    return {"name": name, "ticks": ticks, "answers": answers}


def _visit(url: str, what: tuple[list[str], list[str]], effort: BusyEffort) -> dict[str, Any]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    paths, paced = what
    visit = Visit(host, int(port), paths, effort.connections, effort.seconds, paced, _PACED_PER_S)
    with helper("app.bench.visitors") as visitors:
        return visitors.ask(asdict(visit))


def _proved_windows(
    demo: OwnDemo, since_ms: int, until_ms: int, seen: Mapping[int, float], feed: str
) -> list[tuple[str, int, int, int | None]]:
    """The stretch's windows, once the last one is proved and served, or that has taken too long."""
    limit = time.monotonic() + _LAST_PROOFS_S
    while True:
        windows = [one for one in lateness(demo.database, since_ms) if one[1] <= until_ms]
        ours = [end_ms for of, end_ms, *_ in windows if of == feed]
        done = all(one[3] is not None for one in windows) and (not ours or max(seen, default=0) >= max(ours))
        if done or time.monotonic() > limit:
            return windows
        time.sleep(_ASK_EVERY_S)


def _ticks(
    windows: Sequence[tuple[str, int, int, int | None]], seen: Mapping[int, float], speed: float
) -> dict[str, Any]:
    """Seconds of the wall from the end of each window: until it was stored, proved, and told by ``latest``."""
    return {
        "windows": len(windows),
        "missed": missed(windows, MINUTE_MS),
        "not_proved": sum(one[3] is None for one in windows),
        "stored_s": _spread([one[2] / 1000 / speed for one in windows]),
        "proved_s": _spread([one[3] / 1000 / speed for one in windows if one[3] is not None]),
        "served_s": _spread(list(seen.values())),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    figures = {"median": median(seconds), "p95": p95(seconds), "largest": max(seconds)}
    return {name: round(value, 3) for name, value in figures.items()}


@contextmanager
def _calm(url: str, clock: Clock) -> Iterator[dict[int, float]]:
    """By window's end: how many seconds after it ``latest`` told of it first, of those that come during the block."""
    seen: dict[int, float] = {}
    over = threading.Event()

    def look() -> None:
        last_ms = 0
        while not over.wait(_ASK_EVERY_S):
            end_ms = _window_end(url)
            if end_ms is not None and end_ms != last_ms:
                if last_ms:
                    seen[end_ms] = -clock.seconds_until(end_ms)
                last_ms = end_ms

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _window_end(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  our own address
            return parse_time(json.load(answer)["window_end"])
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except OSError:
        return None


def _clock(demo: OwnDemo) -> Clock:
    _, market_start_ms, _, wall_start_ms, _, speed = demo.clock()
    return Clock(int(market_start_ms), int(wall_start_ms), float(speed))
