"""A chain that is neither local nor a listed testnet is sent nothing that was made under a development SRS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from pydantic import AnyHttpUrl, SecretStr

from app.chain.anvil import KEY, running_anvil
from app.errors import Misconfigured
from app.settings import Settings
from app.steps.served import ServedFeed
from app.wiring import chain_target

VERIFIER = "0x" + "11" * 20


@pytest.fixture(scope="module")
def mainnet() -> Iterator[Settings]:
    """Settings for a chain that calls itself Ethereum's."""
    plain = Settings(_env_file=None)  # type: ignore[call-arg]
    with running_anvil(plain.contracts_dir, "--chain-id", "1") as url:
        chain = {"rpc_url": AnyHttpUrl(url), "verifier_address": VERIFIER, "submitter_key": SecretStr(KEY)}
        yield plain.model_copy(update=chain)


@pytest.mark.parametrize(("single", "joint"), [(True, False), (False, True), (True, True)])
def test_chain_target__any_keys_under_a_development_srs__is_refused(
    mainnet: Settings, serve: Callable[..., ServedFeed], single: bool, joint: bool
) -> None:
    served = serve()
    served = replace(
        served,
        keys=replace(served.keys, srs_is_development=single, vk_hash="aa" * 32),
        batch_keys=replace(served.keys, srs_is_development=joint, vk_hash="bb" * 32),
    )
    with pytest.raises(Misconfigured, match="chain 1 is neither local nor a listed testnet"):
        chain_target(mainnet, {"btc-usdt-4h": served})


def test_chain_target__all_keys_under_a_public_srs__is_the_chain(
    mainnet: Settings, serve: Callable[..., ServedFeed]
) -> None:
    served = serve()
    public = replace(served.keys, srs_is_development=False)
    target = chain_target(mainnet, {"btc-usdt-4h": replace(served, keys=public, batch_keys=public)})
    assert target is not None
    assert (target.chain.chain_id, target.verifier) == (1, VERIFIER)
