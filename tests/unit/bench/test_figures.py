from __future__ import annotations

import pytest

from app.bench.figures import p95


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (19, 19), (20, 19), (21, 20), (60, 57), (100, 95)])
def test_p95__is_the_value_that_at_most_one_in_twenty_exceed(count: int, rank: int) -> None:
    assert p95([float(value) for value in range(count, 0, -1)]) == rank
