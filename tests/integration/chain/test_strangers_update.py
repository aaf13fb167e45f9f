"""An update that the service made and somebody else pays for, read by a contract that knows Chainlink's interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak
from fastapi.testclient import TestClient
from pydantic import AnyHttpUrl, SecretStr

from app.chain.account import Account
from app.chain.anvil import KEY
from app.chain.compiler import Contract
from app.chain.rpc import Rpc
from app.chain.sender import FeeCaps, Sender
from app.clock import Clock
from app.settings import Settings
from app.steps.publishing import SubmitOutcome
from app.store.database import Database
from app.types import Prediction, Status, iso
from app.web.application import create_web
from app.wiring import Application, application

FEED = "btc-usdt-4h"
URL = f"/v1/feeds/{FEED}"
MAX_AGE_S = 7200
"""Of `VolatilityFeed`, as deployed by default."""
STRANGER = Account.from_secret("0x" + "17" * 32, None, "submitter")
_LATEST = keccak(text="latest()")[:4]
_LATEST_ROUND = keccak(text="latestRoundData()")[:4]


@pytest.fixture
def service(chain: Any, scratch_settings: Settings, clock: Clock) -> Iterator[Application]:
    """A service that publishes to the oracle; it does not do so by itself here."""
    settings = scratch_settings.model_copy(
        update={
            "rpc_urls": (AnyHttpUrl(chain.url),),
            "oracle_address": chain.oracle.contract,
            "submitter_key": SecretStr(KEY),
            "confirmations": 1,
            "batching": "off",
        }
    )
    with application(settings, clock=clock, market="simulated") as wired:
        yield wired


@pytest.fixture
def signed(service: Application, store_signed: Callable[[Database, int], Prediction]) -> Prediction:
    return store_signed(service.database, 0)


@pytest.fixture
def client(service: Application) -> Iterator[TestClient]:
    with TestClient(create_web(service)) as client:
        yield client


@pytest.fixture
def relay(chain: Any) -> Callable[[dict[str, Any]], Any]:
    """A fresh account sends what the API gave it, as it stands."""
    assert int(chain.ask("eth_getTransactionCount", STRANGER.address, "latest"), 16) == 0
    chain.ask("anvil_setBalance", STRANGER.address, hex(10**17))

    def send(update: dict[str, Any]) -> Any:
        sender = Sender(Rpc([chain.url], chain_id=update["chain_id"]), STRANGER, FeeCaps.of_gwei(100, 2))
        data = bytes.fromhex(update["calldata"].removeprefix("0x"))
        signed = sender.sign(update["contract"], data, update["gas"], 0, sender.fees())
        sender.send(signed.raw)
        return chain.mined(signed.tx_hash)

    return send


@dataclass(frozen=True, slots=True)
class Reader:
    """`ChainlinkReader`, which has its own idea of what is too old."""

    chain: Any
    address: str

    def latest(self) -> Any:
        return self.chain.call(self.address, _LATEST)


@pytest.fixture
def reader(chain: Any, harnesses: dict[str, Contract]) -> Reader:
    """More patient than the feed, so that it is the feed that refuses."""
    arguments = encode(["address", "uint256"], [chain.deployment.feeds[FEED], 10 * MAX_AGE_S])
    return Reader(chain, chain.create(harnesses["ChainlinkReader"], arguments))


def test_update__sent_by_a_stranger__is_the_feeds_round(
    chain: Any, client: TestClient, relay: Callable[..., Any], signed: Prediction
) -> None:
    update = client.get(f"{URL}/update").json()
    assert update["windows"] == [{"feed": FEED, "window_end": iso(signed.window_end_ms)}]
    assert update["published"] is False
    mined = relay(update)
    assert mined.succeeded
    assert chain.published() == [(signed.window_end_ms, mined.tx_hash)]


def test_reader_of_chainlinks_interface__reads_what_the_service_serves(
    client: TestClient, relay: Callable[..., Any], reader: Reader, signed: Prediction
) -> None:
    relay(client.get(f"{URL}/update").json())
    served = client.get(f"{URL}/latest").json()
    assert served["id"] == signed.id
    (answer,) = decode(["uint256"], reader.latest().data)
    assert answer / 1e18 == pytest.approx(served["vol_annualised"], abs=1e-8)


def test_reader_of_chainlinks_interface__sees_round_and_time_of_the_window(
    chain: Any, client: TestClient, relay: Callable[..., Any], signed: Prediction
) -> None:
    relay(client.get(f"{URL}/update").json())
    data = chain.call(chain.deployment.feeds[FEED], _LATEST_ROUND).data
    number, answer, _, updated_at, answered_in = decode(["uint80", "int256", "uint256", "uint256", "uint80"], data)
    assert (number, answered_in, updated_at * 1000) == (1, 1, signed.window_end_ms)
    assert answer > 0


@pytest.mark.usefixtures("signed")
def test_reading__after_max_age__reverts(
    chain: Any, client: TestClient, relay: Callable[..., Any], reader: Reader
) -> None:
    assert reader.latest().error == "NoForecast"
    relay(client.get(f"{URL}/update").json())
    end_s = chain.published()[0][0] // 1000
    chain.pass_time(end_s + MAX_AGE_S - chain.time_s() - 5)
    assert reader.latest().error is None
    chain.pass_time(10)
    assert reader.latest().error == "StaleForecast"


def test_service__after_a_stranger_published__counts_the_window_as_confirmed_by_others(
    chain: Any, service: Application, client: TestClient, relay: Callable[..., Any], signed: Prediction
) -> None:
    mined = relay(client.get(f"{URL}/update").json())
    outcomes = [service.pipeline.submit_next(), service.pipeline.submit_next()]
    assert outcomes == [SubmitOutcome.PUBLISHED_BY_OTHERS, SubmitOutcome.IDLE]
    body = client.get(f"/v1/predictions/{signed.id}").json()
    onchain = body["onchain"]
    assert (body["status"], onchain["state"], onchain["ours"]) == (Status.CONFIRMED, "confirmed", False)
    assert (onchain["tx_hash"], onchain["block_number"]) == (mined.tx_hash, mined.block)
    assert client.get(f"{URL}/update").json()["published"] is True
    service.pipeline.tell()
    assert client.get(URL).json()["chain"]["publishing"]["outcome"] == "published-by-others"
    assert len(chain.published()) == 1
