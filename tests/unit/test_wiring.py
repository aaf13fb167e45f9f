"""The few decisions that wiring takes itself."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import Misconfigured
from app.inference.release import ReleasedModel
from app.settings import Settings, parse_feed
from app.steps.publishing import OracleTarget, PublishingPolicy
from app.store.database import Database
from app.types import Circuit, ModelId, OracleAt
from app.wiring import (
    batch_keys,
    chosen_models,
    limits,
    model_for,
    open_attesters,
    open_sender,
    proving_policy,
    publishing_policy,
)

BOTH = ("btc-usdt-4h", "eth-usdt-4h")
NOTHING: Any = None
ADDRESS = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
"""Of the key that is all ones."""
Asked = list[tuple[Circuit, tuple[str, ...], tuple[str, ...]]]


def settings(**fields: object) -> Settings:
    return Settings(_env_file=None, **fields)  # type: ignore[call-arg, arg-type]


def target(*, takes_joint_proofs: bool) -> OracleTarget:
    return OracleTarget(OracleAt(31337, ADDRESS), NOTHING, NOTHING, takes_joint_proofs=takes_joint_proofs)


class KeyMaker:
    """Notes which keys it is asked for."""

    def __init__(self) -> None:
        self.asked: Asked = []

    def serving_keys(
        self, var_dir: Path, circuit: Circuit, trusted: Collection[str] = (), chosen: Collection[str] = ()
    ) -> str:
        self.asked.append((circuit, tuple(trusted), tuple(chosen)))
        return "keys"


def keys_for(wanted: Settings, model: ReleasedModel, *others: ReleasedModel) -> tuple[object, Asked]:
    pool: Any = KeyMaker()
    models = {one.name: one for one in (model, *others)}
    chosen = {feed: model_for(parse_feed(feed), models) for feed in wanted.feeds}
    return batch_keys(wanted, model, chosen, pool), pool.asked


def test_batch_keys__several_feeds_of_the_model__are_those_of_its_joint_circuit(model: ReleasedModel) -> None:
    trusted, chosen = ("ab" * 32,), ("cd" * 32,)
    found, asked = keys_for(settings(feeds=BOTH, trusted_srs=trusted, use_srs=chosen), model)
    assert (found, asked) == ("keys", [(model.batch, trusted, chosen)])


@pytest.mark.parametrize("batching", ["auto", "always"])
def test_batch_keys__a_feed_alone__has_none(model: ReleasedModel, batching: str) -> None:
    assert keys_for(settings(feeds=BOTH[:1], batching=batching), model) == (None, [])


def test_batch_keys__batching_off__are_not_made(model: ReleasedModel) -> None:
    assert keys_for(settings(feeds=BOTH, batching="off"), model) == (None, [])


def test_batch_keys__model_without_a_joint_circuit__has_none(model: ReleasedModel) -> None:
    assert keys_for(settings(feeds=BOTH), replace(model, batch=None)) == (None, [])


def test_batch_keys__each_feed_by_a_model_of_its_own__has_none(model: ReleasedModel) -> None:
    other = replace(
        model,
        name="z",
        model_id=ModelId("cd" * 32),
        manifest={**model.manifest, "feeds": ["eth-usdt-4h"]},
    )
    assert keys_for(settings(feeds=BOTH), model, other) == (None, [])


@pytest.mark.parametrize("batching", ["auto", "off", "always"])
def test_proving_policy__without_a_chain__is_as_set_and_saves_no_gas(batching: str) -> None:
    policy = proving_policy(settings(batching=batching), None, 30)
    assert (policy.batching, policy.saves_gas) == (batching, False)


@pytest.mark.parametrize("batching", ["auto", "off", "always"])
def test_proving_policy__on_a_chain_with_both_verifiers__is_as_set_and_saves_gas(batching: str) -> None:
    policy = proving_policy(settings(batching=batching), target(takes_joint_proofs=True), 30)
    assert (policy.batching, policy.saves_gas) == (batching, True)


@pytest.mark.parametrize("batching", ["auto", "off", "always"])
def test_proving_policy__on_a_chain_without_a_joint_verifier__each_window_is_proved_alone(batching: str) -> None:
    assert proving_policy(settings(batching=batching), target(takes_joint_proofs=False), 30).batching == "off"


def test_proving_policy__a_lease__outlasts_the_provers_patience() -> None:
    assert proving_policy(settings(), None, patience_s=43).lease_ms == 48_000


def test_proving_policy__owner__tells_this_process_among_those_of_all_machines() -> None:
    host, pid, token = proving_policy(settings(proof_attempts=7), None, 30).owner.split(":")
    assert (bool(host), int(pid), len(token)) == (True, os.getpid(), 6)


def test_limits__are_those_of_the_settings() -> None:
    found = limits(settings(proof_time_limit_s=9, prover_memory_mib=99, prover_lifetime=8, prover_threads=3))
    assert (found.time_s, found.memory_mib, found.calls, found.threads) == (9, 99, 8, 3)


def test_publishing_policy__is_that_of_the_settings_in_ms() -> None:
    wanted = settings(
        heartbeat_s=90, deviation=0.1, confirmations=4, replace_after_s=1.5, low_balance_updates=3, dry_run=True
    )
    assert publishing_policy(wanted) == PublishingPolicy(90_000, 0.1, 4, 1_500, 3, dry_run=True)


def test_open_sender__without_a_key__is_none() -> None:
    assert open_sender(settings(), NOTHING) is None


def test_open_sender__with_a_key__is_its_account() -> None:
    sender = open_sender(settings(submitter_key="11" * 32), NOTHING)
    assert sender is not None
    assert sender.address == ADDRESS


def test_open_attesters__are_the_own_key_first_and_those_over_http(sqlite_database: Database) -> None:
    wanted = settings(attesters="http://a.example,http://user:pw@b.example/x", attester_key="11" * 32)
    assert [one.host for one in open_attesters(wanted, wanted.attesters, sqlite_database)] == [
        "own",
        "a.example",
        "b.example",
    ]
    assert [one.host for one in open_attesters(settings(), wanted.attesters, sqlite_database)] == [
        "a.example",
        "b.example",
    ]


class Registry:
    """An oracle's registry in which one model speaks for every feed, or none does."""

    def __init__(self, active: str | None) -> None:
        self._active = active

    def model_of(self, feed: str) -> str | None:
        return self._active


def chosen_by(model: ReleasedModel, newer: ReleasedModel, active: str | None) -> str:
    registry: Any = Registry(active)
    return chosen_models(settings(), {one.name: one for one in (model, newer)}, registry)["btc-usdt-4h"].name


def test_chosen_models__a_newer_release__waits_until_the_registry_has_activated_it(model: ReleasedModel) -> None:
    newer = replace(model, name="z", model_id=ModelId("cd" * 32))
    assert chosen_by(model, newer, model.model_id) == model.name
    assert chosen_by(model, newer, newer.model_id) == "z"
    assert chosen_by(model, newer, None) == "z"
    assert chosen_models(settings(), {"a": model, "z": newer}, None)["btc-usdt-4h"].name == "z"


def test_chosen_models__active_model_that_is_not_here__says_to_bring_it(model: ReleasedModel) -> None:
    with pytest.raises(Misconfigured, match="takes model " + "ee" * 32 + " for btc-usdt-4h.*bring its folder"):
        chosen_by(model, replace(model, name="z"), "ee" * 32)
