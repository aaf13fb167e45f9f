"""What becomes of the rows' figures: which are asked for, what is compared, how they read."""

from __future__ import annotations

from typing import Any

import pytest

from app.bench.figures import Figures
from app.bench.proving import chosen_rows, compared, has_failed
from app.bench.rows import ROWS, Row, as_json
from app.bench.table import markdown, proving_table, seconds
from app.errors import BadInput

FIGURES = Figures(
    parameters=1_427,
    rows=1_819,
    constraints=None,
    logrows=11,
    setup_s=0.3,
    witness_s=0.018,
    prove_s=0.2,
    prove_spread_s=(0.19, 0.25),
    repeats=20,
    verify_ms=8.0,
    peak_mib=66.0,
    setup_peak_mib=90.0,
    proof_bytes=2_080,
    calldata_bytes=2_308,
    verify_gas=416_000,
    windows=1,
    agreement=None,
    run_args={},
    note=None,
)


def row(name: str, **changes: Any) -> dict[str, Any]:
    return as_json(Row(name, "a title", lambda _: FIGURES), FIGURES, None) | changes


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    machine = {"processor": "a CPU", "cores": 2, "memory_mib": 24_000, "python": "3.11", "ezkl": "23.0.5"}
    return {"rows": list(rows), "machine": machine, "compared": compared(rows)}


def test_rows__names__are_those_of_the_document() -> None:
    names = ["classic-defaults", "classic-tuned", "cnn-teacher", "production", "ten-feeds", "groth16-peer"]
    assert [entry.name for entry in ROWS] == names


def test_chosen_rows__some_names__come_in_the_order_of_the_table() -> None:
    assert [entry.name for entry in chosen_rows(["ten-feeds", "production"])] == ["production", "ten-feeds"]


def test_chosen_rows__unknown_name__lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"no row 'fast': choose among classic-defaults, .*, groth16-peer"):
        chosen_rows(["production", "fast"])


def test_as_json__failed_row__has_the_reason_and_no_figures() -> None:
    told = as_json(ROWS[0], None, "not enough memory")
    assert told["note"] == "not enough memory"
    assert has_failed(told)
    assert {value for key, value in told.items() if key not in ("name", "title", "note")} == {None}


def test_compared__production_and_defaults__gives_the_ratio_of_medians() -> None:
    found = compared([row("production"), row("classic-defaults", prove_s=30.0)])
    assert found["production_over_classic_defaults"] == pytest.approx(150)


def test_compared__ten_feeds__is_told_per_window() -> None:
    found = compared([row("ten-feeds", prove_s=1.5, verify_gas=570_000, windows=10)])
    assert (found["ten_feeds_seconds_per_window"], found["ten_feeds_gas_per_window"]) == (0.15, 57_000)


def test_compared__contract_too_large_for_gas__leaves_the_ratio_out() -> None:
    found = compared([row("production"), row("groth16-peer", verify_gas=None)])
    assert found["groth16_gas_over_production"] is None


def test_compared__failed_row__leaves_the_ratio_out() -> None:
    found = compared([row("production"), as_json(ROWS[0], None, "no")])
    assert found["production_over_classic_defaults"] is None


def test_proving_table__figures__stand_under_their_names() -> None:
    heads, line = proving_table(document(row("production"))).splitlines()[:2]
    assert "constraints or rows" in heads
    figures = "production 1,427 1,819 (k=11) 0.30 0.018 0.20 (0.19–0.25) 8 66 2,080 2,308 416,000"
    assert line.split() == figures.split()


def test_proving_table__failed_row__is_named_with_its_reason() -> None:
    text = proving_table(document(as_json(ROWS[0], None, "not enough memory")))
    assert "classic-defaults: the original student, ezkl's defaults; not enough memory" in text


def test_proving_table__agreement__is_said_in_words() -> None:
    text = proving_table(
        document(row("cnn-teacher", agreement={"windows": 20, "same_class": 0.95, "largest_difference": 0.07}))
    )
    assert "of 20 windows 95% have the float network's class, outputs differ by at most 0.07" in text


@pytest.mark.parametrize(("value", "text"), [(0.018, "0.018"), (0.2, "0.20"), (21.85, "21.9")])
def test_seconds__digits__fit_the_size(value: float, text: str) -> None:
    assert seconds(value) == text


def test_markdown__table__has_a_rule_under_its_head() -> None:
    assert markdown(["a", "b"], [["x", "1"]]).splitlines() == ["| a | b |", "| --- | ---: |", "| x | 1 |"]
