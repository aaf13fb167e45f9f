"""Every setting of the service, read once from the environment (``VERIREGIME_*``) or a ``.env`` file.

Secrets can be given as ``VERIREGIME_X_FILE`` instead of ``VERIREGIME_X``. Nothing here is global: `wiring` is handed
one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import Misconfigured
from app.features.agreement import same_market
from app.types import Feed, Markets

_EVERY_FEED = "*"
_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None


def asset(name: str) -> Path:
    """A folder that ships with the product (``models``, ``migrations``): beside the package or inside it."""
    return _CHECKOUT / name if _CHECKOUT else _PACKAGE / "shipped" / name


class Settings(BaseSettings):
    """What an operator can set."""

    model_config = SettingsConfigDict(
        env_prefix="VERIREGIME_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # an error must not show a key
    )

    var_dir: Path = Field(
        default=(_CHECKOUT or Path.cwd()) / "var", description="Database, keys, SRS and bundles of this installation."
    )
    models_dir: Path = Field(default=asset("models"), description="Folder of released models.")
    contracts_dir: Path = Field(
        default=(_CHECKOUT or Path.cwd()) / "contracts",
        description="Contracts and, under node_modules, the Solidity compiler and anvil.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""), description="SQLAlchemy URL; empty means SQLite in `var_dir`."
    )
    database_url_file: Path | None = Field(default=None, description="File that holds the database URL.")
    host: str = Field(default="127.0.0.1", description="Address the HTTP service listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port of the HTTP service; 0 takes a free one.")

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins whose pages may ask the API, comma separated: https://app.example; * for all.",
    )
    public_rpc_url: AnyHttpUrl | None = Field(
        default=None,
        description="JSON-RPC endpoint that the dashboard's visitors may use to check proofs on the chain themselves.",
    )
    explorer_url: AnyHttpUrl | None = Field(
        default=None, description="Block explorer that transactions are linked to: https://sepolia.etherscan.io."
    )
    event_retention_days: int = Field(
        default=7, ge=1, description="Older events are forgotten: a stream can be resumed for that long."
    )
    prediction_retention_days: int = Field(
        default=0,
        ge=0,
        description="Older predictions go, with proofs, signatures and transactions; outcomes stay. 0 keeps all.",
    )

    verify_rate: str = Field(
        default="30/minute", description="Bundles that one client may have checked: COUNT/UNIT; empty for no limit."
    )
    bundle_rate: str = Field(
        default="300/minute",
        description="Bundles, SRS files and pages of history that one client may ask for; empty for no limit.",
    )
    max_streams: int = Field(default=2000, ge=1, description="Streams at once; whoever comes later is told to wait.")
    max_streams_per_client: int = Field(default=20, ge=1, description="Streams at once of one client.")
    max_connections: int = Field(default=4000, ge=1, description="Connections at once; whoever comes later gets 503.")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks of proxies whose X-Forwarded-For says who the client is, comma separated.",
    )

    log_format: Literal["text", "json"] = Field(default="text", description="Lines for people, or JSON for collectors.")
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Where pipeline, prover and submitter tell their metrics; nowhere if unset. Others have /metrics.",
    )
    otlp_endpoint: AnyHttpUrl | None = Field(
        default=None,
        repr=False,  # it may hold a password
        description="OpenTelemetry collector for traces, OTLP over HTTP: http://127.0.0.1:4318. Needs extra `tracing`.",
    )

    feeds: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("btc-usdt-4h",), min_length=1, description="Feeds to serve, comma separated, named base-quote-horizon."
    )
    venues: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("binance", "coinbase", "kraken"),
        min_length=1,
        max_length=16,
        description="ccxt ids of the venues to read, comma separated.",
    )
    feed_venues: dict[str, tuple[str, ...]] = Field(
        default={}, description='Other venues for some feeds: {"eth-usdt-4h": ["binance", "okx"]}.'
    )
    markets: dict[str, dict[str, str]] = Field(
        default={},
        description='What is traded at a venue in place of a symbol: {"kraken": {"BTC/USDT": "BTC/USD"}}.',
    )
    quorum: Annotated[dict[str, int], NoDecode] = Field(
        default={},
        description='Venues that must have a minute, for all feeds (2) or for each ({"btc-usdt-4h": 2}); '
        "more than half of a feed's venues if unset.",
    )
    venue_urls: dict[str, AnyHttpUrl] = Field(
        default={},
        description='Base URL per venue where it is not the public one: {"binance": "http://127.0.0.1:9000"}.',
    )
    venue_timeout_s: float = Field(default=10, gt=0, description="Time limit of one request to a venue.")
    venue_clock: bool = Field(
        default=False, description="Take the time from the first venue at start-up instead of the system clock."
    )
    settle_s: float = Field(
        default=1.0, ge=0, lt=30, description="Seconds to wait after a minute closes before its candle is asked for."
    )
    late_candle_s: float = Field(
        default=10.0, ge=0, le=40, description="Seconds to keep asking for a candle that is not there yet."
    )
    straggler_s: float = Field(
        default=0.5, ge=0, le=30, description="Seconds that other venues get once a quorum has the newest minute."
    )
    max_clock_skew_s: float = Field(
        default=5.0, gt=0, description="A venue whose clock is further from this machine's is asked for no candles."
    )
    candle_retention_days: int = Field(
        default=14,
        ge=8,
        description="Older candles are forgotten; bundles are made from the last week before a window.",
    )

    prover: str = Field(
        default="local",
        pattern=r"^(local|(tcp|tls)://[^\s/]+:\d+)$",
        description="`local`, or the address of a Dask scheduler whose workers prove: tcp://host:8786.",
    )
    prover_workers: int = Field(default=1, ge=1, le=64, description="Prover processes of this machine.")
    prover_jobs: int = Field(
        default=32, ge=1, le=512, description="Proofs that are given to a Dask cluster at once, at most."
    )
    prover_threads: int = Field(
        default=0, ge=0, le=256, description="Threads of each prover process; 0 shares the cores among them evenly."
    )
    prover_memory_mib: int = Field(
        default=768, ge=32, description="A prover process that holds more memory is killed, and its proof tried again."
    )
    prover_lifetime: int = Field(
        default=1000, ge=1, description="Calls after which a prover process is replaced by a fresh one."
    )
    proof_time_limit_s: float = Field(default=30, gt=0, description="A proof that takes longer is killed.")
    catch_up_s: float = Field(
        default=600,
        gt=0,
        description="A backlog that would take longer than this to prove is shed, oldest windows first.",
    )
    batching: Literal["auto", "off", "always"] = Field(
        default="auto",
        description="Windows of several feeds in one proof: where that is faster or saves gas, never, or always.",
    )
    proof_attempts: int = Field(default=5, ge=1, description="Attempts before a prediction is given up as failed.")

    trusted_srs: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="SHA-256 of SRS files besides the public ones whose ceremony you trust, comma separated.",
    )

    use_srs: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="SHA-256 of SRS files to prove under, one per size, whatever their origin; else the best there is.",
    )

    rpc_urls: Annotated[tuple[AnyHttpUrl, ...], NoDecode] = Field(
        default=(),
        repr=False,  # they may hold access keys
        description="Ethereum JSON-RPC endpoints of one chain, comma separated, asked in turn; none means no chain.",
    )
    chain_id: int | None = Field(default=None, gt=0, description="The chain that the endpoints must be of.")
    oracle_address: str | None = Field(
        default=None, description="VolatilityOracle on the chain; else the one of `contracts deploy` is taken."
    )
    deployments_dir: Path | None = Field(
        default=None,
        description="Where `contracts deploy` keeps its records; deployments/ of `contracts_dir` if unset.",
    )
    submitter_key: SecretStr | None = Field(
        default=None, description="Private key that pays for submissions: hex, or an encrypted keystore's JSON."
    )
    submitter_key_file: Path | None = Field(default=None, description="File that holds the key or the keystore.")
    submitter_password_file: Path | None = Field(default=None, description="File with the keystore's password.")
    heartbeat_s: float = Field(
        default=3600, gt=0, description="A feed's forecast goes on chain when the last one is older than this."
    )
    deviation: float = Field(
        default=0.05, ge=0, description="Or when its volatility has moved by this share, or its regime has changed."
    )
    confirmations: int = Field(default=3, ge=1, le=256, description="Blocks, its own included, that settle an update.")
    max_fee_gwei: float = Field(default=100, gt=0, description="Most that is paid per gas, tip included.")
    max_tip_gwei: float = Field(default=2, ge=0, description="Most of that which goes to the block's maker.")
    replace_after_s: float = Field(
        default=45, gt=0, description="A transaction that is in no block by then is sent again with higher fees."
    )
    low_balance_updates: int = Field(
        default=50, ge=0, description="Warn when the account can pay for fewer updates than this."
    )
    dry_run: bool = Field(default=False, description="Do everything but send transactions.")

    attesters: Annotated[tuple[AnyHttpUrl, ...], NoDecode] = Field(
        default=(),
        repr=False,  # they may hold passwords
        description="Attesters that are asked for signatures, comma separated base URLs.",
    )
    attest_timeout_s: float = Field(default=10, gt=0, description="Time limit of one question to an attester.")
    proposer_token: SecretStr | None = Field(
        default=None,
        description="What a service shows to attesters; an attester that has one listens to nobody without it.",
    )
    proposer_token_file: Path | None = Field(default=None, description="File that holds the token.")
    attester_key: SecretStr | None = Field(
        default=None, description="Key that this process attests with: hex, or an encrypted keystore's JSON."
    )
    attester_key_file: Path | None = Field(default=None, description="File that holds the key or the keystore.")
    attester_password_file: Path | None = Field(default=None, description="File with the keystore's password.")

    testnets: Annotated[tuple[int, ...], NoDecode] = Field(
        default=(11155111, 84532, 421614),
        description="Chain ids besides local ones where a development SRS is tolerated, with a warning.",
    )

    max_bundle_bytes: int = Field(default=16 * 2**20, gt=0, description="Largest bundle that `verify` reads.")

    @field_validator(
        "feeds",
        "venues",
        "trusted_srs",
        "use_srs",
        "rpc_urls",
        "attesters",
        "cors_origins",
        "trusted_proxies",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("testnets", mode="before")
    @classmethod
    def _split_numbers(cls, value: object) -> object:
        return tuple(int(part) for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("feeds")
    @classmethod
    def _known_form(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            parse_feed(name)
        return value

    @field_validator("quorum", mode="before")
    @classmethod
    def _quorums(cls, value: object) -> object:
        """A number alone is every feed's."""
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value or "{}")
        except ValueError:
            found = None
        if isinstance(found, int) and not isinstance(found, bool):
            found = {_EVERY_FEED: found}
        if not isinstance(found, dict):
            raise ValueError('a number of venues, or one for each feed as JSON: {"btc-usdt-4h": 2}')
        return found

    @field_validator("trusted_srs", "use_srs")
    @classmethod
    def _hashes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        hashes = tuple(digest.lower() for digest in value)
        for digest in hashes:
            if not re.fullmatch("[0-9a-f]{64}", digest):
                raise ValueError(f"{digest!r} is not a SHA-256 in hexadecimal")
        return hashes

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", origin):
                raise ValueError(f"{origin!r} is not an origin: write https://host, without a path, or *")
        return value

    @field_validator("oracle_address")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch("0x[0-9a-fA-F]{40}", value):
            raise ValueError(f"{value!r} is not an address: 0x and 40 hexadecimal digits")
        return value

    @model_validator(mode="after")
    def _venues_that_can_be(self) -> Self:
        for feed, quorum in self.quorum.items():
            if quorum < 1:
                raise ValueError(f"VERIREGIME_QUORUM: {quorum} venues are none; say 1 or more")
            if feed not in (_EVERY_FEED, *self.feeds):
                raise ValueError(f"VERIREGIME_QUORUM names {feed}, which is not among VERIREGIME_FEEDS")
        for venue, symbols in self.markets.items():
            for symbol, read in symbols.items():
                if not same_market(read, symbol):
                    raise ValueError(
                        f"VERIREGIME_MARKETS: {read} at {venue} cannot stand for {symbol}: it must have the same "
                        "base, and the same quote or another dollar"
                    )
        for name in self.feeds:
            venues = self.venues_of(name)
            if len(set(venues)) < max(1, len(venues)):
                raise ValueError(f"{name} needs venues, each named once: see VERIREGIME_VENUES")
            if self.quorum_of(name) > len(venues):
                raise ValueError(f"{name} has {len(venues)} venue(s), fewer than VERIREGIME_QUORUM asks for")
        return self

    @model_validator(mode="after")
    def _secrets_once(self) -> Self:
        if self.database_url.get_secret_value() and self.database_url_file is not None:
            raise ValueError("set VERIREGIME_DATABASE_URL or VERIREGIME_DATABASE_URL_FILE, not both")
        for role in ("submitter", "attester"):
            if getattr(self, f"{role}_key") is not None and getattr(self, f"{role}_key_file") is not None:
                setting = f"VERIREGIME_{role.upper()}_KEY"
                raise ValueError(f"set {setting} or {setting}_FILE, not both")
        if self.proposer_token is not None and self.proposer_token_file is not None:
            raise ValueError("set VERIREGIME_PROPOSER_TOKEN or VERIREGIME_PROPOSER_TOKEN_FILE, not both")
        return self

    def venues_of(self, feed: str) -> tuple[str, ...]:
        return self.feed_venues.get(feed, self.venues)

    def quorum_of(self, feed: str) -> int:
        """How many of the feed's venues must have a minute: more than half of them unless it is set."""
        stated = self.quorum.get(feed, self.quorum.get(_EVERY_FEED))
        return len(self.venues_of(feed)) // 2 + 1 if stated is None else stated

    def markets_of(self, feed: Feed) -> Markets:
        """What is read for the feed at each of its venues."""
        return {name: self.markets.get(name, {}).get(feed.symbol, feed.symbol) for name in self.venues_of(feed.name)}

    @property
    def srs_choice(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Which SRS files are trusted, and which are to be used: what `serving_srs` asks for."""
        return self.trusted_srs, self.use_srs

    def store_url(self) -> str:
        if self.database_url_file is not None:
            return _secret(self.database_url_file)
        return self.database_url.get_secret_value() or f"sqlite:///{self.var_dir / 'veriregime.db'}"

    def key_of(self, role: Literal["submitter", "attester"]) -> tuple[str, str | None] | None:
        """The secret of a role, a key in hex or a keystore, and the keystore's password; none when none is set."""
        file, value = getattr(self, f"{role}_key_file"), getattr(self, f"{role}_key")
        secret = _secret(file) if file is not None else value.get_secret_value() if value else None
        if secret is None:
            return None
        password = getattr(self, f"{role}_password_file")
        return secret, _secret(password) if password is not None else None

    def token(self) -> str | None:
        """What services and attesters share, so that no stranger can use up an attester's only signature."""
        value = self.proposer_token.get_secret_value() if self.proposer_token else None
        token = _secret(self.proposer_token_file) if self.proposer_token_file is not None else value
        if token is not None and not re.fullmatch(r"[!-~]{16,}", token):
            raise Misconfigured("the proposers' token has 16 or more characters of ASCII, and no blanks")
        return token

    @property
    def deployments(self) -> Path:
        return self.deployments_dir or self.contracts_dir / "deployments"


def _secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the secret file {path} cannot be read: {type(error).__name__}") from error


def parse_feed(name: str) -> Feed:
    """``btc-usdt-4h`` as a `Feed`. Raises `ValueError` with the form that is expected."""
    parts = re.fullmatch(r"([a-z0-9]+)-([a-z0-9]+)-([1-9][0-9]?)h", name)
    if parts:
        base, quote, hours = parts.groups()
        return Feed(name=name, symbol=f"{base.upper()}/{quote.upper()}", horizon_minutes=60 * int(hours))
    raise ValueError(f"{name!r} is not a feed: write base-quote-horizon, such as btc-usdt-4h")
