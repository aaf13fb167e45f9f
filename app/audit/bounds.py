"""How much a bundle's JSON may hold, counted on its bytes before anything is parsed.

A parser pays for every value that it meets: millions of empty lists in a few megabytes take gigabytes and a minute.
Here the text costs a few passes over it, whatever it says. Whether it is JSON at all is for the parser to find.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.errors import BundleMalformed

Letters = npt.NDArray[np.uint8]
_BLANKS = b" \t\r\n"
_ALL_BUT_BRACES = bytes(set(range(256)) - set(b"{}"))
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_ENDS = np.zeros(256, dtype=bool)
_ENDS[list(b"[]{},:")] = True


@dataclass(frozen=True, slots=True)
class JsonBounds:
    """The most of each that a document may hold; sizes in bytes of its text."""

    depth: int
    lists: int
    members: int
    """Names with a value, over all objects."""
    commas: int
    strings: int
    string_bytes: int
    literal_bytes: int
    """Of one number, or any other word outside of quotes."""


def check_bounds(raw: bytes, bounds: JsonBounds) -> None:
    """Raise `BundleMalformed` when ``raw`` holds more than ``bounds``, or an object names something twice."""
    # Escaped backslashes and quotes, from the left, so that what quotes are left begin and end strings.
    text = raw.replace(b"\\\\", b"\\x").replace(b'\\"', b"\\x")
    _at_most("strings", text.count(b'"') // 2, bounds.strings)
    parts = text.split(b'"')
    _at_most("bytes in a string", max(map(len, parts[1::2]), default=0), bounds.string_bytes)
    plain = b"".join(parts[::2]).translate(None, _BLANKS)
    _at_most("lists", max(plain.count(b"["), plain.count(b"]")), bounds.lists)
    _at_most("names", plain.count(b":"), bounds.members)
    _at_most("objects", max(plain.count(b"{"), plain.count(b"}")), bounds.members)
    _at_most("values", plain.count(b","), bounds.commas)
    letters = np.frombuffer(plain, dtype=np.uint8)
    _at_most("levels", _depth(letters), bounds.depth)
    _at_most("digits in a number", _longest_literal(letters), bounds.literal_bytes)
    _check_names(parts)


def _at_most(what: str, found: int, most: int) -> None:
    if found > most:
        raise BundleMalformed(f"this is no bundle: it has {found:,} {what}, and none has more than {most:,}")


def _depth(letters: Letters) -> int:
    """The deepest nesting of lists and objects."""
    return int(np.cumsum(_STEPS[letters], dtype=np.int32).max(initial=0))


def _longest_literal(letters: Letters) -> int:
    """The longest run without punctuation."""
    ends = np.flatnonzero(_ENDS[letters])
    edges = np.concatenate(([-1], ends, [len(letters)]))
    return int(np.diff(edges).max()) - 1


def _check_names(parts: list[bytes]) -> None:
    """Of two values under one name every parser takes the one it likes, so that two readers may see two bundles."""
    open_objects: list[set[bytes]] = [set()]
    for before, text, after in zip(parts[::2], parts[1::2], parts[2::2], strict=False):
        _follow(before, open_objects)
        if not after.lstrip(_BLANKS).startswith(b":"):
            continue
        if b"\\" in text:
            raise BundleMalformed("this is no bundle: a name in it has an escape, and none needs one")
        if text in open_objects[-1]:
            raise BundleMalformed(f"this is no bundle: it names {text[:40].decode('latin-1')!a} twice in an object")
        open_objects[-1].add(text)


def _follow(plain: bytes, open_objects: list[set[bytes]]) -> None:
    """Objects that begin and end between two strings."""
    for letter in plain.translate(None, _ALL_BUT_BRACES):
        if letter == ord("{"):
            open_objects.append(set())
        elif len(open_objects) > 1:
            open_objects.pop()
