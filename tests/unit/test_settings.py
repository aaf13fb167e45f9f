from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from app.errors import Misconfigured
from app.settings import Settings, asset, parse_feed
from app.types import Feed

KEY = "0x" + "5e" * 32


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
        ("RPC_URLS", "localhost"),
        ("RPC_URLS", "http://127.0.0.1:8545,ftp://x"),
        ("ATTESTERS", "attester.example"),
        ("CHAIN_ID", "0"),
        ("CONFIRMATIONS", "0"),
        ("CONFIRMATIONS", "257"),
        ("HEARTBEAT_S", "0"),
        ("DEVIATION", "-0.1"),
        ("MAX_FEE_GWEI", "0"),
        ("MAX_TIP_GWEI", "-1"),
        ("REPLACE_AFTER_S", "0"),
        ("ATTEST_TIMEOUT_S", "0"),
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


Role = Literal["submitter", "attester"]
ROLES: list[Role] = ["submitter", "attester"]


@pytest.mark.parametrize("role", ROLES)
def test_key_of__given__is_the_key_of_that_role_alone(settings: Callable[..., Settings], role: Role) -> None:
    read = settings(**{f"{role.upper()}_KEY": KEY})
    assert {one: read.key_of(one) for one in ROLES} == {**dict.fromkeys(ROLES), role: (KEY, None)}


@pytest.mark.parametrize("role", ROLES)
def test_key_of__in_files__is_read_with_its_password_and_without_newlines(
    settings: Callable[..., Settings], tmp_path: Path, role: Role
) -> None:
    (tmp_path / "keystore").write_text('{"version": 3}\n')
    (tmp_path / "password").write_text("hunter2\n")
    files = {"KEY_FILE": str(tmp_path / "keystore"), "PASSWORD_FILE": str(tmp_path / "password")}
    read = settings(**{f"{role.upper()}_{name}": path for name, path in files.items()})
    assert read.key_of(role) == ('{"version": 3}', "hunter2")


@pytest.mark.parametrize("role", ROLES)
def test_key_of__both_value_and_file__are_refused(settings: Callable[..., Settings], role: Role) -> None:
    with pytest.raises(ValidationError, match=f"VERIREGIME_{role.upper()}_KEY_FILE, not both"):
        settings(**{f"{role.upper()}_KEY": KEY, f"{role.upper()}_KEY_FILE": "key"})


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"], ids=["missing", "binary"])
def test_key_of__file_that_cannot_be_read__is_named_but_not_shown(
    settings: Callable[..., Settings], tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured, match=rf"the secret file {path} cannot be read: \w+Error$"):
        settings(ATTESTER_KEY_FILE=str(path)).key_of("attester")


def test_rpc_urls__comma_separated__are_all_read(settings: Callable[..., Settings]) -> None:
    urls = settings(RPC_URLS="http://127.0.0.1:8545, https://user:pw@rpc.example/v3/key,").rpc_urls
    assert [str(url) for url in urls] == ["http://127.0.0.1:8545/", "https://user:pw@rpc.example/v3/key"]


def test_attesters__comma_separated__are_all_read(settings: Callable[..., Settings]) -> None:
    assert [url.port for url in settings(ATTESTERS="http://a:1,http://b:2").attesters] == [1, 2]


@pytest.mark.parametrize("address", ["0x" + "11" * 19, "11" * 20, "0x" + "zz" * 20, ""])
def test_oracle_address__another_form__is_refused(settings: Callable[..., Settings], address: str) -> None:
    with pytest.raises(ValidationError, match="is not an address"):
        settings(ORACLE_ADDRESS=address)


def test_deployments__by_default__are_beside_the_contracts(settings: Callable[..., Settings]) -> None:
    assert settings(CONTRACTS_DIR="/srv/contracts").deployments == Path("/srv/contracts/deployments")
    assert settings(DEPLOYMENTS_DIR="/srv/there").deployments == Path("/srv/there")


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("SUBMITTER_KEY", KEY, KEY),
        ("ATTESTER_KEY", KEY, KEY),
        ("DATABASE_URL", "postgresql+psycopg://oracle:hunter2@db/oracle", "hunter2"),
    ],
)
def test_secret__in_the_representation__is_hidden(
    settings: Callable[..., Settings], name: str, value: str, secret: str
) -> None:
    read = settings(**{name: value})
    assert secret not in f"{read!r} {read} {read.model_dump()} {read.model_dump_json()}"


def test_secret__in_a_complaint_about_the_settings__is_hidden(settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(SUBMITTER_KEY="hunter2", SUBMITTER_KEY_FILE="key", RPC_URLS="no url")
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


def test_quorum__is_more_than_half_of_the_feeds_venues_unless_it_is_said(settings: Callable[..., Settings]) -> None:
    assert settings().quorum_of("btc-usdt-4h") == 2
    assert settings(VENUES="binance").quorum_of("btc-usdt-4h") == 1
    assert settings(VENUES="binance,okx,kraken,bitstamp").quorum_of("btc-usdt-4h") == 3
    assert settings(QUORUM="1").quorum_of("btc-usdt-4h") == 1
    both = {"VENUES": "binance,okx,kraken", "FEEDS": "btc-usdt-4h,eth-usdt-4h", "QUORUM": '{"eth-usdt-4h": 3}'}
    assert [settings(**both).quorum_of(feed) for feed in ("btc-usdt-4h", "eth-usdt-4h")] == [2, 3]


def test_feed_venues_and_markets__are_read_per_feed_and_venue(settings: Callable[..., Settings]) -> None:
    read = settings(
        FEEDS="btc-usdt-4h,eth-usdt-4h",
        FEED_VENUES='{"eth-usdt-4h": ["okx", "kraken"]}',
        MARKETS='{"kraken": {"ETH/USDT": "ETH/USD"}}',
    )
    assert read.markets_of(parse_feed("eth-usdt-4h")) == {"okx": "ETH/USDT", "kraken": "ETH/USD"}
    assert read.markets_of(parse_feed("btc-usdt-4h")) == dict.fromkeys(("binance", "coinbase", "kraken"), "BTC/USDT")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"QUORUM": "4"}, "3 venue.*fewer than VERIREGIME_QUORUM"),
        ({"QUORUM": "0"}, "say 1 or more"),
        ({"QUORUM": "two"}, "a number of venues"),
        ({"QUORUM": '{"doge-usdt-4h": 2}'}, "not among VERIREGIME_FEEDS"),
        ({"VENUES": "binance,binance"}, "each named once"),
        ({"FEED_VENUES": '{"btc-usdt-4h": []}'}, "needs venues"),
        ({"MARKETS": '{"kraken": {"BTC/USDT": "ETH/USD"}}'}, "cannot stand for BTC/USDT"),
        ({"MARKETS": '{"kraken": {"BTC/USDT": "BTC/EUR"}}'}, "another dollar"),
    ],
    ids=str,
)
def test_venues_that_cannot_be__are_refused_with_what_to_do(
    settings: Callable[..., Settings], names: dict[str, str], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**names)
