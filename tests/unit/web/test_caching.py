"""Which answers a caller has already, and which it takes packed."""

from __future__ import annotations

import pytest

from app.web.caching import etag_of, is_current, takes_gzip

ETAG = etag_of("an answer")


@pytest.mark.parametrize("held", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', f'W/"other",W/{ETAG}', "*"])
def test_etag_that_the_caller_has__is_current(held: str) -> None:
    assert is_current(held, ETAG)


@pytest.mark.parametrize("held", [None, "", '"other"', ETAG.strip('"'), f"{ETAG[:-1]}x"])
def test_etag_that_the_caller_has_not__is_not_current(held: str | None) -> None:
    assert not is_current(held, ETAG)


def test_etag__is_the_same_for_the_same_bytes_only() -> None:
    assert etag_of(b"an answer") == ETAG != etag_of("another")


@pytest.mark.parametrize(
    ("accept_encoding", "takes"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5, br", True),
        ("GZIP; Q=1.0", True),
        ("*", True),
        ("gzip, *;q=0", True),
        ("*;q=0, gzip", True),
        ("br;q=0, *;q=0.001", True),
        ("", False),
        ("identity", False),
        ("deflate, br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*, gzip;q=0", False),
        ("*;q=0", False),
        ("gzipped", False),
    ],
)
def test_gzip__is_for_who_takes_it(accept_encoding: str, takes: bool) -> None:
    assert takes_gzip(accept_encoding) is takes
