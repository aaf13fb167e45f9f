"""Builds every object of the service from its settings, once, and hands them to each other. Nothing else constructs.

`application` is the service or some roles of it, `api` its HTTP side alone, `attester` the other side; `feeds` and
`onchain` build what they need.
"""

from __future__ import annotations

from app.wiring.api import ApiRole, api
from app.wiring.attester import AttesterRole, attester
from app.wiring.feeds import (
    batch_keys,
    chosen_models,
    limits,
    model_for,
    open_database,
    open_pool,
    open_venue,
)
from app.wiring.onchain import (
    Onchain,
    open_attesters,
    open_oracle,
    open_rpc,
    open_sender,
    oracle_target,
    publishing_policy,
)
from app.wiring.service import Application, application, proving_policy

__all__ = [
    "ApiRole",
    "Application",
    "AttesterRole",
    "Onchain",
    "api",
    "application",
    "attester",
    "batch_keys",
    "chosen_models",
    "limits",
    "model_for",
    "open_attesters",
    "open_database",
    "open_oracle",
    "open_pool",
    "open_rpc",
    "open_sender",
    "open_venue",
    "oracle_target",
    "proving_policy",
    "publishing_policy",
]
