"""Keys, models and a pool that checks proofs, made once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.ground import Ground
from tests.rig.ground import ground as made


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with made(tmp_path_factory.mktemp("ground")) as shared:
        yield shared
