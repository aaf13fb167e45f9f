"""A chain on this machine, for the demo and the tests: anvil from npm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from app.chain.compiler import node_tool
from app.errors import ChainUnavailable
from app.processes import leashed, running

KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""Account 0 of anvil's published test mnemonic: worthless on every real chain."""
ATTESTER_KEYS = (
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)
"""Accounts 1 to 3 of the same mnemonic."""
CHAIN_ID = 31337


def set_time(rpc_url: str, time_s: int) -> None:
    """Let the chain's clock go on from ``time_s``. Raises `ChainUnavailable`."""
    request: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "evm_setTime", "params": [time_s]}
    try:
        requests.post(rpc_url, json=request, timeout=5).raise_for_status()
    except requests.RequestException as error:
        raise ChainUnavailable(f"anvil does not take the time: {type(error).__name__}") from error


@contextmanager
def running_anvil(contracts_dir: Path, *arguments: str) -> Iterator[str]:
    """Anvil on a free port of the loopback address, ended with the block; gives its URL.

    Raises `ToolMissing` when npm has not installed it, `ChildDidNotStart` when it does not run.
    """
    binary = node_tool(contracts_dir, "@foundry-rs/anvil-*/bin/anvil")
    command = leashed([str(binary), "--host", "127.0.0.1", "--port", "0", *arguments])
    with running(command, announces="Listening on ") as address:
        yield f"http://{address}"
