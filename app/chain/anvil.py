"""A chain on this machine, for the demo and the tests: anvil from npm."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.chain.compiler import node_tool
from app.errors import ChainUnavailable

KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""Account 0 of anvil's published test mnemonic: worthless on every real chain."""
CHAIN_ID = 31337
_START_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Anvil:
    url: str
    pid: int


@contextmanager
def running_anvil(contracts_dir: Path, *arguments: str) -> Iterator[Anvil]:
    """Anvil on a free port of the loopback address, ended with the block.

    Raises `ToolMissing` when npm has not installed it, `ChainUnavailable` when it does not start.
    """
    binary = node_tool(contracts_dir, "@foundry-rs/anvil-*/bin/anvil")
    # Ended by its own leash when we die without saying so: see `_leash`.
    process = subprocess.Popen(
        [sys.executable, "-m", "app.chain.leash", str(binary), "--host", "127.0.0.1", "--port", "0", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield Anvil(url=_listening(process), pid=process.pid)
    finally:
        assert process.stdin is not None  # noqa: S101  opened above
        process.stdin.close()
        process.wait()


def _listening(process: subprocess.Popen[str]) -> str:
    """The URL that anvil prints once it listens."""
    late = threading.Timer(_START_LIMIT_S, process.kill)
    late.start()
    assert process.stdout is not None  # noqa: S101  opened with PIPE
    try:
        for line in process.stdout:
            if line.startswith("Listening on "):
                # Whatever it prints from here on must not fill the pipe.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return f"http://{line.removeprefix('Listening on ').strip()}"
    finally:
        late.cancel()
    raise ChainUnavailable("anvil did not start: run `make setup` again, or try contracts/node_modules/.bin/anvil")
