"""What a prover process does: take a call from its pipe, answer, again. Run as ``python -m app.proving.worker FD``.

It ends when the pipe does, so a worker never outlives the service.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from app.errors import OracleError, ProvingFailed
from app.proving.allocator import give_back, keep_little
from app.proving.engine import commit, make_witness, prove, verify
from app.proving.keys import ensure_keys, mend_keys
from app.proving.srs import find_srs, serving_srs
from app.types import Circuit, Keys


def serving_keys(var_dir: Path, circuit: Circuit, trusted: Sequence[str], chosen: Sequence[str]) -> Keys:
    return ensure_keys(var_dir / "keys", circuit, serving_srs(var_dir / "srs", circuit.logrows, trusted, chosen))


def keys_for_srs(var_dir: Path, circuit: Circuit, srs_sha256: str, trusted: Sequence[str]) -> Keys | None:
    srs = find_srs(var_dir / "srs", srs_sha256, trusted)
    return ensure_keys(var_dir / "keys", circuit, srs) if srs else None


def witness(keys: Keys, observation: Sequence[int]) -> tuple[int, ...]:
    with tempfile.TemporaryDirectory(prefix="veriregime-witness-") as scratch:
        return make_witness(keys, observation, Path(scratch) / "witness.json")


TASKS = {task.__name__: task for task in (commit, keys_for_srs, prove, serving_keys, verify, witness)}


def answer(task: str, arguments: tuple[Any, ...]) -> Any:
    """The task's result, or the error it ended with: an error travels as a value."""
    try:
        for keys in arguments:
            if isinstance(keys, Keys):
                mend_keys(keys)
        return TASKS[task](*arguments)
    except OracleError as error:
        return error
    except Exception as error:  # noqa: BLE001  the caller must hear of it, whatever it is
        return ProvingFailed(f"{type(error).__name__}: {error}")


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep_little()
    with Connection(int(sys.argv[1])) as pipe:
        pipe.send("warm")
        while True:
            try:
                pipe.send(answer(*pipe.recv()))
                give_back()
            except (EOFError, ConnectionError):
                return


if __name__ == "__main__":
    main()
