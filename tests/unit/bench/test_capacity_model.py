"""The formulas of the capacity model, and what a year's policies make of forecasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.bench.capacity_constants import Constants, read_constants
from app.bench.capacity_model import (
    POLICIES,
    Movement,
    Plant,
    Policy,
    Published,
    database_bytes,
    needs,
    planned,
    replicas,
    updates_per_day,
)
from app.bench.sizes import BYTES, SQLITE_BYTES, growth
from app.bench.year_proving import proving_year
from app.bench.year_publishing import Ledger
from app.bench.year_troubles import Troubles, troubles
from app.chain.rounds import Round
from app.errors import BadInput
from app.steps.publishing import PublishingPolicy
from app.types import MINUTE_MS, Prediction, Regime

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def constants() -> Constants:
    return Constants(
        machine="a machine",
        measured_at="2026-11-21",
        proof_s=(0.4,),
        proofs_per_core_s=2.5,
        verify_s=0.003,
        tick_s=(0.05,),
        window_cpu_s=0.1,
        attester_cpu_s=0.06,
        api_per_s=30_000,
        bytes_each=BYTES,
        gas_single=475_000,
        gas_joint=725_000,
        memory_mib={"service": 240, "provers": 45, "attesters": 200},
    )


def calm(minutes: int) -> Troubles:
    nothing = np.zeros(minutes, dtype=np.bool_)
    return Troubles(nothing, nothing, nothing.copy(), nothing, nothing)


def test_needs__a_hundred_feeds__are_cores_for_their_mean_and_seconds_for_their_last(constants: Constants) -> None:
    found = needs(constants, Plant(feeds=100, provers=10, pipelines=10))
    assert found["proving_cores"] == pytest.approx(100 / 60 / 2.5)
    assert found["prover_utilisation"] == pytest.approx(100 * 0.4 / 60 / 10)
    assert found["last_tick_s"] == pytest.approx(1 + 10 * 0.1 + 0.05)
    assert found["last_proof_s"] == pytest.approx(1 + 100 * 0.4 / 10 + 0.4)


@pytest.mark.parametrize("feeds", [1, 10, 100])
def test_planned__is_enough_to_have_every_window_proved_in_time(constants: Constants, feeds: int) -> None:
    assert needs(constants, planned(constants, feeds, within_s=6))["last_proof_s"] <= 6.5


def test_updates__that_walk_slowly__come_with_the_heartbeat_and_each_change_of_regime() -> None:
    policy = Policy("a day or 50 %", heartbeat_minutes=1_440, deviation=0.5)
    assert updates_per_day(policy, Movement(per_minute=0.001, flips_per_day=3)) == pytest.approx(1 + 3)


def test_database__with_retention__grows_by_outcomes_alone_once_that_is_reached() -> None:
    at = [database_bytes(SQLITE_BYTES, 10, days, Published(20, 2), retention_days=90) for days in (100, 200)]
    assert at[1] - at[0] == pytest.approx(10 * 100 * 1_440 * SQLITE_BYTES["outcome"])


def test_replicas__are_asked_for_half_of_what_each_can_do(constants: Constants) -> None:
    assert (replicas(constants, 100), replicas(constants, 60_000)) == (1, 4)
    assert replicas(constants, 10_000_000, cached=True) == 1


def test_constants__of_a_run__are_read_back_the_same(constants: Constants) -> None:
    assert Constants.from_json(constants.to_json()) == constants


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"constants": {"machine": "a"}}'])
def test_constants__that_are_none__are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "capacity.json"
    file.write_text(text)
    with pytest.raises(BadInput, match=r"constants|JSON") as refused:
        read_constants(file)
    assert "\n" not in str(refused.value)


def test_growth__is_rows_times_bytes() -> None:
    assert growth({"event": 2, "candle": 3}, SQLITE_BYTES) == 2 * SQLITE_BYTES["event"] + 3 * SQLITE_BYTES["candle"]


def test_sizes__are_those_that_the_documents_state() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text()
    for kind in SQLITE_BYTES:
        row = f"| {kind} | {BYTES['sqlite'][kind]:,} | {BYTES['postgresql'][kind]:,} |"
        assert row in text, row


def test_year__due__is_what_the_product_says_for_every_policy(make_prediction: Callable[..., Prediction]) -> None:
    rng = np.random.default_rng(5)
    ledger = Ledger(POLICIES, 20)
    walk = np.log(0.4) + np.cumsum(0.02 * rng.standard_normal((200, 20)), axis=0)
    regimes = rng.random((200, 20)) < 0.05
    for minute in range(200):
        ln_vol, high = walk[minute], regimes[minute]
        due = ledger.due(minute, ln_vol, high)
        for row, policy in enumerate(POLICIES):
            rule = PublishingPolicy(policy.heartbeat_minutes * MINUTE_MS, policy.deviation)
            for place in range(20):
                prediction = make_prediction(
                    window_end_ms=minute * MINUTE_MS, vol_annualised=np.exp(ln_vol[place]), regime=regime(high[place])
                )
                said = rule.due(prediction, newest_of(ledger, row, place))
                assert (said is not None) == due[row, 0, place], (minute, policy, place, said)
        ledger.publish(due, minute, ln_vol, high)


def regime(high: bool) -> Regime:
    return Regime.HIGH if high else Regime.LOW


def newest_of(ledger: Ledger, row: int, place: int) -> Round | None:
    minute = ledger.minute[row, 0, place]
    if np.isneginf(minute):
        return None
    return Round(
        number=1,
        window_end_ms=round(minute * MINUTE_MS),
        regime=regime(bool(ledger.high[row, 0, place])),
        vol_annualised=float(np.exp(ledger.ln_vol[row, 0, place])),
    )


def test_year__where_nothing_goes_wrong__every_window_is_proved_in_its_minute(constants: Constants) -> None:
    plant = Plant(feeds=20, provers=4, pipelines=2)
    year, proved = proving_year(constants, plant, calm(300), 0, lambda _: None)
    told = year.told()
    assert (told["windows"], told["skipped"], told["shed"], told["backlog_most"]) == (6_000, 0, 0, 0)
    assert told["within_60_s"] == 1
    assert proved.all()
    assert told["proved_s"]["largest"] <= needs(constants, plant)["last_proof_s"] + 0.4
    assert told["proving_cores"]["mean"] == pytest.approx(20 * 0.4 / 60, rel=0.01)


def test_year__provers_away_for_an_hour__what_waits_is_proved_when_they_are_back(constants: Constants) -> None:
    amiss = calm(300)
    amiss.provers_away[100:160] = True
    year, proved = proving_year(constants, Plant(feeds=20, provers=4, pipelines=2), amiss, 0, lambda _: None)
    assert not proved[100:160].any()
    assert (year.backlog_most, year.proved_later, year.shed) == (20 * 60, 20 * 60, 0)
    assert year.longest_wait_minutes > 60


def test_year__more_than_can_be_caught_up_with__is_shed_but_the_newest(constants: Constants) -> None:
    slow = replace(constants, proof_s=(2.4,))
    amiss = calm(300)
    amiss.provers_away[10:250] = True
    year, _ = proving_year(slow, Plant(feeds=20, provers=1, pipelines=2), amiss, 0, lambda _: None)
    assert year.shed > 0
    assert year.proved_later + year.shed <= 20 * 240


def test_year__troubles_of_a_seed__are_the_same_again() -> None:
    first, second = troubles(50_000, 4), troubles(50_000, 4)
    assert all((getattr(first, name) == getattr(second, name)).all() for name in first.__slots__)
    assert first.one_venue_away.sum() != troubles(50_000, 9).one_venue_away.sum()
