"""The chain of the settings: its endpoints, the oracle on it, the keys that it pins, and who pays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl

from app.chain.deployment import refuse_development_srs
from app.chain.reading import ContractReader
from app.chain.registry import ModelState, OracleReader
from app.chain.rpc import Rpc
from app.check.finding import Finding, Level, side_by_side
from app.check.outside import attesters
from app.check.proving import keys_at_hand
from app.errors import ChainError, FeesTooHigh, Misconfigured, OracleError, UnknownModel
from app.inference.release import ReleasedModel, load_models, model_by_id
from app.settings import Settings, parse_feed
from app.wiring import model_for, open_oracle, open_rpc, open_sender

_PATIENCE_S, _ENDPOINT_S = 4.0, 3.0
_UPDATE_GAS = 490_000
"""Of one window with three signatures, storage not paid ahead, rounded up: `bench oracle`."""
_ETHER, _GWEI = 10**18, 10**9


@dataclass(frozen=True, slots=True)
class _Endpoint:
    url: AnyHttpUrl
    chain_id: int | None
    words: str = ""

    @property
    def host(self) -> str:
        """The rest may hold an access key."""
        return urlsplit(str(self.url)).netloc.rpartition("@")[2]


def chain(settings: Settings) -> Iterator[Finding]:
    if not settings.rpc_urls:
        detail = "none is set: forecasts are served, not published, and nobody has to sign"
        yield Finding("chain", Level.NOTE, detail, "to publish: set VERIREGIME_RPC_URLS (docs/publishing.md)")
        return
    found = side_by_side([partial(_endpoint, settings, url) for url in settings.rpc_urls], _PATIENCE_S)
    endpoints = [one or _Endpoint(url, None, "no answer") for one, url in zip(found, settings.rpc_urls, strict=True)]
    answering = tuple(one.url for one in endpoints if one.chain_id is not None)
    yield from (_of_endpoint(one, bool(answering), settings) for one in endpoints)
    if answering:
        yield from _on_chain(settings.model_copy(update={"rpc_urls": answering}))
    elif settings.attesters:
        yield Finding("attesters", Level.NOTE, "not asked: the chain says who they are")


def _endpoint(settings: Settings, url: AnyHttpUrl) -> _Endpoint:
    try:
        return _Endpoint(url, Rpc([str(url)], chain_id=settings.chain_id, timeout_s=_ENDPOINT_S).chain_id)
    except (ChainError, Misconfigured) as error:
        return _Endpoint(url, None, str(error))


def _of_endpoint(one: _Endpoint, others: bool, settings: Settings) -> Finding:
    subject = f"endpoint {one.host}"
    if one.chain_id is not None:
        return Finding(subject, Level.OK, f"answers, chain {one.chain_id}")
    if others or settings.chain_id:
        remedy = "see VERIREGIME_RPC_URLS; " + ("the others are asked" if others else "the service starts without it")
        return Finding(subject, Level.WARNING, one.words, remedy)
    remedy = "see VERIREGIME_RPC_URLS, or set VERIREGIME_CHAIN_ID: then the service starts without the chain"
    return Finding(subject, Level.FAILED, one.words, remedy)


def _on_chain(settings: Settings) -> Iterator[Finding]:
    rpc = open_rpc(settings)
    yield from _account(settings, rpc)
    try:
        reader = open_oracle(settings, rpc)
    except Misconfigured as error:
        yield Finding("oracle", Level.FAILED, str(error).partition(": run")[0], "run `veriregime contracts deploy`")
        return
    if not ContractReader(rpc).code(reader.address):
        detail = f"chain {rpc.chain_id} has no contract at {reader.address}"
        yield Finding("oracle", Level.FAILED, detail, "see VERIREGIME_ORACLE_ADDRESS, `veriregime contracts status`")
        return
    yield Finding("oracle", Level.OK, f"{reader.address} on chain {rpc.chain_id}")
    yield from attesters(settings, reader)
    released = load_models(settings.models_dir)
    for feed in settings.feeds:
        try:
            yield _feed(settings, reader, feed, released)
        except ChainError as error:
            yield Finding(f"{feed} on chain", Level.WARNING, str(error), "see `veriregime contracts status`")


def _feed(settings: Settings, reader: OracleReader, feed: str, released: dict[str, ReleasedModel]) -> Finding:
    """Whether the oracle takes what is proved here for the feed."""
    subject, active = f"{feed} on chain", reader.model_of(feed)
    if active is None:
        detail = "no model speaks for it: its forecasts are not published"
        return Finding(subject, Level.WARNING, detail, "run `veriregime contracts deploy`")
    try:
        model = model_by_id(released, active)
    except UnknownModel:
        detail = f"the oracle takes model {active[:12]}…, which is not here"
        remedy = "bring its folder to VERIREGIME_MODELS_DIR, or run `veriregime contracts deploy`"
        return Finding(subject, Level.FAILED, detail, remedy)
    if reader.state_of(active) is ModelState.FROZEN:
        return Finding(subject, Level.WARNING, f"{model.name} was frozen", "release and deploy another model")
    wrong = _wrong_keys(settings, reader, model)
    if wrong is not None:
        return Finding(subject, Level.FAILED, *wrong)
    newest = model_for(parse_feed(feed), released)
    waits = "" if newest is model else f"; {newest.name} is not active yet"
    return Finding(subject, Level.OK, f"{model.name} speaks for it{waits}")


def _wrong_keys(settings: Settings, reader: OracleReader, model: ReleasedModel) -> tuple[str, str] | None:
    """Why proofs made here would not do on this chain, and what to do; none when they do, or there are no keys yet."""
    keys = keys_at_hand(settings, model.circuit)
    if keys is None:
        return None
    differs = reader.model(model.model_id).differs_from(keys)
    if differs:
        return differs, "bring the SRS that the contracts were deployed with: `veriregime srs import`"
    try:
        refuse_development_srs(keys, reader.oracle.chain_id, settings.testnets)
    except OracleError as error:
        return str(error).partition(": bring")[0], "run `veriregime srs fetch`, or `srs import FILE`"
    return None


def _account(settings: Settings, rpc: Rpc) -> Iterator[Finding]:
    sender = open_sender(settings, rpc)
    if sender is None:
        detail = "nobody pays: updates are signed and served, not sent"
        yield Finding("account", Level.NOTE, detail, "to publish: set VERIREGIME_SUBMITTER_KEY_FILE")
        return
    balance_wei = sender.balance_wei()
    held = f"{sender.address} has {balance_wei / _ETHER:.6g} ether"
    try:
        fee_wei = max(1, sender.fees().max_fee_wei)
    except FeesTooHigh as error:
        yield Finding(
            "account", Level.WARNING, f"{held}; {str(error).partition(': see')[0]}", "see VERIREGIME_MAX_FEE_GWEI"
        )
        return
    updates = balance_wei // (_UPDATE_GAS * fee_wei)
    detail = f"{held}, which pays for {updates:,} updates at {fee_wei / _GWEI:.3g} gwei"
    if updates < settings.low_balance_updates:
        yield Finding("account", Level.WARNING, detail, "send it some ether")
    elif settings.dry_run:
        yield Finding("account", Level.NOTE, f"{detail}; nothing is sent", "unset VERIREGIME_DRY_RUN to publish")
    else:
        yield Finding("account", Level.OK, detail)
