"""A long run of the whole system: ``veriregime bench soak``. Memory, files, threads and processes must not grow, the
database must grow as `app.bench.sizes` says, and no window may be missed.

The demo runs in processes of its own (`own_demo`) in a fast market; every few seconds `looks` says what each role holds
and how full the database is. What was before the end of the warm-up does not count: a week of history is loaded, models
and libraries come in, caches fill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from app.bench.figures import MIB, p95
from app.bench.looks import PRODUCT, PROVERS, Filled, Held, bytes_by_kind, filled, held_by_role, lateness, missed
from app.bench.own_demo import OwnDemo, own_demo
from app.bench.sizes import SQLITE_BYTES, growth
from app.bench.trend import FLAT_WITHIN, Trend, trend
from app.errors import BadInput, ChildDidNotStart
from app.settings import Settings
from app.types import MINUTE_MS

Say = Callable[[str], None]
GROWTH_WITHIN = 0.15
"""The database may grow by that share more or less than is documented."""
_LEAST_LOOKS = 8
_COUNTED = ("files", "threads", "processes")


@dataclass(frozen=True, slots=True)
class SoakEffort:
    """``hours`` of the market, which runs ``speed`` times as fast as real time."""

    hours: float = 6.0
    speed: float = 30.0
    every_s: float = 3.0
    warm_up: float = 0.2
    """Share of the run that does not count."""

    @property
    def wall_s(self) -> float:
        return self.hours * 3600 / self.speed


@dataclass(frozen=True, slots=True)
class Look:
    """Everything at one moment, in seconds of the wall since the first one."""

    at_s: float
    held: Mapping[str, Held]
    filled: Filled


def bench_soak(settings: Settings, effort: SoakEffort, feeds: Sequence[str], say: Say) -> dict[str, Any]:
    """Figures of every role and of the database, with a verdict on each. ``feeds`` are the demo's own when empty.

    Raises `BadInput` for a run too short to say anything, `ChildDidNotStart` when the demo ends before its time.
    """
    if effort.wall_s * (1 - effort.warm_up) < _LEAST_LOOKS * effort.every_s:
        raise BadInput(f"{effort.wall_s:.0f} s of the wall are too few: more --hours, or less --speed")
    chosen = {"VERIREGIME_FEEDS": ",".join(feeds)} if feeds else {}
    with own_demo(settings, effort.speed, say, **chosen) as demo:
        begun = time.monotonic()
        before = _looked(demo, effort, begun, effort.wall_s * effort.warm_up, "warming up", say)
        pages, first_ms = bytes_by_kind(demo.database), _newest(demo)
        looks = _looked(demo, effort, begun, effort.wall_s, "counting", say)
        pages_after = bytes_by_kind(demo.database)
        windows = lateness(demo.database, first_ms)
        found = {
            "hours": effort.hours,
            "speed": effort.speed,
            "feeds": demo.feeds(),
            "wall_s": round(looks[-1].at_s),
            "warm_up_s": round(effort.wall_s * effort.warm_up),
            "looks": len(looks),
        }
    return found | judged(looks, _kinds(looks, pages, pages_after), _windows(windows, effort), _series(before + looks))


def judged(
    looks: Sequence[Look], kinds: dict[str, Any], windows: dict[str, Any], series: dict[str, Any]
) -> dict[str, Any]:
    """Of the looks that count: trends, growth, windows, and what each of them means."""
    roles = {role: _role(looks, role) for role in looks[0].held}
    database = _database(looks) | {"kinds": kinds}
    verdicts = {f"memory of {role} is flat": _is_flat(roles[role]["memory"]) for role in PRODUCT if role in roles} | {
        f"{count} of {role} do not grow": bool(roles[role][count]["steady"])
        for role in PRODUCT
        if role in roles
        for count in _COUNTED
    }
    verdicts |= {
        "database grows as documented": abs(database["against_documented"] - 1) <= GROWTH_WITHIN,
        "no window was missed": windows["missed"] == 0 and windows["windows"] > 0,
    }
    return {
        "roles": roles,
        "database": database,
        "windows": windows,
        "verdicts": verdicts,
        "passed": all(verdicts.values()),
        "series": series,
    }


def _looked(demo: OwnDemo, effort: SoakEffort, begun: float, until_s: float, what: str, say: Say) -> list[Look]:
    """Looks at even distances until that many seconds after the beginning."""
    looks: list[Look] = []
    while (at_s := time.monotonic() - begun) < until_s:
        try:
            looks.append(Look(at_s, held_by_role(demo.pid), filled(demo.database)))
        except (psutil.NoSuchProcess, OSError) as error:
            raise ChildDidNotStart(f"the demo ended after {at_s:.0f} s") from error
        of_market = at_s * effort.speed / 3600
        say(f"{what}, {of_market:.1f} of {effort.hours:g} hours, {looks[-1].filled.rows['prediction']:,} predictions")
        time.sleep(effort.every_s)
    return looks


def _newest(demo: OwnDemo) -> int:
    return max((end_ms for _, end_ms, *_ in lateness(demo.database, 0)), default=0)


def _role(looks: Sequence[Look], role: str) -> dict[str, Any]:
    """A role's processes come and go, so it may be missing from a look."""
    there = [look for look in looks if role in look.held]
    times = [look.at_s for look in there]
    held = [look.held[role] for look in there]
    seconds = times[-1] - times[0]
    found: dict[str, Any] = {"memory": _memory(trend(times, [one.bytes for one in held]))}
    for count in _COUNTED:
        moved = trend(times, [getattr(one, count) for one in held])
        found[count] = {"first": moved.first, "last": moved.last, "largest": moved.largest}
        found[count]["steady"] = moved.is_steady_count()
    # A process that was replaced takes its seconds with it.
    spent = max(0.0, held[-1].cpu_s - held[0].cpu_s)
    return found | {"cores": round(spent / seconds, 3) if seconds and role != PROVERS else None}


def _memory(moved: Trend) -> dict[str, float]:
    return {
        "first_mib": round(moved.first / MIB, 1),
        "last_mib": round(moved.last / MIB, 1),
        "largest_mib": round(moved.largest / MIB, 1),
        "change": round(moved.change, 4),
        "line_change": round(moved.line_change, 4),
    }


def _is_flat(memory: Mapping[str, float]) -> bool:
    return memory["change"] <= FLAT_WITHIN and memory["line_change"] <= FLAT_WITHIN


def _database(looks: Sequence[Look]) -> dict[str, Any]:
    first, last = looks[0].filled, looks[-1].filled
    more = {kind: last.rows[kind] - first.rows[kind] for kind in last.rows}
    grown, documented = last.used_bytes - first.used_bytes, growth(more, SQLITE_BYTES)
    return {
        "file_mib": round(last.file_bytes / MIB, 2),
        "grown_bytes": grown,
        "documented_bytes": round(documented),
        "against_documented": round(grown / documented, 4) if documented else 0.0,
        "bytes_per_prediction": round(grown / more["prediction"]) if more["prediction"] else None,
        "new_rows": more,
    }


def _kinds(looks: Sequence[Look], before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, Any]:
    """Bytes that a row of each kind took, of those that came while it counted."""
    found: dict[str, Any] = {}
    for kind, bytes_after in after.items():
        rows = looks[-1].filled.rows[kind] - looks[0].filled.rows[kind]
        each = round((bytes_after - before[kind]) / rows) if rows else None
        found[kind] = {"rows": rows, "bytes_each": each, "documented": SQLITE_BYTES[kind]}
    return found


def _windows(windows: Sequence[tuple[str, int, int, int | None]], effort: SoakEffort) -> dict[str, Any]:
    """Seconds of the wall from a window's end."""
    stored = [ms / 1000 / effort.speed for _, _, ms, _ in windows]
    proved = [ms / 1000 / effort.speed for *_, ms in windows if ms is not None]
    return {
        "windows": len(windows),
        "missed": missed(windows, MINUTE_MS),
        "stored_s": _spread(stored),
        "proved_s": _spread(proved),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    return {
        "median": round(ordered[len(ordered) // 2], 3),
        "p95": round(p95(ordered), 3),
        "largest": round(ordered[-1], 3),
    }


def _series(looks: Sequence[Look]) -> dict[str, Any]:
    """For whoever wants to draw it."""
    roles = sorted({role for look in looks for role in look.held})
    return {
        "at_s": [round(look.at_s, 1) for look in looks],
        "used_mib": [round(look.filled.used_bytes / MIB, 2) for look in looks],
        "memory_mib": {
            role: [round(look.held[role].bytes / MIB, 1) if role in look.held else None for look in looks]
            for role in roles
        },
    }
