"""An attester whose market, registry and commitments are at hand; the real ones have integration tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.attester.judge import Judge
from app.attester.market import OwnMarket
from app.attester.pins import Pins
from app.attester.proposal import AttestedFeed, Proposal, ProposedWindow
from app.attester.tolerance import Tolerance
from app.chain.account import Account
from app.chain.attestation import input_commitment
from app.chain.registry import ModelState, PinnedModel
from app.clock import Clock
from app.errors import ChainUnavailable, UnknownModel
from app.features.variation import CANDLES_NEEDED, INPUTS, VariationSpec
from app.inference.network import Network
from app.inference.release import ReleasedModel
from app.metrics import Metrics
from app.store.database import Database
from app.types import MINUTE_MS, Candles, Feed, Keys, OracleAt, Window

ORACLE = OracleAt(31337, "0x5FbDB2315678afecb367f032d93F642f64180aa3")
ACCOUNT = Account.from_secret("0x" + "11" * 32, None, "attester")
FEEDS = {"btc-usdt-4h": "BTC/USDT", "eth-usdt-4h": "ETH/USDT"}
LIMIT_S = 900


class CountingPool:
    """Commits to inputs by a hash, so that other inputs or other keys have another commitment."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def commit(self, keys: Keys, observation: Sequence[int]) -> bytes:
        if self.error:
            raise self.error
        assert len(observation) == INPUTS * keys.circuit.windows
        return hashlib.sha512(f"{keys.vk_hash} {tuple(observation)}".encode()).digest()


@dataclass
class ScriptedReader:
    """What a chain would say, and whether it can be asked."""

    pinned: PinnedModel | None
    oracle: OracleAt = ORACLE
    state: ModelState = ModelState.ACTIVE
    away: bool = False
    asked: int = 0

    def model(self, model_id: str) -> PinnedModel:
        self.asked += 1
        self._answer()
        if self.pinned is None:
            raise UnknownModel
        return self.pinned

    def state_of(self, model_id: str) -> ModelState:
        self._answer()
        return self.state

    def submission_limit_s(self) -> int:
        self._answer()
        return LIMIT_S

    def _answer(self) -> None:
        if self.away:
            raise ChainUnavailable("nobody answers")


@dataclass
class Bench:
    """A judge and everything around it that a test may turn."""

    judge: Judge
    pins: Pins
    market: OwnMarket
    reader: ScriptedReader
    pool: CountingPool
    candles: dict[str, Candles]
    metrics: Metrics
    feeds: dict[str, AttestedFeed] = field(default_factory=dict)

    def own(self, feed: str, end_ms: int) -> tuple[int, ...]:
        return self.market.observation(feed, end_ms).values

    def proposal(self, *windows: ProposedWindow, joint: bool = False) -> Proposal:
        """One that commits to what it shows."""
        attested = self.feeds["btc-usdt-4h"]
        keys = attested.batch_keys if joint else attested.keys
        assert keys is not None
        values = [value for window in windows for value in window.values]
        values += [0] * (INPUTS * keys.circuit.windows - len(values))
        return Proposal(
            oracle=ORACLE,
            model_id=attested.model.model_id,
            windows=windows,
            joint=joint,
            input_commitment=input_commitment(self.pool.commit(keys, values)),
        )

    def window(self, end_ms: int, feed: str = "btc-usdt-4h", **shift: int) -> ProposedWindow:
        """What the attester sees itself; ``i5=3`` shows its input 5 three units higher."""
        values = list(self.own(feed, end_ms))
        for name, units in shift.items():
            values[int(name[1:])] += units
        return ProposedWindow(feed, end_ms, tuple(values))


def keys_of(circuit: Any, number: int) -> Keys:
    nowhere = Path("/nonexistent")
    return Keys(
        circuit=circuit,
        srs=nowhere,
        srs_hash="34" * 32,
        srs_is_development=True,
        vk=nowhere,
        vk_hash=f"{number:02x}" * 32,
        pk=nowhere,
        verifier_sol=nowhere,
    )


@pytest.fixture
def pinned() -> PinnedModel:
    return PinnedModel(
        verifier="0x" + "01" * 20,
        joint_verifier="0x" + "02" * 20,
        joint_windows=10,
        output_scale=27,
        srs_hash="34" * 32,
        vk_hash="01" * 32,
        joint_vk_hash="0a" * 32,
        training_record="56" * 32,
    )


@pytest.fixture
def bench(
    model: ReleasedModel,
    pinned: PinnedModel,
    sqlite_database: Database,
    make_candles: Callable[..., Candles],
    window_end_ms: int,
) -> Bench:
    """It is 90 seconds after the window's end; the candles of one minute more are there."""
    clock = Clock(market_start_ms=window_end_ms + 90_000, speed=0)
    candles = {
        name: make_candles(CANDLES_NEEDED + 20, end_ms=window_end_ms + MINUTE_MS, seed=seed)
        for seed, name in enumerate(FEEDS)
    }
    spec = VariationSpec.from_manifest(model.manifest["observation"])

    def attested(name: str, symbol: str) -> AttestedFeed:
        feed = Feed(name=name, symbol=symbol)

        def collect(end_ms: int) -> Window:
            return Window(feed, end_ms, {"binance": candles[name].between(0, end_ms)})

        assert model.batch is not None
        keys, batch = keys_of(model.circuit, 1), keys_of(model.batch, 10)
        return AttestedFeed(feed, model, spec, Network(model), keys, batch, collect)

    feeds = {name: attested(name, symbol) for name, symbol in FEEDS.items()}
    reader: Any = ScriptedReader(pinned)
    pool: Any = CountingPool()
    metrics = Metrics()
    pins = Pins(reader, feeds.values())
    market = OwnMarket(feeds, pins, clock, lambda: None, settle_s=0.2)
    judge = Judge(
        feeds,
        ORACLE,
        ACCOUNT,
        pins=pins,
        market=market,
        pool=pool,
        database=sqlite_database,
        clock=clock,
        metrics=metrics,
        tolerance=Tolerance(),
    )
    return Bench(judge, pins, market, reader, pool, candles, metrics, feeds)
