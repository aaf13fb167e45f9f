"""Who works on an SQLite file: each role at most once. PostgreSQL has leases instead, and takes any number.

The kernel frees a lock when its process dies, however it dies: nothing is left to clear away but an empty claim.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import StoreInUse, StoreUnavailable

_PRIVATE = 0o600
_UNTIL_WORDS_ARE_WRITTEN_S = 0.2
"""A holder writes its name after it has the lock: whoever comes in between waits for it."""


@contextmanager
def claimed(file: Path, roles: Sequence[str], by: str) -> Iterator[None]:
    """Hold each role of the database file while the block runs, as ``by``.

    Raises `StoreInUse` when another process has one of them, and then holds none.
    """
    with ExitStack() as held:
        for role in roles:
            held.enter_context(_one(file.resolve(), role, by))
        yield


@contextmanager
def _one(file: Path, role: str, by: str) -> Iterator[None]:
    path = file.with_name(f"{file.name}.{role}.lock")
    lock = FileLock(path, timeout=_UNTIL_WORDS_ARE_WRITTEN_S, mode=_PRIVATE)
    try:
        lock.acquire()
        path.write_text(f"{by} of process {os.getpid()} on {socket.gethostname()}")
    except Timeout:
        raise StoreInUse(f"{file} is used by {_holder(path)} already: stop it, or use PostgreSQL for several") from None
    except OSError as error:
        lock.release()
        raise StoreUnavailable(f"{path} cannot be locked: {error.strerror or type(error).__name__}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            os.truncate(path, 0)
        lock.release()


def _holder(path: Path) -> str:
    try:
        words = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        words = ""
    return f"the {words}" if words else "another process"
