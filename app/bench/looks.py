"""What a running system holds at one moment: its processes by role, and its SQLite database by kind of row.

The database is looked at from outside, as a file: what the system says of itself is not taken for granted here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

SERVICE, PROVERS, ATTESTERS, THEIR_PROVERS = "service", "provers", "attesters", "provers of attesters"
MARKET, CHAIN = "market", "chain"
PRODUCT = (SERVICE, PROVERS, ATTESTERS, THEIR_PROVERS)
"""What an installation has; market and chain belong to the demo."""
_BY_WORD = (
    ("app.proving.worker", PROVERS),
    ("attest", ATTESTERS),
    ("app.sim", MARKET),
    ("anvil", CHAIN),
)

KINDS: Mapping[str, tuple[str, ...]] = {
    "prediction": ("predictions", "proofs", "proof_jobs", "proof_attempts", "disagreements"),
    "signature": ("attestations",),
    "commitment": ("signed_commitments",),
    "transaction": ("transactions",),
    "round": ("submissions",),
    "outcome": ("outcomes",),
    "event": ("events",),
    "candle": ("candles",),
}
"""Kind of row by the tables that one of it fills. The first table counts."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the processes of one role hold together.

    ``bytes`` is the memory that is theirs alone: what libraries share is counted to more or fewer as other programs
    come and go.
    """

    bytes: int = 0
    files: int = 0
    threads: int = 0
    processes: int = 0
    cpu_s: float = 0.0

    def __add__(self, other: Held) -> Held:
        return Held(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Held)))


def held_by_role(pid: int) -> dict[str, Held]:
    """Of the process ``pid``, the service, and of all below it. Raises `psutil.NoSuchProcess` when it has ended."""
    service = psutil.Process(pid)
    found = {SERVICE: _held(service)}
    for child, role in _roles(service):
        try:
            found[role] = found.get(role, Held()) + _held(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _roles(service: psutil.Process) -> Iterator[tuple[psutil.Process, str]]:
    for child in service.children(recursive=True):
        try:
            words, parent = " ".join(child.cmdline()), child.ppid()
        except psutil.NoSuchProcess:
            continue
        role = next((name for word, name in _BY_WORD if word in words), "others")
        yield child, THEIR_PROVERS if role == PROVERS and parent != service.pid else role


def _held(process: psutil.Process) -> Held:
    with process.oneshot():
        memory, times = process.memory_full_info(), process.cpu_times()
        return Held(
            bytes=int(memory.uss),
            files=process.num_fds(),
            threads=process.num_threads(),
            processes=1,
            cpu_s=float(times.user + times.system),
        )


@dataclass(frozen=True, slots=True)
class Filled:
    """How full a database is."""

    file_bytes: int
    """With its log."""
    used_bytes: int
    """Pages that hold something."""
    rows: Mapping[str, int]
    """By kind of `KINDS`."""
    late_ms: int
    """Of the prediction stored last: market milliseconds from the window's end."""


def filled(database: Path) -> Filled:
    with closing(_open(database)) as connection:
        pages, free, each = (
            _one(connection, f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
        )
        late = "SELECT predicted_at_ms - window_end_ms FROM predictions ORDER BY seq DESC LIMIT 1"
        return Filled(
            file_bytes=sum(file.stat().st_size for file in (database, _log(database)) if file.exists()),
            used_bytes=(pages - free) * each,
            rows={kind: _one(connection, f"SELECT count(*) FROM {tables[0]}") for kind, tables in KINDS.items()},  # noqa: S608
            late_ms=_one(connection, late),
        )


def bytes_by_kind(database: Path) -> dict[str, int]:
    """Pages of each kind's tables and their indexes, in bytes; reads the whole file."""
    with closing(_open(database)) as connection:
        of_table = "SELECT m.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_master m ON m.name = d.name GROUP BY 1"
        taken = dict(connection.execute(of_table).fetchall())
    return {kind: sum(int(taken.get(table, 0)) for table in tables) for kind, tables in KINDS.items()}


def lateness(database: Path, after_ms: int) -> list[tuple[str, int, int, int | None]]:
    """Feed, window's end, and market milliseconds from there until the prediction was stored and until it was proved,
    of all windows that end after ``after_ms``, in their order."""
    query = (
        "SELECT feed, window_end_ms, predicted_at_ms - window_end_ms, proved_at_ms - window_end_ms FROM predictions "
        "LEFT JOIN proofs ON prediction_id = id WHERE window_end_ms > ? ORDER BY window_end_ms, feed"
    )
    with closing(_open(database)) as connection:
        return connection.execute(query, (after_ms,)).fetchall()


def newest_ms(database: Path) -> int:
    with closing(_open(database)) as connection:
        return _one(connection, "SELECT coalesce(max(window_end_ms), 0) FROM predictions")


def missed(windows: Sequence[tuple[str, int, int, int | None]], minute_ms: int) -> int:
    """Minutes between the first and the last window of each feed that have none."""
    ends: dict[str, list[int]] = {}
    for feed, end_ms, *_ in windows:
        ends.setdefault(feed, []).append(end_ms)
    return sum((max(of) - min(of)) // minute_ms + 1 - len(of) for of in ends.values())


def as_document(held: Mapping[str, Held]) -> dict[str, dict[str, float]]:
    return {role: asdict(one) for role, one in held.items()}


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=10)


def _log(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def _one(connection: sqlite3.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
