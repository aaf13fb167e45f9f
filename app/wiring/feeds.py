"""Feeds with their models and keys; venues and what collects from them; the store and the provers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from app.candles.venue import Venue
from app.chain.registry import OracleReader
from app.clock import Clock, wall_ms
from app.errors import ChainUnavailable, Misconfigured, ModelFolderInvalid, UnknownModel, VenueUnavailable
from app.features.variation import VariationSpec
from app.inference.network import Network
from app.inference.release import ReleasedModel, load_models, model_by_id
from app.metrics import Metrics
from app.proving.pool import Limits, ProverPool
from app.settings import Settings, asset, parse_feed
from app.steps.collect import Collector
from app.steps.fetch import Fetcher, FetchPolicy, Progress
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import MINUTE_MS, Feed, Keys, iso, parse_time

log = logging.getLogger(__name__)

_AHEAD_MS = 2 * MINUTE_MS
_WRITTEN_MS = parse_time("2026-01-01T00:00:00Z")
_HANGING_S = 0.5
"""How long the end waits for a question to a venue that is under way; what still comes later is dropped."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What every role stands on."""

    settings: Settings
    database: Database
    models: Mapping[str, ReleasedModel]
    pool: ProverPool
    venues: tuple[Venue, ...]
    clock: Clock
    metrics: Metrics

    def feeds(self, reader: OracleReader | None) -> dict[str, ServedFeed]:
        """The feeds of the settings, each with the model that the oracle takes. Keys that are missing are made."""
        chosen = chosen_models(self.settings, self.models, reader)
        return {name: served_feed(self.settings, parse_feed(name), chosen, self.pool) for name in self.settings.feeds}


def open_ground(
    settings: Settings,
    stack: ExitStack,
    clock: Clock | None = None,
    *,
    workers: int | None = None,
    reads_venues: bool = True,
) -> Ground:
    """Closed with the stack. The database is brought to the newest schema; no venue is asked for candles yet.

    ``workers`` is the number of prover processes where it is not the settings'. A role that does not read venues has
    none, unless it takes the time from them.
    """
    database = open_database(settings)
    stack.callback(database.close)
    database.upgrade()
    models = load_models(settings.models_dir)
    pool = stack.enter_context(open_pool(settings, workers))
    venues = open_venues(settings, stack) if reads_venues or settings.venue_clock else ()
    return Ground(settings, database, models, pool, venues, clock or open_clock(settings, venues), Metrics())


def open_database(settings: Settings) -> Database:
    return Database(settings.store_url(), asset("migrations"))


def open_pool(settings: Settings, workers: int | None = None) -> ProverPool:
    """The prover processes of this machine."""
    return ProverPool(workers or settings.prover_workers, limits(settings))


def limits(settings: Settings) -> Limits:
    return Limits(
        time_s=settings.proof_time_limit_s,
        memory_mib=settings.prover_memory_mib,
        calls=settings.prover_lifetime,
        threads=settings.prover_threads,
    )


def open_venue(settings: Settings, name: str) -> Venue:
    """The venue at the address of the settings; close it after use."""
    url = settings.venue_urls.get(name)
    return Venue(name, base_url=str(url) if url else None, timeout_s=settings.venue_timeout_s)


def open_venues(settings: Settings, stack: ExitStack) -> tuple[Venue, ...]:
    """All venues of all feeds, each once; closed with the stack."""
    names = dict.fromkeys(name for feed in settings.feeds for name in settings.venues_of(feed))
    venues = tuple(open_venue(settings, name) for name in names)
    for venue in venues:
        stack.callback(venue.close)
    return venues


def open_clock(settings: Settings, venues: tuple[Venue, ...]) -> Clock:
    """This machine's clock, or the first one of a venue that tells its time where the settings want that."""
    if not settings.venue_clock:
        return Clock()
    for venue in venues:
        try:
            return Clock(market_start_ms=venue.time_ms(), wall_start_ms=wall_ms())
        except VenueUnavailable as error:
            log.warning("%s", error)
    raise VenueUnavailable("no venue tells its time: see VERIREGIME_VENUE_CLOCK")


def heed_clock(ground: Ground) -> None:
    """Tell loudly where this machine's clock has gone back behind what is stored: nothing new is forecast until then.

    Raises `Misconfigured` where it shows a time before any of this was written: it was never set.
    """
    if wall_ms() < _WRITTEN_MS:
        raise Misconfigured(f"this machine's clock shows {iso(wall_ms())}: set it first, by NTP")
    now_ms = ground.clock.now_ms()
    with ground.database.unit_of_work(write=False) as store:
        newest = [store.predictions.latest(feed, proved=False) for feed in ground.settings.feeds]
    ahead_ms = max((one.window_end_ms - now_ms for one in newest if one is not None), default=0)
    if ahead_ms > _AHEAD_MS:
        log.error(
            "forecasts are stored for windows that end %.0f s from now: this machine's clock was set back, or was "
            "ahead; nothing is forecast before it shows that time again",
            ahead_ms / 1000,
        )


def open_collector(ground: Ground, progress: Progress | None, stack: ExitStack) -> Collector:
    """A fetcher for every venue, at work until the stack is closed, and what puts their candles together."""
    settings, database, clock, metrics = ground.settings, ground.database, ground.clock, ground.metrics
    policy = FetchPolicy(late_candle_s=settings.late_candle_s, max_skew_s=settings.max_clock_skew_s)
    fetchers = {venue.name: Fetcher(venue, database, clock, metrics, policy, progress) for venue in ground.venues}
    for fetcher in fetchers.values():
        fetcher.start()
        stack.callback(fetcher.stop)
    retention_ms = settings.candle_retention_days * 1440 * MINUTE_MS
    collector = Collector(
        fetchers, database, clock, metrics, straggler_s=settings.straggler_s, retention_ms=retention_ms
    )
    stack.callback(collector.join, _HANGING_S)
    stack.callback(collector.stop)
    return collector


def model_for(feed: Feed, models: Mapping[str, ReleasedModel]) -> ReleasedModel:
    """The released model of a feed: the last by name that declares it."""
    fit = [model for _, model in sorted(models.items()) if feed.name in model.feeds]
    if not fit:
        raise Misconfigured(f"no released model serves {feed.name}: see VERIREGIME_FEEDS and VERIREGIME_MODELS_DIR")
    return fit[-1]


def chosen_models(
    settings: Settings, models: Mapping[str, ReleasedModel], reader: OracleReader | None
) -> dict[str, ReleasedModel]:
    """The model of every feed: the one that the oracle takes, else the last by name that declares the feed.

    A newer release waits until the registry has activated it. Raises `Misconfigured` when the oracle takes a model that
    is not here. While the chain is away it is the last by name.
    """
    try:
        return {name: _chosen_model(parse_feed(name), models, reader) for name in settings.feeds}
    except ChainUnavailable as error:
        log.warning("%s: the newest models are served", error)
        return {name: model_for(parse_feed(name), models) for name in settings.feeds}


def _chosen_model(feed: Feed, models: Mapping[str, ReleasedModel], reader: OracleReader | None) -> ReleasedModel:
    newest = model_for(feed, models)
    active = reader.model_of(feed.name) if reader else None
    if active is None or active == newest.model_id:
        return newest
    try:
        taken = model_by_id(models, active)
    except UnknownModel:
        raise Misconfigured(
            f"the oracle takes model {active} for {feed.name}, which is not in VERIREGIME_MODELS_DIR: bring its "
            "folder, or activate a model that is here (`veriregime contracts deploy`)"
        ) from None
    log.warning("%s: model %s is not active on chain, %s is served until a restart", feed.name, newest.name, taken.name)
    return taken


def served_feed(
    settings: Settings,
    feed: Feed,
    chosen: Mapping[str, ReleasedModel],
    pool: ProverPool,
) -> ServedFeed:
    """A feed with everything that is needed to serve it by the model that was ``chosen`` for it."""
    model = chosen[feed.name]
    try:
        spec = VariationSpec.from_manifest(model.manifest["observation"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFolderInvalid(f"{model.folder}: its observation cannot be served: {error}") from error
    return ServedFeed(
        feed=feed,
        model=model,
        spec=spec,
        network=Network(model),
        keys=pool.serving_keys(settings.var_dir, model.circuit, *settings.srs_choice),
        markets=settings.markets_of(feed),
        quorum=settings.quorum_of(feed.name),
        batch_keys=batch_keys(settings, model, chosen, pool),
    )


def batch_keys(
    settings: Settings, model: ReleasedModel, chosen: Mapping[str, ReleasedModel], pool: ProverPool
) -> Keys | None:
    """Keys of the model's circuit for several windows, where it has one and more than one feed could use it."""
    feeds = [name for name in settings.feeds if chosen[name].model_id == model.model_id]
    if model.batch is None or settings.batching == "off" or len(feeds) < 2:
        return None
    return pool.serving_keys(settings.var_dir, model.batch, *settings.srs_choice)
