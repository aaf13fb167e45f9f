"""``veriregime attest``: judge proposals by venues of one's own, and sign those that hold."""

from __future__ import annotations

import os
import signal
import threading
from typing import Annotated

import typer

from app.cli.terminal import MarketStart, Port, Speed, WallStart, market_clock, read_settings

_STDIN = 0


def attest(
    port: Port = None,
    follow_stdin: Annotated[bool, typer.Option("--follow-stdin", hidden=True)] = False,
    market_start_ms: MarketStart = None,
    wall_start_ms: WallStart = 0,
    speed: Speed = 1.0,
) -> None:
    """Run an attester: sign the proposals that hold.

    They are checked against venues of its own. Needs those (VERIREGIME_VENUES), the chain (VERIREGIME_RPC_URLS,
    VERIREGIME_ORACLE_ADDRESS), a key of its own (VERIREGIME_ATTESTER_KEY_FILE) and the SRS file that the oracle's model
    was registered with. Goes on until Ctrl-C or SIGTERM. See docs/attester.md.
    """
    from app import tracing
    from app.progress import history_progress
    from app.web.attesting import create_attester_web
    from app.web.server import address, listen, run
    from app.wiring import attester

    if follow_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    settings = read_settings(port=port)
    clock = market_clock(market_start_ms, wall_start_ms, speed)
    listener = listen(settings.host, settings.port)
    with (
        tracing.exporting(str(settings.otlp_endpoint) if settings.otlp_endpoint else None, "attest"),
        history_progress() as progress,
        attester(settings, clock=clock, progress=progress) as role,
    ):
        web = create_attester_web(
            role,
            ready=lambda: print(f"attesting at {address(listener)}", flush=True),
            trusted_proxies=settings.trusted_proxies,
        )
        run(web, listener)


def _end_with_stdin() -> None:
    """As if told by SIGTERM once whoever started us is gone."""
    while os.read(_STDIN, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
