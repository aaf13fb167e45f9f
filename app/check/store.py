"""The database: whether it is whole and of this version, who works on it, how it grows, when it was copied last."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from app.check.finding import Finding, Level
from app.clock import wall_ms
from app.settings import Settings
from app.steps.standing import Role
from app.store.database import Database
from app.store.server import ServerFacts, server_facts
from app.store.soundness import refuse_damage
from app.types import MINUTE_MS, Disagreement, iso
from app.wiring import open_database

BACKUPS = "backups"
"""In `var_dir`: where the units and the guide have copies written."""
_LOOK_S = 4.0
_HEARD_OF_MS = 30_000
_AHEAD_MS = 2 * MINUTE_MS
_OLDEST_SERVER = 14
_CONNECTIONS = 50
"""Of one process, at most: the pool of `app.store.engine`."""
_DAY_MIB = 10
"""What a feed adds in a day: docs/operator.md."""
_DAYS_AHEAD = 30
_MIB = 2**20
_COPY_HOURS = 26
"""Of a copy made every day."""


def database(settings: Settings) -> Iterator[Finding]:
    with closing(open_database(settings)) as opened:
        schema = _schema(opened)
        yield schema
        if schema.level is Level.FAILED or not opened.is_there:
            return
        current, newest = opened.revisions()
        facts = server_facts(opened)
        if facts is not None:
            yield from _server(facts, _processes(opened) if current == newest else 1)
        if current == newest:
            yield from _contents(settings, opened)
        if current is not None:
            yield _copies(settings.var_dir / BACKUPS)


def _schema(opened: Database) -> Finding:
    if opened.file is not None and opened.is_there:
        refuse_damage(opened.file, _LOOK_S)
    current, newest = opened.revisions()
    if current is None:
        return Finding("database", Level.OK, f"{opened.name} is new: its schema is made at the first start")
    if current == newest:
        return Finding("database", Level.OK, f"{opened.name}, schema {current}")
    if not opened.knows(current):
        detail = f"{opened.name} has schema {current}, which a newer version wrote; this one goes up to {newest}"
        return Finding(
            "database", Level.FAILED, detail, "run the newer version, or see docs/upgrading.md for a way back"
        )
    detail = f"{opened.name} has schema {current}, the newest is {newest}: the next start brings it there"
    remedy = "stop every process, `veriregime db backup FILE`, then `veriregime db upgrade` (docs/upgrading.md)"
    return Finding("database", Level.WARNING, detail, remedy)


def _server(facts: ServerFacts, processes: int) -> Iterator[Finding]:
    detail = f"version {facts.version}, {facts.connections} of {facts.max_connections} connections in use"
    wanted = _CONNECTIONS * max(1, processes)
    if facts.is_standby:
        yield Finding("PostgreSQL", Level.FAILED, f"{detail}; it is a standby and takes no writes", "name the primary")
    elif facts.encoding != "UTF8":
        remedy = "make the database anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        yield Finding("PostgreSQL", Level.FAILED, f"{detail}; the encoding is {facts.encoding}", remedy)
    elif facts.major < _OLDEST_SERVER:
        yield Finding("PostgreSQL", Level.WARNING, f"{detail}; nobody has tried so old a one", "upgrade the server")
    elif facts.max_connections < wanted:
        words = f"{detail}; {processes} process(es) may want {wanted} at once"
        yield Finding("PostgreSQL", Level.WARNING, words, f"set max_connections to {wanted + _CONNECTIONS} or more")
    elif facts.synchronous_commit == "off":
        words = f"{detail}; synchronous_commit is off: what was committed last is lost with the server"
        yield Finding("PostgreSQL", Level.WARNING, words, "set synchronous_commit to on for this database")
    else:
        yield Finding("PostgreSQL", Level.OK, detail)


def _contents(settings: Settings, opened: Database) -> Iterator[Finding]:
    now_ms = wall_ms()
    with opened.unit_of_work(write=False) as store:
        alarms = store.disagreements.open()
        told = [said for _, said in store.standings.since(now_ms - _HEARD_OF_MS)]
        held = store.leases.held(now_ms)
        latest = [store.predictions.latest(feed, proved=False) for feed in settings.feeds]
        size_bytes = store.size_bytes()
    yield _alarms(alarms)
    yield _roles(settings, [tuple(said.get("roles", ())) for said in told], len(held))
    yield _ahead(max((one.window_end_ms for one in latest if one is not None), default=0), now_ms)
    yield _growth(settings, opened.file, size_bytes)


def _processes(opened: Database) -> int:
    with opened.unit_of_work(write=False) as store:
        return len(store.standings.since(wall_ms() - _HEARD_OF_MS))


def _alarms(found: Sequence[Disagreement]) -> Finding:
    if not found:
        return Finding("alarms", Level.OK, "network and circuit agree on every proved window")
    newest = f"{found[0].feed} at {iso(found[0].window_end_ms)}"
    detail = f"network and circuit disagreed on {len(found)} window(s), the newest of {newest}"
    return Finding("alarms", Level.FAILED, detail, "look into them: `veriregime alarms list`, then `alarms clear ID`")


def _roles(settings: Settings, told: Sequence[Sequence[str]], held: int) -> Finding:
    """Who has been heard of in the last half minute."""
    count = Counter(role for roles in told for role in roles)
    if not count:
        detail = "nobody is at work on this database"
        return Finding("roles", Level.NOTE, detail, "start `veriregime serve`, or pipeline, prover and submitter")
    seen = ", ".join(f"{count[role]} × {role}" for role in Role if count[role])
    detail = f"{seen} in the last half minute; {held} lease(s) held"
    missing = [role for role in _needed(settings) if not count[role]]
    if missing:
        remedy = f"start `veriregime {missing[0]}`"
        return Finding("roles", Level.WARNING, f"{detail}; no {' and no '.join(missing)}", remedy)
    return Finding("roles", Level.OK, detail)


def _needed(settings: Settings) -> Iterator[Role]:
    yield Role.PIPELINE
    if settings.prover == "local":
        yield Role.PROVER
    if settings.rpc_urls:
        yield Role.SUBMITTER


def _ahead(newest_ms: int, now_ms: int) -> Finding:
    """A clock that was set back makes every window of the meantime one that is stored already."""
    if not newest_ms:
        return Finding("newest window", Level.NOTE, "there is none yet")
    if newest_ms > now_ms + _AHEAD_MS:
        detail = f"the newest window ended at {iso(newest_ms)}, which this machine's clock has yet to reach"
        remedy = "set the clock (NTP); a database of a demo or of a market in other times is none for serving"
        return Finding("newest window", Level.FAILED, detail, remedy)
    return Finding("newest window", Level.OK, f"ended {_age(now_ms - newest_ms)} ago")


def _growth(settings: Settings, file: Path | None, size_bytes: int) -> Finding:
    """What the database is to come to, against the disk that it lies on; of a server's disk nothing is known."""
    day_mib = _DAY_MIB * len(settings.feeds)
    days = settings.prediction_retention_days
    size_mib = size_bytes // _MIB
    words = f"{size_mib:,} MiB; about {day_mib:,} MiB a day, " + (
        f"kept for {days} days: {days * day_mib:,} MiB in the end" if days else "kept for ever"
    )
    if file is None:
        return Finding("growth", Level.OK, words)
    free_mib = shutil.disk_usage(file.parent).free // _MIB
    wanted_mib = day_mib * _DAYS_AHEAD if not days else min(day_mib * _DAYS_AHEAD, max(0, days * day_mib - size_mib))
    if free_mib >= wanted_mib:
        return Finding("growth", Level.OK, f"{words}; {free_mib:,} MiB are free")
    remedy = "make room, lower VERIREGIME_PREDICTION_RETENTION_DAYS, or `veriregime db prune`"
    return Finding("growth", Level.WARNING, f"{words}; {free_mib:,} MiB are free: not a month's", remedy)


def _copies(folder: Path) -> Finding:
    newest = max((copy.stat().st_mtime for copy in folder.glob("*.db")), default=None)
    if newest is None:
        return Finding("backup", Level.NOTE, f"none in {folder}", f"`veriregime db backup {folder}/NAME.db`, every day")
    age_ms = wall_ms() - round(newest * 1000)
    if age_ms > _COPY_HOURS * 60 * MINUTE_MS:
        remedy = "see why the timer does not run: `systemctl status veriregime-backup`"
        return Finding("backup", Level.WARNING, f"the newest in {folder} is {_age(age_ms)} old", remedy)
    return Finding("backup", Level.OK, f"the newest in {folder} is {_age(age_ms)} old")


def _age(age_ms: int) -> str:
    minutes = max(0, age_ms) / MINUTE_MS
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 72 * 60 else f"{minutes / 1440:.0f} days"
