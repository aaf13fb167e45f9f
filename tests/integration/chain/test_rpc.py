"""Endpoints that fail in every way a public one does, and a real node that takes over."""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from web3.exceptions import BlockNotFound, ContractLogicError, TransactionNotFound

from app.chain.anvil import CHAIN_ID, running_anvil
from app.chain.rpc import Rpc
from app.errors import ChainError, ChainUnavailable, Misconfigured
from app.settings import Settings

SECRETS = ("hunter2", "AccessKey", "token")
AWAY = "http://operator:hunter2@127.0.0.1:9/v3/AccessKey?token=1"


class _Endpoint(http.server.ThreadingHTTPServer):
    """Answers with a status and a body, or as a node of this chain id whose head is block 7."""

    daemon_threads = True
    status, body, chain_id = 200, b"", CHAIN_ID
    error: dict[str, Any] | None = None
    knows_pending = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://operator:hunter2@127.0.0.1:{self.server_port}/v3/AccessKey?token=1"

    def handle_error(self, *_: object) -> None:
        """Who asked has gone: that is what is tested."""

    def answer(self, question: dict[str, Any]) -> bytes:
        self.asked.append(question["method"])
        if self.body:
            return self.body
        head: dict[str, Any] = {"jsonrpc": "2.0", "id": question["id"]}
        if not self.knows_pending and "pending" in question["params"]:
            return json.dumps(head | {"error": {"code": -32602, "message": "unknown block tag"}}).encode()
        if self.error:
            return json.dumps(head | {"error": self.error}).encode()
        return json.dumps(head | {"result": hex(self.chain_id if question["method"] == "eth_chainId" else 7)}).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Endpoint

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = self.server.answer(question)
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def endpoints() -> Iterator[list[_Endpoint]]:
    """Two of them."""
    servers = [_Endpoint(), _Endpoint()]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    yield servers
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


def head(rpc: Rpc) -> int:
    return rpc.ask(lambda eth: int(eth.block_number))


FAULTS: dict[str, Callable[[_Endpoint], object]] = {
    "500": lambda one: setattr(one, "status", 500),
    "502 with a page": lambda one: (setattr(one, "status", 502), setattr(one, "body", b"<html>bad gateway</html>")),
    "401": lambda one: setattr(one, "status", 401),
    "429": lambda one: setattr(one, "status", 429),
    "a page": lambda one: setattr(one, "body", b"<html>AccessKey</html>"),
    "binary": lambda one: setattr(one, "body", b"\xff\xfe\0"),
    "cut off": lambda one: setattr(one, "body", b'{"jsonrpc": "2.0", "id"'),
    "a list": lambda one: setattr(one, "body", b"[]"),
    "no result": lambda one: setattr(one, "body", b"{}"),
    "-32005": lambda one: setattr(one, "error", {"code": -32005, "message": "daily request count exceeded"}),
    "429 within": lambda one: setattr(one, "error", {"code": 429, "message": "too many requests"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_endpoint_fails__the_next_is_asked_and_kept(endpoints: list[_Endpoint], fault: str) -> None:
    first, second = endpoints
    rpc = Rpc([first.url, second.url], timeout_s=5)
    assert head(rpc) == 7
    FAULTS[fault](first)
    assert (head(rpc), second.asked) == (7, ["eth_chainId", "eth_blockNumber"])
    before = len(first.asked)
    assert (head(rpc), len(first.asked)) == (7, before)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_only_endpoint_fails__is_unavailable_by_its_host_alone(
    endpoints: list[_Endpoint], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    FAULTS[fault](endpoints[0])
    with pytest.raises(ChainUnavailable, match=rf"127\.0\.0\.1:{endpoints[0].server_port}") as caught:
        head(Rpc([endpoints[0].url], timeout_s=5))
    assert not [secret for secret in SECRETS if secret in f"{caught.value} {caplog.text}"]


def test_all_endpoints_away__is_unavailable_and_no_log_shows_more_than_hosts(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ChainUnavailable, match=r"127\.0\.0\.1:9 does not answer"):
        head(Rpc([AWAY, AWAY], timeout_s=5))
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert told == ["the RPC endpoint at 127.0.0.1:9 does not answer: ConnectionError"] * 2
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_endpoint_that_stays_away__is_logged_once_and_again_after_it_was_there(
    endpoints: list[_Endpoint], caplog: pytest.LogCaptureFixture
) -> None:
    rpc = Rpc([one.url for one in endpoints], timeout_s=5)
    for first, second in ((500, 500), (500, 500), (200, 500), (500, 500)):
        endpoints[0].status, endpoints[1].status = first, second
        with contextlib.suppress(ChainUnavailable):
            head(rpc)
    hosts = [f"127.0.0.1:{one.server_port}" for one in endpoints]
    warned = [record.getMessage().split()[4] for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [hosts[0], hosts[1], hosts[0]]


def test_endpoint_does_not_answer_in_time__the_next_is_asked(endpoints: list[_Endpoint]) -> None:
    slow, fast = endpoints
    goes_on = threading.Event()
    answer = slow.answer

    def answer_late(question: dict[str, Any]) -> bytes:
        goes_on.wait(10)
        return answer(question)

    slow.answer = answer_late  # type: ignore[method-assign]
    try:
        assert head(Rpc([slow.url, fast.url], timeout_s=0.2)) == 7
    finally:
        goes_on.set()


def test_question_that_is_refused__is_not_put_to_the_next(endpoints: list[_Endpoint]) -> None:
    rpc = Rpc([one.url for one in endpoints], timeout_s=5)
    head(rpc)
    endpoints[0].error = {"code": -32000, "message": "insufficient funds for gas"}
    with pytest.raises(ChainError, match="insufficient funds") as caught:
        head(rpc)
    assert not isinstance(caught.value, ChainUnavailable)
    assert endpoints[1].asked == []
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


@pytest.mark.parametrize("knows", [True, False])
def test_or_latest__an_endpoint_without_a_pending_block__is_asked_about_the_last_one(
    endpoints: list[_Endpoint], knows: bool
) -> None:
    endpoints[0].knows_pending = knows
    asked: list[str] = []

    def count(eth: Any, block: Any) -> int:
        asked.append(block)
        return int(eth.get_transaction_count("0x" + "11" * 20, block))

    assert Rpc([endpoints[0].url], timeout_s=5).or_latest(count) == 7
    assert asked == (["pending"] if knows else ["pending", "latest"])


def test_or_latest__an_endpoint_that_is_away__is_not_asked_twice(endpoints: list[_Endpoint]) -> None:
    endpoints[0].status = 500
    with pytest.raises(ChainUnavailable):
        Rpc([endpoints[0].url], timeout_s=5).or_latest(lambda eth, block: eth.get_balance("0x" + "11" * 20, block))
    assert len(endpoints[0].asked) == 1


def test_no_endpoint__says_what_to_set() -> None:
    with pytest.raises(ChainUnavailable, match="VERIREGIME_RPC_URLS"):
        head(Rpc([]))


def test_chain_id__another_than_expected__is_refused_before_anything_is_asked(endpoints: list[_Endpoint]) -> None:
    with pytest.raises(Misconfigured, match=f"is of chain {CHAIN_ID}, expected is 1"):
        head(Rpc([endpoints[0].url], chain_id=1, timeout_s=5))
    assert endpoints[0].asked == ["eth_chainId"]


def test_chain_id__of_a_second_endpoint_is_another__is_refused(endpoints: list[_Endpoint]) -> None:
    rpc = Rpc([one.url for one in endpoints], timeout_s=5)
    assert rpc.chain_id == CHAIN_ID
    endpoints[0].status, endpoints[1].chain_id = 500, 5
    with pytest.raises(Misconfigured, match=f"is of chain 5, expected is {CHAIN_ID}"):
        head(rpc)


def test_chain_id__changed_while_the_endpoint_was_away__is_noticed_when_it_is_back(endpoints: list[_Endpoint]) -> None:
    rpc = Rpc([endpoints[0].url], timeout_s=5)
    head(rpc)
    endpoints[0].status = 500
    with pytest.raises(ChainUnavailable):
        head(rpc)
    endpoints[0].status, endpoints[0].chain_id = 200, 5
    with pytest.raises(Misconfigured, match="is of chain 5"):
        head(rpc)


def test_a_real_node__takes_over_and_its_answers_pass_through(endpoints: list[_Endpoint], settings: Settings) -> None:
    endpoints[0].status = 503
    revert: Any = {"data": "0x60006000fd"}  # as creation code: PUSH1 0 PUSH1 0 REVERT
    with running_anvil(settings.contracts_dir) as url:
        rpc = Rpc([AWAY, endpoints[0].url, url], chain_id=CHAIN_ID, timeout_s=5)
        assert head(rpc) == 0
        for question, answer in (
            (lambda eth: eth.get_block(1_000), BlockNotFound),
            (lambda eth: eth.get_transaction("0x" + "ab" * 32), TransactionNotFound),
            (lambda eth: eth.get_transaction_receipt("0x" + "ab" * 32), TransactionNotFound),
            (lambda eth: eth.call(revert), ContractLogicError),
        ):
            with pytest.raises(answer):
                rpc.ask(question)
    with pytest.raises(ChainUnavailable):
        head(rpc)
