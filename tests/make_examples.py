"""Records `app/web/examples.json`: what a demo answers, which the OpenAPI document shows as examples.

Run ``python -m tests.make_examples`` from the project's root, half a minute, after a change to what the API answers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from app.clock import Clock
from app.demo import MarketOptions, demo_application
from app.once import attest, confirm, prove
from app.settings import Settings
from app.store.outcomes import Origin
from app.types import MINUTE_MS, PredictionId
from app.web.application import create_web
from app.web.openapi import EXAMPLES
from app.wiring import Application

ROOT = Path(__file__).resolve().parent.parent
FEED = "btc-usdt-4h"
