"""What reaches standard error of a log record, in both forms."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import logs

log = logging.getLogger("app.steps.prove")
PASSWORD = "correct-horse"
KEY = "0x" + "5e" * 32
KEYSTORE = '{\n  "ciphertext": "9f8e7d6c5b4a39281706",\n  "version": 3\n}'


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What was written since the last look."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    logs.set_up(role="serve")

    def look() -> str:
        text = written.getvalue()
        written.seek(0)
        written.truncate()
        return text

    return look


@pytest.fixture
def as_json(said: Callable[..., str]) -> Callable[[], dict[str, str]]:
    """The one object that was written."""
    logs.use("json", [PASSWORD, KEY, KEYSTORE], trace_id=lambda: "ab" * 16)

    def look() -> dict[str, str]:
        (line,) = said().splitlines()
        told: dict[str, str] = json.loads(line)
        return told

    return look


def fail(words: str) -> None:
    try:
        raise RuntimeError(words)
    except RuntimeError:
        log.exception("it met a bug")


def test_json__an_event__is_one_object_with_time_role_and_ids(as_json: Callable[[], dict[str, str]]) -> None:
    with logs.about(tick=logs.tick_id("btc-usdt-4h", 1_757_937_600_000), prediction="edb9"):
        log.info("proved in %.2f s", 0.19)
    told = as_json()
    del told["time"]
    assert told == {
        "level": "info",
        "logger": "app.steps.prove",
        "message": "proved in 0.19 s",
        "role": "serve",
        "tick": "btc-usdt-4h@2025-09-15T12:00:00Z",
        "prediction": "edb9",
        "trace_id": "ab" * 16,
    }


def test_json__time__is_utc_with_milliseconds(as_json: Callable[[], dict[str, str]]) -> None:
    record = logging.LogRecord("app", logging.INFO, "", 0, "x", (), None)
    record.created = 1_757_937_600.25
    logging.getLogger("app").handle(record)
    assert as_json()["time"] == "2025-09-15T12:00:00.250Z"


def test_json__an_exception__is_one_field(as_json: Callable[[], dict[str, str]]) -> None:
    fail("no such thing")
    told = as_json()
    assert told["message"] == "it met a bug"
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("RuntimeError: no such thing")


def test_text__an_event__ends_with_what_it_is_about(said: Callable[..., str]) -> None:
    with logs.about(request="r-1"), logs.about(prediction="edb9"):
        log.warning("a lease lapsed")
    log.info("and on")
    first, second = said().splitlines()
    assert first.endswith("WARNING app.steps.prove: a lease lapsed [request r-1, prediction edb9]")
    assert second.endswith("INFO    app.steps.prove: and on")


def test_text__a_traceback__is_indented_below_its_line(said: Callable[..., str]) -> None:
    fail("first\n12:00:00 INFO    app: forged")
    first, *trace = said().splitlines()
    assert first.endswith("it met a bug")
    assert all(line.startswith("    ") for line in trace)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("bad", ["\n", "\r", "\x1b[2J", "\x00", "\x85", "\u2028", "\u202e", "\udc80"])
def test_line__a_control_character__is_escaped(said: Callable[..., str], form: logs.Format, bad: str) -> None:
    logs.use(form)
    # To our handler alone: pytest keeps what it captures, and cannot pass a lone surrogate on to another process.
    record = log.makeRecord(log.name, logging.WARNING, __file__, 1, "asked for %s", (f"a{bad}b",), None)
    with logs.about(request=f"r{bad}"):
        logging.getLogger().handlers[0].handle(record)
    written = said()
    assert written.count("\n") == 1
    assert bad == "\n" or bad not in written


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "words",
    [
        f"password {PASSWORD}",
        f"with {PASSWORD.upper()} too",
        f"key {KEY} of an account",
        f"key {KEY[2:].upper()}",
        f"the file holds {KEYSTORE}",
        f"the file holds {KEYSTORE!r}",
        "postgresql+psycopg://me:of-nobody-known@db/oracle is away",
    ],
)
def test_line__a_secret__is_masked(said: Callable[..., str], form: logs.Format, words: str) -> None:
    logs.use(form, [PASSWORD, KEY, KEYSTORE])
    log.warning("venues: %s", words)
    fail(words)
    with logs.about(request=words):
        log.info("done")
    written = said()
    assert "***" in written
    secrets = (PASSWORD, KEY[2:], "9f8e7d6c5b4a39281706", "of-nobody-known")
    assert not [secret for secret in secrets if secret in written.lower()]


def test_line__a_short_secret__leaves_words_whole(said: Callable[..., str]) -> None:
    logs.use("text", ["pro", ""])
    log.info("proved")
    assert "proved" in said()


def test_line__arguments_that_do_not_fit__are_told_with_secrets_masked(as_json: Callable[[], dict[str, str]]) -> None:
    logging.getLogger().handlers[1:] = []  # the tests' own: they raise
    log.warning("%d of %s", PASSWORD)
    assert as_json()["message"] == "%d of %s ('***',)"


@given(st.text(max_size=40), st.text(max_size=40))
def test_masks__any_secret_in_any_text__is_gone(secret: str, around: str) -> None:
    shown = logs.Masks([secret])(f"{around}{secret}{around}")
    kept = secret.strip()
    assert len(kept) < 6 or "\n" in kept or kept in "***" or shown.count(kept) == 0 or kept in f"{around}***{around}"


def test_level__others_packages__say_warnings_in_the_same_form(as_json: Callable[[], dict[str, str]]) -> None:
    logging.getLogger("apscheduler").info("added a job")
    logging.getLogger("alembic.runtime").warning("no such revision")
    assert as_json()["logger"] == "alembic.runtime"


def test_quiet__events__are_left_out(said: Callable[..., str]) -> None:
    logs.set_up(logging.WARNING)
    logs.use("json")
    log.info("nobody asked")
    assert said() == ""


def test_carried__another_thread__is_about_the_same(as_json: Callable[[], dict[str, str]]) -> None:
    with logs.about(prediction="edb9"):
        thread = threading.Thread(target=logs.carried(log.info), args=("asked",))
    thread.start()
    thread.join()
    assert as_json()["prediction"] == "edb9"


def test_about__after_the_block__nothing_is_left(as_json: Callable[[], dict[str, str]]) -> None:
    with logs.about(tick="t"):
        pass
    log.info("x")
    assert "tick" not in as_json()


def test_last_words__for_people__are_one_line(said: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    logs.last_words("the port is taken")
    assert capsys.readouterr().err == "veriregime: the port is taken\n"


def test_last_words__where_logs_are_json__are_json(as_json: Callable[[], dict[str, str]]) -> None:
    logs.last_words("the port is taken")
    told = as_json()
    assert (told["level"], told["message"]) == ("critical", "the port is taken")


def test_crashes__an_error_that_ends_a_thread__is_a_log_line(as_json: Callable[[], dict[str, str]]) -> None:
    with logs.crashes_told():
        thread = threading.Thread(target=int, args=(PASSWORD,), name="loop")
        thread.start()
        thread.join()
    told = as_json()
    assert told["message"] == "thread loop was ended by an unexpected error"
    assert told["exception"].endswith("ValueError: invalid literal for int() with base 10: '***'")


def test_crashes__an_error_that_ends_the_process__is_a_log_line(as_json: Callable[[], dict[str, str]]) -> None:
    with pytest.raises(SystemExit) as ended, logs.crashes_told():
        int(PASSWORD)
    assert ended.value.code == 1
    assert as_json()["message"] == "ended by an unexpected error"
