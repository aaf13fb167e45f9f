from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.features.variation import PARTS

pytest.importorskip("matplotlib", reason="matplotlib comes with the train extra")
from app.training.reporting.card import write_card
from app.training.reporting.markdown import WIDTH

Json = dict[str, Any]


def score(accuracy: float, **others: float | None) -> Json:
    metrics = {"balanced_accuracy": 0.79, "f1": 0.8, "auc": 0.89, "brier": 0.11, "ece": 0.03}
    return {"accuracy": accuracy, **metrics, "r2_log_vol": 0.68, "qlike": 0.2, **others}


def month(name: str, points: float) -> Json:
    persistence = {"persistence_60": 0.76, "persistence_240": 0.74}
    others = {"teacher": 0.84, "har_rv": 0.82, "logistic_regression": 0.83, "lightgbm": 0.835}
    return {
        "month": name,
        "samples": 900,
        "high_share": 0.3,
        "accuracy": 0.76 + points / 100,
        "auc": 0.88,
        "r2_log_vol": 0.6,
        **persistence,
        **others,
        "points_above_persistence_60": points,
        "points_above_persistence_better": points,
    }


def file(name: str) -> Json:
    return {
        "file": name,
        "rows": 1000,
        "from": "2021-01-01T00:00:00Z",
        "to": "2025-09-30T23:59:00Z",
        "sha256": "f" * 64,
    }


def stretch(first: str, last: str) -> Json:
    return {"from": first, "to": last, "every_minutes": 10, "samples": 1800, "left_out": 3, "high_share": 0.3}


@pytest.fixture
def manifest() -> Json:
    return {
        "name": "btc-usdt-4h-v9",
        "feeds": ["btc-usdt-4h"],
        "horizon_minutes": 240,
        "threshold": 0.0005,
        "observation": {
            "inputs": 85,
            "parts_minutes": [list(part) for part in PARTS],
            "clip": 4.0,
            "clock": {"zone_rule": "US Eastern since 2007", "cycles_per_day": [1, 2, 3], "weekend_waves": True},
            "max_missing_share": 0.05,
            "max_missing_in_part": 0.5,
        },
        "circuit": {"rows": 1819, "logrows": 11, "proof_bytes": 2080, "param_scale": 10, "parameters": 1427},
        "ezkl_version": "23.0.5",
        "training": {
            "quick": False,
            "recipe": {"hidden": 16, "other_asset": "none", "other_weight": 0.5, "teacher_weight": 0.7},
            "data": {"ours": file("ours.parquet"), "other": None},
            "split": {
                "embargo_minutes": 240,
                "train": stretch("2021-01-08T00:01:00Z", "2025-03-31T16:00:00Z"),
                "folds": [stretch("2024-10-01T00:00:00Z", "2025-03-31T16:00:00Z")],
                "test": stretch("2025-04-01T00:00:00Z", "2025-09-30T20:00:00Z"),
            },
        },
    }


@pytest.fixture
def record() -> Json:
    """As much of a training record as a card is made of."""
    return {
        "teachers": {"chosen": "gradient_boosting"},
        "agreement": {
            "windows": 1800,
            "class_agreement_float_circuit": 0.99947,
            "accuracy_float": 0.8406,
            "accuracy_circuit": 0.84,
            "windows_in_onnxruntime": 1800,
            "largest_difference_onnxruntime_circuit": [4.5e-07, 4.4e-07, 2.5e-07],
            "witnesses_equal_to_emulation": 256,
        },
        "test": {
            "samples": 1800,
            "high_share": 0.3,
            "points_above_better_persistence": 8.0,
            "retention": 0.995,
            "per_month": [month("2025-08", 9.0), month("2025-09", 7.0)],
            "scores": {
                "lightgbm": score(0.835),
                "model": score(0.84),
                "teacher": score(0.844),
                "persistence_60": score(0.76),
                "persistence_240": score(0.74),
                "har_rv": score(0.82),
                "logistic_regression": score(0.83),
            },
            "other_asset": None,
        },
    }


def written(manifest: Json, record: Json, folder: Path) -> str:
    write_card(manifest, record, folder / "card.md")
    return (folder / "card.md").read_text(encoding="utf-8")


def in_prose(text: str) -> str:
    return " ".join(text.split())


def test_card__same_numbers_in_another_order__give_the_same_bytes(manifest: Json, record: Json, tmp_path: Path) -> None:
    first = written(manifest, record, tmp_path)
    record["test"]["scores"] = dict(reversed(record["test"]["scores"].items()))
    assert written(manifest, record, tmp_path) == first


def test_card__lines__are_not_too_long(manifest: Json, record: Json, tmp_path: Path) -> None:
    assert max(map(len, written(manifest, record, tmp_path).splitlines())) <= WIDTH


def test_card__inputs__are_told_from_the_manifest(manifest: Json, record: Json, tmp_path: Path) -> None:
    text = in_prose(written(manifest, record, tmp_path))
    assert "66 tell how much the price moved: 10 windows of 5 minutes to 4 hours that end now" in text
    assert "20 blocks of 1 hour before those, back to 1 day" in text
    assert "36 blocks of 4 hours before those, back to 7 days" in text
    assert "19 tell the time in New York" in text


def test_card__results__put_the_model_first_and_count_points(manifest: Json, record: Json, tmp_path: Path) -> None:
    text = written(manifest, record, tmp_path)
    table = [line for line in text.splitlines() if line.startswith(("| model", "| teacher", "| LightGBM"))]
    assert [line.split(" | ")[0] for line in table] == ["| model", "| teacher", "| LightGBM"]
    assert table[0].startswith("| model | 84.00 % | 79.00 % | 0.8000 | 0.8900 |")
    assert "+8.00 accuracy points against the better persistence (persistence 60 min, 76.00 %)" in in_prose(text)
    assert "always saying *low* would be right in 70.00 %" in in_prose(text)


def test_card__months__names_the_weak_ones(manifest: Json, record: Json, tmp_path: Path) -> None:
    assert "At least 6 points above it in every month." in written(manifest, record, tmp_path)
    record["test"]["per_month"][1] = month("2025-09", 5.9)
    assert "Less than 6 points above it in 2025-09." in written(manifest, record, tmp_path)


def test_card__month_of_one_class__has_no_auc(manifest: Json, record: Json, tmp_path: Path) -> None:
    record["test"]["per_month"][0] |= {"auc": None, "r2_log_vol": None}
    assert "| – | – |" in written(manifest, record, tmp_path)


def test_card__test_of_one_class__has_no_auc(manifest: Json, record: Json, tmp_path: Path) -> None:
    for entry in record["test"]["scores"].values():
        entry["auc"] = None
    assert "| model | 84.00 % | 79.00 % | 0.8000 | – |" in written(manifest, record, tmp_path)


def test_card__quick_run__warns(manifest: Json, record: Json, tmp_path: Path) -> None:
    assert "Not to be relied on" not in written(manifest, record, tmp_path)
    manifest["training"]["quick"] = True
    assert "Not to be relied on" in written(manifest, record, tmp_path)


def test_card__classic_networks__come_last_with_their_caveat(manifest: Json, record: Json, tmp_path: Path) -> None:
    assert "classic" not in written(manifest, record, tmp_path)
    record["test"]["scores"]["classic_student"] = score(0.75, r2_log_vol=None, qlike=None)
    text = written(manifest, record, tmp_path)
    assert "| classic student | 75.00 % | 79.00 % | 0.8000 | 0.8900 | 0.1100 | 0.0300 | – | – |" in text
    assert text.index("| LightGBM") < text.index("| classic student")
    assert "a split of its own" in in_prose(text)


def test_card__no_other_asset__says_that_others_are_untested(manifest: Json, record: Json, tmp_path: Path) -> None:
    assert "Others are untested." in in_prose(written(manifest, record, tmp_path))


@pytest.mark.parametrize(("view", "accuracy"), [("none", "73.00 %"), ("at our level", "74.00 %")])
def test_card__other_asset__is_told_of_the_released_student(
    manifest: Json, record: Json, tmp_path: Path, view: str, accuracy: str
) -> None:
    manifest["training"]["recipe"]["other_asset"] = view
    manifest["training"]["data"]["other"] = file("theirs.parquet")
    record["test"]["other_asset"] = {
        "file": "theirs.parquet",
        "scores": {
            "never trained on it": score(0.73),
            "trained on it": score(0.74),
            "persistence_60": score(0.69),
            "persistence_240": score(0.7),
        },
    }
    text = in_prose(written(manifest, record, tmp_path))
    assert f"it is right in {accuracy} of the windows, persistence 240 min in 70.00 %" in text
    assert ("A second asset was learnt from as well" in text) == (view != "none")


def test_card__plots__are_shown(manifest: Json, record: Json, tmp_path: Path) -> None:
    text = written(manifest, record, tmp_path)
    for name in ("roc", "reliability", "months", "realised"):
        assert f"](plots/{name}.png)" in text
