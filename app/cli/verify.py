"""``veriregime verify``: the auditor's question, answered from the candles up."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.srs import bring_srs
from app.cli.terminal import JsonFlag, print_json, read_settings
from app.errors import BundleMalformed, BundleOutOfForm

if TYPE_CHECKING:
    from app.audit.checks import Verdict
    from app.settings import Settings


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle file, or - for standard input.")],
    srs: Annotated[
        Path | None, typer.Option(help="The SRS file that the bundle names, where it is not here yet.")
    ] = None,
    signed_by: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="An attester that must have signed; repeat for more.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Audit a bundle: recompute everything from its candles up.

    Says what was checked and who signed, or the first thing that does not hold, with exit code 1. Asks nobody over the
    network. What the first audit under an SRS builds is kept.
    """
    from app.progress import watched

    settings = read_settings()
    raw = _read(bundle, settings.max_bundle_bytes)
    with watched("verify") as say:
        if srs is not None:
            say(f"checking every point of {srs}")
            bring_srs(srs, settings)
        say("recomputing the forecast and checking its proof")
        verdict = _judged(raw, settings, signed_by or [])
    if as_json:
        print_json(asdict(verdict))
    elif verdict.holds:
        print(f"holds: {', '.join(verdict.checks)}")
        print(f"from {', '.join(verdict.venues)}, of which {verdict.quorum} must have a minute")
        print(f"signed by {', '.join(verdict.signers) or 'nobody'}")
    else:
        print(f"does not hold: {verdict.failed}: {verdict.reason}")
    if not verdict.holds:
        raise typer.Exit(1)


def _judged(raw: bytes, settings: Settings, signed_by: list[str]) -> Verdict:
    from app.audit.bundle import parse_bundle
    from app.audit.checks import Auditor, Verdict
    from app.inference.release import load_models
    from app.wiring import open_pool

    try:
        parsed = parse_bundle(raw, settings.max_bundle_bytes)
    except BundleOutOfForm as error:
        return Verdict(holds=False, failed="form", reason=str(error), checks=())
    models = load_models(settings.models_dir)
    with open_pool(settings, 1) as pool:
        return Auditor(models, pool, settings.var_dir, settings.trusted_srs).verify(parsed, signed_by)


def _read(path: Path, limit: int) -> bytes:
    """At most one byte more than ``limit``, which is enough to refuse the rest."""
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(limit + 1)
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise BundleMalformed(f"{path} cannot be read: {error.strerror}") from error
