from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="matplotlib comes with the train extra")
from app.training.reporting import report as reports
from app.training.reporting.markdown import WIDTH
from app.training.reporting.report import report, write_report
from app.training.reporting.verdict import goals, weaknesses
from app.types import parse_time

SECONDS = {8: 0.21, 16: 0.22, 32: 0.41}
Json = dict[str, Any]


def score(accuracy: float, **others: float | None) -> Json:
    metrics = {"balanced_accuracy": 0.79, "f1": 0.8, "auc": 0.87, "brier": 0.12, "ece": 0.03}
    return {"accuracy": accuracy, **metrics, "r2_log_vol": 0.6, "qlike": 0.3, **others}


def month(name: str, points: float) -> Json:
    return {
        "month": name,
        "high_share": 0.3,
        "accuracy": 0.76 + points / 100,
        "auc": 0.88,
        "r2_log_vol": 0.6,
        "persistence_60": 0.76,
        "persistence_240": 0.74,
        "har_rv": 0.81,
        "lightgbm": 0.81,
        "points_above_persistence_better": points,
    }


def attempt(technique: str, variant: str, gain: float, error: float, *, kept: bool) -> Json:
    shown = {"loss": 0.31 - gain, "gain": gain, "gain_error": error, "accuracy": 0.84, "auc": 0.9, "r2_log_vol": 0.7}
    return {"technique": technique, "variant": variant, "kept": kept, **shown}


def point(hidden: int, logrows: int, loss: float) -> Json:
    return {
        "hidden": hidden,
        "inputs": 85,
        "parameters": 89 * hidden + 3,
        "rows": 108 * hidden + 88,
        "logrows": logrows,
        "proof_bytes": 2080,
        "validation_loss": loss,
        "accuracy": 0.84,
        "auc": 1.2 - loss,
        "released": hidden == 8,
    }


def stretch(first: str, last: str) -> Json:
    times = {"from": f"{first}T00:00:00Z", "to": f"{last}T16:00:00Z", "labels_end": f"{last}T20:00:00Z"}
    return {**times, "every_minutes": 10, "samples": 1800, "left_out": 0, "high_share": 0.3}


def quarter(first: str, last: str, retrained: float, once: float) -> Json:
    return {
        "from": f"{first}T00:00:00Z",
        "to": f"{last}T00:00:00Z",
        "high_share": 0.4,
        "retrained": score(retrained),
        "trained_once": score(once),
        "har_rv": score(0.82),
        "persistence_60": score(0.75),
        "persistence_240": score(0.74),
    }


@pytest.fixture
def manifest() -> Json:
    return {
        "name": "btc-usdt-4h-v9",
        "horizon_minutes": 240,
        "threshold": 0.0005,
        "circuit": {"rows": 955, "logrows": 11, "proof_bytes": 2080},
    }


@pytest.fixture
def record() -> Json:
    """A small record of a model that meets every goal."""
    found = {"loss": 0.3, "gain": 0.002, "gain_error": 0.003, "auc": 0.9}
    file = {"file": "ours.parquet", "rows": 1000, "from": "2021-01-01T00:00:00Z", "to": "2025-09-30T23:59:00Z"}
    return {
        "quick": False,
        "data": {"ours": file, "other": None},
        "recipe": {"hidden": 8, "other_asset": "none", "teacher_weight": 0.7},
        "split": {
            "embargo_minutes": 240,
            "train": stretch("2021-01-08", "2025-03-31"),
            "folds": [stretch("2024-04-01", "2024-09-30"), stretch("2024-10-01", "2025-03-31")],
            "test": stretch("2025-04-01", "2025-09-30"),
        },
        "teachers": {
            "chosen": "ensemble",
            "rows": [
                {"teacher": "recurrent_network", "what": "a recurrence", "loss": 0.33, **score(0.83)},
                {"teacher": "ensemble", "what": "the mean of the others", "loss": 0.29, **score(0.85)},
            ],
        },
        "techniques": [
            attempt("start", "plain network", 0.0, 0.0, kept=True),
            attempt("input noise", "0.4", 0.01, 0.002, kept=True),
            attempt("batch norm, folded", "on", -0.02, 0.004, kept=False),
            attempt("dropout", "0.1", 0.001, 0.003, kept=False),
            {"technique": "a second asset", "variant": "no second candle file was given", "kept": False},
        ],
        "search": {
            "kept": False,
            "trials": [{"noise": at / 10, "loss": 0.3 + at / 100} for at in range(7, 0, -1)],
            "found": {"noise": 0.1},
            "before": {**found, "loss": 0.302, "gain": 0.0, "gain_error": 0.0},
            "after": found,
        },
        "frontier": [point(8, 11, 0.3), point(16, 11, 0.299), point(32, 12, 0.295)],
        "walk_forward": [
            quarter("2024-01-01", "2024-04-01", 0.85, 0.85),
            quarter("2024-04-01", "2024-07-01", 0.86, 0.84),
            quarter("2025-04-01", "2025-07-01", 0.84, 0.83),
        ],
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
            "retention": 0.98,
            "per_month": [month("2025-08", 9.0), month("2025-09", 7.0)],
            "scores": {
                "model": score(0.84, ece=0.02, auc=0.9, brier=0.1, r2_log_vol=0.7, qlike=0.2),
                "teacher": score(0.857143, auc=0.95),
                "persistence_60": score(0.76),
                "persistence_240": score(0.74),
                "har_rv": score(0.839),
                "logistic_regression": score(0.8399),
                "lightgbm": score(0.84),
            },
            "other_asset": None,
            "students": {"never trained on it": score(0.84)},
        },
    }


@pytest.fixture
def with_other(record: Json) -> Json:
    """The same with a second asset, on which the released student is worse than persistence."""
    record["data"]["other"] = {"file": "theirs.parquet"}
    record["test"]["students"]["trained on it"] = score(0.835)
    record["test"]["other_asset"] = {
        "file": "theirs.parquet",
        "samples": 1700,
        "high_share": 0.58,
        "scores": {
            "never trained on it": score(0.69),
            "trained on it": score(0.74),
            "persistence_60": score(0.7),
            "persistence_240": score(0.68),
        },
    }
    return record


def in_prose(text: str) -> str:
    return " ".join(text.split())


def test_goals__reached_exactly__are_met(record: Json) -> None:
    record["test"]["scores"]["lightgbm"]["accuracy"] = 0.843
    assert [goal.met for goal in goals(record)] == [True] * 6


def test_goals__just_missed__are_not_met(record: Json) -> None:
    test = record["test"]
    test["points_above_better_persistence"], test["retention"] = 7.9999, 0.979999
    test["scores"]["model"]["ece"] = 0.020001
    for name, accuracy in (("har_rv", 0.84), ("logistic_regression", 0.8401), ("lightgbm", 0.843001)):
        test["scores"][name]["accuracy"] = accuracy
    assert [goal.met for goal in goals(record)] == [False] * 6


def test_report__all_goals_met__says_so(manifest: Json, record: Json) -> None:
    text = report(manifest, record, SECONDS)
    assert "All 6 goals are met." in text
    assert "not met" not in text


def test_report__goal_missed__names_it_at_the_top_and_at_the_end(manifest: Json, record: Json) -> None:
    record["test"]["retention"] = 0.97
    text = report(manifest, record, SECONDS)
    assert "5 of 6 goals are met. Fell short: at least 98 % of the teacher's accuracy." in in_prose(text)
    assert "| at least 98 % of the teacher's accuracy | 97.00 % | **not met** |" in text
    assert "* Goal not met: at least 98 % of the teacher's accuracy (97.00 %)." in text


def test_report__day_of_the_run__stands_beside_the_opening_of_the_test(
    manifest: Json, record: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "wall_ms", lambda: parse_time("2026-02-03T23:59:59Z"))
    assert "The test was opened once, in the run that wrote this report (2026-02-03, UTC)" in in_prose(
        report(manifest, record, SECONDS)
    )


def test_report__chosen_teacher__is_bold(manifest: Json, record: Json) -> None:
    text = report(manifest, record, SECONDS)
    assert "| **ensemble** | 0.2900 | 85.00 % |" in text
    assert "| recurrent network | 0.3300 | 83.00 % |" in text


def test_report__techniques__show_gain_and_fate(manifest: Json, record: Json) -> None:
    text = report(manifest, record, SECONDS)
    assert "| input noise | 0.4 | 0.3000 | +0.0100 ± 0.0020 | 84.00 % | 0.9000 | 0.700 | kept |" in text
    assert "| dropout | 0.1 | 0.3090 | +0.0010 ± 0.0030 | 84.00 % | 0.9000 | 0.700 | dropped |" in text
    assert "| a second asset | no second candle file was given | – | – | – | – | – | not tried |" in text


def test_report__one_fold_and_seed__says_that_there_is_no_error(manifest: Json, record: Json) -> None:
    words = "there is no standard error"
    assert words not in report(manifest, record, SECONDS)
    for row in record["techniques"]:
        row["gain_error"] = 0.0
    assert words in in_prose(report(manifest, record, SECONDS))


def test_report__search__shows_the_best_five_and_why_it_was_dropped(manifest: Json, record: Json) -> None:
    text = report(manifest, record, SECONDS)
    shown = text.split("## Search")[1].split("## Size")[0]
    assert [line for line in shown.splitlines() if line.startswith("| 0.")] == [
        f"| {0.3 + at / 100:.4f} | {at / 10:g} |" for at in range(1, 6)
    ]
    assert "+0.0020 ± 0.0030, not more than its standard error, so the settings from before stay" in in_prose(shown)


def test_report__search_kept__says_that_its_settings_were_taken(manifest: Json, record: Json) -> None:
    record["search"]["kept"] = True
    assert "so these settings were taken" in in_prose(report(manifest, record, SECONDS))


def test_report__no_trials__is_no_table(manifest: Json, record: Json) -> None:
    record["search"] |= {"trials": [], "found": {}}
    assert "No settings were searched." in report(manifest, record, SECONDS)


def test_report__released_size__is_explained_by_its_k(manifest: Json, record: Json) -> None:
    text = in_prose(report(manifest, record, SECONDS))
    assert "at k = 11, the lowest here, a proof takes 0.21 to 0.22 s" in text
    assert "(The mean loss is lower at 16, but within that error.)" in text
    assert "The best at k = 12, 32 hidden neurons, would change the loss by -0.0050 and AUC by +0.0050" in text
    assert "0.41 s instead of 0.21 s" in text


def test_report__one_k_only__has_no_next(manifest: Json, record: Json) -> None:
    record["frontier"] = record["frontier"][:1]
    text = in_prose(report(manifest, record, SECONDS))
    assert "a proof takes 0.21 s whatever the size" in text
    assert "No size of a larger k was tried." in text


def test_report__walk_forward__marks_what_served_as_folds(manifest: Json, record: Json) -> None:
    text = report(manifest, record, SECONDS)
    assert "| 2024-01-01 to 2024-04-01 |" in text
    assert "| 2024-04-01 to 2024-07-01* |" in text
    assert "| 2025-04-01 to 2025-07-01 |" in text
    assert "higher accuracy in 2 of the 2 stretches after the first; on average it brought +1.50 points" in in_prose(
        text
    )


def test_report__no_other_asset__has_no_such_chapter(manifest: Json, record: Json) -> None:
    assert "## Another asset" not in report(manifest, record, SECONDS)


def test_report__other_asset__compares_both_students(manifest: Json, with_other: Json) -> None:
    text = report(manifest, with_other, SECONDS)
    assert "| student, never trained on it (released) | 84.00 % | 0.8700 | 0.6000 | 69.00 % |" in text
    assert "| student, trained on it | 83.50 % | 0.8700 | 0.6000 | 74.00 % |" in text
    assert "who knows our asset only" in in_prose(text)
    assert (
        "-1.00 points for the student never trained on it and +4.00 points for the student trained on it"
        in in_prose(text)
    )


def test_report__student_without_a_teacher__is_a_stranger_to_the_other_asset(manifest: Json, with_other: Json) -> None:
    with_other["recipe"]["teacher_weight"] = 0.0
    assert "who had learnt from both assets" not in in_prose(report(manifest, with_other, SECONDS))


def test_report__classic_networks__have_their_caveat(manifest: Json, record: Json) -> None:
    assert "classic" not in report(manifest, record, SECONDS)
    record["test"]["scores"]["classic_student"] = score(0.75, r2_log_vol=None, qlike=None)
    text = report(manifest, record, SECONDS)
    assert "| classic student | 75.00 % |" in text
    assert "a split of its own" in in_prose(text)


def test_report__quick_run__warns(manifest: Json, record: Json) -> None:
    assert "quick run" not in report(manifest, record, SECONDS)
    record["quick"] = True
    assert "**Made by a quick run" in report(manifest, record, SECONDS)


def test_report__lines__are_not_too_long(manifest: Json, with_other: Json) -> None:
    assert max(map(len, report(manifest, with_other, SECONDS).splitlines())) <= WIDTH


def test_weaknesses__strong_model__lists_what_was_dropped_only(record: Json) -> None:
    assert weaknesses(record) == [
        "Did not help enough to be kept: batch norm, folded; dropout.",
        "A search of 7 trials found nothing better than before it.",
    ]


def test_report__nothing_weak__says_so(manifest: Json, record: Json) -> None:
    record["techniques"], record["search"]["kept"] = record["techniques"][:2], True
    assert weaknesses(record) == []
    assert "Nothing that the figures of this run show." in report(manifest, record, SECONDS)


def test_weaknesses__weak_months__are_named(record: Json) -> None:
    record["test"]["per_month"] = [month("2025-07", 5.9), month("2025-08", 4.0) | {"high_share": 0.1}]
    found = weaknesses(record)
    assert "Less than 6 points above the better persistence in 2025-07 and 2025-08." in found
    assert "No more accurate than always naming the month's more frequent regime in 2025-08." in found
    assert "Less accurate than HAR-RV in 2025-08." in found
    assert "Less accurate than LightGBM in 2025-08." in found


def test_weaknesses__better_baselines__are_named_by_metric(record: Json) -> None:
    record["test"]["scores"]["lightgbm"] |= {"auc": 0.91, "qlike": 0.1}
    record["test"]["scores"]["har_rv"] |= {"qlike": 0.15, "r2_log_vol": 0.8}
    found = weaknesses(record)
    assert "Better than the model in AUC (0.9000): LightGBM (0.9100)." in found
    assert "Better than the model in R² (0.7000): HAR-RV (0.8000)." in found
    assert "Better than the model in QLIKE (0.2000): HAR-RV (0.1500) and LightGBM (0.1000)." in found
    assert not any("calibration" in words for words in found)


def test_weaknesses__metric_that_is_missing__is_not_compared(record: Json) -> None:
    for entry in record["test"]["scores"].values():
        entry["auc"] = None
    assert not any("AUC" in words for words in weaknesses(record))


def test_weaknesses__walk_forward_behind__is_named(record: Json) -> None:
    record["walk_forward"][2] = quarter("2025-04-01", "2025-07-01", 0.82, 0.83)
    found = weaknesses(record)
    assert "In the walk-forward, no better than HAR-RV in the stretches from 2025-04-01." in found
    assert "Training anew was worse than not doing so in the stretches from 2025-04-01." in found


def test_weaknesses__other_asset__is_named(with_other: Json) -> None:
    assert "On another asset, the student never trained on it is no better than persistence 60 min." in weaknesses(
        with_other
    )


def test_write_report__folder__holds_text_plot_and_seconds(manifest: Json, record: Json, tmp_path: Path) -> None:
    write_report(manifest, record, SECONDS, tmp_path / "report")
    folder = tmp_path / "report"
    assert sorted(path.name for path in folder.iterdir()) == ["REPORT.md", "frontier.png", "proof_seconds.json"]
    assert (folder / "REPORT.md").read_text(encoding="utf-8").startswith("# How btc-usdt-4h-v9 was made")
    assert (folder / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "proof_seconds.json").read_text()) == {
        "median_seconds_by_hidden": {"8": 0.21, "16": 0.22, "32": 0.41}
    }


def test_write_report__record__is_left_as_it_was(manifest: Json, record: Json, tmp_path: Path) -> None:
    before = json.dumps(record)
    write_report(manifest, record, SECONDS, tmp_path / "report")
    assert json.dumps(record) == before
