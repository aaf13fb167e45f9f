"""What a person sees of long work."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from app import progress


@pytest.fixture
def talkative() -> Iterator[None]:
    """As without ``--quiet``."""
    before = logging.getLogger("app").level
    logging.getLogger("app").setLevel(logging.INFO)
    yield
    logging.getLogger("app").setLevel(before)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal; a test makes it stderr, because pytest sets its own when a test begins."""
    drawn = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=80))
    return drawn


def test_step__that_lasts__is_a_line_on_stderr(
    talkative: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LOOK_EVERY_S", 0.01)
    with progress.watched("keys build") as say:
        say("k = 11")
        time.sleep(0.1)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "keys build: k = 11 (0 s so far)\n")


def test_step__with_quiet__is_not_told(talkative: None, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    logging.getLogger("app").setLevel(logging.WARNING)
    with progress.working("keys build") as work:
        work.step("k = 11")
        work.history("binance", 10, 10_000)
    assert screen.getvalue() == ""


def test_terminal__shows_step_and_history_and_clears_them(
    talkative: None, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.working("demo") as work:
        work.step("loading candles")
        work.history("binance", 5_000, 10_000)
        time.sleep(0.2)
        work.history("binance", 10_000, 10_000)
    drawn = screen.getvalue()
    assert "demo: loading candles" in drawn
    assert "binance: minutes of history" in drawn
    assert drawn.endswith("\x1b[2K")


def test_terminal__log_lines_go_above_what_moves(
    talkative: None, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    handler = logging.StreamHandler(screen)
    logging.getLogger().addHandler(handler)
    try:
        with progress.working("demo") as work:
            work.step("loading candles")
            assert handler.stream is not screen
            logging.getLogger("app.demo").info("a venue is slow")
        assert handler.stream is screen
    finally:
        logging.getLogger().removeHandler(handler)
    assert "a venue is slow\n" in screen.getvalue()


def test_running_block__tells_where_and_how_to_end_it() -> None:
    block = progress.running_block("http://127.0.0.1:8000", "btc-usdt-4h", "It runs.")
    assert "curl 'http://127.0.0.1:8000/v1/feeds/btc-usdt-4h/latest?max_age=120'" in block
    assert "Ctrl-C" in block
