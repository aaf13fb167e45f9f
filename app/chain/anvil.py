"""A chain on this machine, for the demo and the tests: anvil from npm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.chain.compiler import node_tool
from app.processes import leashed, running

KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""Account 0 of anvil's published test mnemonic: worthless on every real chain."""
CHAIN_ID = 31337


@contextmanager
def running_anvil(contracts_dir: Path, *arguments: str) -> Iterator[str]:
    """Anvil on a free port of the loopback address, ended with the block; gives its URL.

    Raises `ToolMissing` when npm has not installed it, `ChildDidNotStart` when it does not run.
    """
    binary = node_tool(contracts_dir, "@foundry-rs/anvil-*/bin/anvil")
    command = leashed([str(binary), "--host", "127.0.0.1", "--port", "0", *arguments])
    with running(command, announces="Listening on ") as address:
        yield f"http://{address}"
