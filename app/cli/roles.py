"""``veriregime pipeline``, ``prover`` and ``submitter``: one role each, for several processes on one database."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.terminal import MarketStart, Speed, WallStart, market_clock, read_settings

if TYPE_CHECKING:
    from app.settings import Settings


def pipeline(market_start_ms: MarketStart = None, wall_start_ms: WallStart = 0, speed: Speed = 1.0) -> None:
    """Run the ticks alone: candles become stored forecasts.

    Also judges forecasts whose hours have passed, prunes, and where VERIREGIME_PROVER names a Dask scheduler gives the
    cluster its proofs. Any number may run on one PostgreSQL; each minute is forecast once. Goes on until Ctrl-C or
    SIGTERM.
    """
    _work("pipeline", read_settings(), market_start_ms, wall_start_ms, speed)


def submitter(market_start_ms: MarketStart = None, wall_start_ms: WallStart = 0, speed: Speed = 1.0) -> None:
    """Ask attesters for signatures, send what is due, follow it.

    Only this role needs the key that pays. Any number may run on one PostgreSQL; one at a time sends. Goes on until
    Ctrl-C or SIGTERM.
    """
    _work("submitter", read_settings(), market_start_ms, wall_start_ms, speed)


def prover(
    scheduler: Annotated[
        str | None, typer.Argument(help="Such as tcp://scheduler:8786; VERIREGIME_PROVER by default.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Proofs at once, instead of VERIREGIME_PROVER_WORKERS.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the cluster calls this worker; HOST-PID by default.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="What Dask says as well.")] = False,
    market_start_ms: MarketStart = None,
    wall_start_ms: WallStart = 0,
    speed: Speed = 1.0,
) -> None:
    """Lend this machine's cores: prove what waits in the database, or what a Dask scheduler hands out.

    Goes on until Ctrl-C or SIGTERM; a proof under way then is made elsewhere. For a scheduler it needs the `cluster`
    extra and no database. Either way the same models as the services, and their SRS. See docs/provers.md.
    """
    settings = read_settings(prover=scheduler, prover_workers=workers)
    if settings.prover == "local":
        _work("prover", settings, market_start_ms, wall_start_ms, speed)
    else:
        _work_for_cluster(settings, name or f"{socket.gethostname()}-{os.getpid()}", verbose=verbose)


def _work(role: str, settings: Settings, market_start_ms: int | None, wall_start_ms: int, speed: float) -> None:
    from app.progress import history_progress
    from app.serve import serve_roles
    from app.steps.standing import Role
    from app.wiring import application

    clock = market_clock(market_start_ms, wall_start_ms, speed)
    roles = frozenset({Role(role)})
    with (
        history_progress() as progress,
        application(settings, roles=roles, at_work=True, clock=clock, progress=progress) as app,
    ):
        serve_roles(app)


def _work_for_cluster(settings: Settings, name: str, *, verbose: bool) -> None:
    import asyncio

    from app.inference.release import load_models
    from app.metrics import ChildProcesses, Metrics, serve_metrics
    from app.proving.cluster_worker import ProofMaker, quieten_dask, work
    from app.wiring import open_pool

    quieten_dask(logging.INFO if verbose else logging.WARNING)
    circuits = [
        circuit
        for model in load_models(settings.models_dir).values()
        for circuit in (model.circuit, model.batch)
        if circuit is not None
    ]
    with (
        open_pool(settings) as pool,
        serve_metrics(Metrics(), settings.host, settings.metrics_port, ChildProcesses(pool.process_ids)),
    ):
        asyncio.run(work(settings.prover, ProofMaker(pool, settings.var_dir, circuits), name=name, say=_say))


def _say(line: str) -> None:
    print(line, flush=True)
