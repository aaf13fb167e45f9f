"""Programs that run for as long as we do: the demo's market and chain.

A child is held by its standard input. When this process ends, for whatever reason, that pipe closes and the child ends
too, so nothing is left running. A program that does not watch its standard input is run through this very file, which
does it in its place: ``python -m app.processes PROGRAM ARGUMENT …``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.errors import ChildDidNotStart

_START_LIMIT_S = 60.0


def leashed(command: Sequence[str]) -> list[str]:
    """The command, run through this file."""
    return [sys.executable, "-m", "app.processes", *command]


@contextmanager
def running(
    command: Sequence[str], announces: str, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[str]:
    """Run a program until the block ends; gives what follows ``announces`` on the line where it says it is ready.

    ``env`` is its whole environment, ours if not given. Raises `ChildDidNotStart` with the program's own words when it
    ends, or says nothing, before that.
    """
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=env,
            cwd=cwd,
            start_new_session=True,  # Ctrl-C on the terminal is for us, who then end things in order
        )
        assert process.stdin is not None  # noqa: S101  both are opened above
        assert process.stdout is not None  # noqa: S101
        output = process.stdout
        drain = threading.Thread(target=output.read, daemon=True)
        try:
            word = _ready(process, announces)
            if word is None:
                complaints.seek(0)
                said = complaints.read().strip().splitlines()
                raise ChildDidNotStart(said[-1] if said else f"{command[0]} did not start")
            drain.start()  # whatever it prints from here on must not fill the pipe
            yield word
        finally:
            process.stdin.close()
            process.wait()
            if drain.is_alive():
                drain.join()
            output.close()


def _ready(process: subprocess.Popen[str], announces: str) -> str | None:
    assert process.stdin is not None  # noqa: S101  see the caller
    assert process.stdout is not None  # noqa: S101
    # By its leash, not by a signal: that would end the leash and leave the program.
    late = threading.Timer(_START_LIMIT_S, process.stdin.close)
    late.start()
    try:
        for line in process.stdout:
            if line.startswith(announces):
                return line.removeprefix(announces).strip()
    finally:
        late.cancel()
    process.wait()
    return None


def _main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_stdin, args=(process,), daemon=True).start()
    return process.wait()


def _end_with_stdin(process: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    process.kill()


if __name__ == "__main__":
    sys.exit(_main())
