"""``veriregime attest`` as its operator starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import requests

from app.settings import Settings

VERIREGIME = Path(sys.executable).with_name("veriregime")


def test_attest__says_where_it_is_and_ends_in_order_when_told(
    attester_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = attester_settings(key=1)
    key = tmp_path / "key"
    assert settings.attester_key is not None
    key.write_text(settings.attester_key.get_secret_value())
    plain = {name: value for name, value in os.environ.items() if not name.startswith("VERIREGIME_")}
    environment = plain | {
        "VERIREGIME_VAR_DIR": str(settings.var_dir),
        "VERIREGIME_DATABASE_URL": settings.database_url.get_secret_value(),
        "VERIREGIME_VENUE_URLS": json.dumps({name: str(url) for name, url in settings.venue_urls.items()}),
        "VERIREGIME_VENUE_CLOCK": "true",
        "VERIREGIME_RPC_URLS": str(settings.rpc_urls[0]),
        "VERIREGIME_ORACLE_ADDRESS": str(settings.oracle_address),
        "VERIREGIME_ATTESTER_KEY_FILE": str(key),
        "VERIREGIME_PORT": "0",
    }
    with subprocess.Popen(
        [str(VERIREGIME), "attest"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line.startswith("attesting at http://127.0.0.1:")
        assert requests.get(line.split()[-1] + "/readyz", timeout=10).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        said = process.stderr.read()
    assert process.returncode == 0
    assert settings.attester_key.get_secret_value()[2:] not in said
