"""The settings that the rig's processes are started with, as their environment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from app.chain.anvil import ATTESTER_KEYS, KEY
from app.demo import SIMULATED_VENUES, venue_urls
from tests.rig.ground import FEED, ROOT

if TYPE_CHECKING:
    from tests.rig.rig import Rig

ANSWERS_PEOPLE = ("serve", "api")
"""Roles that listen for HTTP; the others tell their metrics only."""


def _environment(rig: Rig, var: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("VERIREGIME_")}
    urls = venue_urls(rig.market_url, SIMULATED_VENUES)
    told = {
        "VAR_DIR": str(var),
        "MODELS_DIR": str(rig.models),
        "FEEDS": FEED,
        "VENUES": ",".join(SIMULATED_VENUES),
        "VENUE_URLS": json.dumps({name: str(url) for name, url in urls.items()}),
        "VENUE_TIMEOUT_S": "3",
        "BATCHING": "off",
        "SETTLE_S": "0.05",
        "CHAIN_ID": str(rig.oracle.chain_id),
        "ORACLE_ADDRESS": rig.oracle.contract,
        "RPC_URLS": f"http://127.0.0.1:{rig.rpc.port}",
        "PROVER_THREADS": "1",
    }
    return own | {"PYTHONPATH": str(ROOT)} | {f"VERIREGIME_{name}": value for name, value in told.items()}


def service_environment(rig: Rig, role: str, port: int) -> dict[str, str]:
    database = rig.postgres.url(rig.to_database.port) if rig.postgres and rig.to_database else rig.database_url
    told = {
        "DATABASE_URL": database,
        "ATTESTERS": f"http://127.0.0.1:{rig.attesting.port}",
        "ATTESTER_KEY": ATTESTER_KEYS[0],
        "ATTEST_TIMEOUT_S": "3",
        "SUBMITTER_KEY": KEY,
        "HEARTBEAT_S": str(rig.options.heartbeat_s),
        "DEVIATION": "10",
        "CONFIRMATIONS": "1",
        "REPLACE_AFTER_S": "5",
        "PROOF_TIME_LIMIT_S": "5",
        **rig.options.settings,
    }
    if role not in ANSWERS_PEOPLE:
        told["METRICS_PORT"] = str(port)
    return _environment(rig, rig.var) | {f"VERIREGIME_{name}": value for name, value in told.items()}


def attester_environment(rig: Rig) -> dict[str, str]:
    told = {"DATABASE_URL": f"sqlite:///{rig.journal}", "ATTESTER_KEY": ATTESTER_KEYS[1]}
    return _environment(rig, rig.journal.parent) | {f"VERIREGIME_{name}": value for name, value in told.items()}
