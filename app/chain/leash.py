"""Runs a program for as long as standard input stays open: ``python -m app.chain.leash PROGRAM ARG …``.

Whoever starts it holds the other end. When that process ends, for whatever reason, the pipe closes and the program
is ended too; nothing is left running.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_at_eof, args=(process,), daemon=True).start()
    return process.wait()


def _end_at_eof(process: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    process.kill()


if __name__ == "__main__":
    sys.exit(main())
