"""`veriregime check` of a service that has attesters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import AnyHttpUrl, SecretStr

from app.chain.anvil import ATTESTER_KEYS, KEY
from app.check import Finding, Level, check_installation
from app.settings import Settings


@pytest.fixture
def found(attester_settings: Callable[..., Settings]) -> Callable[..., Finding]:
    """What is found about attesters, in a service that has the first one's key unless another is given."""

    def find(*urls: str, key: str = ATTESTER_KEYS[0]) -> Finding:
        settings = attester_settings(
            0, attesters=tuple(AnyHttpUrl(url) for url in urls), attester_key=SecretStr(key), attest_timeout_s=2.0
        )
        return next(one for one in check_installation(settings) if one.subject == "attesters")

    return find


def test_check__own_key_and_another_attester__are_enough(found: Callable[..., Finding], attesters: list[Any]) -> None:
    finding = found(attesters[1].url)
    assert (finding.level, finding.detail) == (Level.OK, "2 of 3 can be asked, 2 must sign")


def test_check__attester_that_is_away__is_named(found: Callable[..., Finding]) -> None:
    finding = found("http://127.0.0.1:9")
    assert finding.level is Level.WARNING
    assert finding.detail.startswith("1 of 3 can be asked, 2 must sign; the attester http://127.0.0.1:9 does not say")


def test_check__key_that_the_oracle_does_not_know__is_named(
    found: Callable[..., Finding], attesters: list[Any]
) -> None:
    finding = found(attesters[1].url, attesters[2].url, key=KEY)
    assert finding.level is Level.WARNING
    assert "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 is not an attester of the oracle" in finding.detail
