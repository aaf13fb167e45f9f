"""How an SRS comes in from outside: from a file or from ezkl's bucket, checked point by point, kept under its hash.

Nothing is written before every check has passed, and what is written appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import requests

from app.errors import SrsInvalid, SrsUnavailable
from app.proving.ceremony import PTAU_URL, PUBLIC_SRS_SHA256, ptau_name
from app.proving.powers import check_header, check_srs
from app.proving.ptau import MAGIC, read_ptau
from app.proving.srs import Srs, read_srs, srs_size, write_record

_CONNECT_S, _READ_S, _DOWNLOAD_S = 10.0, 30.0, 600.0
_CHUNK_BYTES = 1 << 16

Show = Callable[[int, int], None]
"""Called with (bytes received, bytes in all)."""


@dataclass(frozen=True, slots=True)
class _Source:
    """The `.ptau` that an SRS is converted from."""

    blake2b: str
    power: int


def import_srs(
    path: Path,
    folder: Path,
    logrows: Collection[int] = (),
    *,
    needed: Collection[int] = (),
    trusted: Collection[str] = (),
) -> list[Srs]:
    """Keep a .srs or a `.ptau` file, told apart by their first bytes, as one .srs per size in ``folder``.

    A `.ptau` is converted for each of ``logrows``; where none are asked for, for those of ``needed`` that it is large
    enough for, one at least. A .srs has one size, which must be one that is asked for, or needed where none is. Raises
    `SrsInvalid` with the reason, `SrsUnavailable` when the file cannot be read or kept.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) == MAGIC:
                strings, source = _from_ptau(file, path, logrows, needed)
            else:
                strings, source = [_whole_srs(file, path, logrows, needed)], None
    except SrsInvalid as error:
        raise SrsInvalid(f"{path} is refused: {error}") from error
    except OSError as error:
        raise SrsUnavailable(f"{path} cannot be read: {error.strerror}") from error
    return [_keep(raw, folder, source, trusted) for raw in strings]


def check_srs_file(path: Path) -> int:
    """Check every point of a .srs file and give its logrows. Raises `SrsInvalid` or `SrsUnavailable`."""
    try:
        with path.open("rb") as file:
            raw = _whole_srs(file, path)
    except OSError as error:
        raise SrsUnavailable(f"{path} cannot be read: {error.strerror}") from error
    return int.from_bytes(raw[:4], "little")


def fetch_srs(folder: Path, logrows: int, base_url: str, show: Show = lambda done, total: None) -> Srs:
    """Download ezkl's public SRS of this size and keep it.

    Raises `SrsUnavailable` when the server does not give it, and `SrsInvalid` when it gives anything but the file whose
    SHA-256 is on ezkl's public list.
    """
    url = f"{base_url.rstrip('/')}/kzg{logrows}.srs"
    raw = _download(url, logrows, show)
    found, public = hashlib.sha256(raw).hexdigest(), PUBLIC_SRS_SHA256[logrows]
    if found != public:
        raise SrsInvalid(f"{url} is refused: its SHA-256 is {found}, the public file's is {public}")
    check_srs(raw)
    return _keep(raw, folder, None, ())


def _from_ptau(
    file: BufferedReader, path: Path, logrows: Collection[int], needed: Collection[int]
) -> tuple[list[bytes], _Source]:
    ptau = read_ptau(file, path)
    wanted = logrows or [k for k in needed if k <= ptau.power] or needed
    strings = [ptau.srs(k) for k in sorted(set(wanted))]
    for raw in strings:
        check_srs(raw)
    return strings, _Source(ptau.blake2b(), ptau.power)


def _whole_srs(file: BufferedReader, path: Path, logrows: Collection[int] = (), needed: Collection[int] = ()) -> bytes:
    file.seek(0)
    found = check_header(file.read(4), path.stat().st_size)
    if logrows and set(logrows) != {found}:
        asked = ", ".join(str(k) for k in sorted(logrows))
        raise SrsInvalid(f"it is for k = {found}, not {asked}")
    if not logrows and needed and found not in needed:
        sizes = " and ".join(str(k) for k in sorted(needed))
        raise SrsInvalid(f"it is for k = {found}, the released models need k = {sizes} (--logrows {found} keeps it)")
    file.seek(0)
    raw = file.read()
    check_srs(raw)
    return raw


def _keep(raw: bytes, folder: Path, source: _Source | None, trusted: Collection[str]) -> Srs:
    sha256 = hashlib.sha256(raw).hexdigest()
    path = folder / f"{sha256}.srs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".importing-") as scratch:
            made = Path(scratch) / path.name
            made.write_bytes(raw)
            if source:  # before the SRS: one without its note would be of unknown origin
                write_record(Path(scratch), sha256, source.blake2b, source.power)
                os.replace(made.with_suffix(".json"), path.with_suffix(".json"))
            os.replace(made, path)
    except OSError as error:
        raise SrsUnavailable(f"the SRS cannot be kept in {folder}: {error.strerror}") from error
    return read_srs(path, trusted)


def _download(url: str, logrows: int, show: Show) -> bytes:
    """At most as many bytes as the file has, in bounded time."""
    expected, received, started = srs_size(logrows), bytearray(), time.monotonic()
    try:
        with requests.get(url, stream=True, timeout=(_CONNECT_S, _READ_S)) as answer:
            if answer.status_code != requests.codes.ok:
                raise SrsUnavailable(_instead(url, f"answered {answer.status_code}", logrows))
            for chunk in answer.iter_content(_CHUNK_BYTES):
                received += chunk
                if len(received) > expected:
                    raise SrsInvalid(f"{url} is refused: it is longer than the {expected:,} bytes of the public file")
                if time.monotonic() - started > _DOWNLOAD_S:
                    raise SrsUnavailable(_instead(url, f"took longer than {_DOWNLOAD_S:.0f} s", logrows))
                show(len(received), expected)
    except requests.RequestException as error:
        raise SrsUnavailable(_instead(url, f"does not answer ({type(error).__name__})", logrows)) from error
    return bytes(received)


def _instead(url: str, what: str, logrows: int) -> str:
    return (
        f"{url} {what}: get the file elsewhere and bring it with `veriregime srs import FILE`; "
        f"a ceremony's file does as well, such as {PTAU_URL}/{ptau_name(logrows)}"
    )
