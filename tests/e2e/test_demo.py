"""``veriregime demo``: the whole system, as a newcomer meets it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from app.candles.files import read_candles
from app.chain.anvil import ATTESTER_KEYS, KEY
from app.features.variation import CANDLES_NEEDED, VariationSpec, observe
from app.inference.release import ReleasedModel
from app.types import MINUTE_MS, Feed, Window, parse_time

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_once__gives_one_document_with_everything(demo_result: dict[str, Any]) -> None:
    assert demo_result["prediction"]["status"] == "confirmed"
    assert demo_result["prediction"]["regime"] in ("low", "high")
    assert demo_result["tx_hash"].startswith("0x")
    assert 300_000 < demo_result["submit_gas"] <= 560_000
    assert 0 < demo_result["proof_seconds"] < demo_result["total_seconds"]
    assert set(json.loads(Path(demo_result["bundle"]).read_text())["candles"]) == {"binance", "coinbase", "kraken"}


def test_once__on_recorded_candles__observes_what_the_file_says(
    veriregime: Run, recorded_btc: Path, model: ReleasedModel
) -> None:
    at = "2025-09-15T12:00:00Z"
    done = veriregime("demo", "--once", "--json", "--candles", str(recorded_btc), "--at", at)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    end_ms = parse_time(at)
    candles = read_candles(recorded_btc).between(end_ms - CANDLES_NEEDED * MINUTE_MS, end_ms)
    window = Window(Feed("btc-usdt-4h", "BTC/USDT"), end_ms, {"binance": candles})
    expected = observe(window, VariationSpec.from_manifest(model.manifest["observation"]))
    assert result["prediction"]["window_end"] == at
    assert result["prediction"]["observation"] == list(expected.values)
    bundle = json.loads(Path(result["bundle"]).read_text())
    assert bundle["candles"]["binance"] == candles.rows()
    assert veriregime("verify", result["bundle"]).returncode == 0


def test_verify__of_the_demos_bundle__holds(veriregime: Run, demo_result: dict[str, Any]) -> None:
    done = veriregime("verify", demo_result["bundle"], "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["holds"] is True


def test_verify__signed_by__exits_0_for_who_signed_and_1_for_a_stranger(
    veriregime: Run, demo_result: dict[str, Any]
) -> None:
    signers = [one["signer"] for one in json.loads(Path(demo_result["bundle"]).read_text())["attested"]["signatures"]]
    assert len(set(signers)) >= 2
    asked = [part for signer in signers for part in ("--signed-by", signer)]
    assert veriregime("verify", demo_result["bundle"], *asked).returncode == 0
    stranger = "0x" + "11" * 20
    done = veriregime("verify", demo_result["bundle"], *asked, "--signed-by", stranger)
    assert (done.returncode, f"signatures: {stranger} has not signed it" in done.stdout) == (1, True)


def test_verify__of_a_changed_bundle__exits_1_with_the_reason(
    veriregime: Run, demo_result: dict[str, Any], tmp_path: Path
) -> None:
    document = json.loads(Path(demo_result["bundle"]).read_text())
    document["candles"]["binance"][77][4] += 0.01
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))
    done = veriregime("verify", str(changed))
    assert done.returncode == 1
    assert done.stdout.startswith("does not hold: candles:")


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("verify", "nowhere.json"), "", "cannot be read"),
        (("verify", "-"), "<html>", "no veriregime-bundle/4 file"),
        (("verify", "-"), '{"a": 1}', "no veriregime-bundle/4 file"),
        (("predict", "doge-usdt-4h"), "", "not among the feeds"),
        (("demo", "--once", "--at", "yesterday"), "", "2025-09-15T12:00:00Z"),
        (("demo", "--once", "--candles", "nowhere.parquet"), "", "--at"),
        (("demo", "--once", "--candles", "nowhere.parquet", "--at", "2025-01-01"), "", "does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input__exits_2_with_one_line(veriregime: Run, arguments: tuple[str, ...], stdin: str, words: str) -> None:
    done = veriregime(*arguments, stdin=stdin)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_training__says_what_it_lacks(veriregime: Run) -> None:
    done = veriregime("train", "production", "--candles", "nowhere.csv", "--out", "m")
    assert done.returncode == 2
    lacks = "does not exist" if importlib.util.find_spec("torch") else "pip install 'veriregime[train]'"
    assert lacks in done.stderr
    assert "Traceback" not in done.stderr


def test_oversized_bundle__is_refused(veriregime: Run) -> None:
    done = veriregime("verify", "-", stdin="x" * 2000, VERIREGIME_MAX_BUNDLE_BYTES="1000")
    assert done.returncode == 2
    assert "at most 1,000" in done.stderr


def test_venue_that_is_away__is_one_line(veriregime: Run) -> None:
    away = {
        "VERIREGIME_VENUES": "binance",
        "VERIREGIME_VENUE_URLS": '{"binance": "http://127.0.0.1:9"}',
        "VERIREGIME_LATE_CANDLE_S": "0",
    }
    done = veriregime("predict", "btc-usdt-4h", **away)
    assert done.returncode == 2
    assert "binance cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_setting__is_named(veriregime: Run) -> None:
    done = veriregime("check", VERIREGIME_PORT="many")
    assert done.returncode == 2
    assert "VERIREGIME_PORT" in done.stderr


def test_port_in_use__says_what_to_do(veriregime: Run) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = veriregime("demo", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "--port" in done.stderr


def test_missing_npm_packages__say_what_to_run(veriregime: Run, tmp_path: Path) -> None:
    done = veriregime("demo", "--once", VERIREGIME_CONTRACTS_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "make setup" in done.stderr


def test_model_folder_that_does_not_hold__is_refused(veriregime: Run, model: ReleasedModel, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(model.folder, tmp_path / "models" / model.name)
    network = tmp_path / "models" / model.name / "network.onnx"
    network.write_bytes(network.read_bytes() + b"\0")
    done = veriregime("predict", "btc-usdt-4h", VERIREGIME_MODELS_DIR=str(tmp_path / "models"))
    assert done.returncode == 2
    assert "network.onnx has SHA-256" in done.stderr


def test_check__names_every_part(veriregime: Run, demo_result: dict[str, Any]) -> None:
    veriregime("db", "upgrade")  # the demo has built the keys
    done = veriregime("check", "--json")
    findings = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert {tuple(finding) for finding in findings} == {("subject", "level", "detail", "remedy")}
    assert [one for one in findings if one["level"] in ("warning", "failed") and not one["remedy"]] == []
    levels = {finding["subject"]: finding["level"] for finding in findings}
    assert levels["model of btc-usdt-4h"] == levels["prover"] == levels["database"] == levels["tools"] == "ok"


def test_database__status_before_and_after_upgrade(veriregime: Run, tmp_path: Path) -> None:
    own = {"VERIREGIME_DATABASE_URL": f"sqlite:///{tmp_path / 'own.db'}"}
    assert veriregime("db", "status", **own).returncode == 1
    assert veriregime("db", "upgrade", **own).returncode == 0
    assert veriregime("db", "status", **own).returncode == 0


def test_demo__until_ctrl_c__shows_a_confirmed_forecast_and_leaves_no_process(
    running_demo: Callable[..., AbstractContextManager[Any]], demo_result: dict[str, Any], tmp_path: Path
) -> None:
    with running_demo(tmp_path) as demo:
        latest = httpx2.get(f"{demo.url}/v1/feeds/btc-usdt-4h/latest").json()
        assert latest["onchain"]["tx_hash"] in demo.log.read_text()
        assert "VeriRegime" in httpx2.get(demo.url).text
        told = demo.log.read_text() + httpx2.get(f"{demo.url}/metrics").text + httpx2.get(f"{demo.url}/v1/feeds").text
        assert not [key for key in (KEY, *ATTESTER_KEYS) if key.removeprefix("0x") in told]
        family = psutil.Process(demo.process.pid).children(recursive=True)
        assert len(family) >= 5  # market, chain, two attesters, prover
        children = psutil.Process(demo.process.pid).children()
        provers = [child for child in children if "app.proving.worker" in child.cmdline()]
        used = sum(process.memory_info().rss for process in (psutil.Process(demo.process.pid), *provers))
        assert used <= 2**29
        for feed in httpx2.get(f"{demo.url}/v1/feeds").json()["feeds"]:
            states = {venue["venue"]: venue["state"] for venue in feed["venues"]}
            assert states == dict.fromkeys(("binance", "coinbase", "kraken"), "fresh"), feed["feed"]
    psutil.wait_procs(family, timeout=5)
    assert not [process for process in family if process.is_running()]
    assert "Traceback" not in demo.log.read_text()
