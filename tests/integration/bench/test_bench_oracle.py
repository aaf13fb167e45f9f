"""Gas of whole updates, measured on the deployed contracts."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.bench import oracle
from app.bench.table import oracle_table
from app.inference.release import ReleasedModel
from app.settings import Settings
from app.wiring import open_pool


@pytest.mark.slow
def test_bench_oracle__single_and_joint_updates__cost_what_the_limits_allow(
    settings: Settings, model: ReleasedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "CASES", ((1, 1, True), (1, 1, False), (10, 1, True)))
    assert model.batch is not None
    with open_pool(settings, 1) as pool:
        keys, joint = (pool.serving_keys(settings.var_dir, circuit) for circuit in (model.circuit, model.batch))
        document = oracle.bench_oracle(model, pool, keys, joint, settings.contracts_dir, tmp_path)
    single, unreserved, ten = document["updates"]
    assert single["gas"] <= 520_000
    assert 15_000 <= unreserved["gas"] - single["gas"] <= 19_000
    assert ten["gas_per_window"] == ten["gas"] / 10 <= 75_000
    assert len(oracle_table(document).splitlines()) == 4
