"""``veriregime contracts …`` as an operator uses it, on anvil."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.chain.anvil import KEY, running_anvil
from app.check import Finding, Level, check_installation
from app.cli import cli
from app.errors import Misconfigured
from app.settings import Settings

SIGNERS = ("0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")
NAMED = [word for signer in SIGNERS for word in ("--signer", signer)]


@pytest.fixture
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A chain of the test's own and an operator's settings for it; gives the folder of the records."""
    (tmp_path / "key").write_text(KEY)
    with running_anvil(settings.contracts_dir) as url:
        values = {
            "RPC_URLS": url,
            "SUBMITTER_KEY_FILE": tmp_path / "key",
            "DEPLOYMENTS_DIR": tmp_path / "deployments",
            "VAR_DIR": settings.var_dir,
            "BATCHING": "off",
        }
        for name, value in values.items():
            monkeypatch.setenv(f"VERIREGIME_{name}", str(value))
        yield tmp_path / "deployments"


def contracts(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["contracts", *arguments])


def test_deploy__then_status__is_all_well(folder: Path) -> None:
    made = contracts("deploy", *NAMED, "--json")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout) == json.loads((folder / "31337.json").read_text())
    found = contracts("status", "--json")
    assert found.exit_code == 0, found.output
    details = {finding["subject"]: finding["detail"] for finding in json.loads(found.stdout)}
    assert details["attesters"] == f"2 of 2: {', '.join(SIGNERS)}"
    assert details["btc-usdt-4h"] == "model btc-usdt-4h-v3; nothing published yet, 256 rounds reserved"


def test_deploy__with_another_option_than_before__is_refused(folder: Path) -> None:
    assert contracts("deploy", *NAMED).exit_code == 0
    again = contracts("deploy", "--threshold", "1")
    assert isinstance(again.exception, Misconfigured)
    assert "were created with threshold = 2, not 1" in str(again.exception)


def test_dry_run__says_what_it_would_send_and_leaves_no_record(folder: Path) -> None:
    said = contracts("deploy", *NAMED, "--dry-run")
    assert said.exit_code == 0, said.output
    assert "create VolatilityOracle at 0x" in said.stdout
    assert "8 transactions, up to 0.0" in said.stdout
    assert not folder.exists()


def test_owner_elsewhere__is_given_calldata_and_status_says_what_is_open(folder: Path) -> None:
    made = contracts("deploy", *NAMED, "--owner", SIGNERS[0])
    assert f"the owner {SIGNERS[0]} has to propose model btc-usdt-4h-v3: send to 0x" in made.stdout
    found = contracts("status")
    assert found.exit_code == 1
    assert "not proposed yet: the owner has to" in found.stdout


def test_reserve__pays_for_further_rounds(folder: Path) -> None:
    contracts("deploy", *NAMED, "--reserve", "32")
    assert contracts("reserve", "btc-usdt-4h", "5").exit_code == 0
    assert "37 rounds reserved" in contracts("status").stdout


def test_deploy__without_a_key__says_which_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERIREGIME_SUBMITTER_KEY_FILE")
    made = contracts("deploy")
    assert "VERIREGIME_SUBMITTER_KEY_FILE" in str(made.exception)


def test_deploy__of_a_feed_in_another_form__is_bad_usage(folder: Path) -> None:
    assert contracts("deploy", "--feeds", "bitcoin").exit_code == 2


def test_check__looks_for_the_oracle_on_the_chain(folder: Path) -> None:
    def found() -> Finding:
        return next(finding for finding in check_installation(Settings()) if finding.subject == "oracle")

    before = found()
    assert (before.level, before.remedy) == (Level.FAILED, "run `veriregime contracts deploy`")
    contracts("deploy", *NAMED)
    after = found()
    assert (after.level, "on chain 31337" in after.detail) == (Level.OK, True)
