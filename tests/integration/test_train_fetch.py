"""``veriregime train fetch`` against a simulated venue over HTTP, whatever interrupts it."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from app.candles.files import read_candles
from app.candles.recording import RETRIES, Recording, record
from app.candles.venue import Venue
from app.errors import BadInput, CandleFileInvalid, Misconfigured, VenueUnavailable
from app.sim.market import SimulatedMarket
from app.types import MINUTE_MS, Candles, iso, parse_time

SEED = 11
AT = parse_time("2026-03-02T09:30:20Z")
CLOSED = parse_time("2026-03-02T09:30:00Z")
SYMBOL = "BTC/USDT"
PAGE = 1_000 * MINUTE_MS
PROCESS_MINUTES = 24_000
"""What whole processes fetch: 24 requests at the real venue's pace, time enough to break in."""


@contextmanager
def simulated_market(*arguments: str) -> Iterator[str]:
    """Its address; the clock stands still."""
    command = [sys.executable, "-m", "app.sim", "--follow-stdin", "--speed", "1e-9", *arguments]
    with subprocess.Popen(command, text=True, stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout is not None
        yield child.stdout.readline().split()[-1] + "/binance"
        child.terminate()


@pytest.fixture(scope="module")
def market() -> Iterator[str]:
    with simulated_market("--seed", str(SEED), "--at", str(AT)) as address:
        yield address


class Relay(http.server.ThreadingHTTPServer):
    """Stands before the market and can lose its voice: from the klines request numbered ``fails_at``, ``failures``
    times."""

    daemon_threads = True

    def __init__(self, market: str) -> None:
        super().__init__(("127.0.0.1", 0), _Relayed)
        self.market = market
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.fails_at = 1
        self.failures = 0
        self.refusal: tuple[int, dict[str, str], bytes] = (502, {}, b"<html>bad gateway</html>")


class _Relayed(http.server.BaseHTTPRequestHandler):
    server: Relay

    def do_GET(self) -> None:
        relay = self.server
        if "/klines" in self.path:
            relay.asked.append(self.path)
            if relay.failures and len(relay.asked) >= relay.fails_at:
                relay.failures -= 1
                self._answer(*relay.refusal)
                return
        try:
            with urllib.request.urlopen(relay.market + self.path) as said:
                self._answer(said.status, {}, said.read())
        except urllib.error.HTTPError as refused:
            self._answer(refused.code, {}, refused.read())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def relay(market: str) -> Iterator[Relay]:
    with Relay(market) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def open_at() -> Iterator[Callable[[str], Venue]]:
    with ExitStack() as open_ones:

        def connect(address: str) -> Venue:
            venue = Venue("binance", base_url=address, timeout_s=5)
            open_ones.callback(venue.close)
            venue._client.enableRateLimit = False  # the pace of the real venue is nothing to wait for here
            return venue

        yield connect


@pytest.fixture
def venue(relay: Relay, open_at: Callable[[str], Venue]) -> Venue:
    return open_at(relay.address)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "fetched" / "btc.parquet"


@pytest.fixture
def whole(market: str, open_at: Callable[[str], Venue], tmp_path: Path) -> Callable[[int, int], bytes]:
    """The bytes of a fetch that nothing interrupts."""

    def fetched(start_ms: int, end_ms: int) -> bytes:
        path = tmp_path / "whole" / f"{start_ms}-{end_ms}.parquet"
        record(path, open_at(market), SYMBOL, start_ms, end_ms)
        return path.read_bytes()

    return fetched


def parts_of(out: Path) -> Path:
    return out.with_name(out.name + ".parts")


def fetch(out: Path, venue: Venue, minutes: int, **options: Any) -> Recording:
    return record(out, venue, SYMBOL, CLOSED - minutes * MINUTE_MS, CLOSED, **options)


def fetch_until_it_breaks(out: Path, venue: Venue, relay: Relay, minutes: int, pages: int) -> None:
    relay.fails_at, relay.failures = len(relay.asked) + pages + 1, RETRIES + 1
    with pytest.raises(VenueUnavailable):
        fetch(out, venue, minutes, sleep=lambda _: None)


def test_fetch__nothing_in_the_way__holds_the_markets_own_candles_in_the_layout(out: Path, venue: Venue) -> None:
    made = fetch(out, venue, 2_500)
    expected = SimulatedMarket(SEED).candles(SYMBOL, CLOSED - 2_500 * MINUTE_MS, CLOSED)
    schema = pa_parquet.read_schema(out)
    assert [f"{field.name} {field.type}" for field in schema] == [
        "open_time int64",
        *("open double", "high double", "low double", "close double"),
        "volume float",
    ]
    assert made.candles.open_time_ms.tolist() == expected.open_time_ms.tolist()
    assert read_candles(out).close.tolist() == expected.close.tolist()
    assert read_candles(out).volume.tolist() == expected.volume.astype("f4").tolist()
    assert schema.metadata[b"veriregime.symbol"] == SYMBOL.encode()
    assert not parts_of(out).exists()


def test_fetch__without_an_end__reaches_to_the_last_closed_minute(out: Path, venue: Venue) -> None:
    made = record(out, venue, SYMBOL, CLOSED - 10 * MINUTE_MS, None)
    assert made.next_ms == CLOSED


def test_fetch__minute_that_closed_this_moment__is_left_to_settle(out: Path, venue: Venue) -> None:
    made = record(out, venue, SYMBOL, CLOSED - 10 * MINUTE_MS, None, settle_s=21)
    assert made.next_ms == CLOSED - MINUTE_MS


def test_fetch__end_that_is_not_closed__is_refused_with_the_last_that_is(out: Path, venue: Venue) -> None:
    with pytest.raises(BadInput, match=r"closed its minutes up to 2026-03-02T09:30:00Z, not to 2026-03-02T09:31:00Z"):
        record(out, venue, SYMBOL, CLOSED - 10 * MINUTE_MS, CLOSED + MINUTE_MS)


def test_fetch__broken_off_twice__goes_on_and_ends_byte_for_byte_the_same(
    out: Path, venue: Venue, relay: Relay, whole: Callable[[int, int], bytes]
) -> None:
    fetch_until_it_breaks(out, venue, relay, 4_500, pages=2)
    assert not out.exists()
    fetch_until_it_breaks(out, venue, relay, 4_500, pages=1)
    asked_before = len(relay.asked)
    fetch(out, venue, 4_500)
    assert len(relay.asked) - asked_before == 2
    assert out.read_bytes() == whole(CLOSED - 4_500 * MINUTE_MS, CLOSED)
    assert not parts_of(out).exists()


def test_fetch__part_removed__fetches_its_minutes_alone(
    out: Path, venue: Venue, relay: Relay, whole: Callable[[int, int], bytes]
) -> None:
    fetch_until_it_breaks(out, venue, relay, 4_500, pages=3)
    sorted(parts_of(out).iterdir())[1].unlink()
    asked_before = len(relay.asked)
    fetch(out, venue, 4_500)
    assert len(relay.asked) - asked_before == 3
    assert out.read_bytes() == whole(CLOSED - 4_500 * MINUTE_MS, CLOSED)


def test_fetch__damaged_part__is_named_with_what_to_do(out: Path, venue: Venue, relay: Relay) -> None:
    fetch_until_it_breaks(out, venue, relay, 2_500, pages=1)
    [part] = parts_of(out).iterdir()
    part.write_bytes(b"PAR1")
    with pytest.raises(CandleFileInvalid, match=rf"{part.name} cannot be read: remove it"):
        fetch(out, venue, 2_500)


def test_fetch__parts_of_another_symbol__are_left_alone(out: Path, venue: Venue, relay: Relay) -> None:
    fetch_until_it_breaks(out, venue, relay, 2_500, pages=1)
    with pytest.raises(CandleFileInvalid, match="unfinished fetch of BTC/USDT from binance"):
        record(out, venue, "ETH/USDT", CLOSED - PAGE, CLOSED)
    assert len(list(parts_of(out).iterdir())) == 1


def test_fetch__end_moved_back_after_a_break__keeps_what_lies_behind_it_for_later(
    out: Path, venue: Venue, relay: Relay, whole: Callable[[int, int], bytes]
) -> None:
    start_ms = CLOSED - 3_500 * MINUTE_MS
    fetch_until_it_breaks(out, venue, relay, 3_500, pages=3)
    record(out, venue, SYMBOL, start_ms, start_ms + PAGE // 2)
    assert out.read_bytes() == whole(start_ms, start_ms + PAGE // 2)
    asked_before = len(relay.asked)
    fetch(out, venue, 3_500)
    assert len(relay.asked) - asked_before == 1
    assert out.read_bytes() == whole(start_ms, CLOSED)


def test_fetch__complete_file__is_left_as_it_is_without_asking(out: Path, venue: Venue, relay: Relay) -> None:
    fetch(out, venue, 1_500)
    before, asked = out.stat(), len(relay.asked)
    made = fetch(out, venue, 1_200)
    assert len(made.candles) == 1_500
    assert (out.stat().st_mtime_ns, out.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert len(relay.asked) == asked


def test_fetch__file_that_ends_earlier__is_extended_to_the_bytes_of_one_fetch(
    out: Path, venue: Venue, relay: Relay, whole: Callable[[int, int], bytes]
) -> None:
    start_ms = CLOSED - 3_500 * MINUTE_MS
    record(out, venue, SYMBOL, start_ms, start_ms + PAGE)
    first = out.read_bytes()
    fetch_until_it_breaks(out, venue, relay, 3_500, pages=1)
    assert out.read_bytes() == first
    fetch(out, venue, 3_500)
    assert out.read_bytes() == whole(start_ms, CLOSED)
    assert not parts_of(out).exists()


def test_fetch__killed_between_the_file_and_its_parts__clears_up(out: Path, venue: Venue, relay: Relay) -> None:
    fetch_until_it_breaks(out, venue, relay, 2_500, pages=2)
    kept = {part.name: part.read_bytes() for part in parts_of(out).iterdir()}
    fetch(out, venue, 2_500)
    parts_of(out).mkdir()
    for name, content in kept.items():
        (parts_of(out) / name).write_bytes(content)
    (parts_of(out) / "half.parquet.tmp").write_bytes(b"PAR1")
    fetch(out, venue, 2_500)
    assert not parts_of(out).exists()


def test_fetch__file_of_another_symbol__is_refused(out: Path, venue: Venue) -> None:
    fetch(out, venue, 10)
    with pytest.raises(CandleFileInvalid, match=r"holds BTC/USDT from binance, not ETH/USDT .* choose another --out"):
        record(out, venue, "ETH/USDT", CLOSED - 10 * MINUTE_MS, CLOSED)


def test_fetch__file_that_begins_later__is_refused_with_its_beginning(out: Path, venue: Venue) -> None:
    fetch(out, venue, 10)
    with pytest.raises(CandleFileInvalid, match=r"extended at its end only: say --from 2026-03-02T09:20:00Z or"):
        fetch(out, venue, 20)


def test_fetch__somebodys_own_file__is_not_touched(out: Path, venue: Venue) -> None:
    fetch(out, venue, 10)
    pa_parquet.write_table(pa_parquet.read_table(out).replace_schema_metadata(None), out)
    content = out.read_bytes()
    with pytest.raises(CandleFileInvalid, match=r"does not say which venue and symbol .* choose another --out"):
        fetch(out, venue, 10)
    assert out.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"open_time,open\n1,2\n"])
def test_fetch__file_that_is_no_candle_file__is_refused(out: Path, venue: Venue, content: bytes) -> None:
    out.parent.mkdir()
    out.write_bytes(content)
    why = r"(cannot be read as \.parquet|has [\d,]+ bytes of tables at its end)"
    with pytest.raises(CandleFileInvalid, match=why + r".*remove it or choose another --out"):
        fetch(out, venue, 10)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_fetch__folder_in_place_of_the_file__is_refused(out: Path, venue: Venue) -> None:
    out.mkdir(parents=True)
    with pytest.raises(CandleFileInvalid, match="is a folder"):
        fetch(out, venue, 10)


def test_fetch__failures_that_pass__are_waited_out_with_a_growing_pause(
    out: Path, venue: Venue, relay: Relay, whole: Callable[[int, int], bytes]
) -> None:
    relay.fails_at, relay.failures = 2, 3
    waited: list[float] = []
    said: list[str] = []
    fetch(out, venue, 2_500, sleep=waited.append, say=said.append)
    assert waited == [1, 2, 4]
    assert re.fullmatch(r"binance cannot be reached .* HTTP 502: trying again in 4 s \(3 of 6\)", said[-1])
    assert out.read_bytes() == whole(CLOSED - 2_500 * MINUTE_MS, CLOSED)


def test_fetch__failures_that_do_not_pass__are_reported_and_the_fetched_part_kept(
    out: Path, venue: Venue, relay: Relay
) -> None:
    relay.fails_at, relay.failures = 2, 99
    waited: list[float] = []
    with pytest.raises(VenueUnavailable) as caught:
        fetch(out, venue, 2_500, sleep=waited.append)
    assert waited == [1, 2, 4, 8, 16, 32]
    assert re.search(
        r"\(tried 7 times\); what was fetched is kept in .*: run the same command again", str(caught.value)
    )
    assert "\n" not in str(caught.value)
    assert [part.name for part in parts_of(out).iterdir()] == [
        f"{CLOSED - 2_500 * MINUTE_MS}-{CLOSED - 1_500 * MINUTE_MS}.parquet"
    ]


def test_fetch__venue_that_says_how_long_to_wait__is_obeyed(out: Path, venue: Venue, relay: Relay) -> None:
    relay.failures = 1
    relay.refusal = (429, {"Retry-After": "17"}, b'{"code": -1003, "msg": "Too many requests."}')
    waited: list[float] = []
    fetch(out, venue, 10, sleep=waited.append)
    assert waited == [17]


def test_fetch__venue_that_bans_for_an_hour__is_reported_at_once(out: Path, venue: Venue, relay: Relay) -> None:
    relay.failures = 99
    relay.refusal = (418, {"Retry-After": "3600"}, b'{"code": -1003, "msg": "Way too many requests."}')
    with pytest.raises(VenueUnavailable, match="slow down for 3600 s; nothing was fetched"):
        fetch(out, venue, 10, sleep=lambda _: pytest.fail("there is nothing to wait for"))


def test_fetch__range_before_the_listing__begins_with_the_first_candle(out: Path, venue: Venue) -> None:
    listed = parse_time("2017-08-17T04:00:00Z")
    made = record(out, venue, SYMBOL, parse_time("2010-01-01"), listed + 5 * MINUTE_MS)
    assert made.candles.open_time_ms[0] == listed
    assert "binance has nothing from 2010-01-01T00:00:00Z to 2017-08-17T04:00:00Z" in made.summary()
    assert record(out, venue, SYMBOL, parse_time("2010-01-01"), listed + 5 * MINUTE_MS).start_ms == made.start_ms


def test_fetch__nothing_at_all_in_the_range__is_an_error_and_leaves_nothing(out: Path, venue: Venue) -> None:
    with pytest.raises(BadInput, match="has 0 candles of BTC/USDT from 2017-08-01"):
        record(out, venue, SYMBOL, parse_time("2017-08-01"), parse_time("2017-08-02"))
    assert list(out.parent.iterdir()) == []


def test_fetch__symbol_that_is_not_listed__is_named_and_leaves_nothing(out: Path, venue: Venue) -> None:
    with pytest.raises(Misconfigured, match="binance does not list DOGE/USDT"):
        record(out, venue, "DOGE/USDT", CLOSED - PAGE, CLOSED)
    assert list(out.parent.iterdir()) == []


def test_fetch__gaps_of_the_venue__are_reported_and_not_filled(
    tmp_path: Path, open_at: Callable[[str], Venue], make_candles: Callable[..., Candles], out: Path
) -> None:
    recorded = make_candles(3_000, end_ms=CLOSED)
    rows = [row for minute, row in enumerate(recorded.rows()) if minute != 100 and not 1_990 <= minute < 2_027]
    names = ("open_time", "open", "high", "low", "close", "volume")
    path = tmp_path / "recorded.parquet"
    pa_parquet.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), path)
    with simulated_market("--candles", str(path), "--symbol", SYMBOL, "--at", str(CLOSED)) as address:
        made = fetch(out, open_at(address), 3_000)
    assert made.candles.open_time_ms.tolist() == [row[0] for row in rows]
    longest = iso(CLOSED - 1_010 * MINUTE_MS)
    assert made.summary() == (
        f"{out}: 2,962 candles of BTC/USDT from binance, {iso(CLOSED - 3_000 * MINUTE_MS)} to {iso(CLOSED)}; "
        f"2 gaps, 38 minutes missing, the longest 37 from {longest}"
    )


@pytest.fixture
def command(market: str, out: Path) -> list[str]:
    start = iso(CLOSED - PROCESS_MINUTES * MINUTE_MS)
    fetching = ["train", "fetch", SYMBOL, "--from", start, "--to", iso(CLOSED), "--out", str(out)]
    return [sys.executable, "-m", "app.cli", *fetching]


@pytest.fixture
def environment(market: str, tmp_path: Path) -> dict[str, str]:
    """As without the train extra: what it installs cannot be imported."""
    for name in ("torch", "onnx", "lightgbm", "sklearn", "matplotlib", "optuna"):
        (tmp_path / "without" / name).mkdir(parents=True)
        (tmp_path / "without" / name / "__init__.py").write_text(f"raise ModuleNotFoundError(name={name!r})\n")
    return {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "without"),
        "VERIREGIME_VENUE_URLS": json.dumps({"binance": market}),
    }


@contextmanager
def under_way(command: list[str], environment: dict[str, str], parts: Path) -> Iterator[subprocess.Popen[str]]:
    """The command's process, once it has kept more parts."""
    there = len(list(parts.glob("*.parquet"))) if parts.exists() else 0
    with subprocess.Popen(command, env=environment, text=True, stdout=PIPE, stderr=PIPE) as process:
        deadline = time.monotonic() + 15
        while not parts.exists() or len(list(parts.glob("*.parquet"))) < there + 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process


def test_process__killed_and_interrupted_in_the_middle__goes_on_to_the_same_bytes(
    command: list[str], environment: dict[str, str], out: Path, whole: Callable[[int, int], bytes], venue: Venue
) -> None:
    with under_way(command, environment, parts_of(out)) as process:
        process.kill()
    assert not out.exists()
    with under_way(command, environment, parts_of(out)) as process:
        with pytest.raises(CandleFileInvalid, match="another fetch into the same file is running"):
            fetch(out, venue, PROCESS_MINUTES)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "interrupted: what is finished is kept, run the same command again to go on" in said
    assert not out.exists()
    kept = len(list(parts_of(out).glob("*.parquet")))
    assert kept >= 6

    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)

    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert f"going on with {parts_of(out)}: {kept},000 of 24,000 minutes are there" in done.stderr
    assert len(done.stderr.splitlines()) < 10
    assert f"{out}: 24,000 candles of BTC/USDT from binance" in done.stdout
    assert "no gaps" in done.stdout
    assert out.read_bytes() == whole(CLOSED - PROCESS_MINUTES * MINUTE_MS, CLOSED)
    assert not parts_of(out).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("BTC/USDT", "--from", "yesterday"), "--from: 'yesterday' is not a time"),
        (("BTC/USDT", "--from", "2025-01-02", "--to", "2025-01-01"), "must be earlier than --to"),
        (("BTC/USDT", "--from", "2025-01-01T00:00:30"), "2025-01-01T00:00:30Z is not a whole minute"),
        (("BTC/USDT", "--from", "1999-01-01"), "candle files reach from 2001-09-09"),
        (("BTC/USDT", "--from", "2025-01-01", "--venue", "mtgox"), "'mtgox' is not a venue that ccxt knows"),
        (("btcusdt", "--from", "2025-01-01"), "binance does not list btcusdt"),
        (("BTC/USDT", "--from", "2025-01-01", "--to", "2030-01-01"), "closed its minutes up to 2026-03-02"),
        (("BTC/USDT", "--from", "2025-01-01", "--out", "candles.csv"), "written as .parquet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_command__bad_usage__exits_2_and_says_what_is_wrong(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    out: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    from app.cli import main

    monkeypatch.setenv("VERIREGIME_VENUE_URLS", environment["VERIREGIME_VENUE_URLS"])
    monkeypatch.setattr(sys, "argv", ["veriregime", "train", "fetch", "--out", str(out), *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not out.exists()
