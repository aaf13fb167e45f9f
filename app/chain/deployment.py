"""A deployment: what is to be put on a chain, and the record of what is there, ``deployments/<chain id>.json``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from eth_utils.address import is_address, to_checksum_address

from app.errors import Misconfigured
from app.types import Keys

FORMAT = "veriregime-deployment/1"
LOCAL_CHAINS = (31337, 1337)
CORE = ("AttesterSet", "ModelRegistry", "VolatilityOracle")
MAX_SIGNERS = 32
_NOBODY = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the contracts are created with; times in seconds. The addresses follow from these."""

    owner: str
    """Checksum address: who changes models and attesters."""
    delay: int
    """Between the proposal of a model or of attesters and its activation."""
    signers: tuple[str, ...]
    """The first attesters."""
    threshold: int
    submission_limit: int = 900
    max_skew: int = 30
    default_max_age: int = 7200
    feed_max_age: int = 7200
    salt: str = ""
    """Any words: other ones make a deployment of its own from the same parameters."""

    def __post_init__(self) -> None:
        _require_address("owner", self.owner)
        for signer in self.signers:
            _require_address("signer", signer)
        if not 1 <= len(self.signers) <= MAX_SIGNERS or len(set(self.signers)) < len(self.signers):
            raise Misconfigured(f"there are 1 to {MAX_SIGNERS} different signers: name each with --signer ADDRESS")
        if not 1 <= self.threshold <= len(self.signers):
            raise Misconfigured(f"the threshold is 1 to the number of signers, {len(self.signers)}: see --threshold")
        for name in ("delay", "submission_limit", "max_skew", "default_max_age", "feed_max_age"):
            if not 0 <= getattr(self, name) < 2**64:
                raise Misconfigured(f"{name} is a number of seconds, and not negative")


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A released model with the keys that its proofs are made with."""

    name: str
    model_id: str
    feeds: tuple[str, ...]
    """For good: a registered model takes no further feed."""
    output_scale: int
    training_record: str
    """SHA-256, hex."""
    keys: Keys
    joint_keys: Keys | None = None
    """Of the circuit for several windows."""

    @property
    def all_keys(self) -> tuple[Keys, ...]:
        return (self.keys,) if self.joint_keys is None else (self.keys, self.joint_keys)


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What is to be on the chain."""

    parameters: Parameters
    models: tuple[ModelPlan, ...]
    feeds: tuple[str, ...]
    """Each gets a `VolatilityFeed` and storage for its first rounds."""
    reserve: int = 32
    """Rounds of each feed whose storage is paid ahead."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A contract on the chain."""

    address: str
    code_keccak256: str


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """What the registry pins of a model. Hashes are SHA-256 in hex."""

    name: str
    feeds: tuple[str, ...]
    output_scale: int
    verifier: str
    joint_verifier: str | None
    joint_windows: int
    srs_hash: str
    vk_hash: str
    joint_vk_hash: str | None
    training_record: str


@dataclass(frozen=True, slots=True)
class OwnerCall:
    """A transaction that only the owner can send."""

    what: str
    to: str
    data: str
    """0x hex."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What was put on a chain. While a deployment is under way it holds what is there so far."""

    chain_id: int
    deployer: str
    parameters: Parameters
    block: int = 0
    """In which the oracle was created; 0 when that is not known."""
    contracts: Mapping[str, Placed] = field(default_factory=dict)
    """Every contract by its label."""
    feeds: Mapping[str, str] = field(default_factory=dict)
    """Address of each feed's `VolatilityFeed`."""
    models: Mapping[str, DeployedModel] = field(default_factory=dict)
    """By model id."""
    owner_calls: tuple[OwnerCall, ...] = ()
    """What the owner was still to send when this was written, in this order."""

    @property
    def oracle(self) -> str:
        return self.contracts["VolatilityOracle"].address

    @property
    def registry(self) -> str:
        return self.contracts["ModelRegistry"].address

    @property
    def attester_set(self) -> str:
        return self.contracts["AttesterSet"].address

    @property
    def owner(self) -> str:
        return self.parameters.owner

    @property
    def has_core(self) -> bool:
        """Whether the oracle and what it depends on are there."""
        return all(name in self.contracts for name in CORE)

    def to_json(self) -> dict[str, Any]:
        """With the addresses that everybody looks for on top."""
        top: dict[str, Any] = {"format": FORMAT}
        if self.has_core:
            top |= {"oracle": self.oracle, "registry": self.registry, "attester_set": self.attester_set}
        return top | asdict(self)

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> Self:
        """Raises `KeyError`, `TypeError` or `ValueError` when it is not a record in this form."""
        if stated["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        parameters, models = stated["parameters"], stated["models"].items()
        return cls(
            chain_id=int(stated["chain_id"]),
            deployer=stated["deployer"],
            parameters=Parameters(**{**parameters, "signers": tuple(parameters["signers"])}),
            block=int(stated["block"]),
            contracts={label: Placed(**placed) for label, placed in stated["contracts"].items()},
            feeds=dict(stated["feeds"]),
            models={name: DeployedModel(**{**model, "feeds": tuple(model["feeds"])}) for name, model in models},
            owner_calls=tuple(OwnerCall(**call) for call in stated["owner_calls"]),
        )


def read_deployment(folder: Path, chain_id: int) -> Deployment | None:
    """What was put on this chain; none when nothing was. Raises `Misconfigured` when the record cannot be read."""
    path = _path(folder, chain_id)
    try:
        found = Deployment.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misconfigured(f"{path} is no record of a deployment: {type(error).__name__} {error}") from error
    if found.chain_id != chain_id:
        raise Misconfigured(f"{path} is of chain {found.chain_id}: its name must be its chain's id")
    return found


def require_deployment(folder: Path, chain_id: int) -> Deployment:
    """The deployment on this chain. Raises `Misconfigured` when there is none, or no oracle in it yet."""
    found = read_deployment(folder, chain_id)
    if found is None or not found.has_core:
        raise Misconfigured(
            f"{_path(folder, chain_id)} holds no finished deployment: run `veriregime contracts deploy`, or name an "
            "oracle in VERIREGIME_ORACLE_ADDRESS"
        )
    return found


def write_deployment(folder: Path, deployment: Deployment) -> Path:
    """Replace the chain's record in one step; gives its path."""
    path = _path(folder, deployment.chain_id)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False) as file:
        file.write(json.dumps(deployment.to_json(), indent=1) + "\n")
    scratch = Path(file.name)
    scratch.chmod(0o644)
    scratch.replace(path)
    return path


def chosen_parameters(
    given: Mapping[str, Any], recorded: Deployment | None, chain_id: int, deployer: str, attester: str | None
) -> Parameters:
    """The parameters of a deployment: what was given, else what is recorded, else the defaults.

    By default the deployer is the owner and ``attester`` the only signer, a majority signs, and changes wait for two
    days, on a local chain not at all. Raises `Misconfigured` when something else is recorded than was given: contracts
    do not change after they were created.
    """
    given = {name: _checked(name, value) for name, value in given.items() if value is not None}
    if recorded is not None:
        _refuse_changes(given, recorded)
        return recorded.parameters
    signers = given.get("signers") or ((attester,) if attester else ())
    defaults: dict[str, Any] = {
        "owner": deployer,
        "delay": 0 if chain_id in LOCAL_CHAINS else 2 * 86_400,
        "signers": signers,
        "threshold": len(signers) // 2 + 1,
    }
    return Parameters(**{**defaults, **given})


def refuse_development_srs(keys: Keys, chain_id: int, testnets: tuple[int, ...]) -> str | None:
    """A development SRS lets its maker forge proofs: a warning on a listed testnet, refused on every real chain."""
    if not keys.srs_is_development or chain_id in LOCAL_CHAINS:
        return None
    if chain_id in testnets:
        return f"proofs on testnet {chain_id} are made under a development SRS: they convince nobody but us"
    raise Misconfigured(
        f"chain {chain_id} is neither local nor a listed testnet, and the keys come from a development SRS: "
        "bring the public ceremony's file first"
    )


def _path(folder: Path, chain_id: int) -> Path:
    return folder / f"{chain_id}.json"


def _require_address(what: str, value: str) -> None:
    if not is_address(value) or to_checksum_address(value) != value or value == _NOBODY:
        raise Misconfigured(f"the {what} {value} is not an address with the checksum of EIP-55")


def _checked(name: str, value: Any) -> Any:
    """Addresses in checksum form; one that is written in small letters throughout has no checksum to be wrong."""
    if name == "owner":
        return _checksum(value)
    return tuple(_checksum(signer) for signer in value) if name == "signers" else value


def _checksum(address: str) -> str:
    return to_checksum_address(address) if is_address(address) else address


def _refuse_changes(given: Mapping[str, Any], recorded: Deployment) -> None:
    for name, value in given.items():
        there = getattr(recorded.parameters, name)
        if value != there:
            raise Misconfigured(
                f"the contracts on chain {recorded.chain_id} were created with {name} = {_shown(there)}, not "
                f"{_shown(value)}: leave the option out, or make another deployment with --anew"
            )


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
