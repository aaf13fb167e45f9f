"""Metrics of a process that answers nothing else over HTTP."""

from __future__ import annotations

import os
from contextlib import closing

import pytest
import requests

from app.errors import PortInUse
from app.metrics import ChildProcesses, Metrics, serve_metrics
from app.web.server import listen


def free_port() -> int:
    with closing(listen("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_serve_metrics__until_the_block_ends__tells_them() -> None:
    metrics, port = Metrics(), free_port()
    metrics.ticks.labels("btc-usdt-4h", "predicted").inc()
    url = f"http://127.0.0.1:{port}/metrics"
    with serve_metrics(metrics, "127.0.0.1", port, ChildProcesses(lambda: [os.getpid(), 2**22 + 1])):
        told = requests.get(url, timeout=5).text
    assert 'veriregime_ticks_total{feed="btc-usdt-4h",outcome="predicted"} 1.0' in told
    assert "veriregime_prover_processes 1.0" in told
    assert "process_resident_memory_bytes" in told
    assert 'veriregime_build_info{python="' in told
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_serve_metrics__a_port_that_is_taken__is_refused() -> None:
    with closing(listen("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = pytest.raises(PortInUse, match="VERIREGIME_METRICS_PORT")
        with refused, serve_metrics(Metrics(), "127.0.0.1", port):
            pass


def test_serve_metrics__without_a_port__does_nothing() -> None:
    with serve_metrics(Metrics(), "127.0.0.1", None):
        pass
