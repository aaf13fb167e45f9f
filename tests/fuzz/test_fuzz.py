"""The coverage-guided fuzzer in its short form; ``make fuzz`` is the long one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import main, replay
from tests.fuzz.targets import TARGETS

fuzzer = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no build for this platform, see pyproject.toml"
)


@fuzzer
def test_fuzz__of_the_parsers__finds_nothing(tmp_path: Path) -> None:
    arguments = ["--runs", "900", "--findings", str(tmp_path), "--report", str(tmp_path / "var" / "report.json")]
    code = main([*arguments, "--targets", "bundle", "csv", "parquet"])
    report = json.loads((tmp_path / "var" / "report.json").read_text())
    assert (code, report["findings"]) == (0, 0)
    assert report["runs"] >= 900
    assert all(target["edges_covered"] > 30 for target in report["targets"])


def test_verify_route__of_spoilt_bundles__answers_each_in_form(tmp_path: Path) -> None:
    rng = Random(5)
    with TARGETS["http"](tmp_path) as target:
        whole, *small = target.seeds()
        assert target.run(target.expand(whole)) == "status 200"
        outcomes = {target.run(target.expand(target.mutate(rng.choice([whole, *small]), rng))) for _ in range(40)}
    assert outcomes == {"status 200", "status 422"}


def test_replay__of_a_kept_input__says_what_comes_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "csv-0123.finding"
    kept.write_bytes(b"open_time,open\n1,2\n")
    assert replay(kept) == 0
    assert "refused: CandleFileInvalid" in capsys.readouterr().out
