from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.chain.deployment import (
    DeployedModel,
    Deployment,
    OwnerCall,
    Parameters,
    Placed,
    chosen_parameters,
    read_deployment,
    refuse_development_srs,
    require_deployment,
    write_deployment,
)
from app.errors import Misconfigured
from app.types import Circuit, Keys

ALICE = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
BOB = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
CAROL = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
PARAMETERS = Parameters(owner=ALICE, delay=0, signers=(ALICE, BOB), threshold=2)
PLACED = Placed(BOB, "0x" + "ab" * 32)
DEPLOYMENT = Deployment(
    chain_id=31337,
    deployer=ALICE,
    parameters=PARAMETERS,
    block=3,
    contracts=dict.fromkeys(("AttesterSet", "ModelRegistry", "VolatilityOracle", "VolatilityFeed btc-usdt-4h"), PLACED),
    feeds={"btc-usdt-4h": BOB},
    models={
        "cd" * 32: DeployedModel(
            name="v3",
            feeds=("btc-usdt-4h",),
            output_scale=27,
            verifier=BOB,
            joint_verifier=None,
            joint_windows=0,
            srs_hash="12" * 32,
            vk_hash="34" * 32,
            joint_vk_hash=None,
            training_record="56" * 32,
        )
    },
    owner_calls=(OwnerCall("propose model v3", BOB, "0x1234"),),
)


def keys(development: bool) -> Keys:
    nowhere = Path("/nonexistent")
    return Keys(
        circuit=Circuit(nowhere, nowhere, "00" * 32, logrows=11, input_scale=7, proof_bytes=2080),
        srs=nowhere,
        srs_hash="12" * 32,
        srs_is_development=development,
        vk=nowhere,
        vk_hash="34" * 32,
        pk=nowhere,
        verifier_sol=nowhere,
    )


def test_record__read_again__is_the_deployment(tmp_path: Path) -> None:
    assert write_deployment(tmp_path, DEPLOYMENT) == tmp_path / "31337.json"
    assert read_deployment(tmp_path, 31337) == DEPLOYMENT
    assert [path.name for path in tmp_path.iterdir()] == ["31337.json"]


def test_record__says_first_what_everybody_looks_for() -> None:
    shown = DEPLOYMENT.to_json()
    assert list(shown)[:4] == ["format", "oracle", "registry", "attester_set"]
    assert shown["oracle"] == BOB


def test_record__of_no_deployment__is_none(tmp_path: Path) -> None:
    assert read_deployment(tmp_path, 31337) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "veriregime-deployment/2"}'])
def test_record__that_cannot_be_read__is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "31337.json").write_text(text)
    with pytest.raises(Misconfigured, match=r"31337\.json is no record of a deployment"):
        read_deployment(tmp_path, 31337)


def test_record__of_another_chain_than_its_name__is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(json.dumps(DEPLOYMENT.to_json()))
    with pytest.raises(Misconfigured, match="is of chain 31337"):
        read_deployment(tmp_path, 1)


def test_deployment__that_is_required_and_unfinished__says_how_to_finish_it(tmp_path: Path) -> None:
    write_deployment(tmp_path, replace(DEPLOYMENT, contracts={"AttesterSet": PLACED}))
    with pytest.raises(Misconfigured, match="veriregime contracts deploy"):
        require_deployment(tmp_path, 31337)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"signers": ()}, "1 to 32 different signers"),
        ({"signers": (ALICE, ALICE)}, "1 to 32 different signers"),
        ({"signers": ("0x1234",)}, "signer 0x1234 is not an address"),
        ({"signers": ("0x" + "00" * 20,)}, "is not an address"),
        ({"owner": ALICE[:-1] + "7"}, "owner .* is not an address"),
        ({"threshold": 0}, "the threshold is 1 to the number of signers, 2"),
        ({"threshold": 3}, "the threshold is 1 to the number of signers, 2"),
        ({"delay": -1}, "delay is a number of seconds"),
    ],
)
def test_parameters__that_the_contracts_would_refuse__are_refused_before(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        replace(PARAMETERS, **change)


def test_parameters__by_default__are_the_deployers_with_a_majority_and_two_days() -> None:
    chosen = chosen_parameters({"signers": (ALICE, BOB, CAROL)}, None, 1, ALICE, None)
    assert (chosen.owner, chosen.threshold, chosen.delay) == (ALICE, 2, 172_800)


def test_parameters__on_a_local_chain__do_not_wait() -> None:
    assert chosen_parameters({}, None, 31337, ALICE, BOB) == Parameters(ALICE, 0, (BOB,), 1)


def test_parameters__without_any_signer__are_refused() -> None:
    with pytest.raises(Misconfigured, match="--signer"):
        chosen_parameters({}, None, 1, ALICE, None)


def test_parameters__in_small_letters__get_their_checksum() -> None:
    chosen = chosen_parameters({"owner": BOB.lower(), "signers": (CAROL.lower(),)}, None, 1, ALICE, None)
    assert (chosen.owner, chosen.signers) == (BOB, (CAROL,))


def test_parameters__of_a_recorded_deployment__are_kept() -> None:
    assert chosen_parameters({"threshold": 2, "owner": None}, DEPLOYMENT, 31337, CAROL, CAROL) == PARAMETERS


def test_parameters__other_than_recorded__are_refused() -> None:
    with pytest.raises(Misconfigured, match="were created with threshold = 2, not 1"):
        chosen_parameters({"threshold": 1}, DEPLOYMENT, 31337, ALICE, None)


def test_development_srs__is_for_local_chains_and_listed_testnets() -> None:
    assert refuse_development_srs(keys(development=True), 31337, ()) is None
    assert "convince nobody" in (refuse_development_srs(keys(development=True), 11155111, (11155111,)) or "")
    with pytest.raises(Misconfigured, match="chain 1 is neither local nor a listed testnet"):
        refuse_development_srs(keys(development=True), 1, (11155111,))


def test_public_srs__is_for_every_chain() -> None:
    assert refuse_development_srs(keys(development=False), 1, ()) is None
