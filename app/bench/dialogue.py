"""A helper of the benches in a process of its own: it is told things and answers, a line of JSON each way."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from app.errors import ChildDidNotStart


class Helper:
    """``python -m MODULE``. It ends when its standard input does."""

    def __init__(self, module: str, complaints: IO[str]) -> None:
        self._module = module
        self._complaints = complaints
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, who then end it
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Its answer. Raises `ChildDidNotStart` with its own last words when it ends instead."""
        assert self._process.stdin is not None  # noqa: S101  both were opened above
        assert self._process.stdout is not None  # noqa: S101
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._complaints.seek(0)
            said = self._complaints.read().strip().splitlines()
            raise ChildDidNotStart(f"{self._module}: {said[-1] if said else 'it ended without a word'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


@contextmanager
def helper(module: str) -> Iterator[Helper]:
    """At work until the block ends."""
    with tempfile.TemporaryFile("w+") as complaints:
        made = Helper(module, complaints)
        try:
            yield made
        finally:
            made.end()
