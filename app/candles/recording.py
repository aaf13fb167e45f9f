"""Records a venue's candles into a candle file: venue.py → here → files.py reads it.

Every page becomes a part of its own in ``FILE.parts``, named after the minutes that it covers, before the next one is
asked for: whatever ends a fetch, at most the page in flight is lost, and the next one asks only for what is not
covered. At the end the parts become the file in one rename; its bytes depend on its candles and range alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from app.candles.files import COLUMNS, END_OF_TIME_MS, FIRST_TIME_MS, check_candles, read_candles
from app.candles.gaps import Gaps
from app.candles.habits import habits_of
from app.candles.venue import Venue
from app.errors import BadInput, CandleFileInvalid, VenueUnavailable
from app.types import MINUTE_MS, Candles, iso

RETRIES = 6
"""After 1, 2, 4, 8, 16 and 32 s, or longer where the venue says so. An answer resets the count."""
LONGEST_WAIT_S = 300
"""A venue that wants a longer rest than this has banned us: better to end and say so than to hang."""

Show = Callable[[str, int, int], None]
"""Called with (venue, minutes done, minutes in all)."""

_TYPES = (pa.int64(), *[pa.float64()] * 4, pa.float32())
_VENUE, _SYMBOL, _FROM, _TO = b"veriregime.venue", b"veriregime.symbol", b"veriregime.from_ms", b"veriregime.to_ms"
_PART_NAME = re.compile(r"(\d{13})-(\d{13})\.parquet")


@dataclass(frozen=True, slots=True)
class Recording:
    """The candles of a file that was recorded here, and the range ``start_ms <= open_time < end_ms`` asked for."""

    path: Path
    venue: str
    symbol: str
    start_ms: int
    end_ms: int
    candles: Candles

    @property
    def next_ms(self) -> int:
        """The minute after the last candle, or the first one asked for."""
        return int(self.candles.open_time_ms[-1]) + MINUTE_MS if len(self.candles) else self.start_ms

    def summary(self) -> str:
        """A line for people: rows, period and gaps, and a line for each end of the range that the venue left empty."""
        first_ms, gaps = int(self.candles.open_time_ms[0]), Gaps.of(self.candles.open_time_ms)
        lines = [
            f"{self.path}: {len(self.candles):,} candles of {self.symbol} from {self.venue}, "
            f"{iso(first_ms)} to {iso(self.next_ms)}; {gaps.words()}"
        ]
        if self.start_ms < first_ms:
            lines.append(f"{self.venue} has nothing from {iso(self.start_ms)} to {iso(first_ms)}")
        if self.next_ms < self.end_ms:
            lines.append(f"{self.venue} has nothing from {iso(self.next_ms)} to {iso(self.end_ms)}")
        return "\n".join(lines)


def record(
    path: Path,
    venue: Venue,
    symbol: str,
    start_ms: int,
    end_ms: int | None,
    *,
    settle_s: float = 0,
    show: Show = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Recording:
    """Make ``path`` hold the closed candles with ``start_ms <= open_time < end_ms``; None is the last closed minute.

    A minute counts as closed ``settle_s`` after its end by the venue's clock. A file that was recorded here is extended
    after its last candle. Raises `BadInput` for a range that cannot be, `CandleFileInvalid` for a file or parts that
    this fetch must not go on with, `Misconfigured` for a symbol that is not listed, and `VenueUnavailable` once
    `RETRIES` are used up; what was fetched stays.
    """
    _require_range(start_ms, end_ms)
    if path.suffix.lower() != ".parquet":
        raise BadInput(f"{path}: recorded candles are written as .parquet")
    parts = _Parts(path.with_name(f"{path.name}.parts"), venue.name, symbol)
    patience = _Patience(say, sleep)
    with _alone(parts.folder):
        there = _recorded_before(path, venue.name, symbol, start_ms)
        parts.require_ours()
        parts.forget_within(there.start_ms, there.end_ms)
        if end_ms is None or there.end_ms < end_ms:
            try:
                closed_ms = _closed_ms(venue, settle_s, patience)
                end_ms = _closed_end_ms(venue.name, end_ms, closed_ms)
                _require_range(start_ms, end_ms)
                _tell_what_is_gone(venue.name, there.next_ms, closed_ms, say)
                _download(venue, parts, there.next_ms, end_ms, patience, show)
            except VenueUnavailable as error:
                kept = f"what was fetched is kept in {parts.folder}" if parts.spans() else "nothing was fetched"
                raise VenueUnavailable(f"{error}; {kept}: run the same command again later to go on") from error
        if end_ms <= there.end_ms:
            say(f"{path} is complete: nothing to fetch")
            return there
        whole = _join([there.candles, *parts.candles(there.next_ms, end_ms)])
        made = replace(there, end_ms=end_ms, candles=whole)
        _finish(made, parts)
        return made


def sparingly(show: Show, *, every_s: float = 10, clock: Callable[[], float] = time.monotonic) -> Show:
    """For a log in place of a bar: at most one call per percent and per ``every_s``, and always the last."""
    shown_at_s, shown_done = -every_s, -1

    def show_some(venue: str, done: int, total: int) -> None:
        nonlocal shown_at_s, shown_done
        now_s = clock()
        due = now_s - shown_at_s >= every_s and (done - shown_done) * 100 >= total
        if due or shown_done < 0 or (done >= total and done != shown_done):
            shown_at_s, shown_done = now_s, done
            show(venue, done, total)

    return show_some


@dataclass(slots=True)
class _Patience:
    """Waits out a venue's failures, up to `RETRIES` in a row."""

    say: Callable[[str], None]
    sleep: Callable[[float], None]
    failures: int = 0

    def ask(self, question: Callable[[], int]) -> int:
        while True:
            try:
                answer = question()
            except VenueUnavailable as error:
                self.wait(error)
            else:
                self.failures = 0
                return answer

    def wait(self, error: VenueUnavailable) -> None:
        """Raises the error when it is time to give up."""
        # The class's own value is for clients of the service; only an error's own is what the venue asked for.
        asked_s = vars(error).get("retry_after_s") or 0
        if asked_s > LONGEST_WAIT_S:
            raise VenueUnavailable(f"{error} for {asked_s} s") from error
        if self.failures == RETRIES:
            raise VenueUnavailable(f"{error} (tried {RETRIES + 1} times)") from error
        delay_s = max(2**self.failures, asked_s)
        self.failures += 1
        self.say(f"{error}: trying again in {delay_s} s ({self.failures} of {RETRIES})")
        self.sleep(delay_s)


@dataclass(slots=True)
class _Parts:
    """The pages on disk. A part's name says which minutes it covers, candles or none; no two cover the same minute."""

    folder: Path
    venue: str
    symbol: str
    _schema: Any = field(init=False)

    def __post_init__(self) -> None:
        self._schema = _schema({_VENUE: self.venue, _SYMBOL: self.symbol})

    def spans(self) -> list[tuple[int, int, Path]]:
        """Start, end (exclusive, ms) and file of each part, in order of time."""
        named = ((_PART_NAME.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted((int(name[1]), int(name[2]), path) for name, path in named if name)

    def require_ours(self) -> None:
        """Raises `CandleFileInvalid` for parts of another venue or symbol."""
        for leftover in self.folder.glob("*.tmp"):
            leftover.unlink()
        for _, _, path in self.spans():
            with _part_is_readable(path):
                said = pa_parquet.read_schema(path).metadata or {}
            whose = tuple(said.get(key, b"?").decode() for key in (_SYMBOL, _VENUE))
            if whose != (self.symbol, self.venue):
                raise CandleFileInvalid(
                    f"{self.folder} holds an unfinished fetch of {whose[0]} from {whose[1]}: finish that one first, "
                    "remove the folder, or choose another --out"
                )

    def missing(self, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """The stretches between start and end that no part covers."""
        stretches = []
        for part_start_ms, part_end_ms, _ in self.spans():
            if start_ms < min(part_start_ms, end_ms):
                stretches.append((start_ms, min(part_start_ms, end_ms)))
            start_ms = max(start_ms, part_end_ms)
        return [*stretches, (start_ms, end_ms)] if start_ms < end_ms else stretches

    def keep(self, start_ms: int, end_ms: int, candles: Candles) -> None:
        _write(self.folder / f"{start_ms}-{end_ms}.parquet", _table(candles, self._schema), self.folder)

    def candles(self, start_ms: int, end_ms: int) -> Iterator[Candles]:
        for _, _, path in self.spans():
            with _part_is_readable(path):
                table = pa_parquet.read_table(path, schema=self._schema, partitioning=None)
                columns = [column.to_numpy() for column in table.columns]
            whole = Candles(columns[0], *(column.astype(np.float64) for column in columns[1:]))
            yield whole.between(start_ms, end_ms)

    def forget_within(self, start_ms: int, end_ms: int) -> None:
        """Remove the parts that a file of this range already holds."""
        for part_start_ms, part_end_ms, path in self.spans():
            if start_ms <= part_start_ms and part_end_ms <= end_ms:
                path.unlink()


def _closed_ms(venue: Venue, settle_s: float, patience: _Patience) -> int:
    """The end of the venue's last closed minute."""
    return patience.ask(lambda: venue.time_ms() - round(settle_s * 1000)) // MINUTE_MS * MINUTE_MS


def _closed_end_ms(venue: str, end_ms: int | None, closed_ms: int) -> int:
    """The end asked for, or of the last closed minute. Raises `BadInput` for an end that the venue has not reached."""
    if end_ms is not None and end_ms > closed_ms:
        raise BadInput(f"{venue} has closed its minutes up to {iso(closed_ms)}, not to {iso(end_ms)}")
    return closed_ms if end_ms is None else end_ms


def _tell_what_is_gone(venue: str, start_ms: int, closed_ms: int, say: Callable[[str], None]) -> None:
    """Some venues show their last minutes alone: better to know it before than to wonder at a short file."""
    keeps = habits_of(venue).keeps_minutes
    if keeps is not None and start_ms < closed_ms - keeps * MINUTE_MS:
        say(
            f"{venue} shows no more than its last {keeps / 60:g} hours: nothing before "
            f"{iso(closed_ms - keeps * MINUTE_MS)} is to be had"
        )


def _download(venue: Venue, parts: _Parts, start_ms: int, end_ms: int, patience: _Patience, show: Show) -> None:
    missing = parts.missing(start_ms, end_ms)
    total = (end_ms - start_ms) // MINUTE_MS
    done = total - sum(last - first for first, last in missing) // MINUTE_MS
    if done and missing:
        patience.say(f"going on with {parts.folder}: {done:,} of {total:,} minutes are there")
    for first_ms, last_ms in missing:
        for reached_ms in _stretch(venue, parts, first_ms, last_ms, patience):
            done += (reached_ms - first_ms) // MINUTE_MS
            first_ms = reached_ms
            show(venue.name, done, total)


def _stretch(venue: Venue, parts: _Parts, start_ms: int, end_ms: int, patience: _Patience) -> Iterator[int]:
    """Fetch and keep one stretch; gives the time that is reached after each page."""
    while start_ms < end_ms:
        asked_from_ms = start_ms
        try:
            for page in venue.pages(parts.symbol, asked_from_ms, end_ms):
                reached_ms = asked_from_ms + page.done * MINUTE_MS
                parts.keep(start_ms, reached_ms, page.candles)
                start_ms = reached_ms
                patience.failures = 0
                yield reached_ms
        except VenueUnavailable as error:
            patience.wait(error)


def _finish(made: Recording, parts: _Parts) -> None:
    """The file appears whole, by a rename, and only then do its parts go."""
    if len(made.candles) < 2:
        parts.forget_within(made.start_ms, made.end_ms)
        raise BadInput(
            f"{made.venue} has {len(made.candles)} candles of {made.symbol} from {iso(made.start_ms)} to "
            f"{iso(made.end_ms)}: a candle file needs at least two"
        )
    check_candles(made.candles, f"what {made.venue} gave, kept in {parts.folder}")
    origin = {_VENUE: made.venue, _SYMBOL: made.symbol, _FROM: str(made.start_ms), _TO: str(made.end_ms)}
    _write(made.path, _table(made.candles, _schema(origin)), parts.folder)
    parts.forget_within(made.start_ms, made.end_ms)


def _recorded_before(path: Path, venue: str, symbol: str, start_ms: int) -> Recording:
    """What ``path`` holds, without a file an empty range. Raises `CandleFileInvalid` unless it can be gone on with."""
    if not path.exists():
        return Recording(path, venue, symbol, start_ms, start_ms, Candles.from_rows([]))
    try:
        candles = read_candles(path)
    except CandleFileInvalid as error:
        raise CandleFileInvalid(f"{error} (to fetch anew, remove it or choose another --out)") from error
    said = pa_parquet.read_schema(path).metadata or {}
    try:
        whose = (said[_SYMBOL].decode(), said[_VENUE].decode())
        there = Recording(path, whose[1], whose[0], int(said[_FROM]), int(said[_TO]), candles)
    except (KeyError, ValueError):
        raise CandleFileInvalid(
            f"{path} does not say which venue and symbol it was fetched from, so it is not extended: "
            "choose another --out"
        ) from None
    if whose != (symbol, venue):
        raise CandleFileInvalid(
            f"{path} holds {whose[0]} from {whose[1]}, not {symbol} from {venue}: choose another --out"
        )
    if start_ms < there.start_ms:
        raise CandleFileInvalid(
            f"{path} begins at {iso(there.start_ms)}, later than {iso(start_ms)}, and is extended at its end only: "
            f"say --from {iso(there.start_ms)} or choose another --out"
        )
    return there


def _require_range(start_ms: int, end_ms: int | None) -> None:
    for time_ms in (start_ms, end_ms):
        if time_ms is None:
            continue
        if not FIRST_TIME_MS <= time_ms < END_OF_TIME_MS:
            raise BadInput(f"candle files reach from {iso(FIRST_TIME_MS)} to {iso(END_OF_TIME_MS)}")
        if time_ms % MINUTE_MS:
            raise BadInput(f"{iso(time_ms)} is not a whole minute")
    if end_ms is not None and start_ms >= end_ms:
        raise BadInput(f"there is nothing to fetch from {iso(start_ms)} to {iso(end_ms)}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder, made for it, against a second fetch; the lock goes with the process, and the folder if empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise CandleFileInvalid(f"{folder} cannot be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CandleFileInvalid(f"{folder} is in use: another fetch into the same file is running") from error
        try:
            yield
        finally:
            with suppress(OSError):
                folder.rmdir()
    finally:
        os.close(handle)


@contextmanager
def _part_is_readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CandleFileInvalid(
            f"{path} cannot be read: remove it and run the same command again, its minutes alone are fetched anew"
        ) from error


def _schema(origin: dict[bytes, str]) -> Any:
    return pa.schema(list(zip(COLUMNS, _TYPES, strict=True)), metadata=origin)


def _table(candles: Candles, schema: Any) -> Any:
    columns = (candles.open_time_ms, candles.open, candles.high, candles.low, candles.close, candles.volume)
    arrays = [pa.array(column).cast(kind, safe=False) for column, kind in zip(columns, _TYPES, strict=True)]
    return pa.table(arrays, schema=schema)


def _write(path: Path, table: Any, folder: Path) -> None:
    """Whole or not at all: ``folder``, on the same file system, holds it while it grows."""
    growing = folder / f"{path.name}.tmp"
    try:
        with growing.open("wb") as file:
            pa_parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        growing.replace(path)
    except (OSError, pa.ArrowException) as error:
        raise CandleFileInvalid(f"{path} cannot be written: {error}") from error


def _join(parts: list[Candles]) -> Candles:
    """In contiguous columns: how a table is cut into chunks would show in the bytes of the file."""
    none = Candles.from_rows([])
    columns = ("open_time_ms", "open", "high", "low", "close", "volume")
    return Candles(*(np.concatenate([getattr(part, name) for part in [none, *parts]]) for name in columns))
