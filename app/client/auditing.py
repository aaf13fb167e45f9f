"""The audit of a bundle on this machine: what `veriregime verify` does, for a program that runs on.

What it needs is loaded on first use: models of this package, SRS files and keys under ``VERIREGIME_VAR_DIR``, and one
prover process, which stays until the client is closed.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import threading
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.client.values import Forecast, Verdict
from app.errors import BundleOutOfForm, SrsInvalid

if TYPE_CHECKING:
    from app.audit.bundle import Bundle
    from app.audit.checks import Auditor
    from app.inference.release import ReleasedModel
    from app.settings import Settings


@dataclass(frozen=True, slots=True)
class _Tools:
    settings: Settings
    models: Mapping[str, ReleasedModel]
    auditor: Auditor


class LocalAudit:
    """Audits bundles; any number of threads may ask."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = ExitStack()
        self._tools: _Tools | None = None

    def close(self) -> None:
        with self._guard:
            self._tools = None
            self._held.close()

    def lacking_srs(self, raw: bytes) -> str | None:
        """SHA-256 of the SRS that the bundle names, if it is not here. Raises `BundleMalformed`."""
        from app.audit.bundle import parse_bundle
        from app.proving.srs import find_srs

        settings = self._opened().settings
        try:
            wanted = parse_bundle(raw, settings.max_bundle_bytes).proof.srs_hash
        except BundleOutOfForm:  # `verify` says so
            return None
        return None if find_srs(settings.var_dir / "srs", wanted, settings.trusted_srs) else wanted

    def most_srs_bytes(self) -> int:
        """The size of the largest SRS that a released model needs."""
        from app.proving.srs import srs_size

        models = self._opened().models.values()
        circuits = [circuit for model in models for circuit in (model.circuit, model.batch) if circuit]
        return srs_size(max(circuit.logrows for circuit in circuits))

    def keep_srs(self, sha256: str, raw: bytes) -> None:
        """Check every point of an SRS and keep it for audits. Raises `SrsInvalid`."""
        from app.proving.intake import import_srs

        if hashlib.sha256(raw).hexdigest() != sha256:
            raise SrsInvalid(f"the service gives another file for the SRS {sha256}: bring it from elsewhere")
        settings = self._opened().settings
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"{sha256}.srs"
            path.write_bytes(raw)
            import_srs(path, settings.var_dir / "srs", trusted=settings.trusted_srs)

    def verify(
        self, raw: bytes, signed_by: Collection[str], wanted_id: str | None = None, shown: Forecast | None = None
    ) -> Verdict:
        """The verdict on a bundle, and on whether it is the one of ``wanted_id`` and says what was ``shown``."""
        from app.audit.bundle import parse_bundle

        tools = self._opened()
        try:
            bundle = parse_bundle(raw, tools.settings.max_bundle_bytes)
        except BundleOutOfForm as error:
            return Verdict(holds=False, failed="form", reason=str(error), checks=())
        if mismatch := _mismatch(bundle, wanted_id, shown):
            return Verdict(holds=False, failed="subject", reason=mismatch, checks=())
        found = asdict(tools.auditor.verify(bundle, signed_by))
        return Verdict(**found, srs_development=bundle.proof.srs_development)

    def _opened(self) -> _Tools:
        with self._guard:
            if self._tools is None:
                self._tools = self._open()
            return self._tools

    def _open(self) -> _Tools:
        from app.audit.checks import Auditor
        from app.inference.release import load_models
        from app.settings import Settings
        from app.wiring import open_pool

        settings = Settings()
        models = load_models(settings.models_dir)
        pool = self._held.enter_context(open_pool(settings, 1))
        return _Tools(settings, models, Auditor(models, pool, settings.var_dir, settings.trusted_srs))


def _mismatch(bundle: Bundle, wanted_id: str | None, shown: Forecast | None) -> str | None:
    """How the bundle is about something else. A service could serve one forecast and the evidence of another."""
    if wanted_id is not None and bundle.id != wanted_id:
        return f"the service gives the bundle of {bundle.id} for the prediction {wanted_id}"
    if shown is None:
        return None
    same = (
        (bundle.feed, bundle.model_id, bundle.regime) == (shown.feed, shown.model_id, shown.regime)
        and _milliseconds(bundle) == round(shown.window_end.timestamp() * 1000)
        and math.isclose(bundle.p_high, shown.p_high, rel_tol=1e-9)
        and math.isclose(bundle.vol_annualised, shown.vol_annualised, rel_tol=1e-9)
    )
    return None if same else f"the bundle of {bundle.id} says something else than the forecast that was served"


def _milliseconds(bundle: Bundle) -> int | None:
    from app.types import parse_time

    try:
        return parse_time(bundle.window_end)
    except ValueError:
        return None
