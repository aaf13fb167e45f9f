"""What proofs are made of: models, SRS and keys, and a prover that proves. Nothing is made here."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from app.check.finding import Finding, Level
from app.features.variation import INPUTS
from app.inference.release import ReleasedModel, load_models
from app.proving.keys import ensure_keys, keys_folder, read_keys_records
from app.proving.srs import Srs, read_srs, serving_srs, srs_files
from app.settings import Settings, parse_feed
from app.types import Circuit, Keys
from app.wiring import model_for, open_pool

_SLOW_PROOF_S = 5.0
_REACH_S = 2.0
_ROSTER_S = 1.0


def models(settings: Settings) -> Iterator[Finding]:
    released = load_models(settings.models_dir)
    serving = {name: model_for(parse_feed(name), released) for name in settings.feeds}
    for feed, model in serving.items():
        yield Finding(f"model of {feed}", Level.OK, f"{model.name} ({model.model_id[:12]}…)")


def keys(settings: Settings) -> Iterator[Finding]:
    """SRS and keys of every circuit that is served. What is not here yet is made at the first start."""
    damaged = [record.folder for record in read_keys_records(settings.var_dir / "keys") if not record.intact]
    for name, circuit in _circuits(settings):
        subject = f"keys of {name}{', joint' * (circuit.windows > 1)}"
        srs = srs_at_hand(settings, circuit.logrows)
        if srs is None:
            detail = f"no SRS for k = {circuit.logrows}: a development one is made at the first start"
            yield Finding(subject, Level.NOTE, detail, "for real use: `veriregime srs fetch`, or `srs import FILE`")
        elif keys_folder(settings.var_dir / "keys", circuit, srs) in damaged:
            yield Finding(subject, Level.WARNING, "damaged: they are made anew", "run `veriregime keys build`")
        elif keys_at_hand(settings, circuit) is None:
            detail = f"not built yet under the {srs.origin} SRS: some seconds at the first start"
            yield Finding(subject, Level.NOTE, detail, "run `veriregime keys build` to have them now")
        else:
            yield _of_origin(subject, srs)


def prover(settings: Settings) -> Iterator[Finding]:
    """A proof of nothing in particular, by a process as the service starts it; of a cluster only that it is there."""
    if settings.prover != "local":
        yield _scheduler(settings)
        return
    model = next(iter(_served(settings)))
    found = keys_at_hand(settings, model.circuit)
    if found is None:
        yield Finding("prover", Level.NOTE, "not tried: there are no keys yet", "run `veriregime keys build`")
        return
    with open_pool(settings, 1) as pool:
        pool.witness(found, (0,) * INPUTS)  # starting the process is not part of a proof
        started = time.perf_counter()
        pool.prove(found, (0,) * INPUTS)
        seconds = time.perf_counter() - started
    detail = f"proves a forecast in {seconds:.2f} s"
    if seconds > _SLOW_PROOF_S:
        yield Finding("prover", Level.WARNING, detail, "see what else uses the cores: 0.2 s is usual on two of them")
    else:
        yield Finding("prover", Level.OK, detail)


def srs_at_hand(settings: Settings, logrows: int) -> Srs | None:
    """The SRS that serving would take; none where it would have to make one first."""
    folder = settings.var_dir / "srs"
    here = [
        one for one in (read_srs(path, settings.trusted_srs) for path in srs_files(folder)) if one.logrows == logrows
    ]
    usable = any(not one.is_development or one.sha256 in settings.use_srs for one in here)
    if not usable and not (folder / f"dev-k{logrows}.srs").is_file():
        return None
    return serving_srs(folder, logrows, *settings.srs_choice)


def keys_at_hand(settings: Settings, circuit: Circuit) -> Keys | None:
    """The keys that serving would take; none where they are not built, or damaged."""
    srs, folder = srs_at_hand(settings, circuit.logrows), settings.var_dir / "keys"
    if srs is None:
        return None
    wanted = keys_folder(folder, circuit, srs)
    intact = any(record.folder == wanted and record.intact for record in read_keys_records(folder))
    return ensure_keys(folder, circuit, srs) if intact else None


def _served(settings: Settings) -> list[ReleasedModel]:
    released = load_models(settings.models_dir)
    chosen = (model_for(parse_feed(name), released) for name in settings.feeds)
    return list({model.model_id: model for model in chosen}.values())


def _circuits(settings: Settings) -> list[tuple[str, Circuit]]:
    """Those, each with its model's name, that the feeds of the settings are proved with."""
    joint = len(settings.feeds) > 1 and settings.batching != "off"
    return [
        (model.name, circuit)
        for model in _served(settings)
        for circuit in (model.circuit, model.batch if joint else None)
        if circuit is not None
    ]


def _of_origin(subject: str, srs: Srs) -> Finding:
    """A development SRS is what a local chain or none is served with; on other chains `chain` says what follows."""
    if not srs.is_development:
        return Finding(subject, Level.OK, f"under a {srs.origin} SRS, k = {srs.logrows}")
    detail = f"under a DEVELOPMENT SRS, k = {srs.logrows}: whoever made it can forge proofs"
    return Finding(subject, Level.NOTE, detail, "for real use: `veriregime srs fetch`, or `srs import FILE`")


def _scheduler(settings: Settings) -> Finding:
    """Whether it speaks as ours does, and who works for it; the bare connection comes first, for it fails sooner."""
    parts = urlsplit(settings.prover)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_REACH_S).close()
    except OSError as error:
        detail = f"the scheduler {settings.prover} cannot be reached: {error.strerror or type(error).__name__}"
        return Finding("prover", Level.FAILED, detail, "start it (docs/provers.md), or set VERIREGIME_PROVER=local")
    from app.proving.cluster import ClusterProver  # it brings Dask

    cluster = ClusterProver(settings.prover, time_limit_s=settings.proof_time_limit_s)
    try:
        until = time.monotonic() + _ROSTER_S
        while not (slots := cluster.slots) and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        cluster.stop()
    if not slots:
        detail = f"the scheduler {settings.prover} answers, and no prover works for it"
        return Finding("prover", Level.WARNING, detail, f"start `veriregime prover {settings.prover}`")
    return Finding("prover", Level.OK, f"the scheduler {settings.prover} answers, {slots} proof(s) at once")
