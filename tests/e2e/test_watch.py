"""``veriregime watch``: a running service, seen from a terminal or by a script."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERIREGIME = Path(sys.executable).with_name("veriregime")
Wait = Callable[[float, Callable[[], Any]], Any]


def test_watch_json__is_a_document_a_line_until_ctrl_c(demo: Any, environment: dict[str, str]) -> None:
    command = [str(VERIREGIME), "watch", "--url", demo.url, "--feed", "eth-usdt-4h", "--json"]
    watch = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    events = [json.loads(watch.stdout.readline()) for _ in range(3)]
    watch.send_signal(signal.SIGINT)
    _, complaints = watch.communicate(timeout=10)
    assert (watch.returncode, complaints) == (0, "")
    assert {event["data"]["feed"] for event in events} == {"eth-usdt-4h"}
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)


def test_watch__on_a_terminal__shows_the_feeds_and_goes_with_ctrl_c(
    demo: Any, environment: dict[str, str], wait: Wait
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    plain = environment | {"TERM": "xterm", "NO_COLOR": "1"}
    watch = subprocess.Popen([str(VERIREGIME), "watch", "--url", demo.url], env=plain, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = bytearray()
    reading = threading.Thread(target=_read, args=(ours, seen))
    reading.start()
    wait(20, lambda: all(words in seen.decode(errors="ignore") for words in ("eth-usdt-4h", "a year", "confirmed")))
    watch.send_signal(signal.SIGINT)
    assert watch.wait(10) == 0
    reading.join()
    os.close(ours)
    assert b"Traceback" not in seen


def _read(terminal: int, seen: bytearray) -> None:
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # the other side has gone
            return
        seen += piece


def test_watch__nobody_there__is_one_line(veriregime: Callable[..., Any]) -> None:
    done = veriregime("watch", "--url", "http://127.0.0.1:9")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nothing answers at http://127.0.0.1:9" in done.stderr
