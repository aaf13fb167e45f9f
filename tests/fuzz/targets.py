"""What is fuzzed, each with its seeds, and what its answer must be.

`Target.run` gives a word for what came of an input. Whatever it raises is a finding: an error from outside the tree of
`app.errors`, a warning, an answer of 5xx, a reason that is no short line.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from app.audit.bundle import Bundle, parse_bundle
from app.audit.checks import Auditor
from app.candles.files import read_candles
from app.errors import OracleError
from app.inference.release import ReleasedModel, load_models
from app.proving.pool import Limits, ProverPool
from tests.fuzz.mutate import Mutation, made_parquet, mutate_bundle, mutate_csv, mutate_parquet
from tests.fuzz.seeds import (
    FEED,
    Week,
    candle_csv,
    candle_parquet,
    candle_table,
    genuine_bundle,
    simulated,
    small_bundle,
    without_week,
)

ROOT = Path(__file__).resolve().parents[2]
MODEL = "btc-usdt-4h-v3"
MOST_BYTES = 16 * 2**20
_LONGEST_REASON = 600
_CONTENT_TYPES = (
    b"application/json",
    b"text/plain",
    b"application/json; charset=utf-16",
    b"\xff",
    b"multipart/form-data",
)


class Finding(AssertionError):
    """The product answered, but not as it must."""


class Target(Protocol):
    """One of `TARGETS`, open."""

    @property
    def mutate(self) -> Mutation:
        """How its inputs are spoilt."""

    def seeds(self) -> list[bytes]:
        """Genuine inputs, with placeholders where they would be long."""

    def expand(self, raw: bytes) -> bytes:
        """The input itself, which `run` takes and a finding keeps."""

    def run(self, raw: bytes) -> str: ...


def checked_reason(reason: str) -> None:
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise Finding(f"the reason is no short line: {reason[:200]!a}")


def _refused(error: OracleError) -> str:
    checked_reason(str(error))
    return f"refused: {type(error).__name__}"


@dataclass(frozen=True, slots=True)
class BundleTarget:
    """Parsing alone, of small bundles."""

    model: ReleasedModel
    mutate = staticmethod(mutate_bundle)

    def seeds(self) -> list[bytes]:
        return [_bytes(bundle) for bundle in _small(self.model)]

    def expand(self, raw: bytes) -> bytes:
        return _lengthened(raw)

    def run(self, raw: bytes) -> str:
        try:
            bundle = parse_bundle(raw, MOST_BYTES)
        except OracleError as error:
            return _refused(error)
        again = parse_bundle(bundle.model_dump_json().encode(), MOST_BYTES)
        if again.digest() != bundle.digest():
            raise Finding("what was written of the bundle reads as another")
        return "parsed"


@dataclass(frozen=True, slots=True)
class AuditTarget:
    """Down the whole ladder: with a real proof and prover processes that check it, and of small bundles."""

    model: ReleasedModel
    auditor: Auditor
    whole: Bundle
    genuine: Mapping[str, Any]
    """The same with the placeholder for its candles."""
    week: Week
    mutate = staticmethod(mutate_bundle)

    def seeds(self) -> list[bytes]:
        return [_bytes(self.genuine), *(_bytes(bundle) for bundle in _small(self.model))]

    def expand(self, raw: bytes) -> bytes:
        return self.week.expand(_lengthened(raw))

    def run(self, raw: bytes) -> str:
        try:
            bundle = parse_bundle(raw, MOST_BYTES)
            verdict = self.auditor.verify(bundle)
        except OracleError as error:
            return _refused(error)
        checked_reason(verdict.reason or "")
        if verdict.holds and bundle != self.whole:
            raise Finding("it holds, but is not the bundle that was made")
        return f"fails at {verdict.failed}" if verdict.failed else "holds"


@dataclass(frozen=True, slots=True)
class CandleTarget:
    """A candle file of one kind, read from a folder of its own."""

    folder: Path
    suffix: str
    mutate: Mutation
    made: tuple[bytes, ...]

    def seeds(self) -> list[bytes]:
        return list(self.made)

    def expand(self, raw: bytes) -> bytes:
        return raw

    def run(self, raw: bytes) -> str:
        path = self.folder / f"candles{self.suffix}"
        path.write_bytes(raw)
        try:
            read_candles(path)
        except OracleError as error:
            return _refused(error)
        return "read"


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """POST /v1/verify of the whole ASGI application, in this process."""

    app: Any
    loop: asyncio.AbstractEventLoop
    bundles: AuditTarget
    mutate = staticmethod(mutate_bundle)

    def seeds(self) -> list[bytes]:
        return self.bundles.seeds()

    def expand(self, raw: bytes) -> bytes:
        return self.bundles.expand(raw)

    def run(self, raw: bytes) -> str:
        status, kind, body = self.loop.run_until_complete(_post(self.app, raw))
        if status >= 500:
            raise Finding(f"status {status}: {body[:200]!a}")
        if (status, kind) != (200, b"application/json") and (status < 400 or kind != b"application/problem+json"):
            raise Finding(f"status {status} with {kind!a}")
        told = json.loads(body)
        checked_reason(told.get("reason") or told.get("detail") or "")
        return f"status {status}"


async def _post(app: Any, raw: bytes) -> tuple[int, bytes, bytes]:
    """Status, content type and body of the answer. The request's headers and pieces follow from its body."""
    choice = zlib.crc32(raw)
    pieces = 1 + choice % 3
    cut = [raw[len(raw) * at // pieces : len(raw) * (at + 1) // pieces] for at in range(pieces)]
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in cut[:-1]]
    waiting.append({"type": "http.request", "body": cut[-1], "more_body": False})
    told: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        told.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", _CONTENT_TYPES[choice // 3 % len(_CONTENT_TYPES)])]
    if choice % 5:
        headers.append((b"content-length", str(len(raw)).encode()))
    await app(_scope(headers), receive, send)
    start = next(message for message in told if message["type"] == "http.response.start")
    kind = dict(start["headers"]).get(b"content-type", b"")
    return start["status"], kind, b"".join(message.get("body", b"") for message in told)


def _scope(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/verify",
        "raw_path": b"/v1/verify",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
    }


def _bytes(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _small(model: ReleasedModel) -> list[dict[str, Any]]:
    """One in a joint proof, one alone, one that nobody signed."""
    joint = small_bundle(model)
    return [joint, joint | {"joint": None}, joint | {"joint": None, "attested": None}]


def _lengthened(raw: bytes) -> bytes:
    return raw.replace(b"@long", b"a" * 300_000).replace(b"@deep", b"[" * 5_000)


def _model() -> ReleasedModel:
    return load_models(ROOT / "models")[MODEL]


@contextmanager
def _bundles(folder: Path) -> Iterator[Target]:
    yield BundleTarget(_model())


@contextmanager
def _audits(folder: Path) -> Iterator[AuditTarget]:
    with ProverPool(1, Limits()) as pool:
        models = load_models(ROOT / "models")
        whole = _genuine(folder)
        yield AuditTarget(models[MODEL], Auditor(models, pool, folder / "var"), whole, *without_week(whole))


@contextmanager
def _csv(folder: Path) -> Iterator[Target]:
    table = candle_table()
    times = {"open_time": [str(time) for time in _written_out()]}
    made = (candle_csv(table), candle_csv(table | {"trades": [1] * 8}), candle_csv(table | times))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield CandleTarget(Path(scratch), ".csv", mutate_csv, made)


@contextmanager
def _parquet(folder: Path) -> Iterator[Target]:
    from random import Random

    made = [candle_parquet(candle_table(), compression=kind) for kind in ("none", "snappy", "zstd")]
    made += [made_parquet(Random(number)) for number in range(30)]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield CandleTarget(Path(scratch), ".parquet", mutate_parquet, tuple(made))


@contextmanager
def _http(folder: Path) -> Iterator[Target]:
    from pydantic import SecretStr

    from app.settings import Settings
    from app.web.application import create_web
    from app.wiring.api import api

    own = {"_env_file": None, "var_dir": folder / "var", "feeds": (FEED,), "verify_rate": ""}
    database = SecretStr(f"sqlite:///{folder / 'http.db'}")
    with ExitStack() as stack:
        role = stack.enter_context(api(Settings(**own, database_url=database)))  # type: ignore[arg-type]
        whole = _genuine(folder)
        bundles = AuditTarget(role.models[MODEL], role.auditor, whole, *without_week(whole))
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        yield HttpTarget(create_web(role), loop, bundles)


def _written_out() -> list[str]:
    from app.types import iso

    return [iso(int(row[0])).replace("T", " ").rstrip("Z") for row in simulated(8).rows()]


def _genuine(folder: Path) -> Bundle:
    """Made once for all targets."""
    path = folder / "genuine.json"
    if not path.is_file():
        path.write_text(genuine_bundle(_model(), folder / "var").model_dump_json())
    return parse_bundle(path.read_bytes(), MOST_BYTES)


TARGETS: Mapping[str, Callable[[Path], AbstractContextManager[Target]]] = {
    "bundle": _bundles,
    "csv": _csv,
    "parquet": _parquet,
    "http": _http,
    "audit": _audits,
}
SHARES = {"bundle": 0.44, "csv": 0.2, "parquet": 0.2, "http": 0.12, "audit": 0.04}
"""Of the runs. Those that go down the ladder take a hundred times as long as those that are refused for their form."""
