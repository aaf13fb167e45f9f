"""Spoilt bundles and candle files by hypothesis, which cuts down what fails to the least that does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target

few = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["bundle", "csv", "parquet"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with TARGETS[request.param](Path(tmp_path_factory.mktemp("fuzz"))) as opened:
        yield opened


def test_seeds__as_they_are__are_read(target: Target) -> None:
    outcomes = {target.run(target.expand(seed)) for seed in target.seeds()[:3]}
    assert outcomes <= {"parsed", "read"}


@few
@given(st.integers(min_value=0, max_value=2**32), st.integers(min_value=1, max_value=3))
def test_parser__of_spoilt_input__reads_or_refuses_it(target: Target, seed: int, times: int) -> None:
    rng = Random(seed)
    raw = rng.choice(target.seeds())
    for _ in range(times):
        raw = target.mutate(raw, rng)
    target.run(target.expand(raw))
