"""Measuring processes as the benchmark sees them: a request goes in, steps and a result come out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from app.errors import ProofRejected, ProofTimedOut, ProverDied, ProverOutOfMemory, ProvingFailed

Say = Callable[[str], None]


def run_step(task: str, request: Mapping[str, Any], *, limit_s: int, say: Say) -> dict[str, Any]:
    """What a fresh process answers to ``request``; ``say`` hears of every step that it begins.

    Raises `ProofTimedOut` when it took longer than ``limit_s``, `ProverOutOfMemory` when the system killed it,
    `ProverDied` when it ended otherwise, and what it reports itself as `ProofRejected` or `ProvingFailed`.
    """
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.bench.measure"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
        try:
            answer = _conversation(process, {**request, "task": task, "limit_s": limit_s}, say)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            _close(process)
        if answer is None:
            complaints.seek(0)
            raise _ended(code, limit_s, complaints.read())
    return answer


def _conversation(process: subprocess.Popen[str], request: Mapping[str, Any], say: Say) -> dict[str, Any] | None:
    assert process.stdin is not None  # noqa: S101  the caller opens both
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    except BrokenPipeError:  # it did not even start; its own words say why
        return None
    for line in process.stdout:
        told = json.loads(line)
        if "step" in told:
            say(told["step"])
        elif "error" in told:
            raise (ProofRejected if told["rejected"] else ProvingFailed)(told["error"])
        else:
            result: dict[str, Any] = told["result"]
            return result
    return None


def _ended(code: int, limit_s: int, complaints: str) -> ProvingFailed:
    if code == -signal.SIGALRM:
        return ProofTimedOut(f"killed at its time limit of {limit_s} s")
    if code == -signal.SIGKILL:
        return ProverOutOfMemory("killed by the system, most likely for want of memory")
    words = complaints.strip().splitlines()
    return ProverDied(f"the measuring process ended with code {code}: {words[-1][:200] if words else 'no words'}")


def _close(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue
