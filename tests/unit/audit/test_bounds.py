from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import from_json

from app.audit import bundle
from app.audit.bounds import JsonBounds, check_bounds
from app.audit.bundle import Bundle, parse_bundle
from app.errors import BundleMalformed

SMALL = JsonBounds(depth=3, lists=4, members=5, commas=6, strings=12, string_bytes=8, literal_bytes=5)
LIMIT = 16 * 2**20
MOST_MEMORY = 16 * LIMIT
"""While a bundle is refused; a parser took a hundred times as much for the worst of them."""

any_json = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=12,
)


def refusal(raw: bytes) -> str:
    with pytest.raises(BundleMalformed) as caught:
        check_bounds(raw, SMALL)
    return str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": [[1, 2], []], "b": {"c": "12345678"}, "d": 12345, "e": null}',
        b'["[[[[[[", "{{{{", ":::::::", ",,,,,,,,", "123456"]',
        rb'["\"\"\"\"", "\\\\", "\\\"", "\\"]',
        b'{"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]}',
    ],
    ids=["at-the-bounds", "punctuation-in-strings", "escapes", "one-name-in-several-objects"],
)
def test_check_bounds__within_them__says_nothing(raw: bytes) -> None:
    json.loads(raw)
    check_bounds(raw, SMALL)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[[[[]]]]", "4 levels, and none has more than 3"),
        (b'{"a":{"b":{"c":{}}}}', "4 levels"),
        (b"[[],[],[],[]]", "5 lists"),
        (b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}', "6 names"),
        (b"{{{{{{", "6 objects"),
        (b"}}}}}}", "6 objects"),
        (b"]]]]]", "5 lists"),
        (b"[1,1,1,1,1,1,1,1]", "7 values"),
        (b'""' * 13, "13 strings"),
        (b'["123456789"]', "9 bytes in a string"),
        (b"[ 123456 ]", "6 digits in a number"),
        (b"NaNNaN", "6 digits in a number"),
    ],
)
def test_check_bounds__one_more_than_there_may_be__is_named(raw: bytes, words: str) -> None:
    assert words in refusal(raw)


@pytest.mark.parametrize(
    "raw", [b'{"a":1,"a":2}', b'{"b":{"a":1, "a" :2}}', b'[{"b":[],"b":0}]', b'{"a":{},"b":{"c":0},"a":1}']
)
def test_check_bounds__a_name_twice_in_an_object__is_refused(raw: bytes) -> None:
    assert "twice" in refusal(raw)


def test_check_bounds__a_name_written_with_an_escape__is_refused() -> None:
    assert "escape" in refusal(rb'{"a":1,"\u0061":2}')


@settings(max_examples=200, deadline=None)
@given(any_json)
def test_check_bounds__any_json_within_wide_bounds__says_nothing(value: Any) -> None:
    wide = JsonBounds(depth=50, lists=50, members=50, commas=50, strings=50, string_bytes=99, literal_bytes=400)
    check_bounds(json.dumps(value).encode(), wide)


@settings(max_examples=200, deadline=None)
@given(st.text('[]{}",:\\x1 ', max_size=60).map(str.encode) | st.binary(max_size=60))
def test_check_bounds__any_bytes__are_passed_or_refused_in_a_short_line(raw: bytes) -> None:
    reason = ""
    try:
        check_bounds(raw, SMALL)
    except BundleMalformed as error:
        reason = str(error)
    assert len(reason) < 200


@contextmanager
def taking_at_most(memory_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= memory_bytes


@pytest.mark.parametrize(
    "unit",
    [b"[],", b"[", b'"a":0,', b'"",', rb"\\\"", b'\\\\"', b"9", b"9,", b" ", b'"', b"{", b"}"],
    ids=[
        "lists",
        "depth",
        "names",
        "strings",
        "escapes",
        "quotes",
        "digits",
        "numbers",
        "blanks",
        "quote",
        "in",
        "out",
    ],
)
def test_parse_bundle__the_most_bytes_of_one_kind__are_refused_before_they_are_parsed(
    unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        bundle, "from_json", lambda raw: pytest.fail("it came to the parser") if unit.strip() else from_json(raw)
    )
    raw = (b'{"observation":[' + unit * (LIMIT // len(unit)))[: LIMIT - 2] + b"]}"
    with taking_at_most(MOST_MEMORY), pytest.raises(BundleMalformed):
        parse_bundle(raw, LIMIT)


def test_parse_bundle__every_value_wrong__stops_at_the_first() -> None:
    row = b"[0,null,null,null,null,null]"
    candles = b",".join(b'"venue%d":[%s]' % (venue, b",".join([row] * 10_000)) for venue in range(16))
    raw = b'{"candles":{' + candles + b"}}"
    with taking_at_most(MOST_MEMORY), pytest.raises(BundleMalformed):
        parse_bundle(raw, LIMIT)
    with pytest.raises(ValidationError) as found:
        Bundle.model_validate(from_json(raw))
    wrong = [complaint["loc"][:3] for complaint in found.value.errors() if complaint["loc"][0] == "candles"]
    assert wrong == [("candles", f"venue{venue}", 0) for venue in range(16)]
