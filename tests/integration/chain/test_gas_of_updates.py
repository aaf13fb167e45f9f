"""What updates cost as transactions on a chain, everything included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.chain.abi import encode_call
from app.chain.attestation import feed_id
from app.chain.updates import gas_limit, update_calldata
from app.types import AttesterSignature

ONE_SIGNATURE, THREE_SIGNATURES, EACH_OF_TEN = 520_000, 560_000, 75_000
FEEDS = 10

Spent = Callable[..., int]


@pytest.fixture
def spent(chain: Any, signatures: Callable[..., list[AttesterSignature]]) -> Spent:
    """Gas of an update that needs so many signatures and brings as many, sent with the gas limit of the service."""

    def send(made: Any, threshold: int) -> int:
        chain.require(threshold)
        calldata = update_calldata(made.claim, made.proof, signatures(made.claim, chain.oracle, threshold))
        mined = chain.send(chain.oracle.contract, calldata, gas=gas_limit(made.claim))
        assert mined.succeeded
        return int(mined.gas)

    return send


@pytest.mark.parametrize(("threshold", "most"), [(1, ONE_SIGNATURE), (3, THREE_SIGNATURES)])
def test_update__of_one_feed__stays_within_its_gas(spent: Spent, windows: list[Any], threshold: int, most: int) -> None:
    first, second = (spent(made, threshold) for made in windows[:2])
    print(f"one feed, {threshold} signature(s): {first} the first round, {second} a later one, both reserved")
    assert max(first, second) <= most


@pytest.mark.parametrize("threshold", [1, 3])
def test_joint_update__of_ten_feeds__stays_within_its_gas(
    chain: Any, spent: Spent, ten_feeds: Any, threshold: int
) -> None:
    for feed, _ in ten_feeds.claim.windows:
        assert chain.send(chain.oracle.contract, encode_call("VolatilityOracle", "reserve", feed_id(feed), 4)).succeeded
    each = spent(ten_feeds, threshold) / FEEDS
    print(f"ten feeds, {threshold} signature(s): {each:.0f} each on reserved rounds")
    assert each <= EACH_OF_TEN
    assert all(len(chain.published(feed)) == 1 for feed, _ in ten_feeds.claim.windows)


def test_joint_update__of_ten_feeds_never_published__pays_for_their_storage(spent: Spent, ten_feeds: Any) -> None:
    each = spent(ten_feeds, 1) / FEEDS
    print(f"ten feeds, 1 signature: {each:.0f} each, nine of them with the first round of their feed and no reserve")
    assert EACH_OF_TEN < each <= EACH_OF_TEN + 2 * 22_100
