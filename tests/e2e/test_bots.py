"""What the documentation prints is run as it stands there, against a running demo."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.client import VeriRegime

ROOT = Path(__file__).resolve().parents[2]
BOTS = ROOT / "docs" / "bots.md"
ADDRESS = "http://127.0.0.1:8000"
Wait = Callable[[float, Callable[[], Any]], Any]


def blocks(document: Path, *languages: str) -> list[str]:
    """The fenced blocks of a Markdown file in these languages."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE)
    return [block for language, block in fenced if language in languages]


def curl_lines(document: Path) -> list[str]:
    shell = "\n".join(blocks(document, "", "sh", "bash", "console")).replace("\\\n", " ")
    return [line for line in shell.splitlines() if line.startswith("curl ")]


@contextmanager
def running(command: list[str], folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A program until it is stopped, and the file with what it says."""
    said = folder / "said"
    with said.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | settings, stdout=output, stderr=output)
    try:
        yield process, said
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


def test_python_bot__verifies_a_forecast_and_acts_on_it(demo: Any, tmp_path: Path, wait: Wait) -> None:
    (bot,) = blocks(BOTS, "python")
    (tmp_path / "bot.py").write_text(bot)
    settings = {"VERIREGIME_URL": demo.url, "VERIREGIME_VAR_DIR": str(tmp_path / "var")}
    with running([sys.executable, "bot.py"], tmp_path, **settings) as (_, said):
        acted = wait(30, lambda: re.search(r"^(normal|careful): .*", said.read_text(), re.MULTILINE))
        assert re.fullmatch(r"(normal|careful): \d+\.\d% a year, signed by [23]", acted[0]), said.read_text()
    kept = list((tmp_path / "var" / "srs").glob("*.srs"))
    assert len(kept) == 1, "the SRS was fetched by its hash"


def test_python_bot__without_an_answer__is_careful(tmp_path: Path, wait: Wait) -> None:
    (bot,) = blocks(BOTS, "python")
    (tmp_path / "bot.py").write_text(bot.replace("patience_s=10", "patience_s=1"))
    with running([sys.executable, "bot.py"], tmp_path, VERIREGIME_URL="http://127.0.0.1:9") as (_, said):
        wait(20, lambda: "careful: nothing answers at http://127.0.0.1:9" in said.read_text())


def test_javascript_bot__follows_the_stream(demo: Any, tmp_path: Path, wait: Wait) -> None:
    (bot,) = blocks(BOTS, "js")
    (tmp_path / "bot.mjs").write_text(bot)
    with running(["node", "bot.mjs"], tmp_path, VERIREGIME_URL=demo.url) as (process, said):
        line = r"^2\d{3}-\S+Z: (high|low), "
        wait(30, lambda: re.search(line + r"proved in \d+\.\d\d s$", said.read_text(), re.MULTILINE))
        assert re.match(line + r"\d+\.\d % a year", said.read_text())
        assert process.poll() is None, said.read_text()


def test_solidity_reader__reads_the_oracle(demo: Any) -> None:
    (source,) = blocks(BOTS, "solidity")
    code, selectors = compiled(source, "CalmMarketsOnly")
    with VeriRegime(demo.url) as oracle:
        chain = oracle.feed("btc-usdt-4h").chain
        assert chain is not None
        assert chain.rpc_url is not None
        node = Node(chain.rpc_url)
        reader = node.deploy(code + f"{int(chain.oracle, 16):064x}")
        volatility = int(node.call("eth_call", {"to": reader, "data": "0x" + selectors["volatility()"]}, "latest"), 16)
        published = [one.vol_annualised for one in oracle.history("btc-usdt-4h", limit=10) if one.onchain]
    assert min(abs(volatility / 1e18 - one) for one in published) < 1e-9


def compiled(source: str, name: str) -> tuple[str, dict[str, str]]:
    """Creation code and selectors, by the project's compiler."""
    interfaces = (ROOT / "contracts" / "src" / "interfaces").glob("*.sol")
    sources = {f"interfaces/{path.name}": {"content": path.read_text()} for path in interfaces}
    question = {
        "language": "Solidity",
        "sources": sources | {"Reader.sol": {"content": source}},
        "settings": {"evmVersion": "cancun", "outputSelection": {"*": {name: ["evm"]}}},
    }
    compiler = ["node", str(ROOT / "contracts" / "solc")]
    done = subprocess.run(compiler, input=json.dumps(question).encode(), capture_output=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    assert not answer.get("errors"), answer["errors"][0]["formattedMessage"]
    evm = answer["contracts"]["Reader.sol"][name]["evm"]
    return "0x" + evm["bytecode"]["object"], evm["methodIdentifiers"]


class Node:
    """The demo's chain, with an account that nobody else uses."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._account = self.call("eth_accounts")[-1]

    def call(self, method: str, *given: Any) -> Any:
        answer = httpx2.post(self._url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": given}).json()
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def deploy(self, code: str) -> str:
        sent = self.call("eth_sendTransaction", {"from": self._account, "data": code, "gas": hex(2_000_000)})
        receipt = self.call("eth_getTransactionReceipt", sent)
        assert receipt["status"] == "0x1"
        return str(receipt["contractAddress"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where curl's lines are run, one after another. A refusal is a failure; one that may pass is asked again."""
    made = tmp_path_factory.mktemp("curl")
    (made / ".curlrc").write_text("fail\nsilent\nshow-error\nmax-time = 20\nretry = 3\n")
    return made


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("document", "line"),
    [(document, line) for document in (ROOT / "README.md", BOTS) for line in curl_lines(document)],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_curl_line__is_answered(demo: Any, folder: Path, wait: Wait, document: Path, line: str) -> None:
    with VeriRegime(demo.url) as oracle:
        forecast = oracle.latest("btc-usdt-4h", include=("proof",))
    assert forecast.proof is not None
    assert ADDRESS in line, "the demo's address is what a reader has"
    filled = re.sub(r"\bID\b", forecast.id, re.sub(r"\bHASH\b", forecast.proof.srs_hash, line))
    command = filled.replace(ADDRESS, demo.url)
    if "/v1/stream" in line:  # it has no end
        with running(["bash", "-c", f"exec {command}"], folder, CURL_HOME=str(folder)) as (_, said):
            wait(20, lambda: "\ndata: {" in said.read_text())
        return
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | {"CURL_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" or json.loads(done.stdout)
