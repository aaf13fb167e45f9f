"""Two of three attesters must sign: what the service does when one is down, one sees another market, or two are down.

The attesters are processes of their own; the third watches a market that has nothing to do with the others'.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from eth_utils.crypto import keccak
from fastapi.testclient import TestClient
from pydantic import AnyHttpUrl, SecretStr

from app.chain.account import Account
from app.chain.anvil import ATTESTER_KEYS, KEY, running_anvil
from app.chain.attestation import feed_id
from app.clock import Clock
from app.demo import SIMULATED_VENUES, MarketOptions, deploy_for, running_attester, running_market, venue_urls
from app.once import confirm, prove
from app.settings import Settings
from app.steps.attest import AttestOutcome
from app.steps.publishing import SubmitOutcome
from app.types import MINUTE_MS, Prediction, iso
from app.web.application import create_web
from app.wiring import Application, Onchain, application, oracle_target

FEED = "btc-usdt-4h"
SIGNERS = [Account.from_secret(key, None, "attester").address for key in ATTESTER_KEYS]
_PUBLISHED = "0x" + keccak(text="ForecastPublished(bytes32,uint64,bytes32,uint64,uint8,uint256,uint256)").hex()


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


@dataclass(frozen=True, slots=True)
class Case:
    """What happened to one window."""

    prediction: Prediction
    outcome: AttestOutcome
    answers: dict[str, dict[str, Any]]
    """By the attester's host, as the API shows them."""
    published: list[int]
    """Windows that came onto the chain."""
    said: list[str]
    """Log lines."""


@dataclass
class Oracle:
    """A service without a key of its own to attest with, and its three attesters."""

    app: Application
    client: TestClient
    rpc_url: str
    hosts: list[str]
    running: list[ExitStack]
    next_end_ms: int

    def end_attester(self, number: int) -> None:
        self.running[number].close()

    def attested(self, prediction: Prediction) -> Case:
        """Signatures are asked for once, and whatever is signed goes on chain."""
        said = Heard()
        logging.getLogger("app.steps").addHandler(said)
        before = self.windows_on_chain()
        try:
            outcome = self.app.pipeline.attest_next()
            answers = self._answers(prediction)
        finally:
            logging.getLogger("app.steps").removeHandler(said)
        if outcome is AttestOutcome.ATTESTED:
            confirm(self.app)
        published = [end_ms for end_ms in self.windows_on_chain() if end_ms not in before]
        return Case(prediction, outcome, answers, published, said.lines)

    def _answers(self, prediction: Prediction) -> dict[str, dict[str, Any]]:
        """Of every attester; one that is not needed any more may answer a moment later."""
        give_up = time.monotonic() + 10
        while len(found := self.attestations(prediction)) < len(self.hosts) and time.monotonic() < give_up:
            time.sleep(0.05)
        return found

    def proved(self) -> Prediction:
        """The next minute, proved."""
        prediction, added = self.app.pipeline.forecast(FEED, self.next_end_ms)
        assert added
        self.next_end_ms += MINUTE_MS
        prove(self.app, prediction.id)
        return prediction

    def attestations(self, prediction: Prediction) -> dict[str, dict[str, Any]]:
        """What the API says that each attester answered, by its host."""
        body = self.client.get(f"/v1/predictions/{prediction.id}", params={"include": "attestations"}).json()
        return {found["attester"]: found for found in body["attestations"]}

    def windows_on_chain(self) -> list[int]:
        target = self.app.pipeline.target
        assert target is not None
        wanted = {
            "address": target.oracle.contract,
            "fromBlock": "0x0",
            "topics": [_PUBLISHED, "0x" + feed_id(FEED).hex()],
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [wanted]}
        found = requests.post(self.rpc_url, json=body, timeout=10).json()["result"]
        return [int(entry["topics"][2], 16) * 1000 for entry in found]

    def counted(self, number: int, outcome: str) -> float:
        labels = {"attester": self.hosts[number], "outcome": outcome}
        return self.app.metrics.registry.get_sample_value("veriregime_attestations_total", labels) or 0


@pytest.fixture(scope="module")
def oracle(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    folder = tmp_path_factory.mktemp("three")
    with ExitStack() as stack:
        market, clock = stack.enter_context(running_market(MarketOptions(seed=1)))
        other, _ = stack.enter_context(running_market(MarketOptions(seed=2)))
        rpc_url = stack.enter_context(running_anvil(settings.contracts_dir, "--timestamp", str(clock.now_ms() // 1000)))
        service = settings.model_copy(
            update={
                "venue_urls": venue_urls(market, SIMULATED_VENUES),
                "settle_s": 0.2,
                "database_url": SecretStr(f"sqlite:///{folder / 'service.db'}"),
                "rpc_urls": (AnyHttpUrl(rpc_url),),
                "deployments_dir": folder,
                "submitter_key": SecretStr(KEY),
                "confirmations": 1,
                "deviation": 0.0,
                "attest_timeout_s": 5.0,
            }
        )
        urls: list[str] = []
        running = [stack.enter_context(ExitStack()) for _ in ATTESTER_KEYS]

        def onchain(feeds: Any) -> Onchain:
            placed = service.model_copy(update={"oracle_address": deploy_for(service, feeds).oracle})
            urls.extend(_start(placed, clock, [market, market, other], running, folder))
            return Onchain(oracle_target(placed, feeds), [AnyHttpUrl(url) for url in urls])

        app = stack.enter_context(application(service, clock=clock, market="simulated", chain=onchain))
        client = stack.enter_context(TestClient(create_web(app)))
        hosts = [urlsplit(url).netloc for url in urls]
        yield Oracle(app, client, rpc_url, hosts, running, clock.last_minute_ms() - 5 * MINUTE_MS)


def _start(placed: Settings, clock: Clock, markets: list[str], running: list[ExitStack], folder: Path) -> list[str]:
    with ThreadPoolExecutor() as starting:
        begun = [
            starting.submit(
                stack.enter_context,
                running_attester(
                    placed.model_copy(update={"venue_urls": venue_urls(market, SIMULATED_VENUES)}),
                    clock,
                    key,
                    folder / f"attester-{number}",
                ),
            )
            for number, (stack, key, market) in enumerate(zip(running, ATTESTER_KEYS, markets, strict=True))
        ]
    return [one.result() for one in begun]


@pytest.fixture(scope="module")
def one_shifted(oracle: Oracle) -> Case:
    return oracle.attested(oracle.proved())


@pytest.fixture(scope="module")
def one_down(oracle: Oracle, one_shifted: Case) -> Case:
    """The third is gone as well as its market, after it was heard."""
    assert one_shifted.answers
    oracle.end_attester(2)
    return oracle.attested(oracle.proved())


@pytest.fixture(scope="module")
def two_down(oracle: Oracle, one_down: Case) -> Case:
    assert one_down.published
    oracle.end_attester(1)
    return oracle.attested(oracle.proved())


def test_one_attester_of_another_market__refuses_and_says_why(oracle: Oracle, one_shifted: Case) -> None:
    refusal = one_shifted.answers[oracle.hosts[2]]
    assert (refusal["outcome"], refusal["signer"]) == ("refused", None)
    assert refusal["reason"].startswith("inputs-differ: btc-usdt-4h: input ")
    assert "tolerance" in refusal["reason"]
    assert any(line.startswith("WARNING") and refusal["reason"] in line for line in one_shifted.said)
    assert oracle.counted(2, "refused") == 1


def test_one_attester_of_another_market__is_outvoted(oracle: Oracle, one_shifted: Case) -> None:
    assert one_shifted.outcome is AttestOutcome.ATTESTED
    assert one_shifted.published == [one_shifted.prediction.window_end_ms]
    signers = [one_shifted.answers[host]["signer"] for host in oracle.hosts[:2]]
    assert signers == SIGNERS[:2]


def test_one_attester_down__the_feed_goes_on(oracle: Oracle, one_down: Case) -> None:
    assert one_down.outcome is AttestOutcome.ATTESTED
    assert one_down.published == [one_down.prediction.window_end_ms]
    answers = [one_down.answers[host]["outcome"] for host in oracle.hosts]
    assert answers == ["signed", "signed", "unreachable"]
    assert "no answer" in one_down.answers[oracle.hosts[2]]["reason"]
    assert oracle.counted(2, "unreachable") >= 1


def test_two_attesters_down__nothing_goes_on_chain(oracle: Oracle, two_down: Case) -> None:
    assert two_down.outcome is AttestOutcome.SHORT
    assert two_down.published == []
    assert oracle.app.pipeline.submit_next() is SubmitOutcome.IDLE
    assert two_down.answers[oracle.hosts[0]]["outcome"] == "signed"
    assert two_down.prediction.window_end_ms not in oracle.windows_on_chain()


def test_two_attesters_down__alarms(two_down: Case) -> None:
    (alarm,) = [line for line in two_down.said if "ALARM" in line]
    assert alarm.startswith("ERROR ALARM: btc-usdt-4h at ")
    assert "fewer than 2 signatures" in alarm


def test_two_attesters_down__is_told_by_the_api(oracle: Oracle, two_down: Case) -> None:
    assert two_down.outcome is AttestOutcome.SHORT
    oracle.app.pipeline.tell()
    ready, feed = oracle.client.get("/readyz").json(), oracle.client.get(f"/v1/feeds/{FEED}").json()
    for attesting in (ready["attesting"], feed["chain"]["attesting"]):
        assert attesting["outcome"] == "short"
        assert "fewer than 2 signatures" in attesting["detail"]


def test_two_attesters_down__is_counted(oracle: Oracle, two_down: Case) -> None:
    assert two_down.outcome is AttestOutcome.SHORT
    assert [oracle.counted(number, "signed") for number in range(3)] == [3, 2, 0]
    assert oracle.counted(1, "unreachable") >= 1


def test_update__of_a_window_that_lacks_signatures__is_the_last_one_that_has_them(
    oracle: Oracle, one_down: Case, two_down: Case
) -> None:
    """Which is on the chain already."""
    assert two_down.outcome is AttestOutcome.SHORT
    update = oracle.client.get(f"/v1/feeds/{FEED}/update").json()
    assert [window["window_end"] for window in update["windows"]] == [iso(one_down.prediction.window_end_ms)]
    assert update["published"] is True
