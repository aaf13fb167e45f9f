"""The service: the pipeline and all that it joins, for every role or for some."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache

from app.audit.checks import Auditor
from app.clock import Clock
from app.pipeline import Identity, Pipeline
from app.proving.checked import CheckedProver, Prover
from app.proving.pool import ProverPool
from app.settings import Settings
from app.steps.attest import AttestStep
from app.steps.backlog import Backlog
from app.steps.collect import Collector
from app.steps.fetch import Progress
from app.steps.judge import JudgeStep
from app.steps.prove import ProofStep, ProvingPolicy
from app.steps.publishing import OracleTarget
from app.steps.served import ServedFeed
from app.steps.standing import EVERY_ROLE, Market, Role
from app.steps.submit import SubmitStep
from app.steps.turns import Turns, ticking
from app.types import DAY_MS
from app.wiring.api import ApiRole
from app.wiring.feeds import Ground, heed_clock, open_collector, open_ground
from app.wiring.onchain import (
    Onchain,
    open_attesters,
    open_oracle,
    open_rpc,
    oracle_target,
    publishing_policy,
)

_LEASE_MARGIN_S = 5


@dataclass(frozen=True, slots=True)
class Application(ApiRole):
    """The whole service: what answers over HTTP, and what there is to answer; or some roles of it."""

    roles: frozenset[Role]
    market: Market
    prover: Prover
    pipeline: Pipeline


@contextmanager
def application(
    settings: Settings,
    *,
    roles: frozenset[Role] = EVERY_ROLE,
    at_work: bool = False,
    clock: Clock | None = None,
    market: Market | None = None,
    chain: Callable[[Mapping[str, ServedFeed]], Onchain] | None = None,
    progress: Progress | None = None,
) -> Iterator[Application]:
    """The service, not yet running; closed with the block. The database is brought to the newest schema.

    Only what its ``roles`` need is opened. ``at_work`` it is where its loops are to run: raises `StoreInUse` when
    another process does that on the same SQLite file. ``chain`` stands in for the chain of the settings where that is
    made on the spot.
    """
    if settings.prover != "local" and Role.PIPELINE in roles:
        roles |= {Role.PROVER}  # handing jobs to a cluster costs no cores
    with ExitStack() as stack:
        proves, ticks = Role.PROVER in roles, Role.PIPELINE in roles
        ground = open_ground(settings, stack, clock, workers=None if proves else 1, reads_venues=ticks)
        if at_work:
            stack.enter_context(ground.database.claim(*sorted(roles)))
        if ticks:
            heed_clock(ground)
        cluster = proves and settings.prover != "local"
        prover = _cluster(settings, ground.pool, stack) if cluster else ground.pool
        feeds = ground.feeds(open_oracle(settings, open_rpc(settings)) if settings.rpc_urls and chain is None else None)
        market = market or ("simulated" if settings.venue_urls else "live")
        turns = Turns(ground.database, process_name(), ground.clock)
        collector = open_collector(ground, progress, stack)
        for name in feeds if ticks else ():
            if turns.take(ticking(name)):  # else another process has begun already
                collector.prefetch(feeds[name], ground.clock.last_minute_ms())
        identity = _identity(ground, roles, market)
        onchain = chain(feeds) if chain else _onchain(settings, feeds, roles)
        pipeline = _pipeline(ground, feeds, collector, prover, onchain, identity, turns)
        stack.callback(pipeline.close)
        yield Application(
            settings=settings,
            roles=roles,
            market=market,
            clock=ground.clock,
            database=ground.database,
            models=ground.models,
            feeds=feeds,
            target=onchain.target,
            pool=ground.pool,
            prover=prover,
            pipeline=pipeline,
            auditor=Auditor(ground.models, ground.pool, settings.var_dir, settings.trusted_srs),
            metrics=ground.metrics,
        )


def _identity(ground: Ground, roles: frozenset[Role], market: Market) -> Identity:
    settings = ground.settings
    return Identity(
        owner=process_name(),
        market=market,
        roles=roles,
        prover_process_ids=ground.pool.process_ids if Role.PROVER in roles else tuple,
        event_retention_ms=settings.event_retention_days * DAY_MS,
        prediction_retention_ms=settings.prediction_retention_days * DAY_MS or None,
    )


def _onchain(settings: Settings, feeds: Mapping[str, ServedFeed], roles: frozenset[Role]) -> Onchain:
    """A role that only proves looks whether the oracle takes its keys; only one that submits pays and asks."""
    if Role.SUBMITTER in roles:
        return Onchain(oracle_target(settings, feeds), settings.attesters)
    return Onchain(oracle_target(settings, feeds, publishes=False) if Role.PROVER in roles else None, ())


def _pipeline(
    ground: Ground,
    feeds: Mapping[str, ServedFeed],
    collector: Collector,
    prover: Prover,
    onchain: Onchain,
    identity: Identity,
    turns: Turns,
) -> Pipeline:
    settings, target = ground.settings, onchain.target
    database, clock, metrics = ground.database, ground.clock, ground.metrics
    submissions = SubmitStep(feeds, database, clock, metrics, target, publishing_policy(settings))
    submits = Role.SUBMITTER in identity.roles
    return Pipeline(
        feeds=feeds,
        database=database,
        collector=collector,
        proofs=ProofStep(
            feeds,
            database,
            prover,
            clock,
            metrics,
            proving_policy(settings, target, prover.patience_s, submits=submits),
            Backlog(settings.catch_up_s, len(feeds) * clock.speed / 60, len(feeds)),
            due=submissions.expects,
        ),
        attestations=AttestStep(
            feeds,
            database,
            clock,
            metrics,
            target.reader if target else None,
            open_attesters(settings, onchain.attesters, database) if submits else (),
            time_limit_s=settings.attest_timeout_s,
        ),
        submissions=submissions,
        judgements=JudgeStep(feeds, database, clock, metrics),
        clock=clock,
        metrics=metrics,
        identity=identity,
        turns=turns,
    )


def _cluster(settings: Settings, pool: ProverPool, stack: ExitStack) -> Prover:
    from app.proving.cluster import ClusterProver  # only where it is asked for: it brings Dask

    cluster = ClusterProver(settings.prover, time_limit_s=settings.proof_time_limit_s)
    stack.callback(cluster.stop)
    return CheckedProver(cluster, pool)


@cache
def process_name() -> str:
    """Ours among all processes on the database.

    In containers, host name and process id may both be those of another one, or of the one before.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def proving_policy(
    settings: Settings, chain: OracleTarget | None, patience_s: float, *, submits: bool = True
) -> ProvingPolicy:
    """On a chain that has no verifier for proofs of several windows, each window is proved alone.

    ``patience_s`` is the prover's: the lease outlasts it. Only a process that submits knows what is due on chain.
    """
    lonely = chain is not None and not chain.takes_joint_proofs
    return ProvingPolicy(
        owner=process_name(),
        lease_ms=round((patience_s + _LEASE_MARGIN_S) * 1000),
        max_attempts=settings.proof_attempts,
        batching="off" if lonely else settings.batching,
        saves_gas=chain is not None and submits,
    )
