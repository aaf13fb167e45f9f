"""What the service makes of attesters that do not answer as they should."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.chain.account import Account
from app.chain.attestation import sign
from app.steps.attester_client import AttesterClient, Question
from app.types import AttestationOutcome, Claim, ModelId, OracleAt

ACCOUNT = Account.from_secret("0x" + "11" * 32, None, "attester")
CLAIM = Claim((("btc-usdt-4h", 1_757_937_600_000),), ModelId("ab" * 32), b"\x01" * 32, joint=False)
QUESTION = Question(OracleAt(31337, "0x5FbDB2315678afecb367f032d93F642f64180aa3"), CLAIM, ((1, 2, 3),))
SIGNED = sign(ACCOUNT, QUESTION.oracle, CLAIM)
GOOD = {
    "outcome": "signed",
    "signer": SIGNED.signer,
    "r": "0x" + SIGNED.r.hex(),
    "vs": "0x" + SIGNED.vs.hex(),
}
Reply = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def attester() -> Iterator[Any]:
    """An attester that gives the replies that a test puts into its list, the last one again and again."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
            replies: list[Reply] = self.server.replies  # type: ignore[attr-defined]
            (replies.pop(0) if len(replies) > 1 else replies[0])(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.replies = [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def reply(status: int, body: Any, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(raw)

    return send


def test_signature__of_the_signer_it_names__is_taken(attester: Any) -> None:
    attester.replies.append(reply(200, GOOD))
    answer = AttesterClient(attester.url + "/", 2).ask(QUESTION)
    assert (answer.outcome, answer.signature) == (AttestationOutcome.SIGNED, SIGNED)
    assert attester.asked == [
        {
            "chain_id": 31337,
            "contract": QUESTION.oracle.contract,
            "model_id": "ab" * 32,
            "windows": [{"feed": "btc-usdt-4h", "window_end": "2025-09-15T12:00:00Z", "observation": [1, 2, 3]}],
            "joint": False,
            "input_commitment": "0x" + "01" * 32,
        }
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (GOOD | {"signer": "0x" + "22" * 20}, "is not from there"),
        (GOOD | {"r": "0x12"}, "not in form"),
        (GOOD | {"vs": "0x" + "ff" * 32}, "upper half"),
        ({"outcome": "signed"}, "not in form"),
    ],
    ids=["another signer", "short", "malleable", "nothing"],
)
def test_answer__that_is_no_signature_over_the_claim__is_invalid(attester: Any, body: Any, words: str) -> None:
    attester.replies.append(reply(200, body))
    answer = AttesterClient(attester.url, 2).ask(QUESTION)
    assert (answer.outcome, answer.signature) == (AttestationOutcome.INVALID, None)
    assert words in (answer.reason or "")


@pytest.mark.parametrize(
    ("said", "outcome", "reason"),
    [
        (
            reply(409, {"reason": "inputs-differ", "detail": "input\n3\x1b[2J" + "x" * 900}),
            AttestationOutcome.REFUSED,
            "inputs-differ: input 3",
        ),
        (reply(400, {"detail": "chain_id: no"}), AttestationOutcome.REFUSED, "chain_id: no"),
        (reply(302, b"{}", Location="http://127.0.0.1:1"), AttestationOutcome.REFUSED, "no reason given"),
        (reply(500, {"detail": "bug"}), AttestationOutcome.UNREACHABLE, "answered 500: bug"),
        (reply(502, b"<html>"), AttestationOutcome.UNREACHABLE, "answered 502: nothing legible"),
        (reply(200, b"[]"), AttestationOutcome.UNREACHABLE, "answered 200: nothing legible"),
        (reply(200, b"x" * 70_000), AttestationOutcome.UNREACHABLE, "no answer: ValueError"),
    ],
    ids=["refusal", "bad request", "redirect", "bug", "proxy", "list", "flood"],
)
def test_answer__without_a_signature__is_told_apart(
    attester: Any, said: Reply, outcome: AttestationOutcome, reason: str
) -> None:
    attester.replies.append(said)
    answer = AttesterClient(attester.url, 2).ask(QUESTION)
    assert answer.outcome is outcome
    assert (answer.reason or "").startswith(reason)
    assert len(answer.reason or "") <= 420
    assert (answer.reason or "").isprintable()


def test_not_now__is_asked_again_when_it_says_so_while_there_is_time(attester: Any) -> None:
    later = reply(503, {"reason": "market-incomplete", "detail": "soon"}, Retry_After="1")
    attester.replies += [later, reply(200, GOOD)]
    assert AttesterClient(attester.url, 5).ask(QUESTION).outcome is AttestationOutcome.SIGNED
    attester.replies[:] = [later]
    answer = AttesterClient(attester.url, 0.5).ask(QUESTION)
    assert (answer.outcome, answer.reason) == (
        AttestationOutcome.UNREACHABLE,
        "answered 503: market-incomplete: soon",
    )


def test_attester__that_drips_its_answer__is_given_up_at_the_limit(attester: Any) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "60000")
        handler.end_headers()
        for _ in range(20):
            try:
                handler.wfile.write(b" ")
                time.sleep(0.2)
            except OSError:
                return

    attester.replies.append(drip)
    started = time.monotonic()
    answer = AttesterClient(attester.url, 0.5).ask(QUESTION)
    assert answer.outcome is AttestationOutcome.UNREACHABLE
    assert time.monotonic() - started < 2


def test_attester__that_is_not_there__is_unreachable() -> None:
    answer = AttesterClient("http://127.0.0.1:1", 2).ask(QUESTION)
    assert (answer.outcome, answer.reason) == (AttestationOutcome.UNREACHABLE, "no answer: ConnectionError")


def test_password_in_the_url__is_sent_but_not_shown(attester: Any) -> None:
    attester.replies.append(reply(200, GOOD))
    client = AttesterClient(attester.url.replace("http://", "http://service:secret@") + "/btc/", 2)
    assert client.ask(QUESTION).outcome is AttestationOutcome.SIGNED
    assert client.name == f"{attester.url}/btc"
    assert "secret" not in client.name + client.host
