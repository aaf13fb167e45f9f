"""What the deployed contracts say."""

from __future__ import annotations

import pytest

from app.chain.account import Account
from app.chain.anvil import ATTESTER_KEYS
from app.chain.registry import ModelState, OracleReader, Panel
from app.chain.rpc import Rpc
from app.errors import ChainError, ChainUnavailable, UnknownModel
from app.wiring import Application

FEED = "btc-usdt-4h"


@pytest.fixture
def reader(app: Application) -> OracleReader:
    assert app.pipeline.target is not None
    rpc = Rpc([str(url) for url in app.settings.rpc_urls])
    return OracleReader(rpc, app.pipeline.target.oracle.contract.lower())


def test_model__that_is_registered__is_pinned_by_the_hashes_of_our_keys(app: Application, reader: OracleReader) -> None:
    served = app.pipeline.feeds[FEED]
    pinned = reader.model(served.model.model_id)
    assert (pinned.srs_hash, pinned.vk_hash) == (served.keys.srs_hash, served.keys.vk_hash)
    assert pinned.differs_from(served.keys) is None
    assert (pinned.joint_verifier, pinned.joint_windows) == (None, 0)
    assert pinned.output_scale == served.model.output_scale
    assert pinned.training_record == served.model.manifest["files"]["training.json"]
    assert reader.state_of(served.model.model_id) is ModelState.ACTIVE


def test_model__that_nobody_registered__is_unknown(reader: OracleReader) -> None:
    assert reader.state_of("cd" * 32) is ModelState.UNKNOWN
    with pytest.raises(UnknownModel, match="does not know model cdcdcdcdcdcdcdcd"):
        reader.model("cd" * 32)


def test_panel__is_who_may_sign_and_how_many_must(app: Application, reader: OracleReader) -> None:
    accounts = tuple(Account.from_secret(key, None, "attester").address for key in ATTESTER_KEYS)
    assert reader.panel() == Panel(accounts, 2)
    assert reader.submission_limit_s() == 900
    assert reader.oracle == (app.pipeline.target and app.pipeline.target.oracle)


def test_panel__while_the_chain_is_away__is_the_last_one_known(
    reader: OracleReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = reader.panel()
    reader._read_again_at = 0.0
    monkeypatch.setattr(reader, "_rpc", Rpc(["http://127.0.0.1:1"], timeout_s=1))
    assert reader.panel() == known


def test_reader__at_an_address_without_code__says_so(app: Application) -> None:
    reader = OracleReader(Rpc([str(url) for url in app.settings.rpc_urls]), "0x" + "22" * 20)
    with pytest.raises(ChainError):
        reader.submission_limit_s()


def test_reader__without_a_chain__says_that_it_is_away() -> None:
    with pytest.raises(ChainUnavailable):
        OracleReader(Rpc(["http://127.0.0.1:1"], timeout_s=1), "0x" + "22" * 20).panel()
