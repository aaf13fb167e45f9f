"""The ladder: what is signed, and each reason for which it is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.attester.proposal import Proposal, Refusal, Refused, Signed
from app.chain.account import Account
from app.chain.attestation import signer_of
from app.chain.registry import ModelState
from app.clock import Clock, wall_ms
from app.errors import ProverDied
from app.types import MINUTE_MS, ModelId, OracleAt

BTC, ETH = "btc-usdt-4h", "eth-usdt-4h"
ADDRESS = Account.from_secret("0x" + "11" * 32, None, "attester").address
ORACLE = OracleAt(31337, "0x5FbDB2315678afecb367f032d93F642f64180aa3")
Change = Callable[[Proposal], Proposal]


def refused(bench: Any, proposal: Proposal) -> Refused:
    answer = bench.judge.answer(proposal)
    assert isinstance(answer, Refused)
    return answer


def test_proposal__of_what_the_attester_sees__is_signed_over_its_claim(bench: Any, window_end_ms: int) -> None:
    proposal = bench.proposal(bench.window(window_end_ms))
    answer = bench.judge.answer(proposal)
    assert isinstance(answer, Signed)
    assert signer_of(ORACLE, proposal.claim, answer.signature) == answer.signature.signer == ADDRESS


def test_proposal__asked_again__has_the_same_answer(bench: Any, window_end_ms: int) -> None:
    proposal = bench.proposal(bench.window(window_end_ms))
    assert bench.judge.answer(proposal) == bench.judge.answer(proposal)


def test_proposal__within_the_tolerance__is_signed_with_the_inputs_of_the_proposer(
    bench: Any, window_end_ms: int
) -> None:
    proposal = bench.proposal(bench.window(window_end_ms, i0=40, i30=-20, i65=32))
    answer = bench.judge.answer(proposal)
    assert isinstance(answer, Signed)
    assert signer_of(ORACLE, proposal.claim, answer.signature) == ADDRESS


def test_joint_proposal__is_signed_as_one_claim(bench: Any, window_end_ms: int) -> None:
    windows = [bench.window(window_end_ms, feed) for feed in (ETH, BTC)]
    proposal = bench.proposal(*windows, joint=True)
    answer = bench.judge.answer(proposal)
    assert isinstance(answer, Signed)
    assert proposal.claim.windows == ((ETH, window_end_ms), (BTC, window_end_ms))
    assert signer_of(ORACLE, proposal.claim, answer.signature) == ADDRESS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: replace(p, oracle=replace(p.oracle, chain_id=1)), Refusal.OTHER_ORACLE),
        (lambda p: replace(p, oracle=replace(p.oracle, contract="0x" + "22" * 20)), Refusal.OTHER_ORACLE),
        (lambda p: replace(p, windows=(replace(p.windows[0], feed="xrp-usdt-4h"),)), Refusal.UNKNOWN_FEED),
        (lambda p: replace(p, model_id=ModelId("cd" * 32)), Refusal.UNKNOWN_MODEL),
        (lambda p: replace(p, windows=p.windows * 2), Refusal.IMPOSSIBLE_INPUTS),
        (lambda p: replace(p, windows=p.windows * 2, joint=True), Refusal.IMPOSSIBLE_INPUTS),
        (lambda p: replace(p, windows=(replace(p.windows[0], values=(0,) * 84),)), Refusal.IMPOSSIBLE_INPUTS),
        (lambda p: replace(p, windows=(replace(p.windows[0], values=(513,) * 85),)), Refusal.IMPOSSIBLE_INPUTS),
        (lambda p: replace(p, joint=True), Refusal.COMMITMENT_DIFFERS),
        (lambda p: replace(p, input_commitment=b"\x05" * 32), Refusal.COMMITMENT_DIFFERS),
    ],
    ids=[
        "chain",
        "contract",
        "feed",
        "model",
        "windows of a single proof",
        "feed twice",
        "too few inputs",
        "input beyond the clip",
        "circuit",
        "commitment",
    ],
)
def test_proposal__that_cannot_hold__is_refused_for_good(
    bench: Any, window_end_ms: int, change: Change, reason: Refusal
) -> None:
    answer = refused(bench, change(bench.proposal(bench.window(window_end_ms))))
    assert (answer.reason, answer.retry_after_s) == (reason, None)


def test_contract_address__in_lower_case__is_the_same_oracle(bench: Any, window_end_ms: int) -> None:
    proposal = bench.proposal(bench.window(window_end_ms))
    lower = replace(proposal, oracle=replace(proposal.oracle, contract=proposal.oracle.contract.lower()))
    assert bench.judge.answer(lower) == bench.judge.answer(proposal)


def test_window__that_is_not_over_here__is_asked_for_when_it_is(bench: Any, window_end_ms: int) -> None:
    bench.judge._clock = Clock(market_start_ms=window_end_ms - 30_000, wall_start_ms=wall_ms())
    answer = refused(bench, bench.proposal(bench.window(window_end_ms)))
    assert (answer.reason, answer.retry_after_s) == (Refusal.WINDOW_NOT_CLOSED, 30)


def test_window__older_than_the_oracle_takes__is_refused(bench: Any, window_end_ms: int) -> None:
    old = replace(bench.window(window_end_ms), window_end_ms=window_end_ms - 14 * MINUTE_MS)
    answer = refused(bench, bench.proposal(old))
    assert (answer.reason, "more than 900 s ago" in answer.detail) == (Refusal.WINDOW_TOO_OLD, True)


def test_own_market__without_the_last_minute__is_asked_again_soon(bench: Any, window_end_ms: int) -> None:
    proposal = bench.proposal(bench.window(window_end_ms))
    bench.candles[BTC] = bench.candles[BTC].between(0, window_end_ms - MINUTE_MS)
    answer = refused(bench, proposal)
    assert answer.reason is Refusal.MARKET_INCOMPLETE
    assert answer.retry_after_s == 5


def test_input__beyond_its_tolerance__is_named_with_both_values(bench: Any, window_end_ms: int) -> None:
    own = bench.own(BTC, window_end_ms)
    answer = refused(bench, bench.proposal(bench.window(window_end_ms, i7=49, i65=32)))
    assert answer.reason is Refusal.INPUTS_DIFFER
    expected = f"input 7 (level of the last 120 minutes): own {own[7]}, proposed {own[7] + 49}, tolerance 48"
    assert expected in answer.detail


def test_clock_input__off_by_one__is_refused(bench: Any, window_end_ms: int) -> None:
    answer = refused(bench, bench.proposal(bench.window(window_end_ms, i66=-1)))
    assert answer.reason is Refusal.INPUTS_DIFFER
    assert "input 66 (clock: sine of 1 cycles a day)" in answer.detail


@pytest.mark.parametrize("sign", [1, -1])
def test_every_input__pushed_to_its_limit__moves_the_forecast_too_far(
    bench: Any, window_end_ms: int, sign: int
) -> None:
    shift = {f"i{i}": sign * bench.judge.tolerance.units(i, 7) for i in range(66)}
    answer = refused(bench, bench.proposal(bench.window(window_end_ms, **shift)))
    assert answer.reason is Refusal.FORECAST_DIFFERS


def test_commitment__made_over_other_inputs_than_shown__is_refused(bench: Any, window_end_ms: int) -> None:
    shown = bench.proposal(bench.window(window_end_ms))
    hidden = bench.proposal(bench.window(window_end_ms, i0=1))
    answer = refused(bench, replace(shown, input_commitment=hidden.input_commitment))
    assert answer.reason is Refusal.COMMITMENT_DIFFERS


def test_second_commitment__for_the_same_window__is_refused_for_good(bench: Any, window_end_ms: int) -> None:
    first = bench.judge.answer(bench.proposal(bench.window(window_end_ms)))
    second = refused(bench, bench.proposal(bench.window(window_end_ms, i0=1)))
    assert (second.reason, second.retry_after_s) == (Refusal.ALREADY_SIGNED, None)
    assert bench.judge.answer(bench.proposal(bench.window(window_end_ms))) == first


def test_joint_claim__over_a_window_that_was_signed_alone__is_refused_and_binds_none(
    bench: Any, window_end_ms: int
) -> None:
    assert isinstance(bench.judge.answer(bench.proposal(bench.window(window_end_ms))), Signed)
    windows = [bench.window(window_end_ms, feed) for feed in (ETH, BTC)]
    assert refused(bench, bench.proposal(*windows, joint=True)).reason is Refusal.ALREADY_SIGNED
    assert isinstance(bench.judge.answer(bench.proposal(bench.window(window_end_ms, ETH))), Signed)


def test_joint_claim__with_one_window_that_differs__is_refused(bench: Any, window_end_ms: int) -> None:
    windows = [bench.window(window_end_ms), bench.window(window_end_ms, ETH, i65=60)]
    answer = refused(bench, bench.proposal(*windows, joint=True))
    assert (answer.reason, answer.detail.startswith(ETH)) == (Refusal.INPUTS_DIFFER, True)


def test_joint_claim__in_another_order_than_the_inputs__is_refused(bench: Any, window_end_ms: int) -> None:
    proposal = bench.proposal(bench.window(window_end_ms), bench.window(window_end_ms, ETH), joint=True)
    answer = refused(bench, replace(proposal, windows=proposal.windows[::-1]))
    assert answer.reason is Refusal.COMMITMENT_DIFFERS


def test_two_commitments__proposed_at_once__are_not_both_signed(bench: Any, window_end_ms: int) -> None:
    proposals = [bench.proposal(bench.window(window_end_ms, i0=units)) for units in range(4)]
    answers: list[Any] = []
    start = threading.Barrier(4)

    def ask(proposal: Proposal) -> None:
        start.wait()
        answers.append(bench.judge.answer(proposal))

    threads = [threading.Thread(target=ask, args=(proposal,)) for proposal in proposals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(isinstance(answer, Signed) for answer in answers) == [False, False, False, True]
    reasons = {answer.reason for answer in answers if isinstance(answer, Refused)}
    assert reasons == {Refusal.ALREADY_SIGNED}


def test_prover__that_died__is_asked_again(bench: Any, window_end_ms: int) -> None:
    proposal = bench.proposal(bench.window(window_end_ms))
    bench.pool.error = ProverDied()
    answer = refused(bench, proposal)
    assert (answer.reason, answer.retry_after_s) == (Refusal.PROVER_UNAVAILABLE, 2)


def test_frozen_model__is_not_signed_for(bench: Any, window_end_ms: int) -> None:
    bench.reader.state = ModelState.FROZEN
    assert refused(bench, bench.proposal(bench.window(window_end_ms))).reason is Refusal.MODEL_FROZEN


def test_feed_without_a_joint_circuit__refuses_joint_proofs(bench: Any, window_end_ms: int) -> None:
    proposal = bench.proposal(bench.window(window_end_ms), joint=True)
    bench.feeds[BTC] = replace(bench.feeds[BTC], batch_keys=None)
    assert refused(bench, proposal).reason is Refusal.NO_JOINT_CIRCUIT


def test_too_many_proposals_at_once__are_told_to_come_back(bench: Any, window_end_ms: int) -> None:
    proposal = bench.proposal(bench.window(window_end_ms))
    bench.judge._places = threading.BoundedSemaphore(1)
    bench.judge._places.acquire()
    answer = refused(bench, proposal)
    assert (answer.reason, answer.retry_after_s) == (Refusal.BUSY, 1)


def test_answers__are_counted_by_reason(bench: Any, window_end_ms: int) -> None:
    bench.judge.answer(bench.proposal(bench.window(window_end_ms)))
    bench.judge.answer(bench.proposal(bench.window(window_end_ms, i66=1)))
    said = bench.metrics.exposition().decode()
    assert 'veriregime_attester_answers_total{answer="signed"} 1.0' in said
    assert 'veriregime_attester_answers_total{answer="already-signed"} 1.0' in said
