"""Builds every object of the service from its settings, once, and hands them to each other. Nothing else constructs."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import AnyHttpUrl

from app.attester.judge import Judge
from app.attester.market import OwnMarket
from app.attester.pins import Pins
from app.attester.proposal import AttestedFeed, Refusal
from app.attester.tolerance import Tolerance
from app.audit.checks import Auditor
from app.candles.venue import Venue
from app.chain.account import Account
from app.chain.deployment import refuse_development_srs, require_deployment
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
from app.steps.attest import AttestStep, OwnAttester
from app.steps.attester_client import AttesterClient
from app.steps.backlog import Backlog
from app.steps.collect import Collector, Progress
from app.steps.prove import ProofStep, ProvingPolicy
from app.steps.publishing import OracleTarget, PublishingPolicy
from app.steps.served import ServedFeed
from app.steps.submit import SubmitStep
from app.store.database import Database
from app.types import Feed, Keys

log = logging.getLogger(__name__)

Market = Literal["live", "simulated", "recorded"]
_LEASE_MARGIN_S = 5
_ATTESTER_RPC_S = 5.0


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


@dataclass(frozen=True, slots=True)
class Onchain:
    """Where forecasts are published, if anywhere, and who is asked to sign for them."""

    target: OracleTarget | None
    attesters: Sequence[AnyHttpUrl]


@contextmanager
def application(
    settings: Settings,
    *,
    clock: Clock | None = None,
    market: Market | None = None,
    chain: Callable[[Mapping[str, ServedFeed]], Onchain] | None = None,
    progress: Progress | None = None,
) -> Iterator[Application]:
    """The whole service, not yet running; closed with the block. The database is brought to the newest schema.

    ``chain`` stands in for the chain of the settings where that is made on the spot.
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
        onchain = chain(feeds) if chain else Onchain(oracle_target(settings, feeds), settings.attesters)
        target = onchain.target
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
                proving_policy(settings, target, prover.patience_s),
                Backlog(settings.catch_up_s, len(feeds) * clock.speed / 60, len(feeds)),
            ),
            attestations=AttestStep(
                feeds,
                database,
                clock,
                metrics,
                target.reader if target else None,
                open_attesters(settings, onchain.attesters, database),
                time_limit_s=settings.attest_timeout_s,
            ),
            submissions=SubmitStep(feeds, database, clock, metrics, target, publishing_policy(settings)),
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
    warn_of_development_srs(settings, rpc.chain_id, feeds)
    reader = open_oracle(settings, rpc)
    joint = _require_same_keys(reader, feeds)
    return OracleTarget(reader.oracle, reader, Rounds(rpc, reader.oracle), open_sender(settings, rpc), joint)


def warn_of_development_srs(settings: Settings, chain_id: int, feeds: Mapping[str, ServedFeed]) -> None:
    """Raises `Misconfigured` where one is not tolerated."""
    for keys in {keys.vk_hash: keys for served in feeds.values() for keys in served.all_keys}.values():
        warning = refuse_development_srs(keys, chain_id, settings.testnets)
        if warning:
            log.warning(warning)


def open_oracle(settings: Settings, rpc: Rpc) -> OracleReader:
    """The oracle that the settings name, or else the one that was deployed to this chain from here."""
    address = settings.oracle_address or require_deployment(settings.deployments, rpc.chain_id).oracle
    return OracleReader(rpc, address)


def open_rpc(settings: Settings) -> Rpc:
    return Rpc([str(url) for url in settings.rpc_urls], chain_id=settings.chain_id)


def open_attesters(
    settings: Settings, urls: Sequence[AnyHttpUrl], database: Database
) -> list[AttesterClient | OwnAttester]:
    """Who is asked for signatures: attesters over HTTP, and this process itself where it has a key."""
    clients = [AttesterClient(str(url), settings.attest_timeout_s, settings.token()) for url in urls]
    secret = settings.key_of("attester")
    own = [OwnAttester(database, Account.from_secret(*secret, "attester"))] if secret else []
    return [*own, *clients]


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


@dataclass(frozen=True, slots=True)
class AttesterRole:
    """Everything that an attester needs."""

    judge: Judge
    pins: Pins
    market: OwnMarket
    venues: tuple[str, ...]
    clock: Clock
    metrics: Metrics
    token: str | None
    """Of those who may propose; none: anybody may."""


@contextmanager
def attester(
    settings: Settings, *, clock: Clock | None = None, progress: Progress | None = None
) -> Iterator[AttesterRole]:
    """An attester with its week of candles loaded and kept fresh until the block ends.

    Raises `Misconfigured` when a setting is missing, and when its keys are not those that the registry pins.
    """
    reader, account = _attester_oracle(settings), _attester_account(settings)
    with ExitStack() as stack:
        database = open_database(settings)
        stack.callback(database.close)
        database.upgrade()
        pool = stack.enter_context(open_pool(settings, 1))
        venues = tuple(open_venue(settings, name) for name in settings.venues)
        for venue in venues:
            stack.callback(venue.close)
        clock, metrics = clock or _clock(settings, venues), Metrics()
        collector = Collector(database, late_candle_s=settings.late_candle_s, progress=progress)
        models = load_models(settings.models_dir)
        served = {name: _served(settings, parse_feed(name), models, pool, venues) for name in settings.feeds}
        warn_of_development_srs(settings, reader.oracle.chain_id, served)
        feeds = {name: _attested(one, collector) for name, one in served.items()}
        pins = Pins(reader, feeds.values())
        _require_pinned(pins)
        market = OwnMarket(feeds, pins, clock, settle_s=settings.settle_s)
        market.refresh()
        market.start()
        stack.callback(market.stop)
        judge = Judge(
            feeds,
            reader.oracle,
            account,
            pins=pins,
            market=market,
            pool=pool,
            database=database,
            clock=clock,
            metrics=metrics,
            tolerance=Tolerance(),
        )
        yield AttesterRole(judge, pins, market, settings.venues, clock, metrics, settings.token())


def _attester_oracle(settings: Settings) -> OracleReader:
    """With little patience: whoever proposes waits for what the chain says."""
    if not settings.rpc_urls:
        raise Misconfigured("an attester asks the oracle's registry: set VERIREGIME_RPC_URLS")
    rpc = Rpc([str(url) for url in settings.rpc_urls], chain_id=settings.chain_id, timeout_s=_ATTESTER_RPC_S)
    return open_oracle(settings, rpc)


def _attester_account(settings: Settings) -> Account:
    secret = settings.key_of("attester")
    if secret is None:
        raise Misconfigured("an attester signs with a key of its own: set VERIREGIME_ATTESTER_KEY_FILE")
    return Account.from_secret(*secret, "attester")


def _attested(served: ServedFeed, collector: Collector) -> AttestedFeed:
    return AttestedFeed(
        feed=served.feed,
        model=served.model,
        spec=served.spec,
        network=served.network,
        keys=served.keys,
        batch_keys=served.batch_keys,
        collect=partial(collector.window, served),
    )


def _require_pinned(pins: Pins) -> None:
    """Other keys would refuse every proposal, so better not start; a model that is not registered yet may come."""
    for refused in pins.refusals():
        if refused.reason is Refusal.KEYS_DIFFER:
            raise Misconfigured(f"{refused.detail}: bring the SRS of the oracle's operator (`veriregime srs import`)")
        log.warning("nothing is signed for now: %s", refused.detail)
