from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from app.errors import CandleFileInvalid, ModelFolderInvalid, ProofRejected
from app.features.variation import INPUTS
from app.inference.release import (
    BATCH_COMPILED,
    BATCH_SETTINGS,
    COMPILED,
    MANIFEST,
    NETWORK,
    RECORD,
    SETTINGS,
    load_model,
)
from app.proving import engine
from app.training.circuit import IntegerWeights, circuit_outputs
from app.types import MINUTE_MS, Keys, parse_time

pytest.importorskip("lightgbm", reason="lightgbm comes with the train extra")
pytest.importorskip("torch", reason="torch comes with the train extra")
from app.training import choices, export
from app.training.kept import KeptWork
from app.training.production import train_production

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "models" / "btc-usdt-4h-v3"
CLASSIC = ROOT / "models" / "classic"
NAME = "synthetic-v1"
DAYS = 62
GAP = slice(30_000, 30_300)
"""Five hours are missing from the recording, on its twenty-first day."""
HASHED = {NETWORK, SETTINGS, COMPILED, BATCH_SETTINGS, BATCH_COMPILED, RECORD}
ENTRIES = {*HASHED, MANIFEST, "MODEL_CARD.md", "plots", "report"}
Json = dict[str, Any]
Columns = dict[str, Any]


def columns(days: int = DAYS, *, seed: int = 11, level: float = 1.0) -> Columns:
    """Candles whose volatility clusters for about a day, swings with the day and crosses the threshold."""
    rng = np.random.default_rng(seed)
    minutes = np.arange(days * 1440)
    states = np.zeros(days * 24 + 1)
    for hour, shock in enumerate(rng.normal(0, 0.3, days * 24), start=1):
        states[hour] = 0.95 * states[hour - 1] + shock
    slow = np.interp(minutes / 60, np.arange(len(states)), states)
    size = 0.0005 * level * np.exp(0.6 * slow + 0.3 * np.sin(2 * np.pi * minutes / 1440))
    closes = 20_000 * np.exp(np.cumsum(rng.normal(0, size)))
    opens = np.concatenate(([20_000], closes[:-1]))
    return {
        "open_time": parse_time("2024-01-01T00:00:00Z") + MINUTE_MS * minutes,
        "open": opens,
        "high": np.maximum(opens, closes),
        "low": np.minimum(opens, closes),
        "close": closes,
        "volume": np.ones(len(minutes), dtype=np.float32),
    }


def write(path: Path, table: Columns) -> Path:
    pa_parquet.write_table(pa.table(table), path)
    return path


def quick(candles: Path, root: Path, say: Callable[[str], None] = lambda _: None, **options: Any) -> Json:
    """A run in the folders of the command: ``root/models`` and ``root/var/training``."""
    options = {"seed": 5, "quick": True, **options}
    return train_production(
        candles, root / "models" / NAME, kept=root / "var" / "training", name=NAME, say=say, **options
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path, but for ``report/``, where proofs are timed."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith("report/")}


def record_of(folder: Path) -> Json:
    record: Json = json.loads((folder / RECORD).read_text())
    return record


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = {name: np.delete(values, GAP) for name, values in columns().items()}
    return write(tmp_path_factory.mktemp("candles") / "synthetic.parquet", table)


@pytest.fixture(scope="module")
def command(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    """What ``veriregime train production --quick --json`` leaves and prints, in a process of its own."""
    root = tmp_path_factory.mktemp("command")
    options = [
        "--candles",
        candles,
        "--out",
        root / "models" / NAME,
        "--name",
        NAME,
        "--seed",
        "5",
        "--quick",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "train", "production", *options],
        env={**os.environ, "VERIREGIME_VAR_DIR": str(root / "var")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout)


@pytest.fixture(scope="module")
def released(command: tuple[Path, Json]) -> Path:
    return command[0] / "models" / NAME


@pytest.fixture(scope="module")
def compared(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with another asset and with the original experiment's networks, in place of a folder that was there."""
    root = tmp_path_factory.mktemp("compared")
    also = write(root / "another.parquet", columns(seed=12, level=1.5))
    (root / "models" / NAME).mkdir(parents=True)
    (root / "models" / NAME / "stale").touch()
    quick(candles, root, also=also, classic=CLASSIC, force=True)
    return root / "models" / NAME


def test_train_production__quick__releases_a_model_that_loads(command: tuple[Path, Json], released: Path) -> None:
    model = load_model(released)
    assert model.name == NAME
    assert model.manifest == command[1]
    assert model.circuit.logrows == 11
    assert {path.name for path in released.iterdir()} == ENTRIES
    assert {path.name for path in (released / "report").iterdir()} >= {"REPORT.md"}
    assert [path.name for path in released.parent.iterdir()] == [NAME], "nothing else is left behind"
    assert list((command[0] / "var" / "training").iterdir()) == [], "nothing is kept of a finished run"


def test_train_production__manifest__names_every_file_by_its_hash(released: Path, candles: Path) -> None:
    manifest = json.loads((released / MANIFEST).read_text())
    assert set(manifest["files"]) == HASHED
    for name, digest in manifest["files"].items():
        assert engine.sha256_file(released / name) == digest
    ours = manifest["training"]["data"]["ours"]
    assert ours["file"] == candles.name
    assert ours["sha256"] == engine.sha256_file(candles)
    assert ours["rows"] == DAYS * 1440 - 300
    assert manifest["training"]["metrics"]["test"]["accuracy"] > 0.6
    assert manifest["training"]["metrics"]["agreement"]["class_agreement_float_circuit"] >= 0.995
    assert manifest["training"]["metrics"]["agreement"]["witnesses_equal_to_emulation"] == 8


def test_train_production__manifest_and_record__state_the_same(released: Path) -> None:
    manifest, record = json.loads((released / MANIFEST).read_text()), record_of(released)
    for name in ("data", "split", "seed", "recipe", "versions"):
        assert manifest["training"][name] == record[name]
    assert manifest["training"]["metrics"]["test"]["accuracy"] == record["test"]["scores"]["model"]["accuracy"]
    (point,) = (point for point in record["frontier"] if point["released"])
    assert point["hidden"] == record["recipe"]["hidden"]
    assert point["parameters"] == manifest["circuit"]["parameters"]
    assert point["proof_bytes"] == manifest["circuit"]["proof_bytes"]


def test_train_production__frontier__has_the_rows_of_the_released_circuit(released: Path) -> None:
    manifest, record = json.loads((released / MANIFEST).read_text()), record_of(released)
    (point,) = (point for point in record["frontier"] if point["released"])
    assert point["rows"] == manifest["circuit"]["rows"]


def test_train_production__split__has_no_label_that_looks_into_the_next_part(released: Path) -> None:
    split = record_of(released)["split"]
    (fold,) = split["folds"]
    for earlier, later in ((fold, split["test"]), (split["train"], split["test"])):
        assert earlier["from"] < earlier["to"] < earlier["labels_end"] < later["from"]
    assert split["train"]["labels_end"] == fold["labels_end"], "after the choices, validation is trained on too"


def test_train_production__gap_in_the_recording__is_left_out_and_counted(released: Path) -> None:
    split = record_of(released)["split"]
    # Returns 30,000 to 30,300 are missing: no label may hold one, and of the last four hours half must be known.
    lost = range(30_000 - 240 + 1, 30_301 + 120)
    assert split["train"]["left_out"] == len([end for end in lost if (end - 10_081) % 10 == 0])
    assert split["test"]["left_out"] == 0


def test_train_production__record__holds_the_evidence_of_every_choice(released: Path) -> None:
    record = record_of(released)
    assert record["quick"]
    rows = record["teachers"]["rows"]
    assert {row["teacher"] for row in rows} == {"gradient_boosting", "wide_ensemble", "ensemble"}
    assert record["teachers"]["chosen"] == min(rows, key=lambda row: row["loss"])["teacher"]
    assert len(record["search"]["trials"]) == 3
    assert [point["hidden"] for point in record["frontier"]] == [4, 16]
    assert len(record["walk_forward"]) == 1
    assert record["test"]["other_asset"] is None
    assert record["data"]["other"] is None


def test_train_production__test__compares_with_everyone_on_the_same_windows(released: Path) -> None:
    test = record_of(released)["test"]
    names = {"model", "teacher", "persistence_60", "persistence_240", "har_rv", "logistic_regression", "lightgbm"}
    assert set(test["scores"]) == names
    accuracy = {name: score["accuracy"] for name, score in test["scores"].items()}
    better = max(accuracy["persistence_60"], accuracy["persistence_240"])
    assert test["points_above_better_persistence"] == pytest.approx(100 * (accuracy["model"] - better), abs=1e-3)
    assert test["retention"] == pytest.approx(accuracy["model"] / accuracy["teacher"], abs=1e-5)
    assert test["scores"]["model"]["auc"] > 0.8
    assert test["scores"]["model"]["r2_log_vol"] > 0.3


def test_train_production__witness__equals_the_emulation(released: Path, tmp_path: Path) -> None:
    circuit = load_model(released).circuit
    srs, vk, pk = (tmp_path / name for name in ("srs", "vk", "pk"))
    engine.make_development_srs(srs, circuit.logrows)
    engine.make_keys(circuit, srs, vk, pk)
    keys = Keys(circuit, srs, "", True, vk, "", pk, tmp_path / "none.sol")
    observations = np.random.default_rng(8).integers(-512, 513, (5, INPUTS)).astype(np.int16)
    expected = circuit_outputs(weights_in(released / NETWORK), observations)
    for row, outputs in zip(observations.tolist(), expected.tolist(), strict=True):
        assert engine.make_witness(keys, row, tmp_path / "witness.json") == tuple(outputs)


def weights_in(network: Path) -> IntegerWeights:
    import onnx

    tensors = onnx.load(network).graph.initializer
    return IntegerWeights(*(np.rint(onnx.numpy_helper.to_array(t) * 1024.0).astype(np.int64) for t in tensors))


STAGES = (
    "teacher wide_ensemble: fold 1",
    "dropout: ",
    "search: trial 1 of 3",
    "search: trial 2 of 3",
    "frontier: 4 hidden units",
    "training the final teacher",
    "fitting the baselines",
    "walk-forward: 1 of 1",
)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_train_production__interrupted_at_every_stage__goes_on_to_the_same_bytes(
    released: Path, candles: Path, tmp_path: Path
) -> None:
    """Again and again in one run, whose release fails at last; the one it is compared with was never interrupted."""
    for number, stage in enumerate(STAGES):
        said: list[str] = []

        def interrupt(line: str, stage: str = stage, said: list[str] = said) -> None:
            said.append(line)
            if line.startswith(stage):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            quick(candles, tmp_path, interrupt)
        assert (said[0] == "going on with an interrupted run") == (number > 0)
        check_kept(tmp_path)
        if stage == "search: trial 1 of 3":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(choices, "fit_student", interrupted)
                # In the middle of the second trial, which is left behind without an end.
                with pytest.raises(KeyboardInterrupt):
                    quick(candles, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "trial_keys", refuse)
        with pytest.raises(ProofRejected):
            quick(candles, tmp_path)
    assert list((tmp_path / "models").iterdir()) == []
    check_kept(tmp_path)
    quick(candles, tmp_path)
    found, expected = contents(tmp_path / "models" / NAME), contents(released)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert list((tmp_path / "var" / "training").iterdir()) == []


def refuse(*_: object) -> None:
    raise ProofRejected


def check_kept(root: Path) -> None:
    """One folder, in which every stage can be read again: one that cannot would silently be made anew."""
    (folder,) = (root / "var" / "training").iterdir()
    work = KeptWork(folder.parent, "production", {})
    work.folder = folder
    assert all(work.load(path.stem) is not None for path in folder.glob("*.pt"))
    assert list(folder.glob("*.new")) == []
    assert not (root / "models" / NAME).exists()


@pytest.mark.parametrize("change", [{"seed": 6}, {"classic": CLASSIC}])
def test_train_production__anything_else_asked_for__does_not_go_on_with_what_was_kept(
    candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Json
) -> None:
    folders = set()

    def first_stage(self: KeptWork, *_: object) -> None:
        folders.add(self.folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(KeptWork, "stage", first_stage)
    for options in ({}, change):
        with pytest.raises(KeyboardInterrupt):
            quick(candles, tmp_path, **options)
    assert len(folders) == 2


@pytest.mark.slow
def test_train_production__with_another_asset__is_tested_on_it_with_both_students(compared: Path) -> None:
    record = record_of(compared)
    assert record["data"]["other"]["file"] == "another.parquet"
    other = record["test"]["other_asset"]
    labels = {"never trained on it", "trained on it"}
    assert set(other["scores"]) == labels | {"persistence_60", "persistence_240"}
    assert set(record["test"]["students"]) == labels
    used = record["recipe"]["other_asset"] != "none"
    released = record["test"]["students"]["trained on it" if used else "never trained on it"]
    assert released["accuracy"] == record["test"]["scores"]["model"]["accuracy"]
    variants = {row["variant"] for row in record["techniques"] if row["technique"] == "a second asset"}
    assert variants == {"as it is", "at our level"}


@pytest.mark.slow
def test_train_production__with_classic_networks__compares_with_them(compared: Path) -> None:
    scores = record_of(compared)["test"]["scores"]
    assert {"classic_teacher", "classic_student"} <= set(scores)
    assert scores["classic_student"]["r2_log_vol"] is None


@pytest.mark.slow
def test_train_production__force__replaces_the_folder(compared: Path) -> None:
    assert load_model(compared).name == NAME
    assert {path.name for path in compared.iterdir()} == ENTRIES
    assert [path.name for path in compared.parent.iterdir()] == [NAME]


def test_train_production__existing_folder__is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "models" / NAME).mkdir(parents=True)
    with pytest.raises(ModelFolderInvalid, match="--force"):
        quick(tmp_path / "missing.parquet", tmp_path)


@pytest.mark.parametrize("present", [(), ("student.onnx",)])
def test_train_production__classic_folder_that_is_none__is_refused_before_any_work(
    candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: tuple[str, ...]
) -> None:
    monkeypatch.setattr("app.training.production._taught", lambda *_: pytest.fail("the training had begun"))
    (tmp_path / "classic").mkdir()
    for name in present:
        (tmp_path / "classic" / name).touch()
    with pytest.raises(ModelFolderInvalid, match="train classic"):
        quick(candles, tmp_path, classic=tmp_path / "classic")


def with_nan(table: Columns) -> Columns:
    return {**table, "close": np.where(np.arange(len(table["close"])) == 777, np.nan, table["close"])}


def shuffled(table: Columns) -> Columns:
    order = np.random.default_rng(0).permutation(len(table["close"]))
    return {name: values[order] for name, values in table.items()}


def without_close(table: Columns) -> Columns:
    return {name: values for name, values in table.items() if name != "close"}


def constant(table: Columns) -> Columns:
    prices = {name: np.full(len(table["close"]), 7.0) for name in ("open", "high", "low", "close")}
    return {**table, **prices}


def calm(_: Columns) -> Columns:
    return columns(level=0.01)


def short(_: Columns) -> Columns:
    return columns(20)


def broken_off(table: Columns) -> Columns:
    """Nothing but a minute now and then after the eighth day."""
    keep = np.arange(DAYS * 1440) % 97 == 0
    keep[: 8 * 1440] = True
    return {name: values[keep] for name, values in table.items()}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (with_nan, "column close has 1 empty, NaN or infinite values, the first in row 777"),
        (shuffled, "sort the file by open_time"),
        (without_close, "has no column 'close'"),
        (short, "are too few: .* 14 days to train on"),
        (calm, "every window is low: there is nothing to tell apart"),
        (constant, "prices do not move"),
        (broken_off, "complete week before them"),
    ],
)
def test_train_production__file_that_cannot_be_learnt_from__is_refused_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Columns], Columns], reason: str
) -> None:
    monkeypatch.setattr("app.training.production._taught", lambda *_: pytest.fail("the training had begun"))
    path = write(tmp_path / "bad.parquet", spoil(columns()))
    with pytest.raises(CandleFileInvalid, match=reason):
        quick(path, tmp_path)
    assert not (tmp_path / "models").exists()


def test_train_production__nothing_happens_in_the_test__is_refused_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.production.compare_teachers", lambda *_: pytest.fail("the training had begun"))
    table, quiet = columns(), np.arange(DAYS * 1440) >= 75_700
    table["close"] = np.where(quiet, 20_000 + np.arange(DAYS * 1440) % 2, table["close"])
    table["open"] = table["high"] = table["low"] = table["close"]
    with pytest.raises(CandleFileInvalid, match="every window is low"):
        quick(write(tmp_path / "quiet.parquet", table), tmp_path)


def test_released_model__is_what_its_manifest_says() -> None:
    released = load_model(RELEASED)
    assert released.feeds == ("btc-usdt-4h", "eth-usdt-4h")
    assert released.batch is not None
    assert (released.circuit.windows, released.batch.windows) == (1, 10)


def test_released_model__beats_persistence_by_six_points() -> None:
    metrics = load_model(RELEASED).manifest["training"]["metrics"]
    lead = metrics["test"]["accuracy"] - metrics["baselines"]["persistence_60"]["accuracy"]
    assert lead >= 0.06
