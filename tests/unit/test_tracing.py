"""Tracing that nobody asked for, or that cannot be had."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app import tracing
from app.errors import Misconfigured


def test_exporting__without_an_endpoint__costs_nothing_and_loads_nothing() -> None:
    program = (
        "import sys\n"
        "from app import tracing\n"
        "with tracing.exporting(None, 'serve'), tracing.span('tick', feed='f', predictions=['ab']):\n"
        "    with tracing.request([]) as answered: answered('GET', '/', 200)\n"
        "    tracing.stored('ab', 'f', 0, 0)\n"
        "    assert tracing.trace_id() is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google'))])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")


def test_exporting__without_the_extra__says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.tracing.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(Misconfigured, match=r"pip install 'veriregime\[tracing\]'"), tracing.exporting("http://h", "x"):
        pass
