from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, asset, parse_feed
from app.types import Feed

KEY = "0x" + "5e" * 32
ADDRESS = "0x" + "11" * 20


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Settings]:
    """Settings from an environment that holds nothing but what is given, in a folder without a ``.env``."""
    for name in [name for name in os.environ if name.startswith("VERIREGIME_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def read(**environment: str) -> Settings:
        for name, value in environment.items():
            monkeypatch.setenv(f"VERIREGIME_{name}", value)
        return Settings()

    return read


def test_feeds__comma_separated__are_a_tuple(settings: Callable[..., Settings]) -> None:
    assert settings(FEEDS="btc-usdt-4h, eth-usdt-4h,").feeds == ("btc-usdt-4h", "eth-usdt-4h")


def test_venues__comma_separated__are_a_tuple(settings: Callable[..., Settings]) -> None:
    assert settings(VENUES="binance,kraken").venues == ("binance", "kraken")


def test_testnets__comma_separated__are_numbers(settings: Callable[..., Settings]) -> None:
    assert settings(TESTNETS="1, 2").testnets == (1, 2)


def test_testnets__not_numbers__are_refused(settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError, match="testnets"):
        settings(TESTNETS="sepolia")


def test_venue_urls__json__is_read_per_venue(settings: Callable[..., Settings]) -> None:
    urls = settings(VENUE_URLS='{"binance": "http://127.0.0.1:9000"}').venue_urls
    assert str(urls["binance"]) == "http://127.0.0.1:9000/"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "http"),
        ("SETTLE_S", "-1"),
        ("LATE_CANDLE_S", "41"),
        ("PROVER_WORKERS", "0"),
        ("PROOF_ATTEMPTS", "0"),
        ("PROOF_TIME_LIMIT_S", "0"),
        ("RPC_URL", "localhost"),
        ("VENUE_URLS", '{"binance": "nowhere"}'),
        ("MAX_BUNDLE_BYTES", "0"),
    ],
)
def test_settings__impossible_value__is_refused_by_name(
    settings: Callable[..., Settings], name: str, value: str
) -> None:
    with pytest.raises(ValidationError, match=name.lower()):
        settings(**{name: value})


def test_settings__once_read__cannot_be_changed(settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().port = 1


def test_settings__dot_env_file__is_read(settings: Callable[..., Settings]) -> None:
    Path(".env").write_text("VERIREGIME_PORT=8123\nOTHER=1\n")
    assert settings().port == 8123


def test_settings__environment_and_dot_env__the_environment_wins(settings: Callable[..., Settings]) -> None:
    Path(".env").write_text("VERIREGIME_PORT=8123\n")
    assert settings(PORT="8124").port == 8124


def test_store_url__by_default__is_sqlite_in_the_var_folder(settings: Callable[..., Settings]) -> None:
    assert settings(VAR_DIR="/srv/oracle").store_url() == "sqlite:////srv/oracle/veriregime.db"


def test_store_url__given__is_taken_as_it_is(settings: Callable[..., Settings]) -> None:
    url = "postgresql+psycopg://oracle:hunter2@db/oracle"
    assert settings(DATABASE_URL=url).store_url() == url


def test_private_key__given__is_the_key(settings: Callable[..., Settings]) -> None:
    assert settings(SUBMITTER_KEY=KEY).private_key() == KEY


def test_private_key__in_a_file__is_read_without_its_newline(settings: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    assert settings(SUBMITTER_KEY_FILE=str(tmp_path / "key")).private_key() == KEY


def test_private_key__none_given__is_none(settings: Callable[..., Settings]) -> None:
    assert settings().private_key() is None


def test_private_key__both_value_and_file__are_refused(settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError, match="VERIREGIME_SUBMITTER_KEY_FILE, not both"):
        settings(SUBMITTER_KEY=KEY, SUBMITTER_KEY_FILE="key")


@pytest.mark.parametrize(
    "given",
    [{}, {"SUBMITTER_KEY": KEY}, {"VERIFIER_ADDRESS": ADDRESS}, {"VERIFIER_ADDRESS": ADDRESS, "SUBMITTER_KEY": ""}],
    ids=["alone", "without-verifier", "without-key", "with-empty-key"],
)
def test_rpc_url__without_verifier_or_key__is_refused(settings: Callable[..., Settings], given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="VERIREGIME_RPC_URL also needs"):
        settings(RPC_URL="http://127.0.0.1:8545", **given)


def test_rpc_url__with_verifier_and_key__is_accepted(settings: Callable[..., Settings]) -> None:
    whole = settings(RPC_URL="http://127.0.0.1:8545", VERIFIER_ADDRESS=ADDRESS, SUBMITTER_KEY=KEY)
    assert whole.verifier_address == ADDRESS


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [("SUBMITTER_KEY", KEY, KEY), ("DATABASE_URL", "postgresql+psycopg://oracle:hunter2@db/oracle", "hunter2")],
)
def test_secret__in_the_representation__is_hidden(
    settings: Callable[..., Settings], name: str, value: str, secret: str
) -> None:
    read = settings(**{name: value})
    assert secret not in f"{read!r} {read} {read.model_dump()} {read.model_dump_json()}"


def test_secret__in_a_complaint_about_the_settings__is_hidden(settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(RPC_URL="http://x:1", SUBMITTER_KEY="hunter2")
    assert "hunter2" not in str(caught.value)


def test_database_url__in_a_file__is_read(settings: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql+psycopg://oracle:hunter2@db/oracle\n")
    read = settings(DATABASE_URL_FILE=str(tmp_path / "url"))
    assert read.store_url() == "postgresql+psycopg://oracle:hunter2@db/oracle"


def test_every_setting__has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("name", ["models", "migrations"])
def test_asset__in_a_checkout__is_beside_the_package(name: str) -> None:
    assert asset(name).is_dir()


def test_parse_feed__base_quote_horizon__is_the_ccxt_symbol() -> None:
    assert parse_feed("btc-usdt-4h") == Feed(name="btc-usdt-4h", symbol="BTC/USDT", horizon_minutes=240)


@pytest.mark.parametrize(
    "name", ["", "btc", "btc-usdt", "btc-usdt-4", "btc-usdt-h", "btc-usdt-4d", "-usdt-4h", "a-b-c-4h"]
)
def test_parse_feed__another_form__is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ValueError, match="such as btc-usdt-4h"):
        parse_feed(name)


def test_feeds__another_form__are_refused(settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError, match="'bitcoin' is not a feed"):
        settings(FEEDS="bitcoin")
