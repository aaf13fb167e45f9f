from __future__ import annotations

from dataclasses import replace

from app.steps.fetch import VenueHealth, VenueState
from app.steps.standing import Role, Said, Standing, TickOutcome, TickReport

FEED = "btc-usdt-4h"
FRESH, UNASKED = VenueHealth(VenueState.FRESH), VenueHealth(VenueState.UNKNOWN)


def tick(outcome: TickOutcome, window_end_ms: int, at_ms: int) -> TickReport:
    return TickReport(outcome, None, outcome.value, window_end_ms, at_ms, {})


def pipeline(at_ms: int, outcome: TickOutcome = TickOutcome.PREDICTED, health: VenueHealth = FRESH) -> Standing:
    return Standing(
        market="live",
        ticks={FEED: tick(outcome, 60_000, at_ms)},
        venues={"binance": health},
        roles=(Role.PIPELINE,),
    )


PROVER = Standing(market="simulated", roles=(Role.PROVER,), prover_process_ids=(7,), prover_slots=2)
SUBMITTER = Standing(market="simulated", roles=(Role.SUBMITTER,), sender="0xab", publishing=Said("sent", "tx", 5))


def test_merged__of_nobody__is_unknown() -> None:
    assert Standing.merged([]) is None


def test_merged__of_one_role_each__is_all_of_it() -> None:
    merged = Standing.merged([PROVER, pipeline(1), SUBMITTER, replace(PROVER, prover_process_ids=(9,))])
    assert merged is not None
    assert (merged.roles, merged.prover_process_ids, merged.prover_slots) == (tuple(Role), (7, 9), 4)
    assert (merged.sender, merged.publishing, merged.market) == ("0xab", Said("sent", "tx", 5), "live")


def test_merged__of_two_who_looked_at_the_same_window__tells_of_the_one_that_forecast() -> None:
    merged = Standing.merged([pipeline(1), pipeline(2, TickOutcome.ALREADY_PREDICTED)])
    assert merged is not None
    assert merged.ticks[FEED].outcome is TickOutcome.PREDICTED


def test_merged__of_a_venue_that_only_one_of_them_asks__is_what_that_one_found() -> None:
    merged = Standing.merged([pipeline(1), pipeline(2, health=UNASKED)])
    assert merged is not None
    assert merged.venues["binance"] is FRESH


def test_merged__of_what_several_submitters_did__is_what_happened_last() -> None:
    later = replace(SUBMITTER, publishing=Said("confirmed", "tx", 6))
    merged = Standing.merged([later, SUBMITTER])
    assert merged is not None
    assert merged.publishing == Said("confirmed", "tx", 6)
