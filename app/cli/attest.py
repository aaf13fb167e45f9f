"""``veriregime attest``: judge proposals by venues of one's own, and sign those that hold."""

from __future__ import annotations

import os
import signal
import threading
from typing import Annotated

import typer

from app.progress import history_progress
from app.settings import Settings

_STDIN = 0


def attest(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Instead of VERIREGIME_PORT.")] = None,
    follow_stdin: Annotated[bool, typer.Option("--follow-stdin", hidden=True)] = False,
    market_start_ms: Annotated[int | None, typer.Option(hidden=True)] = None,
    wall_start_ms: Annotated[int, typer.Option(hidden=True)] = 0,
    speed: Annotated[float, typer.Option(hidden=True)] = 1.0,
) -> None:
    """Attest inputs for the services of an oracle, until Ctrl-C or SIGTERM. See docs/attester.md.

    Needs venues (VERIREGIME_VENUES), the chain (VERIREGIME_RPC_URLS, VERIREGIME_ORACLE_ADDRESS), a key of its own
    (VERIREGIME_ATTESTER_KEY_FILE) and the SRS file that the oracle's model was registered with.
    """
    from app.clock import Clock
    from app.web.attesting import create_attester_web
    from app.web.server import address, listen, run
    from app.wiring import attester

    if follow_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    settings = Settings() if port is None else Settings(port=port)
    clock = None if market_start_ms is None else Clock(market_start_ms, wall_start_ms, speed)
    listener = listen(settings.host, settings.port)
    with history_progress() as progress, attester(settings, clock=clock, progress=progress) as role:
        run(create_attester_web(role, ready=lambda: _say(f"attesting at {address(listener)}")), listener)


def _end_with_stdin() -> None:
    """As if told by SIGTERM once whoever started us is gone."""
    while os.read(_STDIN, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _say(line: str) -> None:
    print(line, flush=True)
