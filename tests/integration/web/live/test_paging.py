"""History page by page: whatever arrives meanwhile, each prediction once."""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from app.store.database import Database
from app.types import Prediction, iso
from app.wiring import ApiRole
from tests.integration.web.live.conftest import Served

Add = Callable[..., Prediction]
HISTORY = "/v1/feeds/btc-usdt-4h/predictions"


@pytest.fixture
def api(database: Database, make_role: Callable[..., ApiRole], served: Callable[[ApiRole], Served]) -> Served:
    return served(make_role(database))


def page(api: Served, cursor: str | None = None, **asked: object) -> tuple[list[str], str | None]:
    """Ids, and where the next page begins."""
    query = "&".join(f"{name}={value}" for name, value in (asked | ({"cursor": cursor} if cursor else {})).items())
    found = api.json(f"{HISTORY}?{query}")
    return [one["id"] for one in found["predictions"]], found["next"]


def test_newest__while_windows_arrive_at_both_ends_and_in_between__has_each_that_was_there_once_newest_first(
    api: Served, database: Database, add: Add
) -> None:
    minutes = random.Random(5).sample(range(0, 100, 2), 50)
    there = {add(database, minute).id: minute for minute in minutes}
    arriving = iter([200, 1, 201, -5, 99, 202, 51, 203, 49, -7, 204, 3])
    late: dict[str, int] = {}
    told, cursor = page(api, limit=7)
    while cursor:
        for minute in itertools.islice(arriving, 2):
            late[add(database, minute).id] = minute
        found, cursor = page(api, cursor, limit=7)
        told += found
    assert len(told) == len(set(told))
    assert [one for one in told if one in there] == sorted(there, key=lambda one: -there[one])
    ends = [(there | late)[one] for one in told]
    assert ends == sorted(ends, reverse=True)


def test_newest__of_a_period__ends_with_it(api: Served, database: Database, add: Add) -> None:
    made = [add(database, minute) for minute in range(6)]
    period = {"start": iso(made[1].window_end_ms), "end": iso(made[5].window_end_ms)}
    first, cursor = page(api, limit=2, **period)
    second, end = page(api, cursor, limit=2, **period)
    assert (first + second, end) == ([made[place].id for place in (4, 3, 2, 1)], None)


def test_arrival__followed_while_several_write__has_every_prediction_once_and_goes_on_forever(
    api: Served, database: Database, add: Add
) -> None:
    each, writers = 15, 4
    minutes = random.Random(9).sample(range(-1000, 1000), each * writers)

    def write(number: int) -> list[str]:
        return [add(database, minute).id for minute in minutes[number * each : (number + 1) * each]]

    told: list[str] = []
    cursor: str | None = None
    with ThreadPoolExecutor(writers) as pool:
        writing = [pool.submit(write, number) for number in range(writers)]
        while len(told) < each * writers:
            found, cursor = page(api, cursor, order="arrival", limit=4)
            told += found
        written = [one for part in writing for one in part.result()]
    assert page(api, cursor, order="arrival") == ([], cursor)
    late = add(database, -2000).id
    assert page(api, cursor, order="arrival")[0] == [late]
    assert sorted(told) == sorted(written)
    assert page(api, order="arrival", limit=1000)[0] == [*told, late]


def test_arrival__of_a_feed_without_any__begins_and_is_asked_again(api: Served, database: Database, add: Add) -> None:
    add(database, 0, feed="eth-usdt-4h")
    found, cursor = page(api, order="arrival")
    assert (found, cursor is None) == ([], False)
    made = add(database, 1)
    assert page(api, cursor, order="arrival")[0] == [made.id]


def encoded(text: str) -> str:
    return quote(base64.urlsafe_b64encode(text.encode()).decode())


@pytest.mark.parametrize("order", ["newest", "arrival"])
def test_cursor__that_no_page_in_this_order_gave__is_refused(
    api: Served, database: Database, add: Add, order: str
) -> None:
    for minute in range(3):
        add(database, minute)
    _, other = page(api, limit=1, order="arrival" if order == "newest" else "newest")
    tail = "ab" * 16 if order == "newest" else ""
    bad = [str(other), "x", "%00", "%C3%A9", "%F0%9F%92%A9", "====", "a" * 6_000, encoded(""), encoded(":")]
    bad += [encoded(f"{number}:{tail}") for number in (2**63, -1, "1.5", "", "9" * 5_000)]
    bad += [encoded(f"1:{tail}:"), encoded("1:\0" + tail), encoded("1:not an id")]
    for cursor in bad:
        answer = api.get(f"{HISTORY}?order={order}&cursor={cursor}")
        assert answer.status == 400, (cursor, answer.read())
        assert b"cursor: pass the `next`" in answer.read()


@pytest.mark.parametrize("path", ["", "/proof", "/bundle"])
def test_prediction_id__that_there_cannot_be__is_not_found(api: Served, path: str) -> None:
    for one in ("x", "%00", "%F0%9F%92%A9", "a" * 5_000, "ab" * 16):
        answer = api.get(f"/v1/predictions/{one}{path}")
        assert answer.status == 404, (one, answer.read())
