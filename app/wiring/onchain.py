"""The chain, the oracle on it, who pays and who signs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import AnyHttpUrl

from app.chain.account import Account
from app.chain.deployment import refuse_development_srs, require_deployment
from app.chain.registry import OracleReader
from app.chain.rounds import Rounds
from app.chain.rpc import Rpc
from app.chain.sender import FeeCaps, Sender
from app.errors import ChainUnavailable, Misconfigured
from app.settings import Settings
from app.steps.attest import OwnAttester
from app.steps.attester_client import AttesterClient
from app.steps.publishing import OracleTarget, PublishingPolicy
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import OracleAt

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Onchain:
    """Where forecasts are published, if anywhere, and who is asked to sign for them."""

    target: OracleTarget | None
    attesters: Sequence[AnyHttpUrl]


def publishing_policy(settings: Settings) -> PublishingPolicy:
    return PublishingPolicy(
        heartbeat_ms=round(settings.heartbeat_s * 1000),
        deviation=settings.deviation,
        confirmations=settings.confirmations,
        replace_after_ms=round(settings.replace_after_s * 1000),
        low_balance_updates=settings.low_balance_updates,
        dry_run=settings.dry_run,
    )


def oracle_target(
    settings: Settings, feeds: Mapping[str, ServedFeed], *, publishes: bool = True
) -> OracleTarget | None:
    """The oracle to publish to, or, where this process never ``publishes``, to tell about; none without an endpoint.

    Raises `Misconfigured` for a development SRS on a real chain, and when the oracle takes other keys than ours. Where
    the chain is away and its id is set, keys are taken on trust, and each window is proved alone.
    """
    if not settings.rpc_urls:
        return None
    rpc = open_rpc(settings)
    chain_id = settings.chain_id or _chain_id(rpc)
    warn_of_development_srs(settings, chain_id, feeds)
    reader = open_oracle(settings, rpc)
    try:
        joint = _require_same_keys(reader, feeds)
    except ChainUnavailable as error:
        log.warning("%s: whether the oracle takes our keys is seen when it is back", error)
        joint = False
    oracle = OracleAt(chain_id, reader.address)
    return OracleTarget(oracle, reader, Rounds(rpc, oracle), open_sender(settings, rpc) if publishes else None, joint)


def warn_of_development_srs(settings: Settings, chain_id: int, feeds: Mapping[str, ServedFeed]) -> None:
    """Raises `Misconfigured` where one is not tolerated."""
    for keys in {keys.vk_hash: keys for served in feeds.values() for keys in served.all_keys}.values():
        warning = refuse_development_srs(keys, chain_id, settings.testnets)
        if warning:
            log.warning(warning)


def open_oracle(settings: Settings, rpc: Rpc) -> OracleReader:
    """The oracle that the settings name, or else the one that was deployed to this chain from here.

    Raises `ChainUnavailable` when the chain is away and the settings do not say which one it is.
    """
    address = settings.oracle_address
    if address is None:
        address = require_deployment(settings.deployments, settings.chain_id or _chain_id(rpc)).oracle
    return OracleReader(rpc, address)


def _chain_id(rpc: Rpc) -> int:
    try:
        return rpc.chain_id
    except ChainUnavailable as error:
        raise ChainUnavailable(f"{error}: with VERIREGIME_CHAIN_ID set, the service starts without it") from error


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
