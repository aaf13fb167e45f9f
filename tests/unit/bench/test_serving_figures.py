"""What the benches of serving make of what they were told, and what their clients make of what they read."""

from __future__ import annotations

import array
from typing import Any

import pytest

from app.bench.api import compared, cpu_each_us, per_second, told
from app.bench.followers import Crowd, Follower, Seen, messages
from app.bench.load import spread_ms
from app.bench.serving import Effort, bench_serving
from app.bench.serving_text import as_text
from app.bench.streaming import StreamEffort, is_whole
from app.errors import BadInput
from app.settings import Settings

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def event(seq: int, kind: str = "proof") -> bytes:
    return f'id: {seq}\nevent: {kind}\ndata: {{"id": "ab"}}\n\n'.encode()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def follower(seen: Seen) -> Follower:
    """Connected, and told that it begins after event 7."""
    made = Follower(Crowd("127.0.0.1", 1, clients=1, resuming=0, events=10), 0, seen)
    made.data_received(HEAD + chunk(b"retry: 2000\nid: 7\n\n"))
    return made


def one_round(answers: int, seconds: float, server_cpu_s: float) -> dict[str, Any]:
    return {"answers": answers, "seconds": seconds, "server_cpu_s": server_cpu_s, "client_cpu_s": 0.1}


def test_spread__of_two_hundred__is_by_nearest_rank() -> None:
    found = spread_ms(array.array("d", (number / 1000 for number in range(200, 0, -1))))
    assert found == pytest.approx({"median": 100, "p99": 198, "largest": 200})


def test_round__is_told_by_requests_per_second_and_processor_time_of_each() -> None:
    one = one_round(answers=3_000, seconds=1.5, server_cpu_s=0.12)
    assert (per_second(one), cpu_each_us(one)) == (2_000, pytest.approx(40))


def test_rounds__are_told_by_their_medians() -> None:
    found = told([one_round(1_000, 1, 0.9), one_round(5_000, 1, 0.2), one_round(1_200, 1, 0.6)])
    assert (found["requests_per_second"], found["server_cpu_us_per_request"]) == (1_200, 500)


def test_latest_vs_bare__is_the_least_favourable_of_all_ratios() -> None:
    found = compared(
        {
            "without_proof": {"ratio_of_requests": 1.3, "ratio_of_server_cpu": 1.1},
            "with_proof": {"ratio_of_requests": 0.9, "ratio_of_server_cpu": 1.2},
        }
    )
    assert found == {
        "latest_vs_bare": 0.9,
        "latest_vs_bare_without_proof": 1.1,
        "latest_vs_bare_with_proof": 0.9,
    }


def test_messages__of_a_chunk__are_numbers_and_kinds_without_heartbeats() -> None:
    found = messages(b"retry: 2000\nid: 3\n\n" + event(4) + b": heartbeat\n\n" + event(5, "round"))
    assert found == ((3, ""), (4, "proof"), (5, "round"))


def test_follower__every_event_once__misses_nothing(follower: Follower, seen: Seen) -> None:
    follower.data_received(chunk(event(8) + event(9)) + chunk(event(10)))
    assert (seen.received, seen.missed, seen.repeated, follower.last) == (3, 0, 0, 10)


def test_follower__bytes_that_come_one_by_one__are_read_the_same(follower: Follower, seen: Seen) -> None:
    for byte in chunk(event(8)) + chunk(b": heartbeat\n\n") + chunk(event(9)):
        follower.data_received(bytes((byte,)))
    assert (seen.received, seen.missed, follower.last) == (2, 0, 9)


def test_follower__a_gap__is_counted_by_what_it_lacks(follower: Follower, seen: Seen) -> None:
    follower.data_received(chunk(event(8) + event(11)))
    assert (seen.received, seen.missed) == (2, 2)


def test_follower__an_event_again__is_counted_as_repeated(follower: Follower, seen: Seen) -> None:
    follower.data_received(chunk(event(8) + event(8) + event(7)))
    assert (seen.received, seen.repeated) == (1, 2)


def test_follower__told_to_begin_anew__counts_a_reset(follower: Follower, seen: Seen) -> None:
    follower.data_received(chunk(event(12, "reset")))
    assert (seen.received, seen.resets) == (0, 1)


@pytest.mark.parametrize("lack", [{"received": 19}, {"missed": 1}, {"repeated": 1}, {"resets": 1}])
def test_streams__are_whole__only_when_everyone_has_everything_once(lack: dict[str, int]) -> None:
    effort = StreamEffort(clients=4, resuming=1, events=5)
    everything = {"received": 20, "missed": 0, "repeated": 0, "resets": 0}
    assert is_whole(everything, effort)
    assert not is_whole(everything | lack, effort)


def test_bench_serving__part_that_there_is_not__is_refused_with_those_there_are(settings: Settings) -> None:
    with pytest.raises(BadInput, match="'lates': choose among ticks, latest, streams"):
        bench_serving(settings, Effort(), print, ["ticks", "lates"])


def test_text__tells_only_the_parts_that_were_measured() -> None:
    streams = {"clients": 1000, "events": 500, "per_second": 25.0, "missed": 0, "repeated": 0, "resumed": 50}
    memory = {"before": 200.0, "with_clients": 230.0, "after_events": 240.0}
    text = as_text({"streams": streams | {"cut_off": 0, "server_mib": memory, "delay_ms": None}})
    assert text.startswith("1,000 clients of the stream at once, 500 events at 25 a second: 0 missed, 0 repeated")
    assert "latest" not in text


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None)  # type: ignore[call-arg]
