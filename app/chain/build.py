"""What is put on a chain: compiled contracts with their arguments, and so their addresses and their code there.

Every contract is created by CREATE2 through the same small contract that most chains have. The address follows from
the creation code, arguments included: whoever has the sources and the arguments knows where to look and what must be
there, and creating a contract twice is impossible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from app.chain.abi import CONTRACTS, entry, input_types
from app.chain.attestation import feed_id
from app.chain.compiler import Contract, compile_contract, compile_project
from app.chain.deployment import DeploymentPlan
from app.errors import ChainError
from app.types import Keys

CREATE2_DEPLOYER = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
CREATE2_DEPLOYER_CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182"
    "fd5b8082525050506014600cf3"
)
NO_SALT = bytes(32)

_DOMAIN = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_DOMAIN_NAME, _DOMAIN_VERSION = "VeriRegime", "1"


class Build:
    """The project's contracts as compiled here; ``cache`` keeps what the compiler said, because it takes seconds."""

    def __init__(self, contracts_dir: Path, cache: Path) -> None:
        self._contracts_dir = contracts_dir
        self._cache = cache

    @cached_property
    def contracts(self) -> Mapping[str, Contract]:
        return compile_project(self._contracts_dir, CONTRACTS, self._cache)

    def verifier(self, keys: Keys) -> Contract:
        """The generated verifier of these keys."""
        return compile_contract(self._contracts_dir, keys.verifier_sol, "Halo2Verifier", self._cache)


@dataclass(frozen=True, slots=True)
class Part:
    """A contract with its constructor's arguments."""

    label: str
    """Unique within a deployment: the contract's name, and what it is for where there are several."""
    address: str
    salt: bytes
    creation: bytes
    """Creation code, arguments included."""
    runtime: bytes
    """The code that must be at ``address``, immutables included."""

    @property
    def code_keccak256(self) -> str:
        """0x hex."""
        return code_keccak256(self.runtime)

    @property
    def calldata(self) -> bytes:
        """What is sent to `CREATE2_DEPLOYER` to create it."""
        return self.salt + self.creation


@dataclass(frozen=True, slots=True)
class Layout:
    """Every contract of a deployment."""

    attester_set: Part
    registry: Part
    oracle: Part
    verifiers: Mapping[str, Part]
    """By the SHA-256 of the verifying key."""
    feeds: Mapping[str, Part]

    @property
    def parts(self) -> tuple[Part, ...]:
        """In the order of their creation."""
        core = (self.attester_set, self.registry, self.oracle)
        return (*core, *self.verifiers.values(), *self.feeds.values())


def lay_out(build: Build, plan: DeploymentPlan, chain_id: int) -> Layout:
    """Where everything of a plan is to be on a chain, and what code it has there."""
    asked, contracts = plan.parameters, build.contracts
    salt = keccak(text=asked.salt) if asked.salt else NO_SALT

    def place(name: str, *arguments: Any, purpose: str = "") -> Part:
        return part(contracts[name], *arguments, chain_id=chain_id, salt=salt, purpose=purpose)

    attester_set = place("AttesterSet", asked.owner, asked.delay, asked.signers, asked.threshold)
    registry = place("ModelRegistry", asked.owner, asked.delay)
    limits = (asked.submission_limit, asked.max_skew, asked.default_max_age)
    oracle = place("VolatilityOracle", registry.address, attester_set.address, *limits)

    def place_feed(feed: str) -> Part:
        arguments = (oracle.address, feed_id(feed), _description(feed), asked.feed_max_age)
        return place("VolatilityFeed", *arguments, purpose=feed)

    return Layout(
        attester_set=attester_set,
        registry=registry,
        oracle=oracle,
        verifiers={
            keys.vk_hash: part(build.verifier(keys), chain_id=chain_id, purpose=keys.vk_hash[:16])
            for model in plan.models
            for keys in model.all_keys
        },
        feeds={feed: place_feed(feed) for feed in plan.feeds},
    )


def code_keccak256(code: bytes) -> str:
    return "0x" + keccak(code).hex()


def part(contract: Contract, *arguments: Any, chain_id: int, salt: bytes = NO_SALT, purpose: str = "") -> Part:
    """The contract with these arguments on a chain. Raises `ChainError` for an immutable of unknown value."""
    creation = bytes.fromhex(contract.bytecode.removeprefix("0x")) + _encoded(contract, arguments)
    address = create2_address(creation, salt)
    known = {**_named_arguments(contract, arguments), **_domain_immutables(chain_id, address)}
    label = f"{contract.name} {purpose}" if purpose else contract.name
    return Part(label, address, salt, creation, _runtime(contract, known))


def create2_address(creation: bytes, salt: bytes = NO_SALT) -> str:
    """Checksum address of what `CREATE2_DEPLOYER` makes of creation code."""
    seed = b"\xff" + bytes.fromhex(CREATE2_DEPLOYER.removeprefix("0x")) + salt + keccak(creation)
    return to_checksum_address(keccak(seed)[-20:])


def _description(feed: str) -> str:
    """``BTC / USDT volatility, 4h``, in the manner of Chainlink's feeds."""
    base, quote, horizon = feed.split("-")
    return f"{base.upper()} / {quote.upper()} volatility, {horizon}"


def _constructor_inputs(contract: Contract) -> dict[str, Any]:
    try:
        return entry(contract.abi, "constructor")
    except KeyError:
        return {"inputs": []}


def _encoded(contract: Contract, arguments: tuple[Any, ...]) -> bytes:
    return encode(input_types(_constructor_inputs(contract)), arguments)


def _named_arguments(contract: Contract, arguments: tuple[Any, ...]) -> dict[str, bytes]:
    """The constructor's arguments of one word, by their names without underscores."""
    inputs = _constructor_inputs(contract)["inputs"]
    pairs = zip(inputs, arguments, strict=True)
    return {given["name"].strip("_"): encode([given["type"]], [value]) for given, value in pairs}


def _domain_immutables(chain_id: int, address: str) -> dict[str, bytes]:
    """What OpenZeppelin's EIP712 keeps in the code of the contract at ``address``."""
    name, version = keccak(text=_DOMAIN_NAME), keccak(text=_DOMAIN_VERSION)
    where = encode(["uint256", "address"], [chain_id, address])
    return {
        "cachedDomainSeparator": keccak(_DOMAIN + name + version + where),
        "cachedChainId": where[:32],
        "cachedThis": where[32:],
        "hashedName": name,
        "hashedVersion": version,
        "name": _short_string(_DOMAIN_NAME),
        "version": _short_string(_DOMAIN_VERSION),
    }


def _short_string(text: str) -> bytes:
    """As OpenZeppelin's ShortStrings: the letters from the left, their number in the last byte."""
    return text.encode().ljust(31, b"\0") + bytes([len(text)])


def _runtime(contract: Contract, known: Mapping[str, bytes]) -> bytes:
    code = bytearray.fromhex(contract.runtime.removeprefix("0x"))
    for name, offsets in contract.immutables.items():
        value = known.get(name.strip("_"))
        if value is None:
            raise ChainError(f"{contract.name} has an immutable, {name}, whose value is not known here")
        for offset in offsets:
            code[offset : offset + 32] = value
    return bytes(code)
