"""``veriregime check``: what this installation has, what it lacks, and what to do about it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version

from app.chain.account import Account
from app.chain.compiler import node_tool
from app.chain.deployment import require_deployment
from app.chain.reading import ContractReader
from app.clock import wall_ms
from app.errors import Misconfigured, NotNow, OracleError, VenueUnavailable
from app.inference.release import load_models
from app.settings import Settings, parse_feed
from app.steps.attester_client import AttesterClient
from app.types import MINUTE_MS, iso
from app.web.server import listen
from app.wiring import model_for, open_database, open_oracle, open_pool, open_rpc, open_venue

_MAX_SKEW_MS = 2_000


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    level: Level
    detail: str


def check_installation(settings: Settings) -> list[Finding]:
    """One finding per subject. A warning names something that only some uses need."""
    subjects: tuple[tuple[str, Callable[[Settings], str], Level], ...] = (
        ("python", _python, Level.FAILED),
        ("models", _models, Level.FAILED),
        ("keys", _keys, Level.FAILED),
        ("database", _database, Level.FAILED),
        ("alarms", _alarms, Level.FAILED),
        ("port", _port, Level.FAILED),
        ("venues", _venues, Level.WARNING),
        ("contracts", _contracts, Level.WARNING),
        ("attesters", _attesters, Level.WARNING),
        ("training", _training, Level.WARNING),
    )
    return [_finding(settings, *subject) for subject in subjects]


def _finding(settings: Settings, subject: str, look: Callable[[Settings], str], otherwise: Level) -> Finding:
    try:
        return Finding(subject, Level.OK, look(settings))
    except (OracleError, OSError) as error:
        return Finding(subject, otherwise, str(error))


def _python(settings: Settings) -> str:
    return f"Python {sys.version.split()[0]}, ezkl {version('ezkl')}, onnxruntime {version('onnxruntime')}"


def _models(settings: Settings) -> str:
    models = load_models(settings.models_dir)
    for name in settings.feeds:
        model_for(parse_feed(name), models)
    return ", ".join(f"{model.name} ({model.model_id[:12]}…)" for model in models.values())


def _keys(settings: Settings) -> str:
    models = load_models(settings.models_dir)
    with open_pool(settings, 1) as pool:
        made = [pool.serving_keys(settings.var_dir, model.circuit, *settings.srs_choice) for model in models.values()]
    kind = "DEVELOPMENT SRS" if any(keys.srs_is_development for keys in made) else "public SRS"
    return f"{len(made)} in {settings.var_dir / 'keys'}, {kind}"


def _database(settings: Settings) -> str:
    with closing(open_database(settings)) as database:
        current, newest = database.revisions()
    if current is None:
        return f"{database.name} is new: its schema is made at the first start"
    if current != newest:
        raise Misconfigured(
            f"{database.name} has schema {current}, the newest is {newest}: run `veriregime db upgrade`"
        )
    return f"{database.name}, schema {current}"


def _alarms(settings: Settings) -> str:
    with closing(open_database(settings)) as database:
        current, newest = database.revisions()
        if current != newest:
            return "not looked at: the schema is not the newest"
        with database.unit_of_work(write=False) as store:
            found = store.disagreements.open()
    if found:
        raise Misconfigured(
            f"network and circuit disagreed on {len(found)} window(s), the newest of {found[0].feed} at "
            f"{iso(found[0].window_end_ms)}: see `veriregime alarms list`"
        )
    return "network and circuit agree on every proved window"


def _port(settings: Settings) -> str:
    listen(settings.host, settings.port).close()
    return f"{settings.host}:{settings.port} is free"


def _venues(settings: Settings) -> str:
    """Every venue of every feed: whether it answers, lists the market, and shows our time."""
    well, ill, answering = [], [], set()
    for name in dict.fromkeys(venue for feed in settings.feeds for venue in settings.venues_of(feed)):
        try:
            well.append(_venue(settings, name))
            answering.add(name)
        except (VenueUnavailable, Misconfigured) as error:
            ill.append(str(error))
    for feed in settings.feeds:
        here = len(answering.intersection(settings.venues_of(feed)))
        if here < settings.quorum_of(feed):
            ill.append(f"{feed} has {here} venue(s), {settings.quorum_of(feed)} must answer (VERIREGIME_QUORUM)")
    if ill:
        raise Misconfigured("; ".join([*ill, *well]))
    return "; ".join(well)


def _venue(settings: Settings, name: str) -> str:
    with closing(open_venue(settings, name)) as venue:
        skew_ms = venue.time_ms() - wall_ms()
        newest_ms = wall_ms() // MINUTE_MS * MINUTE_MS
        for feed in settings.feeds:
            symbol = settings.markets_of(parse_feed(feed)).get(name)
            if symbol is not None:
                list(venue.pages(symbol, newest_ms - 5 * MINUTE_MS, newest_ms))
    if abs(skew_ms) > _MAX_SKEW_MS and not settings.venue_clock:
        raise Misconfigured(
            f"{name}'s clock is {skew_ms / 1000:+.1f} s from this machine's: set the clock (NTP), or "
            "VERIREGIME_VENUE_CLOCK=true"
        )
    return f"{name} answers, clock {skew_ms:+d} ms"


def _contracts(settings: Settings) -> str:
    node_tool(settings.contracts_dir, ".bin/solcjs")
    node_tool(settings.contracts_dir, "@foundry-rs/anvil-*/bin/anvil")
    tools = "Solidity compiler and anvil are installed"
    if not settings.rpc_urls:
        return tools
    rpc = open_rpc(settings)
    oracle = settings.oracle_address or require_deployment(settings.deployments, rpc.chain_id).oracle
    if not ContractReader(rpc).code(oracle):
        raise Misconfigured(f"chain {rpc.chain_id} has no contract at {oracle}: see `veriregime contracts status`")
    return f"{tools}; oracle {oracle} on chain {rpc.chain_id}"


def _attesters(settings: Settings) -> str:
    if not settings.rpc_urls:
        return "no chain is set, so nobody has to sign"
    reader = open_oracle(settings, open_rpc(settings))
    panel, words, ready = reader.panel(), [], set()
    secret = settings.key_of("attester")
    if secret is not None:
        ready.add(Account.from_secret(*secret, "attester").address)
    for url in settings.attesters:
        client = AttesterClient(str(url), settings.attest_timeout_s, settings.token())
        try:
            signer, contract = client.introduce()
        except NotNow as error:
            words.append(str(error))
            continue
        if contract.lower() != reader.oracle.contract.lower():
            words.append(f"the attester {client.name} signs for the oracle {contract}")
        else:
            ready.add(signer)
    strangers = sorted(ready - set(panel.signers))
    words += [f"{signer} is not an attester of the oracle" for signer in strangers]
    found = f"{len(ready - set(strangers))} of {len(panel.signers)} can be asked, {panel.threshold} must sign"
    if words or len(ready) - len(strangers) < panel.threshold:
        raise Misconfigured("; ".join([found, *words]) + ": see VERIREGIME_ATTESTERS")
    return found


def _training(settings: Settings) -> str:
    if importlib.util.find_spec("torch") is None:
        raise Misconfigured("torch is not installed: `pip install 'veriregime[train]'` to train models")
    return f"torch {version('torch')}"
