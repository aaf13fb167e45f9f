"""The database: locked, away, killed in part or whole; its file cut short or written over."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.chaos.faults.fault import DATABASE, DatabaseFault, ProductAtFaultError
from tests.rig.processes import Child
from tests.rig.proxy import Way
from tests.rig.rig import Rig

_REFUSAL_S = 45.0
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class SqliteLocked(DatabaseFault):
    """Somebody else writes, for shorter or longer than anybody waits for the lock."""

    length: Literal["short", "long"]

    @property
    def kind(self) -> str:
        return f"SQLite locked, {self.length}"

    @property
    def name(self) -> str:
        return f"SQLite locked for {self.hold_s:.1f} s"

    def inject(self, rig: Rig) -> None:
        """A thread of ours holds the lock, and lets go by itself."""
        held = threading.Event()
        threading.Thread(target=self._hold, args=(rig.sqlite_file, held), daemon=True).start()
        held.wait(_REFUSAL_S)

    def heal(self, rig: Rig) -> None:
        """By itself."""

    def _hold(self, file: Path, held: threading.Event) -> None:
        with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            held.set()
            threading.Event().wait(self.hold_s)
            connection.execute("ROLLBACK")


@dataclass(frozen=True, slots=True)
class PostgresAway(DatabaseFault):
    """The whole server ends, as by its operator's `immediate` or by SIGKILL, and is started again."""

    how: Literal["immediate", "SIGKILL"]

    @property
    def kind(self) -> str:
        return f"PostgreSQL {self.how}"

    @property
    def name(self) -> str:
        return f"PostgreSQL {self.how}, away for {self.hold_s:.1f} s"

    @property
    def wants_round(self) -> bool:
        return True

    def inject(self, rig: Rig) -> None:
        assert rig.postgres is not None
        rig.postgres.stop() if self.how == "immediate" else rig.postgres.kill()

    def heal(self, rig: Rig) -> None:
        assert rig.postgres is not None
        rig.postgres.start()


@dataclass(frozen=True, slots=True)
class BackendHurt(DatabaseFault):
    """One backend of PostgreSQL, any, by SIGTERM (its connection ends) or SIGKILL (all of them start anew)."""

    hold_s: float = field(default=0.0, kw_only=True)
    how: Literal["SIGTERM", "SIGKILL"]
    draw: int

    @property
    def kind(self) -> str:
        return f"{self.how} PostgreSQL backend"

    def inject(self, rig: Rig) -> None:
        assert rig.postgres is not None
        if backends := rig.postgres.backends():
            backends[self.draw % len(backends)].send_signal(signal.Signals[self.how])

    def heal(self, rig: Rig) -> None:
        """By itself."""


@dataclass(frozen=True, slots=True)
class WayToDatabaseCut(DatabaseFault):
    """PostgreSQL is there, and cannot be reached."""

    way: Way

    @property
    def kind(self) -> str:
        return f"way to PostgreSQL {self.way}"

    @property
    def name(self) -> str:
        return f"{self.kind} for {self.hold_s:.1f} s"

    def inject(self, rig: Rig) -> None:
        assert rig.to_database is not None
        rig.to_database.set(self.way)

    def heal(self, rig: Rig) -> None:
        assert rig.to_database is not None
        rig.to_database.set(Way.OPEN)


@dataclass(frozen=True, slots=True)
class DatabaseSpoiled(DatabaseFault):
    """Stopped, backed up, spoiled: a start is refused; restored from the backup it goes on."""

    hold_s: float = field(default=0.0, kw_only=True)
    how: Literal["truncated", "overwritten"]
    draw: int

    @property
    def kind(self) -> str:
        return f"database file {self.how}"

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({DATABASE, "serve"})

    def inject(self, rig: Rig) -> None:
        child = rig.children["serve"]
        child.stop()
        self._backup(rig)
        self._spoil(rig.sqlite_file)
        require_refusal(child, rig.sqlite_file.name)

    def heal(self, rig: Rig) -> None:
        rig.children["serve"].kill()
        for end in ("", "-wal", "-shm"):
            rig.sqlite_file.with_name(rig.sqlite_file.name + end).unlink(missing_ok=True)
        code, said = rig.command("db", "restore", str(_backup_of(rig)))
        if code != 0:
            shutil.copy(_backup_of(rig), rig.sqlite_file)
        rig.children["serve"].start()
        if code != 0:
            raise ProductAtFaultError(f"db restore ended with {code}: {_last_line(said)}")

    def _backup(self, rig: Rig) -> None:
        """By the product's own command."""
        _backup_of(rig).unlink(missing_ok=True)
        code, said = rig.command("db", "backup", str(_backup_of(rig)))
        if code != 0 or not _backup_of(rig).is_file():
            raise ProductAtFaultError(f"db backup ended with {code}: {_last_line(said)}")

    def _spoil(self, file: Path) -> None:
        if self.how == "truncated":
            with file.open("r+b") as opened:
                opened.truncate(file.stat().st_size // 2 // _PAGE * _PAGE)
            return
        noise = random.Random(self.draw)
        with file.open("r+b") as opened:
            for _ in range(8):
                opened.seek(noise.randrange(file.stat().st_size // _PAGE) * _PAGE)
                opened.write(noise.randbytes(_PAGE))


def _backup_of(rig: Rig) -> Path:
    return rig.folder / "backup.db"


def require_refusal(child: Child, *words: str) -> None:
    """Started, it ends by itself with exit code 2 and a last line with one of the words.

    Raises `ProductAtFaultError` where it does not.
    """
    child.start()
    code = child.wait(_REFUSAL_S)
    line = _last_line(child.said())
    if code is None:
        raise ProductAtFaultError(f"{child.name} runs on what is spoiled: {line}")
    if code != 2:
        raise ProductAtFaultError(f"{child.name} ended with {code} in place of 2: {line}")
    if not any(word in line for word in words):
        raise ProductAtFaultError(f"{child.name} does not say what is wrong ({' or '.join(words)}): {line}")
    if "Traceback" in child.said():
        raise ProductAtFaultError(f"{child.name} ended with a traceback: {line}")


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["it said nothing"])[-1][:300]
