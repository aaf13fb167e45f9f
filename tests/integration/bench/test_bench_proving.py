"""Real proofs of the released circuit, through the command line and in measuring processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.bench.apparatus import Bench
from app.bench.children import run_step
from app.bench.figures import Figures
from app.bench.proving import bench_proving
from app.bench.rows import ROWS, Row
from app.cli import cli
from app.errors import BadInput, ProofTimedOut, ProverDied, ProverOutOfMemory, ToolMissing
from app.inference.release import ReleasedModel
from app.settings import Settings


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("VERIREGIME_VAR_DIR", str(settings.var_dir))


def test_bench_proving__production_row__has_all_figures_from_real_proofs() -> None:
    done = CliRunner().invoke(cli, ["bench", "proving", "--only", "production", "--repeats", "2", "--json"])
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["name"], row["repeats"], row["windows"], row["constraints"]) == ("production", 2, 1, None)
    assert (row["parameters"], row["logrows"], row["proof_bytes"]) == (1_427, 11, 2_080)
    assert row["prove_spread_s"][0] <= row["prove_s"] <= row["prove_spread_s"][1]
    assert 300_000 < row["verify_gas"] <= 430_000
    assert 20 < row["peak_mib"] <= 400
    assert row["calldata_bytes"] > row["proof_bytes"]


def test_bench_proving__unknown_row__is_bad_usage_that_lists_the_rows() -> None:
    done = CliRunner().invoke(cli, ["bench", "proving", "--only", "fast"])
    assert isinstance(done.exception, BadInput)
    assert "groth16-peer" in str(done.exception)


def test_bench_proving__row_that_fails__leaves_the_others_standing(
    model: ReleasedModel, settings: Settings, tmp_path: Path
) -> None:
    def starved(_: Bench) -> Figures:
        raise ProverOutOfMemory("skipped: it needs 9 MiB of memory, 3 MiB are available")

    production = next(row for row in ROWS if row.name == "production")
    document = bench_proving(
        model,
        [Row("starved", "a row without memory", starved), production],
        models_dir=settings.models_dir,
        contracts_dir=settings.contracts_dir,
        cache_dir=tmp_path,
        repeats=1,
    )
    failed, stood = document["rows"]
    assert failed["prove_s"] is None
    assert failed["note"].startswith("skipped: it needs 9 MiB")
    assert stood["prove_s"] > 0


def test_bench_proving__without_node_packages__says_what_to_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VERIREGIME_CONTRACTS_DIR", str(tmp_path))
    done = CliRunner().invoke(cli, ["bench", "proving", "--only", "production"])
    assert isinstance(done.exception, ToolMissing)
    assert "make setup" in str(done.exception)


def test_measuring_process__over_its_time_limit__is_ended_by_the_kernel(model: ReleasedModel, tmp_path: Path) -> None:
    # A reference string of 2^16 rows takes many times the limit, and ezkl holds the interpreter all the while.
    request = {
        "folder": str(tmp_path),
        "srs_folder": str(tmp_path),
        "network": str(model.folder / "network.onnx"),
        "run_args": {"logrows": 16},
        "example": [],
        "compiled": str(tmp_path / "circuit.ezkl"),
        "settings": str(tmp_path / "circuit.json"),
        "least_logrows": 0,
    }
    with pytest.raises(ProofTimedOut, match="killed at its time limit of 2 s"):
        run_step("keys", request, limit_s=2, say=lambda _: None)


def test_measuring_process__that_breaks__is_reported_with_its_last_words() -> None:
    with pytest.raises(ProverDied, match="ended with code 1: KeyError: 'nothing'"):
        run_step("nothing", {}, limit_s=20, say=lambda _: None)
