from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from app.errors import CandleFileInvalid, ModelFolderInvalid, ProofRejected
from app.features.variation import INPUTS
from app.inference.release import COMPILED, MANIFEST, NETWORK, SETTINGS, load_model
from app.proving import engine
from app.training.circuit import IntegerWeights, circuit_outputs
from app.types import MINUTE_MS, Keys, parse_time

pytest.importorskip("torch", reason="torch comes with the train extra")
from app.training.production import train_production

RELEASED = Path(__file__).parents[2] / "models" / "btc-usdt-4h-v1"
DAYS = 62


def write_candles(path: Path, days: int) -> Path:
    """Candles whose volatility clusters for about a day, swings with the day and crosses the threshold."""
    rng = np.random.default_rng(11)
    minutes = np.arange(days * 1440)
    level = np.zeros(days * 24 + 1)
    for hour, shock in enumerate(rng.normal(0, 0.3, days * 24), start=1):
        level[hour] = 0.95 * level[hour - 1] + shock
    slow = np.interp(minutes / 60, np.arange(len(level)), level)
    size = 0.0005 * np.exp(0.6 * slow + 0.3 * np.sin(2 * np.pi * minutes / 1440))
    closes = 20_000 * np.exp(np.cumsum(rng.normal(0, size)))
    opens = np.concatenate(([20_000], closes[:-1]))
    table = {
        "open_time": parse_time("2024-01-01T00:00:00Z") + MINUTE_MS * minutes,
        "open": opens,
        "high": np.maximum(opens, closes),
        "low": np.minimum(opens, closes),
        "close": closes,
        "volume": np.ones(len(minutes), dtype=np.float32),
    }
    pa_parquet.write_table(pa.table(table), path)
    return path


def quick(candles: Path, out: Path, *, force: bool = False) -> dict[str, Any]:
    return train_production(candles, out, name=out.name, seed=5, quick=True, force=force, say=lambda _: None)


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_candles(tmp_path_factory.mktemp("candles") / "synthetic.parquet", DAYS)


@pytest.fixture(scope="module")
def released(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "synthetic-v1"
    quick(candles, out)
    return out


def test_train_production__quick__releases_a_model_that_loads(released: Path) -> None:
    model = load_model(released)
    assert model.name == "synthetic-v1"
    assert model.circuit.logrows == 11
    assert {path.name for path in released.iterdir()} == {NETWORK, SETTINGS, COMPILED, MANIFEST, "MODEL_CARD.md"}
    assert [path.name for path in released.parent.iterdir()] == [released.name], "nothing else is left behind"


def test_train_production__manifest__states_data_split_and_metrics(released: Path, candles: Path) -> None:
    training = json.loads((released / MANIFEST).read_text())["training"]
    assert training["data"]["file"] == candles.name
    assert training["data"]["sha256"] == engine.sha256_file(candles)
    assert training["data"]["rows"] == DAYS * 1440
    assert (
        training["split"]["train"]["to"] < training["split"]["validation"]["from"] < training["split"]["test"]["from"]
    )
    assert training["metrics"]["test"]["accuracy"] > 0.6
    assert training["metrics"]["agreement"]["class_agreement_float_circuit"] >= 0.995


def test_train_production__same_seed__gives_the_same_bytes(released: Path, candles: Path, tmp_path: Path) -> None:
    again = tmp_path / released.name
    quick(candles, again)
    for path in released.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_train_production__witness__equals_the_emulation(released: Path, tmp_path: Path) -> None:
    circuit = load_model(released).circuit
    srs, vk, pk = (tmp_path / name for name in ("srs", "vk", "pk"))
    engine.make_development_srs(srs, circuit.logrows)
    engine.make_keys(circuit, srs, vk, pk)
    keys = Keys(circuit, srs, "", True, vk, "", pk, tmp_path / "none.sol")
    observations = np.random.default_rng(8).integers(-384, 385, (5, INPUTS)).astype(np.int16)
    expected = circuit_outputs(weights_in(released / NETWORK), observations)
    for row, outputs in zip(observations.tolist(), expected.tolist(), strict=True):
        assert engine.make_witness(keys, row, tmp_path / "witness.json") == tuple(outputs)


def weights_in(network: Path) -> IntegerWeights:
    import onnx

    tensors = onnx.load(network).graph.initializer
    return IntegerWeights(*(np.rint(onnx.numpy_helper.to_array(t) * 1024.0).astype(np.int64) for t in tensors))


def test_train_production__existing_folder__is_refused_before_any_work(released: Path, candles: Path) -> None:
    with pytest.raises(ModelFolderInvalid, match="--force"):
        quick(candles.with_name("missing.parquet"), released)


def test_train_production__force__replaces_the_folder(candles: Path, tmp_path: Path) -> None:
    out = tmp_path / "synthetic-v1"
    out.mkdir()
    (out / "stale").touch()
    quick(candles, out, force=True)
    assert load_model(out).name == "synthetic-v1"
    assert not (out / "stale").exists()


def test_train_production__failed_proof__leaves_nothing_behind(
    candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ProofRejected()

    monkeypatch.setattr(engine, "prove", refuse)
    with pytest.raises(ProofRejected):
        quick(candles, tmp_path / "models" / "synthetic-v1")
    assert list((tmp_path / "models").iterdir()) == []


def test_train_production__short_file__says_what_is_needed(tmp_path: Path) -> None:
    short = write_candles(tmp_path / "short.parquet", 20)
    with pytest.raises(CandleFileInvalid, match="too few"):
        quick(short, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_released_model__is_what_its_manifest_says() -> None:
    assert load_model(RELEASED).feeds == ("btc-usdt-4h",)


def test_released_model__beats_persistence_by_six_points() -> None:
    metrics = load_model(RELEASED).manifest["training"]["metrics"]
    lead = metrics["test"]["accuracy"] - metrics["baselines"]["persistence_60"]["accuracy"]
    assert lead >= 0.06
