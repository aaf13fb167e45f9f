"""The generated verifier on a real chain."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.chain.anvil import CHAIN_ID, KEY, running_anvil
from app.chain.compiler import compile_contract, node_tool
from app.chain.verifier import Chain, refuse_development_srs
from app.errors import ChainError, ChainUnavailable, Misconfigured, SimulationReverted, ToolMissing, TransactionFailed
from app.settings import Settings
from app.types import Prediction, Proof, Status, SubmissionState
from app.wiring import Application


@pytest.fixture(scope="module")
def proof(app: Application, confirmed: Prediction) -> Proof:
    with app.database.unit_of_work(write=False) as store:
        found = store.predictions.proof(confirmed.id)
    assert found is not None
    return found[0]


def test_real_proof__is_accepted_and_its_receipt_stored(app: Application, confirmed: Prediction) -> None:
    assert confirmed.status is Status.CONFIRMED
    with app.database.unit_of_work(write=False) as store:
        submission = store.submissions.of([confirmed.id])[confirmed.id]
    assert submission.state is SubmissionState.CONFIRMED
    assert submission.chain_id == CHAIN_ID
    assert submission.gas_used is not None
    assert submission.gas_used <= 430_000
    assert app.pipeline.target is not None
    receipt = app.pipeline.target.chain.receipt(submission.tx_hash)
    assert receipt is not None
    assert receipt.succeeded
    assert receipt.block_number == submission.block_number


def test_changed_output__is_rejected_by_the_contract(app: Application, proof: Proof) -> None:
    assert app.pipeline.target is not None
    chain, verifier = app.pipeline.target.chain, app.pipeline.target.verifier
    chain.simulate(verifier, proof)
    low, high, ln_vol = proof.instances
    with pytest.raises(SimulationReverted, match="rejects"):
        chain.simulate(verifier, dataclasses.replace(proof, instances=(low, high, ln_vol + 1)))


def test_changed_proof_byte__is_rejected_by_the_contract(app: Application, proof: Proof) -> None:
    assert app.pipeline.target is not None
    changed = bytearray(proof.proof)
    changed[-1] ^= 1
    with pytest.raises(SimulationReverted):
        app.pipeline.target.chain.simulate(
            app.pipeline.target.verifier, dataclasses.replace(proof, proof=bytes(changed))
        )


def test_address_without_a_contract__is_not_taken_for_acceptance(app: Application, proof: Proof) -> None:
    assert app.pipeline.target is not None
    with pytest.raises(ChainError):
        app.pipeline.target.chain.simulate("0x000000000000000000000000000000000000dEaD", proof)


def test_transaction_sent_again_after_it_was_mined__is_refused(app: Application, confirmed: Prediction) -> None:
    assert app.pipeline.target is not None
    with app.database.unit_of_work(write=False) as store:
        submission = store.submissions.of([confirmed.id])[confirmed.id]
    with pytest.raises(TransactionFailed, match="nonce"):
        app.pipeline.target.chain.send(submission.raw)


def test_account_without_funds__may_send_again_once_it_has_some(settings: Settings, proof: Proof) -> None:
    with running_anvil(settings.contracts_dir) as url:
        poor = Chain(url, "0x" + "17" * 32)
        signed = poor.sign("0x000000000000000000000000000000000000dEaD", proof)
        with pytest.raises(ChainError, match=r"(?i)insufficient funds") as caught:
            poor.send(signed.raw)
    assert not isinstance(caught.value, TransactionFailed)


def test_receipt_of_an_unknown_transaction__is_none(app: Application) -> None:
    assert app.pipeline.target is not None
    assert app.pipeline.target.chain.receipt("0x" + "ab" * 32) is None


def test_endpoint_that_is_away__is_unavailable() -> None:
    with pytest.raises(ChainUnavailable, match="does not answer"):
        Chain("http://127.0.0.1:9", KEY)


def test_key_that_is_no_key__is_refused_without_repeating_it() -> None:
    with pytest.raises(Misconfigured) as caught:
        Chain("http://127.0.0.1:9", "0xsecret")
    assert "secret" not in str(caught.value)


def test_development_srs__is_refused_on_a_real_chain(app: Application) -> None:
    keys = app.pipeline.feeds["btc-usdt-4h"].keys
    assert refuse_development_srs(keys, CHAIN_ID, ()) is None
    assert "convince nobody" in (refuse_development_srs(keys, 11155111, (11155111,)) or "")
    with pytest.raises(Misconfigured, match="development SRS"):
        refuse_development_srs(keys, 1, (11155111,))
    public = dataclasses.replace(keys, srs_is_development=False)
    assert refuse_development_srs(public, 1, ()) is None


def test_missing_npm_packages__say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="make setup"):
        node_tool(tmp_path, ".bin/solcjs")


def test_source_that_does_not_compile__gives_the_compilers_reason(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "Broken.sol"
    source.write_text("pragma solidity ^0.8.0; contract Broken { function f() public { undefined_name; } }")
    with pytest.raises(ChainError, match="Undeclared identifier"):
        compile_contract(settings.contracts_dir, source, "Broken")
