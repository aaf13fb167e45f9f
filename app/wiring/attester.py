"""The attester's role: an application of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from app.attester.judge import Judge
from app.attester.market import OwnMarket
from app.attester.pins import Pins
from app.attester.proposal import AttestedFeed, Refusal
from app.attester.tolerance import Tolerance
from app.chain.account import Account
from app.chain.registry import OracleReader
from app.chain.rpc import Rpc
from app.clock import Clock
from app.errors import Misconfigured
from app.metrics import Metrics
from app.settings import Settings
from app.steps.collect import Collector
from app.steps.fetch import Progress
from app.steps.served import ServedFeed
from app.types import Window
from app.wiring.feeds import open_collector, open_ground
from app.wiring.onchain import open_oracle, warn_of_development_srs

log = logging.getLogger(__name__)

_ATTESTER_RPC_S = 5.0


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
        ground = open_ground(settings, stack, clock, workers=1)
        served = ground.feeds(reader)
        warn_of_development_srs(settings, reader.oracle.chain_id, served)
        collector = open_collector(ground, progress, stack)
        for one in served.values():
            collector.prefetch(one, ground.clock.last_minute_ms())
        feeds = {name: _attested(one, collector) for name, one in served.items()}
        pins = Pins(reader, feeds.values())
        _require_pinned(pins)
        market = OwnMarket(feeds, pins, ground.clock, collector.prune, settle_s=settings.settle_s)
        market.refresh()
        market.start()
        stack.callback(market.stop)
        judge = Judge(
            feeds,
            reader.oracle,
            account,
            pins=pins,
            market=market,
            pool=ground.pool,
            database=ground.database,
            clock=ground.clock,
            metrics=ground.metrics,
            tolerance=Tolerance(),
        )
        names = tuple(venue.name for venue in ground.venues)
        yield AttesterRole(judge, pins, market, names, ground.clock, ground.metrics, settings.token())


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
        collect=partial(_window, collector, served),
    )


def _window(collector: Collector, served: ServedFeed, window_end_ms: int) -> Window:
    return collector.window(served, window_end_ms).window


def _require_pinned(pins: Pins) -> None:
    """Other keys would refuse every proposal, so better not start; a model that is not registered yet may come."""
    for refused in pins.refusals():
        if refused.reason is Refusal.KEYS_DIFFER:
            raise Misconfigured(f"{refused.detail}: bring the SRS of the oracle's operator (`veriregime srs import`)")
        log.warning("nothing is signed for now: %s", refused.detail)
