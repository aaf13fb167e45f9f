"""What can go wrong between a signed update and its round: in the end there is one round per window, and the store
says so.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from app.chain.account import Account
from app.chain.anvil import KEY
from app.chain.registry import OracleReader
from app.chain.rounds import Rounds
from app.chain.rpc import Rpc
from app.chain.sender import FeeCaps, Fees, Sender
from app.chain.updates import update_calldata
from app.clock import Clock
from app.metrics import Metrics
from app.steps.publishing import OracleTarget, PublishingPolicy, SubmitOutcome
from app.steps.submit import SubmitStep
from app.store.database import Database
from app.types import MINUTE_MS, Prediction, Status, TransactionState

FEED = "btc-usdt-4h"
GWEI = 10**9
REPLACE_AFTER_MS = 300
SUBMISSION_LIMIT_MS = 900_000
STRANGER_KEY = "0x" + "17" * 32
EVERYTHING = PublishingPolicy(heartbeat_ms=1, deviation=0.0, replace_after_ms=REPLACE_AFTER_MS)
"""Every window is due."""

SUBMITTER = """
import sys
from pathlib import Path
from app.chain.account import Account
from app.chain.registry import OracleReader
from app.chain.rounds import Rounds
from app.chain.rpc import Rpc
from app.chain.sender import FeeCaps, Sender
from app.clock import Clock
from app.metrics import Metrics
from app.steps.publishing import OracleTarget, PublishingPolicy
from app.steps.submit import SubmitStep
from app.store.database import Database

url, oracle, key, database, migrations, market_start_ms, wall_start_ms, stop_at = sys.argv[1:]

def stop():
    print("there", flush=True)
    sys.stdin.read()

class Stopping(Sender):
    def send(self, raw):
        if stop_at == "stored":
            stop()
        super().send(raw)
        if stop_at == "sent":
            stop()

rpc = Rpc([url])
reader = OracleReader(rpc, oracle)
sender = Stopping(rpc, Account.from_secret(key, None, "submitter"), FeeCaps.of_gwei(100, 2))
target = OracleTarget(reader.oracle, reader, Rounds(rpc, reader.oracle), sender)
clock = Clock(int(market_start_ms), int(wall_start_ms))
policy = PublishingPolicy(heartbeat_ms=1, deviation=0.0, replace_after_ms=300_000)
store = Database(database, Path(migrations))
step = SubmitStep(["btc-usdt-4h"], store, clock, Metrics(), target, policy)
for line in sys.stdin:
    print(step.next(), flush=True)
"""
"""A service's submitter, a step for each line that it is given, which stands still where it is to be killed."""


@dataclass
class Line:
    """The way to the chain, which can be cut: for everything, or as one kind of request passes."""

    chain_url: str
    cut: bool = False
    loses_request: str | None = None
    loses_answer: str | None = None
    rewrites: Callable[[bytes], bytes] = bytes
    carried: list[str] = field(default_factory=list)
    url: str = ""

    def carry(self, method: str, body: bytes) -> bytes | None:
        if self.cut or method == self.loses_request:
            return None
        answer = requests.post(self.chain_url, data=body, headers={"Content-Type": "application/json"}, timeout=30)
        self.carried.append(method)
        return None if method == self.loses_answer else self.rewrites(answer.content)


@contextmanager
def line_to(chain_url: str) -> Iterator[Line]:
    line = Line(chain_url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: the second of two would wait for the first's acknowledgement

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = line.carry(json.loads(body)["method"], body)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        line.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield line
        server.shutdown()


@pytest.fixture
def line(chain: Any) -> Iterator[Line]:
    with line_to(chain.url) as line:
        yield line


@pytest.fixture
def submitter(chain: Any) -> Account:
    return Account.from_secret(KEY, None, "submitter")


Step = Callable[..., SubmitStep]
Sign = Callable[[int], Prediction]


@pytest.fixture
def make_step(chain: Any, line: Line, clock: Clock, submitter: Account, sqlite_database: Database) -> Step:
    """A submitter that knows nothing but the store: what a fresh process is."""

    def make(later_ms: int = 0, **policy: Any) -> SubmitStep:
        at = replace(clock, market_start_ms=clock.market_start_ms + later_ms)
        rpc = Rpc([line.url], timeout_s=5)
        reader = OracleReader(rpc, chain.oracle.contract)
        sender = Sender(rpc, submitter, FeeCaps.of_gwei(100, 2))
        target = OracleTarget(reader.oracle, reader, Rounds(rpc, reader.oracle), sender)
        return SubmitStep([FEED], sqlite_database, at, Metrics(), target, replace(EVERYTHING, **policy))

    return make


@pytest.fixture
def sign(store_signed: Callable[[Database, int], Prediction], sqlite_database: Database) -> Sign:
    """A window with its proof and signatures in the store, as the service has it before it submits."""
    return lambda number: store_signed(sqlite_database, number)


@pytest.fixture
def settled(chain: Any, sqlite_database: Database, submitter: Account) -> Callable[..., None]:
    """Holds if these windows have one round each, and the store says of each what the chain says."""

    def check(*expected: Prediction, ours: bool = True) -> None:
        published = chain.published()
        assert [end_ms for end_ms, _ in published] == [one.window_end_ms for one in expected]
        by_window = dict(published)
        with sqlite_database.unit_of_work(write=False) as store:
            found = store.submissions.of([one.id for one in expected])
            stored = [store.predictions.get(one.id) for one in expected]
            assert store.submissions.sent(chain.oracle.chain_id, submitter.address) == []
        assert [one.status for one in stored if one] == [Status.CONFIRMED] * len(expected)
        for one in expected:
            submission = found[one.id]
            assert (submission.tx_hash, submission.ours) == (by_window[one.window_end_ms], ours)
            assert submission.state is TransactionState.CONFIRMED
            assert submission.block_number == chain.mined(submission.tx_hash).block

    return check


@pytest.fixture
def kept(tmp_path: Path, sqlite_database: Database) -> Callable[[], list[tuple[int, str, str]]]:
    """Nonce, state and hash of every transaction in the store."""

    def rows() -> list[tuple[int, str, str]]:
        with closing(sqlite3.connect(tmp_path / "oracle.db")) as connection:
            return connection.execute(
                "SELECT nonce, state, tx_hash FROM transactions ORDER BY nonce, sent_at_ms"
            ).fetchall()

    return rows


def outcomes_until(step: SubmitStep, last: SubmitOutcome, within_s: float = 10) -> list[SubmitOutcome]:
    """Steps until one ends so; without repetitions."""
    give_up, seen = time.monotonic() + within_s, [step.next()]
    while seen[-1] is not last:
        assert time.monotonic() < give_up, f"{seen}: {step.last}"
        time.sleep(0.02)
        outcome = step.next()
        if outcome is not seen[-1]:
            seen.append(outcome)
    return seen


@pytest.mark.parametrize("outage_s", [1, pytest.param(60, marks=pytest.mark.slow)])
def test_endpoint_away__before_anything_was_sent__publishes_the_newest_once_it_is_back(
    make_step: Step, sign: Sign, line: Line, settled: Callable[..., None], outage_s: float
) -> None:
    step = make_step()
    first = sign(0)
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)
    line.cut = True
    second = sign(1)
    give_up = time.monotonic() + outage_s
    while time.monotonic() < give_up:
        assert step.next() is SubmitOutcome.CHAIN_UNAVAILABLE
        time.sleep(0.1)
    third = sign(2)
    line.cut = False
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)[-1] is SubmitOutcome.CONFIRMED
    assert outcomes_until(step, SubmitOutcome.IDLE) == [SubmitOutcome.IDLE]
    settled(first, third)
    assert second.window_end_ms < third.window_end_ms


@pytest.mark.parametrize("outage_s", [1, pytest.param(60, marks=pytest.mark.slow)])
def test_endpoint_away__with_a_transaction_on_its_way__finds_it_again(
    chain: Any, make_step: Step, sign: Sign, line: Line, settled: Callable[..., None], outage_s: float
) -> None:
    chain.ask("evm_setAutomine", False)
    step, first = make_step(replace_after_ms=300_000), sign(0)
    assert step.next() is SubmitOutcome.SENT
    line.cut = True
    chain.mine()
    give_up = time.monotonic() + outage_s
    while time.monotonic() < give_up:
        assert step.next() is SubmitOutcome.CHAIN_UNAVAILABLE
        time.sleep(0.1)
    second = sign(1)
    chain.ask("evm_setAutomine", True)
    line.cut = False
    assert outcomes_until(step, SubmitOutcome.IDLE, 15)[-1] is SubmitOutcome.IDLE
    settled(first, second)


@pytest.mark.parametrize("loses", ["loses_request", "loses_answer"])
def test_endpoint_away__as_the_transaction_is_sent__publishes_once(
    make_step: Step, sign: Sign, line: Line, settled: Callable[..., None], kept: Callable[[], Any], loses: str
) -> None:
    step, only = make_step(), sign(0)
    setattr(line, loses, "eth_sendRawTransaction")
    assert step.next() is SubmitOutcome.CHAIN_UNAVAILABLE
    setattr(line, loses, None)
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)
    assert outcomes_until(step, SubmitOutcome.IDLE) == [SubmitOutcome.IDLE]
    settled(only)
    assert line.carried.count("eth_sendRawTransaction") == 1
    assert len(kept()) == 1


def test_transaction_below_the_base_fee__is_replaced_and_the_replacement_mined(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], kept: Callable[[], Any]
) -> None:
    only = stuck(chain, step := make_step(), sign)
    (nonce, _, before), *_ = kept()
    outcomes_until(step, SubmitOutcome.REPLACED)
    chain.mine()
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)
    settled(only)
    ((kept_nonce, state, after),) = kept()
    assert (kept_nonce, state) == (nonce, TransactionState.CONFIRMED)
    assert after != before


def test_transaction_below_the_base_fee__is_replaced_as_often_as_it_takes(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], kept: Callable[[], Any]
) -> None:
    only = stuck(chain, step := make_step(), sign)
    outcomes_until(step, SubmitOutcome.REPLACED)
    chain.ask("anvil_setNextBlockBaseFeePerGas", hex(80 * GWEI))  # that one offers twice 30
    outcomes_until(step, SubmitOutcome.REPLACED)
    chain.mine()
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)
    settled(only)
    assert len(kept()) == 1


def test_transaction_below_the_base_fee__beyond_the_cap__waits_for_the_fee_to_fall(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None]
) -> None:
    only = stuck(chain, step := make_step(), sign, base_gwei=200)
    assert outcomes_until(step, SubmitOutcome.FEES_TOO_HIGH)[-1] is SubmitOutcome.FEES_TOO_HIGH
    chain.ask("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    chain.mine()
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)
    settled(only)


def test_older_attempt__mined_after_its_replacement_was_stored__is_the_one_that_counts(
    chain: Any, make_step: Step, sign: Sign, line: Line, settled: Callable[..., None], kept: Callable[[], Any]
) -> None:
    only = stuck(chain, step := make_step(), sign)
    ((_, _, older),) = kept()
    line.loses_request = "eth_sendRawTransaction"
    outcomes_until(step, SubmitOutcome.CHAIN_UNAVAILABLE)
    assert len(kept()) == 2
    line.loses_request = None
    chain.ask("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    chain.mine()
    assert outcomes_until(step, SubmitOutcome.CONFIRMED) == [SubmitOutcome.CONFIRMED]
    settled(only)
    assert kept() == [(kept()[0][0], TransactionState.CONFIRMED, older)]


def test_transaction_stuck_beyond_the_submission_limit__is_cancelled_and_the_next_window_published(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], sqlite_database: Database
) -> None:
    late, step = stuck(chain, make_step(), sign), make_step(later_ms=14 * MINUTE_MS)
    assert outcomes_until(step, SubmitOutcome.REPLACED)
    chain.mine()
    assert outcomes_until(step, SubmitOutcome.CANCELLED)
    with sqlite_database.unit_of_work(write=False) as store:
        found = store.predictions.get(late.id)
        assert store.submissions.of([late.id]) == {}
    assert found is not None
    assert found.status is Status.PROVED
    chain.ask("evm_setAutomine", True)
    newer, step = sign(1), make_step()
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)
    settled(newer)


def stuck(chain: Any, step: SubmitStep, sign: Sign, base_gwei: int = 30) -> Prediction:
    """A window whose transaction waits in the chain's pool, for the base fee has risen beyond what it offers."""
    chain.ask("evm_setAutomine", False)
    only = sign(0)
    assert step.next() is SubmitOutcome.SENT
    chain.ask("anvil_setNextBlockBaseFeePerGas", hex(base_gwei * GWEI))
    return only


def test_transaction_below_the_base_fee__that_the_chain_dropped__is_replaced(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], kept: Callable[[], Any]
) -> None:
    """Not taken back either until it offers more."""
    only = stuck(chain, step := make_step(), sign)
    ((_, _, before),) = kept()
    chain.mine()
    assert chain.published() == []
    assert chain.ask("eth_getTransactionByHash", before) is None
    assert outcomes_until(step, SubmitOutcome.REPLACED)
    chain.mine()
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)
    settled(only)


def test_reorg__before_it_counted_as_confirmed__the_update_is_sent_again(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], kept: Callable[[], Any]
) -> None:
    step, only = make_step(confirmations=4), sign(0)
    assert outcomes_until(step, SubmitOutcome.INCLUDED)[-1] is SubmitOutcome.INCLUDED
    chain.mine(2)
    chain.ask("anvil_reorg", 3, [])
    assert chain.published() == []
    assert outcomes_until(step, SubmitOutcome.REORGED)[-1] is SubmitOutcome.REORGED
    assert outcomes_until(step, SubmitOutcome.INCLUDED)[-1] is SubmitOutcome.INCLUDED
    chain.mine(3)
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)
    settled(only)
    assert len(kept()) == 1


def test_reorg__after_it_counted_as_confirmed__the_update_is_sent_again(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None]
) -> None:
    step, only = make_step(), sign(0)
    outcomes_until(step, SubmitOutcome.CONFIRMED)
    chain.mine(2)
    chain.ask("anvil_reorg", 3, [])
    assert chain.published() == []
    assert outcomes_until(step, SubmitOutcome.REORGED) == [SubmitOutcome.REORGED]
    assert outcomes_until(step, SubmitOutcome.CONFIRMED)
    settled(only)


def test_reorg__of_two_updates__both_are_sent_again_in_their_order(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None]
) -> None:
    step = make_step()
    made = []
    for number in range(2):
        made.append(sign(number))
        outcomes_until(step, SubmitOutcome.CONFIRMED)
    chain.mine()
    chain.ask("anvil_reorg", 3, [])
    assert chain.published() == []
    fresh = make_step()
    assert SubmitOutcome.REORGED in outcomes_until(fresh, SubmitOutcome.IDLE)
    settled(*made)


def test_reorg__into_another_block__is_followed(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], kept: Callable[[], Any]
) -> None:
    step, only = make_step(), sign(0)
    outcomes_until(step, SubmitOutcome.CONFIRMED)
    raw = chain.ask("eth_getRawTransactionByHash", kept()[0][2])
    before = chain.mined(kept()[0][2]).block
    chain.mine(2)
    chain.ask("anvil_reorg", 3, [[raw, 1]])
    assert chain.mined(kept()[0][2]).block == before + 1
    assert SubmitOutcome.INCLUDED in outcomes_until(step, SubmitOutcome.IDLE)
    settled(only)


def test_reorg__while_the_service_was_off__is_seen_by_the_next_process(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None]
) -> None:
    only = sign(0)
    outcomes_until(make_step(), SubmitOutcome.CONFIRMED)
    chain.mine(2)
    chain.ask("anvil_reorg", 3, [])
    assert SubmitOutcome.REORGED in outcomes_until(make_step(), SubmitOutcome.CONFIRMED)
    settled(only)


def test_reorg__of_an_update_that_is_too_old_by_then__leaves_no_gap_before_the_next(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], kept: Callable[[], Any]
) -> None:
    """Its nonce is used up by a transaction that does nothing, or the one behind it would wait for good."""
    step, late = make_step(), sign(0)
    outcomes_until(step, SubmitOutcome.CONFIRMED)
    chain.mine(2)
    chain.ask("evm_setAutomine", False)
    newer = sign(1)
    assert step.next() is SubmitOutcome.SENT
    nonces = [nonce for nonce, _, _ in kept()]
    chain.ask("anvil_reorg", 3, [])
    step = make_step(later_ms=SUBMISSION_LIMIT_MS - 6 * MINUTE_MS + 30_000, replace_after_ms=300_000)
    assert outcomes_until(step, SubmitOutcome.REPLACED) == [SubmitOutcome.REORGED, SubmitOutcome.REPLACED]
    chain.mine()
    assert outcomes_until(step, SubmitOutcome.CANCELLED) == [SubmitOutcome.CANCELLED]
    assert outcomes_until(step, SubmitOutcome.CONFIRMED) == [SubmitOutcome.CONFIRMED]
    settled(newer)
    assert late.window_end_ms < newer.window_end_ms
    assert [nonce for nonce, _, _ in kept()] == nonces


@contextmanager
def submitter_process(chain: Any, database: Path, clock: Clock, stop_at: str = "nowhere") -> Iterator[Any]:
    root = Path(__file__).resolve().parents[3]
    arguments = (
        *(chain.url, chain.oracle.contract, KEY, f"sqlite:///{database}", str(root / "migrations")),
        *(str(clock.market_start_ms), str(clock.wall_start_ms), stop_at),
    )
    process = subprocess.Popen(
        [sys.executable, "-c", SUBMITTER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def ask(process: Any) -> str:
    """One step of the other process, or where it stands still."""
    process.stdin.write("\n")
    process.stdin.flush()
    return str(process.stdout.readline().strip())


@pytest.mark.parametrize(("stop_at", "mined_meanwhile"), [("stored", False), ("sent", False), ("sent", True)])
def test_process_killed__goes_on_with_the_same_transaction(
    chain: Any,
    sign: Sign,
    clock: Clock,
    tmp_path: Path,
    settled: Callable[..., None],
    kept: Callable[[], Any],
    stop_at: str,
    mined_meanwhile: bool,
) -> None:
    """Between storing the hash and sending, and between sending and the receipt."""
    chain.ask("evm_setAutomine", False)
    first = sign(0)
    with submitter_process(chain, tmp_path / "oracle.db", clock, stop_at) as process:
        assert ask(process) == "there"
        os.kill(process.pid, signal.SIGKILL)
    ((nonce, state, tx_hash),) = kept()
    assert state == TransactionState.SENT
    assert (chain.ask("eth_getTransactionByHash", tx_hash) is None) == (stop_at == "stored")
    if mined_meanwhile:
        chain.mine()
    second = sign(1)
    chain.ask("evm_setAutomine", True)
    with submitter_process(chain, tmp_path / "oracle.db", clock) as process:
        seen = [ask(process)]
        give_up = time.monotonic() + 15
        while seen[-1] != SubmitOutcome.IDLE and time.monotonic() < give_up:
            if seen[-1] == SubmitOutcome.PENDING:
                chain.mine()
            seen.append(ask(process))
    assert seen.count(SubmitOutcome.CONFIRMED) == 2
    settled(first, second)
    (first_nonce, _, first_hash), (second_nonce, _, _) = kept()
    assert (first_nonce, first_hash, second_nonce) == (nonce, tx_hash, nonce + 1)


@pytest.fixture
def relayed(chain: Any, windows: list[Any], signatures: Callable[..., Any]) -> Callable[[int], None]:
    """Somebody else sends a window's update, and offers more for it than we do."""
    stranger = Account.from_secret(STRANGER_KEY, None, "submitter")
    chain.ask("anvil_setBalance", stranger.address, hex(10**18))

    def send(number: int) -> None:
        made, sender = windows[number], Sender(Rpc([chain.url]), stranger, FeeCaps.of_gwei(100, 50))
        calldata = update_calldata(made.claim, made.proof, signatures(made.claim, chain.oracle))
        nonce = sender.nonces()[0]
        sender.send(sender.sign(chain.oracle.contract, calldata, 800_000, nonce, Fees(50 * GWEI, 20 * GWEI)).raw)

    return send


def test_update_of_somebody_else__overtakes_ours__the_window_is_theirs(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], relayed: Callable[[int], None]
) -> None:
    """Ours reverts."""
    chain.ask("evm_setAutomine", False)
    step, first = make_step(replace_after_ms=300_000), sign(0)
    assert step.next() is SubmitOutcome.SENT
    relayed(0)
    chain.mine()
    assert SubmitOutcome.REVERTED in outcomes_until(step, SubmitOutcome.IDLE)
    settled(first, ours=False)


def test_reorg__of_ours_and_of_what_overtook_it__the_window_is_published_anew(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], relayed: Callable[[int], None]
) -> None:
    chain.ask("evm_setAutomine", False)
    step, first = make_step(replace_after_ms=300_000), sign(0)
    assert step.next() is SubmitOutcome.SENT
    relayed(0)
    chain.mine()
    outcomes_until(step, SubmitOutcome.IDLE)
    chain.ask("evm_setAutomine", True)
    chain.mine(2)
    chain.ask("anvil_reorg", 3, [])
    assert chain.published() == []
    assert SubmitOutcome.REORGED in outcomes_until(step, SubmitOutcome.CONFIRMED)
    outcomes_until(step, SubmitOutcome.IDLE)
    settled(first)


def test_reorg__of_somebody_elses_update__ours_takes_its_place(
    chain: Any, make_step: Step, sign: Sign, settled: Callable[..., None], relayed: Callable[[int], None]
) -> None:
    step, only = make_step(), sign(0)
    relayed(0)
    assert outcomes_until(step, SubmitOutcome.IDLE) == [SubmitOutcome.PUBLISHED_BY_OTHERS, SubmitOutcome.IDLE]
    settled(only, ours=False)
    chain.mine(2)
    chain.ask("anvil_reorg", 3, [])
    assert SubmitOutcome.REORGED in outcomes_until(step, SubmitOutcome.CONFIRMED)
    settled(only)


def test_chain_whose_blocks_hold_signatures__is_published_to(
    make_step: Step, sign: Sign, line: Line, settled: Callable[..., None]
) -> None:
    """Proof of authority: 97 bytes and more of extra data, where Ethereum has 32."""
    line.rewrites = lambda answer: re.sub(rb'"extraData":"0x[^"]*"', b'"extraData":"0x' + b"ab" * 97 + b'"', answer)
    step, only = make_step(), sign(0)
    outcomes_until(step, SubmitOutcome.CONFIRMED)
    settled(only)
