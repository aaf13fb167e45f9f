"""Things that may hang, asked at once."""

from __future__ import annotations

import threading
import time

from app.check.finding import side_by_side


def test_side_by_side__answers_in_the_order_of_the_questions() -> None:
    assert side_by_side([lambda: time.sleep(0.05) or "slow", lambda: "quick"], patience_s=5) == ["slow", "quick"]


def test_side_by_side__what_hangs_has_no_answer_and_holds_up_nobody() -> None:
    never = threading.Event()
    started = time.monotonic()
    assert side_by_side([never.wait, lambda: True, never.wait], patience_s=0.1) == [None, True, None]
    assert time.monotonic() - started < 1
    never.set()
