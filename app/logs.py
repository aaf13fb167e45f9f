"""Logs: one line an event on stderr, for people or as JSON, with what it is about: a tick, a prediction, a request.

Where a line is made, secrets are masked and control characters escaped, whoever logged it and whatever it holds: the
last net, for what should not have been logged at all. What a line is about is said where the work begins, with `about`;
a thread that is started for a part of it is given that by `carried`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token, copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Literal, ParamSpec, TypeVar
from urllib.parse import quote

from pythonjsonlogger.json import JsonFormatter

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Format = Literal["text", "json"]

log = logging.getLogger(__name__)

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039  it is replaced, never changed
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Besides control characters, what turns or breaks a line in a terminal."""
_URL_PASSWORD = re.compile(r"(://[^/\s:@'\"]*):[^/\s@'\"]+@")
_MASK = "***"
_role = ""
_SHORTEST_SECRET = 6
"""To mask a shorter one would tear ordinary words apart."""


class Masks:
    """Takes secrets out of any text, also where they stand quoted or escaped, and passwords out of any URL."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        longest_first = sorted(map(re.escape, spellings), key=len, reverse=True)
        self._secrets = re.compile("|".join(longest_first), re.IGNORECASE) if longest_first else None

    def __call__(self, text: str) -> str:
        masked = _URL_PASSWORD.sub(rf"\1:{_MASK}@", text)
        return self._secrets.sub(_MASK, masked) if self._secrets else masked


def _spellings(secret: str) -> Iterator[str]:
    """A keystore has lines, a key may be written without its 0x, a password may stand in a URL."""
    for line in {secret.strip(), *map(str.strip, secret.splitlines())}:
        for known in (line, line.removeprefix("0x")):
            if len(known) >= _SHORTEST_SECRET:
                yield from (known, json.dumps(known)[1:-1], repr(known)[1:-1], quote(known, safe=""))


class _Text(logging.Formatter):
    """For people: what the line is about stands at its end, in brackets; tracebacks are indented below it."""

    def __init__(self, masks: Masks) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
        self._masks = masks

    def format(self, record: logging.LogRecord) -> str:
        record.asctime = self.formatTime(record, self.datefmt)
        record.message = _message(record)
        line = self.formatMessage(record) + _bracketed(_ABOUT.get())
        told = [line, *(f"    {row}" for row in _exception(self, record).splitlines())]
        return "\n".join(_escaped(row) for row in map(self._masks, told))


class _Json(JsonFormatter):
    """For collectors: one object a line."""

    def __init__(self, masks: Masks, trace_id: Callable[[], str | None]) -> None:
        super().__init__()
        self._masks = masks
        self._trace_id = trace_id

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            "role": _role,
            **_ABOUT.get(),
            "trace_id": self._trace_id(),
            "exception": _exception(self, record),
        }
        return self.serialize_log_record({name: self._masks(value) for name, value in told.items() if value})


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  logging would print its arguments past us, and nobody would have the message
        return f"{record.msg} {record.args!r}"


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    raised = formatter.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
    stack = formatter.formatStack(record.stack_info) if record.stack_info else ""
    return "\n".join(part for part in (raised, stack) if part)


def _bracketed(ids: Mapping[str, str]) -> str:
    return f" [{', '.join(f'{name} {value}' for name, value in ids.items())}]" if ids else ""


def _escaped(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def set_up(level: int = logging.INFO, role: str = "") -> None:
    """Lines for people, with no secret known yet: before the settings are read. `use` knows more.

    ``role`` is what this process was started as: `serve`, `prover`.
    """
    global _role  # of the process, as its loggers are
    _role = role
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Text(Masks()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("app").setLevel(level)


def use(form: Format, secrets: Iterable[str] = (), trace_id: Callable[[], str | None] = lambda: None) -> None:
    """From here on in this form and without these secrets. Where `set_up` was not called, nothing happens.

    ``trace_id`` gives the trace that its caller is in, if any.
    """
    masks = Masks(secrets)
    for handler in _ours():
        handler.setFormatter(_Json(masks, trace_id) if form == "json" else _Text(masks))


def _ours() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler.formatter, _Text | _Json)]


@contextmanager
def crashes_told() -> Iterator[None]:
    """What ends the process or a thread of it unexpectedly is told like everything else, and as safely."""

    def thread_crashed(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None and not issubclass(told.exc_type, SystemExit):
            name = told.thread.name if told.thread else "?"
            raised = (told.exc_type, told.exc_value, told.exc_traceback)
            log.critical("thread %s was ended by an unexpected error", name, exc_info=raised)

    before, threading.excepthook = threading.excepthook, thread_crashed
    try:
        yield
    except Exception:
        log.critical("ended by an unexpected error", exc_info=True)
        raise SystemExit(1) from None
    finally:
        threading.excepthook = before


def last_words(reason: str) -> None:
    """Why the command failed, in one line: as JSON where logs are, else after the program's name."""
    if any(isinstance(handler.formatter, _Json) for handler in _ours()):
        log.critical(reason)
    else:
        print(f"veriregime: {reason}", file=sys.stderr)


def about(**ids: str | None) -> AbstractContextManager[None]:
    """What is logged within is about these: ``tick`` (see `tick_id`), ``prediction``, ``request``."""
    return _About(ids)


class _About(AbstractContextManager[None]):
    """No generator: each request over HTTP goes through one."""

    __slots__ = ("_ids", "_token")

    def __init__(self, ids: Mapping[str, str | None]) -> None:
        self._ids = ids
        self._token: Token[Mapping[str, str]]

    def __enter__(self) -> None:
        known = {name: value for name, value in self._ids.items() if value is not None}
        self._token = _ABOUT.set({**_ABOUT.get(), **known})

    def __exit__(self, *_: object) -> None:
        _ABOUT.reset(self._token)


def tick_id(feed: str, window_end_ms: int) -> str:
    """``btc-usdt-4h@2025-09-15T12:00:00Z``."""
    from app.types import iso  # numpy comes with it, and ``--help`` needs none

    return f"{feed}@{iso(window_end_ms)}"


def carried(call: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """``call`` as the target of one thread: it is about what its caller is about now, in logs and in traces."""
    return partial(copy_context().run, call)
