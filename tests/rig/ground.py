"""What every rig of a run stands on, made once: keys under a development SRS, compiled contracts, the models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.chain.build import Build
from app.inference.release import ReleasedModel, load_models
from app.proving.pool import Limits, ProverPool
from app.settings import Settings, parse_feed
from app.steps.served import ServedFeed
from app.types import Keys
from app.wiring.feeds import model_for, served_feed

ROOT = Path(__file__).resolve().parents[2]
FEED = "btc-usdt-4h"


@dataclass(frozen=True, slots=True)
class Ground:
    """``var`` is an installation with keys and compiled contracts, to be copied; ``pool`` checks proofs for the rig."""

    var: Path
    settings: Settings
    model: ReleasedModel
    served: ServedFeed
    pool: ProverPool

    @property
    def keys(self) -> Keys:
        return self.served.keys

    def install(self, folder: Path) -> None:
        """An installation in ``folder`` with keys and SRS of its own, so that spoiling one spoils no other."""
        for part in ("keys", "srs", "build"):
            if (self.var / part).is_dir():
                shutil.copytree(self.var / part, folder / part)


@contextmanager
def ground(var: Path) -> Iterator[Ground]:
    """Made in ``var``, or taken from there where a run before has left it; the pool ends with the block."""
    settings = Settings(_env_file=None, var_dir=var, port=0, feeds=(FEED,), batching="off")  # type: ignore[call-arg]
    models = load_models(settings.models_dir)
    model = model_for(parse_feed(FEED), models)
    with ProverPool(1, Limits(time_s=60)) as pool:
        served = served_feed(settings, parse_feed(FEED), {FEED: model}, pool)
        Build(settings.contracts_dir, var / "build")
        yield Ground(var, settings, model, served, pool)
