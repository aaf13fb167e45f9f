"""The HTTP side alone: it reads what pipelines write to the database, and any number of its processes answer alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from app.audit.checks import Auditor
from app.clock import Clock
from app.inference.release import ReleasedModel
from app.metrics import Metrics
from app.proving.pool import ProverPool
from app.settings import Settings
from app.steps.publishing import OracleTarget
from app.steps.served import ServedFeed
from app.store.database import Database
from app.wiring.feeds import open_ground
from app.wiring.onchain import open_oracle, open_rpc, oracle_target


@dataclass(frozen=True, slots=True)
class ApiRole:
    """Everything that answering over HTTP needs."""

    settings: Settings
    clock: Clock
    database: Database
    models: Mapping[str, ReleasedModel]
    feeds: Mapping[str, ServedFeed]
    target: OracleTarget | None
    """The oracle that forecasts are published to."""
    pool: ProverPool
    """For checking proofs."""
    auditor: Auditor
    metrics: Metrics


@contextmanager
def api(settings: Settings, *, clock: Clock | None = None) -> Iterator[ApiRole]:
    """The HTTP side of a service whose pipeline runs elsewhere, on the same database and settings."""
    with ExitStack() as stack:
        ground = open_ground(settings, stack, clock, workers=1, reads_venues=False)
        feeds = ground.feeds(open_oracle(settings, open_rpc(settings)) if settings.rpc_urls else None)
        yield ApiRole(
            settings=settings,
            clock=ground.clock,
            database=ground.database,
            models=ground.models,
            feeds=feeds,
            target=oracle_target(settings, feeds, publishes=False),
            pool=ground.pool,
            auditor=Auditor(ground.models, ground.pool, settings.var_dir, settings.trusted_srs),
            metrics=ground.metrics,
        )
