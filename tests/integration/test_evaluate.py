from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from app.errors import CandleFileInvalid, ModelFolderInvalid, UnknownModel
from app.features.variation import VariationSpec, observe
from app.inference.network import Network
from app.inference.release import MANIFEST, RECORD, ReleasedModel, load_model
from app.training.baselines import HAR_MINUTES
from app.training.evaluate import as_text, evaluate
from app.types import MINUTE_MS, Candles, Feed, Regime, Window, iso, parse_time

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
DAYS = 9
FROM, TO = "2025-09-14T06:00:00Z", "2025-09-14T08:30:00Z"
IN_RANGE = 150
METRICS = {"accuracy", "balanced_accuracy", "f1", "auc", "brier", "ece", "r2_log_vol", "qlike"}
TRAIN_EXTRA = ("torch", "onnx", "sklearn", "lightgbm", "optuna", "matplotlib")


def write(candles: Candles, path: Path) -> Path:
    names = ("open", "high", "low", "close", "volume")
    table = {"open_time": candles.open_time_ms} | {name: getattr(candles, name) for name in names}
    pa_parquet.write_table(pa.table(table), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture
def candles(make_candles: Callable[..., Candles]) -> Candles:
    return make_candles(DAYS * 1440, seed=21)


@pytest.fixture
def file(candles: Candles, folder: Path) -> Path:
    path = folder / "synthetic.parquet"
    return path if path.exists() else write(candles, path)


@pytest.fixture
def result(file: Path) -> dict[str, Any]:
    return judged(file, start=FROM, end=TO)


def judged(
    file: Path, models: Path = MODELS, *, model: str | None = None, start: str | None = None, end: str | None = None
) -> dict[str, Any]:
    times = [None if text is None else parse_time(text) for text in (start, end)]
    return evaluate(file, models, model=model, start_ms=times[0], end_ms=times[1])


@pytest.fixture
def models_with(tmp_path: Path) -> Callable[..., Path]:
    """A models folder with a copy of the released model whose manifest's training record is changed."""

    def make(name: str = "btc-usdt-4h-v3", **training: Any) -> Path:
        target = tmp_path / "models" / name
        shutil.copytree(MODELS / "btc-usdt-4h-v3", target)
        manifest = json.loads((target / MANIFEST).read_text())
        manifest["name"] = name
        manifest["training"].update(training)
        (target / MANIFEST).write_text(json.dumps(manifest))
        return target.parent

    return make


def test_evaluate__document__has_the_agreed_form(result: dict[str, Any], file: Path, model: ReleasedModel) -> None:
    assert list(result) == [
        "model_name",
        "model_id",
        "file",
        "file_sha256",
        "n",
        "left_out",
        "high_share",
        "period",
        "every_minutes",
        "model",
        "baselines",
        "per_month",
        "warnings",
    ]
    assert (result["model_name"], result["model_id"]) == (model.name, model.model_id)
    assert result["file"] == file.name
    assert set(result["model"]) == METRICS
    assert {"persistence_60", "persistence_240"} <= set(result["baselines"])
    assert all(set(values) == METRICS for values in result["baselines"].values())
    json.dumps(result, allow_nan=False)


def test_evaluate__range__holds_the_window_ends_only(result: dict[str, Any]) -> None:
    assert result["n"] == IN_RANGE
    assert result["period"] == {"from": FROM, "to": "2025-09-14T08:29:00Z"}
    assert [(row["month"], row["samples"]) for row in result["per_month"]] == [("2025-09", IN_RANGE)]


def test_evaluate__numbers__are_those_of_window_after_window_as_served(
    result: dict[str, Any], candles: Candles, model: ReleasedModel
) -> None:
    """Everything again, by the serving functions and plain arithmetic, window for window."""
    spec, network = VariationSpec.from_manifest(model.manifest["observation"]), Network(model)
    returns = np.diff(np.log(candles.close), prepend=np.nan)
    place = {int(t): at for at, t in enumerate(candles.open_time_ms)}
    high, p_high, named, error, loss, before = [], [], [], [], [], []
    for end_ms in range(parse_time(FROM), parse_time(TO), MINUTE_MS):
        window = Window(Feed("btc-usdt-4h", "BTC/USDT"), end_ms, {"binance": candles})
        forecast = network.forecast(observe(window, spec).values)
        at = place[end_ms]
        realised = returns[at : at + 240].std()
        annual = realised * math.sqrt(525_600)
        ratio = annual**2 / forecast.vol_annualised**2
        high.append(realised >= 0.0005)
        p_high.append(forecast.p_high)
        named.append(forecast.regime is Regime.HIGH)
        error.append(math.log(annual) - math.log(forecast.vol_annualised))
        loss.append(ratio - math.log(ratio) - 1)
        before.append(returns[at - 60 : at].std() >= 0.0005)
    found = result["model"]
    assert result["high_share"] == pytest.approx(np.mean(high), abs=1e-6)
    assert found["accuracy"] == pytest.approx(np.mean(np.equal(named, high)), abs=1e-6)
    assert found["brier"] == pytest.approx(np.mean((np.asarray(p_high) - high) ** 2), abs=1e-5)
    assert found["qlike"] == pytest.approx(np.mean(loss), abs=1e-5)
    spread = np.asarray(error)
    assert found["r2_log_vol"] == pytest.approx(1 - (spread**2).sum() / spread_of(candles, place), rel=1e-4)
    assert result["baselines"]["persistence_60"]["accuracy"] == pytest.approx(np.mean(np.equal(before, high)), abs=1e-6)


def spread_of(candles: Candles, place: dict[int, int]) -> float:
    """Sum of squares about the mean of ln realised volatility over the range."""
    returns = np.diff(np.log(candles.close), prepend=np.nan)
    ends = [place[end_ms] for end_ms in range(parse_time(FROM), parse_time(TO), MINUTE_MS)]
    logs = np.log([returns[at : at + 240].std() for at in ends])
    return float(((logs - logs.mean()) ** 2).sum())


def test_evaluate__whole_file__first_week_and_last_label_are_not_judged(file: Path, candles: Candles) -> None:
    found = judged(file)
    first_ms, end_ms = int(candles.open_time_ms[0]), int(candles.open_time_ms[-1]) + MINUTE_MS
    # The first minute of a file has no return, so the first week of returns begins with the second.
    assert found["period"]["from"] == iso(first_ms + (7 * 1440 + 1) * MINUTE_MS)
    assert found["period"]["to"] == iso(end_ms - 240 * MINUTE_MS)
    assert found["n"] == 2 * 1440 - 240
    assert found["left_out"] == 0


def test_evaluate__missing_candle__its_windows_are_left_out(candles: Candles, tmp_path: Path) -> None:
    rows = candles.rows()
    del rows[8 * 1440]
    found = judged(write(Candles.from_rows(rows), tmp_path / "gap.parquet"))
    # Two returns are gone, and every window that looks at one of them with its label.
    assert found["left_out"] == 241
    assert found["n"] == 2 * 1440 - 240 - 241


def test_evaluate__range_outside_the_file__says_what_the_file_holds(file: Path) -> None:
    with pytest.raises(CandleFileInvalid, match=r"from 2025-09-06T12:00:00Z to 2025-09-15T12:00:00Z: no window"):
        judged(file, start="2025-10-01")
    with pytest.raises(CandleFileInvalid, match="no window"):
        judged(file, end="2025-09-07")


def test_evaluate__handful_of_windows__says_how_many_are_needed(file: Path) -> None:
    with pytest.raises(CandleFileInvalid, match=r"only 5 windows .* 100 are needed"):
        judged(file, start="2025-09-14T06:00", end="2025-09-14T06:05")


def test_evaluate__months_of_training__are_warned_of(make_candles: Callable[..., Candles], tmp_path: Path) -> None:
    split = load_model(MODELS / "btc-usdt-4h-v3").manifest["training"]["split"]
    learnt_ms = parse_time(split["train"]["labels_end"])
    file = write(make_candles(8 * 1440, learnt_ms + 480 * MINUTE_MS), tmp_path / "old.parquet")
    found = judged(file)
    # 240 of the judged windows' ends lie after the last label that the model was trained on, and that moment itself.
    assert found["warnings"] == [
        f"{found['n'] - 241:,} of {found['n']:,} windows lie in the time that the model was trained on, "
        f"{split['train']['from']} to {split['train']['labels_end']}: of the market it learnt from, it has seen "
        "the answers there",
        "1,200 windows lie in the time that the classic networks were made with: they look better than they are",
    ]


def test_evaluate__after_training__has_no_warning(result: dict[str, Any]) -> None:
    assert result["warnings"] == []


def test_evaluate__quick_model__is_warned_of(file: Path, models_with: Callable[..., Path]) -> None:
    found = judged(file, models_with(quick=True, split={}), start=FROM, end=TO)
    assert found["warnings"] == [
        "the model was made by a quick run, to try the software",
        "the manifest does not say which time the model was trained on",
    ]


def test_evaluate__har_rv_in_the_manifest__is_judged_too(file: Path, models_with: Callable[..., Path]) -> None:
    record = {"minutes": list(HAR_MINUTES), "intercept": -0.1, "coefficients": [0.5, 0.2, 0.2], "deviation": 0.4}
    found = judged(file, models_with(baselines={"har_rv": record}), start=FROM, end=TO)
    assert set(found["baselines"]["har_rv"]) == METRICS
    assert 0 <= found["per_month"][0]["har_rv"] <= 1


def test_evaluate__har_rv_out_of_form__is_the_folders_fault(file: Path, models_with: Callable[..., Path]) -> None:
    models = models_with(baselines={"har_rv": {"minutes": list(HAR_MINUTES)}})
    with pytest.raises(ModelFolderInvalid, match="har_rv"):
        judged(file, models)


def test_evaluate__unknown_model__names_those_that_are_there(file: Path) -> None:
    with pytest.raises(UnknownModel, match="'doge': there is btc-usdt-4h-v3"):
        judged(file, model="doge")


def test_evaluate__two_models__want_a_name(file: Path, models_with: Callable[..., Path]) -> None:
    models_with("a-model")
    models = models_with("b-model")
    with pytest.raises(UnknownModel, match="a-model, b-model: say which one with --model"):
        judged(file, models)
    assert judged(file, models, model="b-model", start=FROM, end=TO)["model_name"] == "b-model"


def test_evaluate__folder_of_another_name__is_found_by_it(file: Path, models_with: Callable[..., Path]) -> None:
    models = models_with("a-model")
    (models / "a-model").rename(models / "moved")
    assert judged(file, models, model="moved", start=FROM, end=TO)["model_name"] == "a-model"


def test_evaluate__no_models__says_so(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="no released model"):
        judged(file, tmp_path)


def test_as_text__result__has_every_metric_and_forecaster(result: dict[str, Any]) -> None:
    text = as_text(result | {"warnings": ["take care"]})
    for word in (*METRICS, "model", "persistence_60", "persistence_240", "2025-09", "warning: take care"):
        assert word in text
    assert max(len(line) for line in text.splitlines()) <= 120


COMMAND = """
import sys

class Refused:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refused())
from app.cli import main
sys.argv = ["veriregime", *sys.argv[1:]]
main()
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``veriregime evaluate`` in a process of its own, in which the train extra cannot be imported."""
    code = COMMAND.format(names=TRAIN_EXTRA)
    env = {**os.environ, "VERIREGIME_MODELS_DIR": str(MODELS)}
    call = [sys.executable, "-c", code, "evaluate", *arguments]
    return subprocess.run(call, capture_output=True, text=True, env=env, timeout=120, check=False)


def test_command__without_the_train_extra__prints_one_document(file: Path, result: dict[str, Any]) -> None:
    done = command("--candles", str(file), "--from", FROM, "--to", TO, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == result


def test_command__without_json__prints_a_table(file: Path) -> None:
    done = command("--candles", str(file), "--from", FROM)
    assert done.returncode == 0, done.stderr
    assert "balanced_accuracy" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "2025-10-01"), "no window in the range"),
        (("--model", "doge"), "no released model"),
        (("--from", "2025-09-14", "--to", "2025-09-13"), "--to must be later"),
        (("--from", "yesterday"), "is not a time"),
    ],
)
def test_command__cannot_be_done__ends_with_two_and_a_reason(
    file: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = command("--candles", str(file), *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_command__recorded_candles__say_what_the_manifest_says(recorded_btc: Path, model: ReleasedModel) -> None:
    """One month of the released model's test, from the file that it was released on."""
    month = json.loads((model.folder / RECORD).read_text())["test"]["per_month"][-2]
    start, after = month["month"], str(np.datetime64(month["month"]) + 1)
    done = command("--candles", str(recorded_btc), "--from", f"{start}-01", "--to", f"{after}-01", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["per_month"][0]
    assert found["samples"] == month["samples"]
    for key in ("accuracy", "auc", "high_share", "persistence_60", "persistence_240"):
        assert found[key] == pytest.approx(month[key], abs=1e-4)
