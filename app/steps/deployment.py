"""From released models and their keys to what is deployed of them."""

from __future__ import annotations

from collections.abc import Mapping

from app.chain.deployment import ModelPlan
from app.inference.release import RECORD, ReleasedModel
from app.steps.served import ServedFeed
from app.types import Keys


def model_plan(model: ReleasedModel, feeds: tuple[str, ...], keys: Keys, joint_keys: Keys | None) -> ModelPlan:
    """A model as it is registered for ``feeds``."""
    return ModelPlan(
        name=model.name,
        model_id=model.model_id,
        feeds=feeds,
        output_scale=model.output_scale,
        training_record=model.manifest["files"][RECORD],
        keys=keys,
        joint_keys=joint_keys,
    )


def served_plans(feeds: Mapping[str, ServedFeed]) -> tuple[ModelPlan, ...]:
    """Every model that is served here, for the feeds that it is served for."""
    by_model: dict[str, list[ServedFeed]] = {}
    for served in feeds.values():
        by_model.setdefault(served.model.model_id, []).append(served)
    return tuple(
        model_plan(first.model, tuple(one.feed.name for one in (first, *others)), first.keys, first.batch_keys)
        for first, *others in by_model.values()
    )
