"""The proxy's configuration against the API that stands behind it."""

from __future__ import annotations

import re
from pathlib import Path

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
CONFIG = re.sub(r"#.*", "", (ROOT / "ops/nginx/veriregime.conf").read_text())


def location(path: str) -> str:
    found = re.search(rf"location = {re.escape(path)} {{(.*?)}}", CONFIG, re.DOTALL)
    assert found, f"no location for {path}"
    return found[1]


def test_proxy__braces_and_directives_end() -> None:
    assert CONFIG.count("{") == CONFIG.count("}")
    lines = [line.strip() for line in CONFIG.splitlines() if line.strip()]
    assert [line for line in lines if not line.endswith((";", "{", "}"))] == []


def test_proxy__streams_are_not_held_back() -> None:
    stream = location("/v1/stream")
    assert "proxy_buffering off;" in stream
    assert "proxy_cache off;" in stream
    assert "gzip off;" in stream


def test_proxy__takes_bundles_as_large_as_the_api_does() -> None:
    limit = re.search(r"client_max_body_size (\d+)m;", location("/v1/verify"))
    assert limit is not None
    assert int(limit[1]) * 2**20 == Settings.model_fields["max_bundle_bytes"].default


def test_proxy__a_client_cannot_say_who_it_is() -> None:
    assert re.findall(r"X-Forwarded-For\s+(\S+);", CONFIG) == ["$remote_addr"]


def test_proxy__strangers_see_no_metrics_and_no_stale_answers() -> None:
    assert "return 404;" in location("/metrics")
    assert "proxy_cache_use_stale off;" in CONFIG


def test_proxy__both_upstreams_have_the_name_that_is_asked() -> None:
    assert set(re.findall(r"proxy_pass (\S+);", CONFIG)) == {"http://veriregime"}
    for name in ("upstream-compose.conf", "upstream-machine.conf"):
        assert "upstream veriregime {" in (ROOT / "ops/nginx" / name).read_text()
