"""``veriregime prover``: lend this machine's cores to a cluster that proves (needs the `cluster` extra)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import Annotated, Any

import typer

from app.errors import Misconfigured
from app.settings import Settings


def prover(
    scheduler: Annotated[
        str | None, typer.Argument(help="Such as tcp://scheduler:8786; VERIREGIME_PROVER by default.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Proofs at once, instead of VERIREGIME_PROVER_WORKERS.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the cluster calls this worker; HOST-PID by default.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="What Dask says as well.")] = False,
) -> None:
    """Make proofs for the services of a Dask scheduler, until Ctrl-C or SIGTERM. See docs/provers.md."""
    from app.inference.release import load_models
    from app.proving.cluster_worker import ProofMaker, quieten_dask, work
    from app.wiring import open_pool

    given: dict[str, Any] = {"prover": scheduler, "prover_workers": workers}
    settings = Settings(**{key: value for key, value in given.items() if value is not None})
    if settings.prover == "local":
        raise Misconfigured("name the scheduler to prove for, such as tcp://scheduler:8786, or set VERIREGIME_PROVER")
    quieten_dask(logging.INFO if verbose else logging.WARNING)
    circuits = [
        circuit
        for model in load_models(settings.models_dir).values()
        for circuit in (model.circuit, model.batch)
        if circuit is not None
    ]
    with open_pool(settings) as pool:
        maker = ProofMaker(pool, settings.var_dir, circuits)
        asyncio.run(work(settings.prover, maker, name=name or f"{socket.gethostname()}-{os.getpid()}", say=_say))


def _say(line: str) -> None:
    print(line, flush=True)
