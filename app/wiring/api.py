"""The HTTP side alone: it reads what pipelines write to the database, and any number of its processes answer alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from app.audit.checks import Auditor
from app.clock import Clock
from app.inference.release import ReleasedModel, load_models
from app.metrics import Metrics
from app.proving.pool import ProverPool
from app.settings import Settings, parse_feed
from app.steps.publishing import OracleTarget
from app.steps.served import ServedFeed
from app.store.database import Database
from app.wiring.feeds import chosen_models, open_clock, open_database, open_pool, open_venues, served_feed
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
        database = open_database(settings)
        stack.callback(database.close)
        database.upgrade()
        models = load_models(settings.models_dir)
        pool = stack.enter_context(open_pool(settings, 1))
        clock = clock or open_clock(settings, open_venues(settings, stack))
        reader = open_oracle(settings, open_rpc(settings)) if settings.rpc_urls else None
        chosen = chosen_models(settings, models, reader)
        feeds = {name: served_feed(settings, parse_feed(name), chosen, pool) for name in settings.feeds}
        yield ApiRole(
            settings=settings,
            clock=clock,
            database=database,
            models=models,
            feeds=feeds,
            target=oracle_target(settings, feeds, publishes=False),
            pool=pool,
            auditor=Auditor(models, pool, settings.var_dir, settings.trusted_srs),
            metrics=Metrics(),
        )
