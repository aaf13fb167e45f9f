from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from app.inference.release import load_model
from app.training.card import WIDTH, write_card

RELEASED = Path(__file__).parents[3] / "models" / "btc-usdt-4h-v1"


@pytest.fixture
def manifest() -> dict[str, Any]:
    return copy.deepcopy(dict(load_model(RELEASED).manifest))


def written(manifest: dict[str, Any], folder: Path) -> str:
    write_card(manifest, folder / "card.md")
    return (folder / "card.md").read_text()


def test_card__released_model__is_what_its_manifest_gives(manifest: dict[str, Any], tmp_path: Path) -> None:
    assert written(manifest, tmp_path) == (RELEASED / "MODEL_CARD.md").read_text()


def test_card__weak_months__are_named(manifest: dict[str, Any], tmp_path: Path) -> None:
    for row in manifest["training"]["metrics"]["per_month"]:
        row["points_above_persistence_60"] = 9.0
    assert "At least 6 points above 60-minute persistence in every month." in written(manifest, tmp_path)
    manifest["training"]["metrics"]["per_month"][1]["points_above_persistence_60"] = 5.9
    assert "Less than 6 points above 60-minute persistence in 2025-05." in written(manifest, tmp_path)


def test_card__quick_run__warns(manifest: dict[str, Any], tmp_path: Path) -> None:
    assert "Not to be relied on" not in written(manifest, tmp_path)
    manifest["training"]["config"]["quick"] = True
    assert "Not to be relied on" in written(manifest, tmp_path)


def test_card__one_class_month__has_no_auc(manifest: dict[str, Any], tmp_path: Path) -> None:
    manifest["training"]["metrics"]["per_month"][0]["auc"] = None
    assert "| – |" in written(manifest, tmp_path)


def test_card__lines__are_not_too_long(manifest: dict[str, Any], tmp_path: Path) -> None:
    assert all(len(line) <= WIDTH for line in written(manifest, tmp_path).splitlines())
