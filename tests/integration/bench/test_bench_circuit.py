"""The circuit search on two candidates, with real circuits, proofs and contracts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.bench import search
from app.bench.circuits import Effort
from app.cli import cli
from app.settings import Settings


@pytest.fixture(autouse=True)
def _own_folder_and_few_proofs(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("VERIREGIME_VAR_DIR", str(settings.var_dir))
    monkeypatch.setattr(search, "EFFORT", Effort(repeats=1, warm_ups=0))
    monkeypatch.setattr(search, "ROUNDS", 2)


@pytest.mark.slow
def test_bench_circuit__two_inner_columns__are_faster_but_too_dear_and_the_release_is_picked(tmp_path: Path) -> None:
    report = tmp_path / "search.md"
    options = ["--only", "cols2", "--windows", "10", "--out", str(report), "--json"]
    done = CliRunner().invoke(cli, ["bench", "circuit", *options])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    released, columns = document["candidates"]
    assert (released["logrows"], columns["logrows"]) == (11, 10)
    assert (released["repeats"], columns["repeats"]) == (2, 1)
    assert released["objections"] == []
    assert columns["objections"] == ["gas is above 430,000"]
    assert (released["same_class"], columns["same_class"]) == (1.0, 1.0)
    assert released["largest_difference"] < 0.01
    assert document["choice"]["picked"] == "released"
    assert "| released | 1,819 | 11 |" in report.read_text()
