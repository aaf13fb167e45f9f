"""Builds every object of the service from its settings, once, and hands them to each other. Nothing else constructs."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from app.audit.checks import Auditor
from app.candles.venue import Venue
from app.chain.account import Account
from app.chain.deployment import recorded_oracle, refuse_development_srs
from app.chain.registry import OracleReader
from app.chain.rounds import Rounds
from app.chain.rpc import Rpc
from app.chain.sender import FeeCaps, Sender
from app.clock import Clock, wall_ms
from app.errors import Misconfigured, ModelFolderInvalid
from app.features.variation import VariationSpec
from app.inference.network import Network
from app.inference.release import ReleasedModel, load_models
from app.metrics import Metrics
from app.pipeline import Pipeline
from app.proving.checked import CheckedProver, Prover
from app.proving.pool import Limits, ProverPool
from app.settings import Settings, asset, parse_feed
from app.steps.backlog import Backlog
from app.steps.collect import Collector, Progress
from app.steps.prove import ProofStep, ProvingPolicy
from app.steps.served import ServedFeed
from app.steps.publishing import OracleTarget, PublishingPolicy
from app.steps.submit import SubmitStep
from app.store.database import Database
from app.types import Feed, Keys

log = logging.getLogger(__name__)

Market = Literal["live", "simulated", "recorded"]
_LEASE_MARGIN_S = 5


@dataclass(frozen=True, slots=True)
class Application:
    """Everything that a role of the service may need."""

    settings: Settings
    market: Market
    clock: Clock
    database: Database
    models: Mapping[str, ReleasedModel]
    pool: ProverPool
    prover: Prover
    pipeline: Pipeline
    auditor: Auditor
    metrics: Metrics


@contextmanager
def application(
    settings: Settings,
    *,
    clock: Clock | None = None,
    market: Market | None = None,
    target: Callable[[Mapping[str, ServedFeed]], OracleTarget] | None = None,
    progress: Progress | None = None,
) -> Iterator[Application]:
    """The whole service, not yet running; closed with the block. The database is brought to the newest schema.

    ``target`` stands in for the chain of the settings where that is made on the spot.
    """
    with ExitStack() as stack:
        database = open_database(settings)
        stack.callback(database.close)
        database.upgrade()
        models = load_models(settings.models_dir)
        pool = stack.enter_context(open_pool(settings))
        prover = pool if settings.prover == "local" else _cluster(settings, pool, stack)
        venues = tuple(open_venue(settings, name) for name in settings.venues)
        for venue in venues:
            stack.callback(venue.close)
        clock = clock or _clock(settings, venues)
        metrics = Metrics()
        feeds = {name: _served(settings, parse_feed(name), models, pool, venues) for name in settings.feeds}
        chain = target(feeds) if target else oracle_target(settings, feeds)
        pipeline = Pipeline(
            feeds=feeds,
            database=database,
            collector=Collector(database, late_candle_s=settings.late_candle_s, progress=progress),
            proofs=ProofStep(
                feeds,
                database,
                prover,
                clock,
                metrics,
                proving_policy(settings, chain, prover.patience_s),
                Backlog(settings.catch_up_s, len(feeds) * clock.speed / 60, len(feeds)),
            ),
            submissions=SubmitStep(feeds, database, clock, metrics, chain, publishing_policy(settings)),
            clock=clock,
            metrics=metrics,
        )
        yield Application(
            settings=settings,
            market=market or ("simulated" if settings.venue_urls else "live"),
            clock=clock,
            database=database,
            models=models,
            pool=pool,
            prover=prover,
            pipeline=pipeline,
            auditor=Auditor(models, pool, settings.var_dir, settings.trusted_srs),
            metrics=metrics,
        )


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


def _cluster(settings: Settings, pool: ProverPool, stack: ExitStack) -> Prover:
    from app.proving.cluster import ClusterProver  # only where it is asked for: it brings Dask

    cluster = ClusterProver(settings.prover, time_limit_s=settings.proof_time_limit_s)
    stack.callback(cluster.stop)
    return CheckedProver(cluster, pool)


def proving_policy(settings: Settings, chain: OracleTarget | None, patience_s: float) -> ProvingPolicy:
    """On a chain that has no verifier for proofs of several windows, each window is proved alone.

    ``patience_s`` is the prover's: the lease outlasts it.
    """
    lonely = chain is not None and not chain.takes_joint_proofs
    return ProvingPolicy(
        owner=f"{socket.gethostname()}:{os.getpid()}",
        lease_ms=round((patience_s + _LEASE_MARGIN_S) * 1000),
        max_attempts=settings.proof_attempts,
        batching="off" if lonely else settings.batching,
        saves_gas=chain is not None,
    )


def publishing_policy(settings: Settings) -> PublishingPolicy:
    return PublishingPolicy(
        heartbeat_ms=round(settings.heartbeat_s * 1000),
        deviation=settings.deviation,
        confirmations=settings.confirmations,
        replace_after_ms=round(settings.replace_after_s * 1000),
        low_balance_updates=settings.low_balance_updates,
        dry_run=settings.dry_run,
    )


def oracle_target(settings: Settings, feeds: Mapping[str, ServedFeed]) -> OracleTarget | None:
    """The oracle to publish to; none when no endpoint is set.

    Raises `Misconfigured` for a development SRS on a real chain, and when the oracle takes other keys than ours.
    """
    if not settings.rpc_urls:
        return None
    rpc = open_rpc(settings)
    for keys in {keys.vk_hash: keys for served in feeds.values() for keys in served.all_keys}.values():
        warning = refuse_development_srs(keys, rpc.chain_id, settings.testnets)
        if warning:
            log.warning(warning)
    reader = OracleReader(rpc, settings.oracle_address or recorded_oracle(settings.deployments, rpc.chain_id))
    joint = _require_same_keys(reader, feeds)
    return OracleTarget(reader.oracle, reader, Rounds(rpc, reader.oracle), open_sender(settings, rpc), joint)


def open_rpc(settings: Settings) -> Rpc:
    return Rpc([str(url) for url in settings.rpc_urls], chain_id=settings.chain_id)


def open_sender(settings: Settings, rpc: Rpc) -> Sender | None:
    """The account that pays; none when no key is set."""
    secret = settings.key_of("submitter")
    if secret is None:
        return None
    caps = FeeCaps.of_gwei(settings.max_fee_gwei, settings.max_tip_gwei)
    return Sender(rpc, Account.from_secret(*secret, "submitter"), caps)


def _require_same_keys(reader: OracleReader, feeds: Mapping[str, ServedFeed]) -> bool:
    """Whether the oracle takes proofs of several windows of every model; refuses keys that it does not take."""
    joint = True
    for served in feeds.values():
        pinned = reader.model(served.model.model_id)
        joint = joint and pinned.joint_verifier is not None
        for keys in served.all_keys:
            differs = pinned.differs_from(keys) if keys is served.keys or pinned.joint_verifier else None
            if differs:
                raise Misconfigured(
                    f"model {served.model.name} on chain {reader.oracle.chain_id}: {differs}: bring the SRS that the "
                    "contracts were deployed with (`veriregime srs import`), or deploy this model anew"
                )
    return joint


def model_for(feed: Feed, models: Mapping[str, ReleasedModel]) -> ReleasedModel:
    """The released model of a feed: the last by name that declares it."""
    fit = [model for _, model in sorted(models.items()) if feed.name in model.feeds]
    if not fit:
        raise Misconfigured(f"no released model serves {feed.name}: see VERIREGIME_FEEDS and VERIREGIME_MODELS_DIR")
    return fit[-1]


def _served(
    settings: Settings,
    feed: Feed,
    models: Mapping[str, ReleasedModel],
    pool: ProverPool,
    venues: tuple[Venue, ...],
) -> ServedFeed:
    model = model_for(feed, models)
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
        venues=venues,
        batch_keys=batch_keys(settings, model, models, pool),
    )


def batch_keys(
    settings: Settings, model: ReleasedModel, models: Mapping[str, ReleasedModel], pool: ProverPool
) -> Keys | None:
    """Keys of the model's circuit for several windows, where it has one and more than one feed could use it."""
    feeds = [name for name in settings.feeds if model_for(parse_feed(name), models).model_id == model.model_id]
    if model.batch is None or settings.batching == "off" or len(feeds) < 2:
        return None
    return pool.serving_keys(settings.var_dir, model.batch, *settings.srs_choice)


def open_venue(settings: Settings, name: str) -> Venue:
    """The venue at the address of the settings; close it after use."""
    url = settings.venue_urls.get(name)
    return Venue(name, base_url=str(url) if url else None, timeout_s=settings.venue_timeout_s)


def _clock(settings: Settings, venues: tuple[Venue, ...]) -> Clock:
    if not settings.venue_clock:
        return Clock()
    return Clock(market_start_ms=venues[0].time_ms(), wall_start_ms=wall_ms())
