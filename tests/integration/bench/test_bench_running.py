"""The benches of the running system, through the command line, with few repetitions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.bench.sizes import SQLITE_BYTES
from app.settings import Settings
from app.sim.market import SimulatedMarket
from app.types import MINUTE_MS

END_MS = 1_757_937_600_000
MINUTES = 8 * 1440 + 600


@pytest.fixture(scope="module")
def bench(settings: Settings) -> Any:
    """Runs ``veriregime bench …`` on the keys of this run; gives exit code, JSON and complaints."""

    def run(*arguments: str) -> tuple[int, Any, str]:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "--quiet", "bench", *arguments, "--json"],
            env={**os.environ, "VERIREGIME_VAR_DIR": str(settings.var_dir)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    return run


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight days of the simulated market as a candle file."""
    played = SimulatedMarket(3).candles("BTC/USDT", END_MS - MINUTES * MINUTE_MS, END_MS)
    names = ("open_time", "open", "high", "low", "close", "volume")
    columns = zip(*played.rows(), strict=True)
    path = tmp_path_factory.mktemp("candles") / "btc.parquet"
    pq.write_table(pa.table({name: list(column) for name, column in zip(names, columns, strict=True)}), path)
    return path


@pytest.mark.slow
def test_bench_pool__loses_no_proof_and_states_throughput_and_memory(bench: Any) -> None:
    code, found, _ = bench("pool", "--proofs", "10", "--workers", "1,2")
    assert code == 0
    assert [(run["workers"], run["proofs"], run["lost"]) for run in found["runs"]] == [(1, 10, 0), (2, 10, 0)]
    assert all(0 < run["peak_worker_mib"] < 400 and run["per_second"] > 0 for run in found["runs"])
    assert found["throughput_against_first"][0] == 1


@pytest.mark.parametrize("workers", ["0", "two", "1,,2", "65"])
def test_bench_pool__strange_number_of_workers__is_refused(bench: Any, workers: str) -> None:
    code, found, complaint = bench("pool", "--workers", workers)
    assert (code, found) == (2, None)
    assert "numbers from 1 to 64" in complaint


@pytest.mark.slow
def test_bench_serving__times_every_tick_from_candle_to_served_forecast(bench: Any) -> None:
    code, found, _ = bench("serving", "--only", "ticks", "--ticks", "3", "--speed", "20")
    assert (code, found["ticks"]) == (0, 3)
    assert found["missed"] >= 0  # a busy machine may miss one: that is measured, not tested
    assert found["settle_s"] < found["seconds"]["median"] <= found["seconds"]["p95"] <= found["seconds"]["largest"]
    assert set(found["steps"]) == {"queue", "witness", "prove", "verify"}


@pytest.mark.slow
def test_bench_serving__under_load__has_quiet_and_busy_stretches_and_a_verdict(bench: Any) -> None:
    code, found, _ = bench("serving", "--only", "load", "--speed", "20", "--seconds", "5")
    load = found["load"]
    assert code == (0 if load["holds"] else 1)
    assert [one["name"].partition(",")[0] for one in load["stretches"]] == [
        "quiet",
        *["serve"] * 2,
        *["api beside it"] * 2,
    ]
    assert all(one["ticks"]["windows"] for one in load["stretches"])
    assert all(set(one["answers"]["statuses"]) == {"200"} for one in load["stretches"][1:])


@pytest.mark.slow
def test_bench_soak__looks_at_every_role_and_at_the_database(bench: Any) -> None:
    code, found, _ = bench("soak", "--hours", "0.2", "--speed", "30", "--every", "0.5")
    assert code == (0 if found["passed"] else 1)
    assert {"service", "provers", "attesters"} <= set(found["roles"])
    assert found["windows"]["windows"] > 0
    assert found["database"]["kinds"]["prediction"]["rows"] > 0


def test_bench_capacity__constants_of_a_former_run__are_enough_for_a_week_of_twenty_feeds(
    bench: Any, tmp_path: Path
) -> None:
    kinds = dict.fromkeys(SQLITE_BYTES, 400)
    constants = {
        "machine": "a machine", "measured_at": "2026-11-21", "proof_s": [0.4], "proofs_per_core_s": 2.5,
        "verify_s": 0.003, "tick_s": [0.05], "window_cpu_s": 0.1, "attester_cpu_s": 0.06, "api_per_s": 30_000,
        "bytes_each": {"sqlite": kinds}, "gas_single": 475_000, "gas_joint": 725_000, "memory_mib": {},
    }  # fmt: skip
    file = tmp_path / "constants.json"
    file.write_text(json.dumps({"constants": constants}))
    code, found, _ = bench("capacity", "--constants", str(file), "--feeds", "20", "--days", "7")
    assert (code, found["plant"]["feeds"]) == (0, 20)
    assert found["year"]["proving"]["windows"] == 20 * 7 * 1_440
    assert len(found["year"]["updates"]) == 6


def test_bench_agreement__compares_float_network_with_real_witnesses(bench: Any, candles: Path) -> None:
    code, found, _ = bench("agreement", "--candles", str(candles), "--windows", "40")
    assert (code, found["windows"]) == (0, 40)
    assert found["same_class"]["onnxruntime"] == 1
    assert found["same_class"]["float"] >= 0.95
    assert max(found["largest_difference"]["onnxruntime"]) < 1e-5 < max(found["largest_difference"]["float"])


def test_bench_agreement__too_few_windows__is_refused_with_their_number(bench: Any, candles: Path) -> None:
    code, _, complaint = bench("agreement", "--candles", str(candles), "--windows", "100000")
    assert code == 2
    assert "usable windows, 100,000 were asked for" in complaint
