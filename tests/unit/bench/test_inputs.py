from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.bench.inputs import in_groups, integers, market_windows
from app.errors import CandleFileInvalid
from app.features.variation import INPUTS, VariationSpec
from app.inference.release import ReleasedModel


@pytest.fixture(scope="module")
def spec(model: ReleasedModel) -> VariationSpec:
    return VariationSpec.from_manifest(model.manifest["observation"])


def test_market_windows__same_call__same_integers(spec: VariationSpec) -> None:
    one, other = (market_windows(spec, 3).at_scale(7) for _ in range(2))
    assert one.shape == (3, INPUTS)
    assert np.array_equal(one, other)


def test_market_windows__finer_scale__only_rounds_less(spec: VariationSpec) -> None:
    windows = market_windows(spec, 3)
    assert np.abs(windows.at_scale(7) / 2**7 - windows.exact()).max() <= 2**-8


def test_market_windows__file_that_is_too_short__says_how_many_minutes_it_needs(
    spec: VariationSpec, tmp_path: Path
) -> None:
    file = tmp_path / "short.csv"
    rows = [f"{1_757_937_600_000 + 60_000 * minute},1,1,1,1,1" for minute in range(10)]
    file.write_text("\n".join(["open_time,open,high,low,close,volume", *rows]) + "\n")
    with pytest.raises(CandleFileInvalid, match="3 windows need 10083 minutes, there are 10"):
        market_windows(spec, 3, file)


def test_in_groups__windows_left_over__belong_to_no_proof() -> None:
    assert in_groups([[1, 2], [3, 4], [5, 6]], 2) == [[1, 2, 3, 4]]


def test_integers__windows_of_several_minutes__lie_in_one_row() -> None:
    assert integers(np.asarray([[[0.5, -1.0], [0.25, 2.0]]]), 2) == [[2, -4, 1, 8]]
