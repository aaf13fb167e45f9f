"""SHA-256 of files that do not change: read in full once per process, and again after somebody wrote to them.

A stranger's bundle makes the auditor look at keys and SRS files every time, and they have a hundred megabytes.
"""

from __future__ import annotations

import threading
from pathlib import Path

from app.proving import engine

_Stamp = tuple[int, int, int, int]
_known: dict[Path, tuple[_Stamp, str]] = {}
_guard = threading.Lock()


def file_sha256(path: Path) -> str:
    """Hex. Raises `OSError` when the file cannot be read."""
    stamp = _stamp(path)
    with _guard:
        known = _known.get(path)
    if known and known[0] == stamp:
        return known[1]
    found = engine.sha256_file(path)
    if _stamp(path) == stamp:  # nobody wrote to it meanwhile
        with _guard:
            _known[path] = stamp, found
    return found


def _stamp(path: Path) -> _Stamp:
    """What changes when a file is replaced or written to."""
    told = path.stat()
    return told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns
