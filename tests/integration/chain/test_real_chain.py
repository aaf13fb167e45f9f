"""A chain that is neither local nor a listed testnet: no development SRS there, and no other keys than are pinned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import AnyHttpUrl, SecretStr

from app.chain.account import Account
from app.chain.anvil import KEY, running_anvil
from app.demo import deploy_for
from app.errors import ChainUnavailable, Misconfigured, UnknownModel
from app.settings import Settings
from app.steps.served import ServedFeed
from app.types import ModelId
from app.wiring import Application, oracle_target

Served = Mapping[str, ServedFeed]


@pytest.fixture(scope="module")
def public(app: Application) -> Served:
    """The service's feed, its keys said to come from a ceremony."""
    return {
        name: replace(served, keys=replace(served.keys, srs_is_development=False))
        for name, served in app.pipeline.feeds.items()
    }


@pytest.fixture(scope="module")
def mainnet(settings: Settings, public: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings for a chain that calls itself Ethereum's, with the contracts on it."""
    with running_anvil(settings.contracts_dir, "--chain-id", "1") as url:
        there = settings.model_copy(
            update={
                "rpc_urls": (AnyHttpUrl(url),),
                "submitter_key": SecretStr(KEY),
                "deployments_dir": tmp_path_factory.mktemp("deployments"),
            }
        )
        deploy_for(there, public)
        yield there


@pytest.mark.parametrize(("single", "joint"), [(True, False), (False, True), (True, True)])
def test_oracle_target__any_keys_under_a_development_srs__is_refused(
    mainnet: Settings, serve: Callable[..., ServedFeed], single: bool, joint: bool
) -> None:
    served = serve()
    served = replace(
        served,
        keys=replace(served.keys, srs_is_development=single, vk_hash="aa" * 32),
        batch_keys=replace(served.keys, srs_is_development=joint, vk_hash="bb" * 32),
    )
    with pytest.raises(Misconfigured, match="chain 1 is neither local nor a listed testnet"):
        oracle_target(mainnet, {"btc-usdt-4h": served})


def test_oracle_target__all_keys_under_a_public_srs__is_the_oracle_that_was_deployed(
    mainnet: Settings, public: Served
) -> None:
    target = oracle_target(mainnet, public)
    assert target is not None
    assert (target.oracle.chain_id, target.takes_joint_proofs) == (1, False)
    assert target.sender is not None
    assert target.sender.address == Account.from_secret(KEY, None, "submitter").address
    assert target.rounds.newest("btc-usdt-4h") is None
    assert (target.reader.panel().threshold, len(target.reader.panel().signers)) == (2, 3)


def test_oracle_target__without_a_key__has_nobody_who_pays(mainnet: Settings, public: Served) -> None:
    target = oracle_target(mainnet.model_copy(update={"submitter_key": None}), public)
    assert target is not None
    assert target.sender is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"srs_hash": "ab" * 32}, "pins the SRS"), ({"vk_hash": "ab" * 32}, "pins the verifying key")],
)
def test_oracle_target__other_keys_than_the_registry_pins__is_refused(
    mainnet: Settings, public: Served, changed: dict[str, str], words: str
) -> None:
    served = public["btc-usdt-4h"]
    other = replace(served, keys=replace(served.keys, **changed))  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match=words):
        oracle_target(mainnet, {"btc-usdt-4h": other})


def test_oracle_target__a_model_that_the_registry_does_not_know__is_refused(mainnet: Settings, public: Served) -> None:
    served = public["btc-usdt-4h"]
    other = replace(served, model=replace(served.model, model_id=ModelId("ab" * 32)))
    with pytest.raises(UnknownModel, match="does not know model abab"):
        oracle_target(mainnet, {"btc-usdt-4h": other})


def test_oracle_target__nothing_deployed_from_here__says_what_to_run(
    mainnet: Settings, public: Served, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured, match="contracts deploy"):
        oracle_target(mainnet.model_copy(update={"deployments_dir": tmp_path}), public)


def test_oracle_target__endpoint_of_another_chain_than_set__is_refused(mainnet: Settings, public: Served) -> None:
    with pytest.raises(Misconfigured, match="is of chain 1, expected is 5"):
        oracle_target(mainnet.model_copy(update={"chain_id": 5, "oracle_address": "0x" + "11" * 20}), public)


def test_oracle_target__no_endpoint__is_no_chain(mainnet: Settings, public: Served) -> None:
    assert oracle_target(mainnet.model_copy(update={"rpc_urls": ()}), public) is None


def test_oracle_target__chain_is_away_at_the_start__is_there_once_its_id_is_set(
    mainnet: Settings, public: Served
) -> None:
    away = mainnet.model_copy(update={"rpc_urls": (AnyHttpUrl("http://127.0.0.1:9"),)})
    with pytest.raises(ChainUnavailable, match="with VERIREGIME_CHAIN_ID set, the service starts without it"):
        oracle_target(away, public)
    target = oracle_target(away.model_copy(update={"chain_id": 1}), public)
    assert target is not None
    assert (target.oracle.chain_id, target.takes_joint_proofs) == (1, False)
    with pytest.raises(ChainUnavailable):
        target.rounds.newest("btc-usdt-4h")
