"""What processes of the rig are run through: ``launcher.py OFFSET_FILE COMMAND …`` is ``veriregime COMMAND …``.

Two things are added before anything of the product is imported. A leash: the process ends when its standard input ends,
so nothing outlives whoever built the rig. And a clock that can be set: what the file says in seconds is added to this
machine's time, in ``time`` and ``datetime`` alike, read anew each time.
"""

from __future__ import annotations

import datetime as datetime_module
import mmap
import os
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

_STDIN = 0
_ENDED_BY_LEASH = 137
_REAL_TIME, _REAL_TIME_NS, _REAL_DATETIME = time.time, time.time_ns, datetime_module.datetime


class _KindOfDatetime(type):
    """Whatever is a datetime counts as one, also where C code has made it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _REAL_DATETIME)


def set_clock(offset_file: Path) -> None:
    """From here on this process reads its time with the file's offset, a little-endian double."""
    with offset_file.open("rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)

    def offset_s() -> float:
        return float(struct.unpack("<d", offset[:8])[0])

    class Datetime(_REAL_DATETIME, metaclass=_KindOfDatetime):
        __slots__ = ()

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return _REAL_DATETIME.now(tz) + datetime_module.timedelta(seconds=offset_s())

    time.time = lambda: _REAL_TIME() + offset_s()
    time.time_ns = lambda: _REAL_TIME_NS() + int(offset_s() * 1e9)
    datetime_module.datetime = Datetime  # type: ignore[misc]


def _end_with_stdin() -> None:
    while os.read(_STDIN, 4096):
        pass
    os._exit(_ENDED_BY_LEASH)


def _main() -> None:
    offset_file, *command = sys.argv[1:]
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    set_clock(Path(offset_file))
    from app.cli import main

    sys.argv = ["veriregime", *command]
    main()


if __name__ == "__main__":
    _main()
