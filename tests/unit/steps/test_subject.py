"""What a step says that it is about."""

from __future__ import annotations

import io
import logging

import pytest

from app import logs
from app.steps.subject import about_window, stage

log = logging.getLogger("app.steps.tested")


def test_stage__within__lines_name_the_tick_and_the_first_prediction(
    monkeypatch: pytest.MonkeyPatch, window_end_ms: int
) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    logs.set_up()
    with stage("prove", "btc-usdt-4h", window_end_ms, ["ab" * 16, "cd" * 16]):
        log.info("one")
    with about_window("btc-usdt-4h", window_end_ms):
        log.info("two")
    one, two = written.getvalue().splitlines()
    assert one.endswith(f"one [tick btc-usdt-4h@2025-09-15T12:00:00Z, prediction {'ab' * 16}]")
    assert two.endswith("two [tick btc-usdt-4h@2025-09-15T12:00:00Z]")
