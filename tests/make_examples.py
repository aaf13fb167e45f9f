"""Records `app/web/examples.json`: what a demo answers, which the OpenAPI document shows as examples.

Run ``python -m tests.make_examples`` from the project's root after a change to what the API answers; it takes half a
minute. A test says when an example is missing, or is no longer what its schema says.
"""

from __future__ import annotations

import json
import socket
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from schemathesis.python.asgi import ASGIClient, get_client

from app.backtest import backtest_of_venue, store_backtest
from app.demo import MarketOptions, demo_application
from app.errors import ProofNotReady
from app.service import Service
from app.settings import Settings
from app.web.application import create_web
from app.web.openapi import EXAMPLES
from app.wiring import Application, open_venue

FEED = "btc-usdt-4h"
_WAIT_S = 120.0
_STREAMED = 3
_LINES_OF_METRICS = 9
_AT_MS = 1_757_937_580_000
"""Twenty seconds before 2025-09-15T12:00:00Z, the minute of the first forecast."""
_WHOLE = frozenset(("observation", "checks"))
_LONG = 12

Examples = dict[str, dict[str, Any]]


class Recorder:
    """Asks the service, and keeps what it answers by the operation's path and the status."""

    def __init__(self, client: ASGIClient) -> None:
        self.examples: Examples = {}
        self._client = client

    def get(self, path: str, query: str = "", **places: str) -> Any:
        """The JSON of the answer, or its text."""
        url = path.format(**{name: quote(value, safe="") for name, value in places.items()})
        return self._keep(path, self._client.get(f"{url}?{query}" if query else url))

    def post(self, path: str, body: bytes) -> Any:
        return self._keep(path, self._client.post(path, data=body, headers={"Content-Type": "application/json"}))

    def _keep(self, path: str, answer: Any) -> Any:
        told = answer.json() if "json" in answer.headers["content-type"] else answer.text
        self.examples.setdefault(path, {})[str(answer.status_code)] = shortened(told)
        return told


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="veriregime-examples-") as var:
        settings = Settings(_env_file=None, var_dir=Path(var), port=0, feeds=(FEED,))  # type: ignore[call-arg]
        with demo_application(settings, MarketOptions(seed=7, at_ms=_AT_MS)) as app:
            examples = record(app)
    EXAMPLES.write_text(written(examples).replace(socket.gethostname(), "prover-1"))
    print(f"{EXAMPLES}: {EXAMPLES.stat().st_size:,} bytes")


def record(app: Application) -> Examples:
    """What a service answers before its first forecast, and once one is on the chain."""
    web: Any = create_web(app)
    service = Service(app)
    with get_client(web, max_stream_events=_STREAMED) as client:
        recorder = Recorder(client)
        recorder.get("/readyz")
        service.start()
        try:
            prediction_id = confirmed(client)
            fill_backtest(app)
            for_feeds(recorder)
            for_predictions(recorder, prediction_id)
            for_evidence(recorder)
        finally:
            service.stop()
    return recorder.examples


def confirmed(client: ASGIClient) -> str:
    """Id of the first forecast that is on the chain for good."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        latest = client.get(f"/v1/feeds/{FEED}/latest").json()
        if latest["status"] == "confirmed":
            return str(latest["id"])
        time.sleep(0.2)
    raise ProofNotReady(f"no forecast came onto the chain within {_WAIT_S:g} s")


def fill_backtest(app: Application) -> None:
    served = app.feeds[FEED]
    with closing(open_venue(app.settings, next(iter(served.markets)))) as venue:
        store_backtest(app.database, backtest_of_venue(venue, served, app.clock.last_minute_ms(), days=3))


def for_feeds(recorder: Recorder) -> None:
    feed = "/v1/feeds/{feed}"
    recorder.get("/v1/feeds")
    for path in ("", "/latest", "/update", "/candles", "/track-record", "/outcomes", "/predictions"):
        recorder.get(feed + path, feed=FEED)
        recorder.get(feed + path, feed="doge-usdt-4h")
    for path in ("/track-record", "/outcomes"):
        recorder.get(feed + path, "origin=backtest", feed=FEED)
    recorder.get(f"{feed}/latest", "include=everything", feed=FEED)
    recorder.get(f"{feed}/latest", "max_age=0.001", feed=FEED)
    recorder.get(f"{feed}/candles", "step=7", feed=FEED)
    recorder.get(f"{feed}/track-record", "start=yesterday", feed=FEED)
    recorder.get(f"{feed}/outcomes", "step=0", feed=FEED)
    recorder.get(f"{feed}/predictions", "cursor=0", feed=FEED)


def for_predictions(recorder: Recorder, prediction_id: str) -> None:
    one = "/v1/predictions/{prediction_id}"
    for path in ("", "/proof"):
        recorder.get(one + path, prediction_id=prediction_id)
    bundle = recorder.get(f"{one}/bundle", prediction_id=prediction_id)
    for path in ("", "/proof", "/bundle"):
        recorder.get(one + path, prediction_id="0" * 32)
    recorder.post("/v1/verify", json.dumps(bundle).encode())
    recorder.post("/v1/verify", b"{}")
    recorder.get("/v1/stream", "last_event_id=0")
    recorder.get("/v1/stream", "kinds=everything")
    recorder.get("/v1/stream", "feed=doge-usdt-4h")


def for_evidence(recorder: Recorder) -> None:
    model_id = recorder.get("/v1/feeds/{feed}", feed=FEED)["model_id"]
    recorder.get("/v1/models/{model_id}", model_id=model_id)
    recorder.get("/v1/models/{model_id}", model_id="0" * 64)
    recorder.get("/v1/srs/{sha256}", sha256="0" * 64)
    recorder.get("/healthz")
    recorder.get("/readyz")
    metrics = str(recorder.get("/metrics"))
    recorder.examples["/metrics"] = {"200": "\n".join(metrics.splitlines()[:_LINES_OF_METRICS]) + "\n"}


def shortened(told: Any, name: str = "") -> Any:
    """With the first two items of lists that are long, or whose items are no plain values."""
    if isinstance(told, dict):
        return {key: shortened(value, key) for key, value in told.items()}
    if not isinstance(told, list):
        return told
    plain = len(told) <= _LONG and not any(isinstance(item, dict | list) for item in told)
    return [shortened(item) for item in (told if plain or name in _WHOLE else told[:2])]


def written(examples: Examples) -> str:
    """JSON with a line for each answer."""
    paths = []
    for path, by_status in examples.items():
        lines = [
            f"  {json.dumps(status)}: {json.dumps(answer, separators=(',', ':'), ensure_ascii=False)}"
            for status, answer in sorted(by_status.items())
        ]
        paths.append(f" {json.dumps(path)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(paths) + "\n}\n"


if __name__ == "__main__":
    main()
