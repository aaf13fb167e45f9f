"""The settings that ``veriregime bench circuit`` tries: the released ones, one factor changed at a time, a small grid.

What the factors do:

* scales: how finely inputs and weights are rounded, and how long the numbers get that the ReLU takes apart;
* base and legs: into how many digits it takes them apart. A digit is looked up in a table of ``base`` rows;
* inner columns: that many products in one row. Fewer rows, but gates of a higher degree and more commitments;
* Freivalds: a product of matrices is checked on a random combination instead of number by number;
* range checks: whether inputs and outputs are shown to be small, beyond what binds them;
* rebase: how far a product's scale may grow before ezkl rescales it, which takes it apart as well;
* inputs: how they are bound to the outside, by being public, by a hash, by a commitment, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.errors import BadInput
from app.proving.engine import RUN_ARGS
from app.training.circuit import INPUT_SCALE, JOINT, PARAM_SCALE, Weights
from app.types import FloatArray

RELEASED = "released"
SETTINGS: Mapping[str, Any] = {**RUN_ARGS, "input_scale": INPUT_SCALE, "param_scale": PARAM_SCALE}
"""Of the released circuit. The number of rows is found anew for every candidate."""
JOINT_SETTINGS: Mapping[str, Any] = {**SETTINGS, "num_inner_cols": JOINT.columns}
UNBOUND = "private"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings as they differ from the released ones."""

    name: str
    changes: Mapping[str, Any]
    released: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.released, **self.changes}

    @property
    def binds_inputs(self) -> bool:
        """Whether a proof is about inputs that somebody else can name."""
        return bool(self.settings["input_visibility"] != UNBOUND)

    def holds(self, weights: Weights, reach: FloatArray) -> bool:
        """Whether the ReLU can take apart what any input up to ``reach`` (inputs,) makes of its argument.

        The argument is a sum of products at the scales of inputs and weights, and digits hold half of ``base**legs`` on
        either side of zero.
        """
        made = self.settings
        inputs = np.ceil(reach * 2.0 ** made["input_scale"])
        sums = inputs @ np.rint(np.abs(weights.hidden) * 2.0 ** made["param_scale"])
        biases = np.abs(weights.hidden_bias) * 2.0 ** (made["input_scale"] + made["param_scale"])
        return bool((sums + biases).max() < made["decomp_base"] ** made["decomp_legs"] // 2)


def single_candidates() -> tuple[Candidate, ...]:
    """For one window in a proof."""
    return _candidates(SETTINGS, [*_ONE_FACTOR, *_GRID])


def joint_candidates() -> tuple[Candidate, ...]:
    """For ten windows in a proof: there a layer is a product of two matrices, which Freivalds makes cheap."""
    return _candidates(JOINT_SETTINGS, _JOINT)


def chosen(candidates: Sequence[Candidate], only: Sequence[str] | None) -> tuple[Candidate, ...]:
    """Those of the names, and always the released one. Raises `BadInput` for a name that is none."""
    if only is None:
        return tuple(candidates)
    names = [candidate.name for candidate in candidates]
    for name in only:
        if name not in names:
            raise BadInput(f"there is no candidate {name!r}: choose among {', '.join(names)}")
    return tuple(candidate for candidate in candidates if candidate.name in (RELEASED, *only))


def _candidates(released: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]) -> tuple[Candidate, ...]:
    """Each change with its name, in order and once; what changes nothing is the released one."""
    found: dict[str, Candidate] = {RELEASED: Candidate(RELEASED, {}, released)}
    for change in changes:
        differing = {key: value for key, value in change.items() if released[key] != value}
        name = _name({**released, **differing}, differing)
        found.setdefault(name, Candidate(name, differing, released))
    return tuple(found.values())


def _name(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """Such as ``in6-w9-256x4-cols2``: short enough for a table, and for ``--only``."""
    parts = []
    if "input_scale" in changes:
        parts.append(f"in{settings['input_scale']}")
    if "param_scale" in changes:
        parts.append(f"w{settings['param_scale']}")
    if changes.keys() & {"decomp_base", "decomp_legs"}:
        parts.append(f"{settings['decomp_base']}x{settings['decomp_legs']}")
    if "num_inner_cols" in changes:
        parts.append(f"cols{settings['num_inner_cols']}")
    if "disable_freivalds" in changes:
        parts.append("products" if settings["disable_freivalds"] else "freivalds")
    if "ignore_range_check_inputs_outputs" in changes:
        parts.append("ranges")
    if "scale_rebase_multiplier" in changes:
        parts.append(f"rebase{settings['scale_rebase_multiplier']}")
    if "input_visibility" in changes:
        parts.append(settings["input_visibility"])
    return "-".join(parts) or RELEASED


def _digits(base: int, legs: int) -> dict[str, int]:
    return {"decomp_base": base, "decomp_legs": legs}


_FREIVALDS = {"disable_freivalds": False}
_ONE_FACTOR: Sequence[Mapping[str, Any]] = (
    *({"input_scale": scale} for scale in (5, 6, 8, 9)),
    *({"param_scale": scale} for scale in (7, 8, 9, 12)),
    *(_digits(*digits) for digits in ((16_384, 2), (4_096, 2), (1_024, 3), (256, 3), (256, 4), (128, 4), (64, 4))),
    *({"num_inner_cols": columns} for columns in (2, 3, 4)),
    _FREIVALDS,
    {"ignore_range_check_inputs_outputs": False},
    {"scale_rebase_multiplier": 1},
    *({"input_visibility": visibility} for visibility in ("public", "hashed", UNBOUND)),
)
_GRID: Sequence[Mapping[str, Any]] = (
    *({"num_inner_cols": 2, **_digits(*digits)} for digits in ((1_000, 3), (256, 3), (256, 4), (128, 4))),
    *({"num_inner_cols": columns, **_FREIVALDS} for columns in (2, 4)),
    {"param_scale": 9, **_digits(2_000, 2)},
    {"param_scale": 9, **_digits(128, 4)},
    {"param_scale": 9, **_digits(256, 3)},
    {"param_scale": 9, "num_inner_cols": 2, **_digits(256, 3)},
    # Outputs have more bits than three digits of 512 hold.
    {"ignore_range_check_inputs_outputs": False, **_digits(512, 4)},
    {"num_inner_cols": 2, "scale_rebase_multiplier": 1},
)
_JOINT: Sequence[Mapping[str, Any]] = (
    *({"num_inner_cols": columns} for columns in (1, 2, 4, 8)),
    *({"num_inner_cols": columns, **_FREIVALDS} for columns in (1, 2, 3, 4, 8)),
    # One leg fewer, which brings the rows just below the next power of two.
    *({"num_inner_cols": columns, **_FREIVALDS, **_digits(4_000, 2)} for columns in (1, 2)),
    *({"num_inner_cols": columns, **_FREIVALDS, "param_scale": 9, **_digits(2_000, 2)} for columns in (2, 3)),
)
