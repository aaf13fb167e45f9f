"""``veriregime prover``: lend this machine's cores to a cluster that proves (needs the `cluster` extra)."""

from __future__ import annotations

import logging
import os
import socket
from typing import Annotated

import typer

from app.cli.terminal import read_settings
from app.errors import Misconfigured


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
    """Run a prover for the services of a Dask scheduler.

    Lends this machine's cores until Ctrl-C or SIGTERM; a proof under way then is made elsewhere. Needs the `cluster`
    extra, the same models as the services, and their SRS. See docs/provers.md.
    """
    import asyncio

    from app.inference.release import load_models
    from app.proving.cluster_worker import ProofMaker, quieten_dask, work
    from app.wiring import open_pool

    settings = read_settings(prover=scheduler, prover_workers=workers)
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
