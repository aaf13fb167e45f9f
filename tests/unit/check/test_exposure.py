"""What `check` says of secrets, limits, proxies, and of who can see what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import AnyHttpUrl, SecretStr

from app.check import exposure
from app.check.finding import Finding, Level
from app.errors import Misconfigured
from app.settings import Settings

KEY = "0x" + "5e" * 32


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return Settings(_env_file=None, var_dir=tmp_path / "var")  # type: ignore[call-arg]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    tmp_path.chmod(0o755)
    return file


def having(settings: Settings, **values: Any) -> Settings:
    return settings.model_copy(update=values)


def levels(findings: list[Finding]) -> list[Level]:
    return [one.level for one in findings]


def test_secrets__in_a_file_of_ones_own__are_well_kept(settings: Settings, key_file: Path) -> None:
    assert levels(list(exposure.secrets(having(settings, submitter_key_file=key_file)))) == [Level.OK]


def test_secrets__in_a_file_that_others_can_read__are_a_warning(settings: Settings, key_file: Path) -> None:
    key_file.chmod(0o644)
    (found,) = exposure.secrets(having(settings, attester_key_file=key_file))
    assert (found.level, found.remedy) == (Level.WARNING, f"chmod 600 {key_file}")


def test_secrets__readable_file_in_a_closed_folder__is_well_kept(settings: Settings, key_file: Path) -> None:
    key_file.chmod(0o444)
    key_file.parent.chmod(0o700)
    assert levels(list(exposure.secrets(having(settings, submitter_key_file=key_file)))) == [Level.OK]


@pytest.mark.parametrize("name", ["gone", "/dev/null"])
def test_secrets__a_file_without_one__fails(settings: Settings, name: str) -> None:
    (found,) = exposure.secrets(having(settings, proposer_token_file=Path(name)))
    assert (found.level, "VERIREGIME_PROPOSER_TOKEN_FILE" in found.detail) == (Level.FAILED, True)


def test_secrets__in_the_environment__are_named_and_not_told(settings: Settings) -> None:
    url = SecretStr("postgresql+psycopg://oracle:hunter22@db/oracle")
    (found,) = exposure.secrets(having(settings, submitter_key=SecretStr(KEY), database_url=url))
    assert found.level is Level.NOTE
    assert found.detail.startswith("VERIREGIME_DATABASE_URL, VERIREGIME_SUBMITTER_KEY")
    assert KEY not in repr(found)
    assert "hunter22" not in repr(found)


def test_secrets__dotenv_that_others_can_read__is_a_warning(settings: Settings, key_file: Path) -> None:
    (key_file.parent / ".env").write_text("")
    assert [one.remedy for one in exposure.secrets(settings)] == ["chmod 600 .env"]


@pytest.mark.parametrize(
    ("host", "rate", "level"),
    [("127.0.0.1", "", Level.OK), ("0.0.0.0", "", Level.WARNING), ("0.0.0.0", "30/minute", Level.OK)],
)
def test_limits__none_where_strangers_come__is_a_warning(
    settings: Settings, host: str, rate: str, level: Level
) -> None:
    assert next(exposure.limits(having(settings, host=host, verify_rate=rate))).level is level


@pytest.mark.parametrize("wrong", [{"verify_rate": "often"}, {"trusted_proxies": ("proxy.example",)}])
def test_limits__what_cannot_be_read__is_refused(settings: Settings, wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="VERIREGIME_"):
        list(exposure.limits(having(settings, **wrong)))


@pytest.mark.parametrize(
    ("trusted", "level"),
    [
        ((), Level.NOTE),
        (("10.0.0.7", "fd00::/8"), Level.OK),
        (("0.0.0.0/0",), Level.WARNING),
        (("::/0",), Level.WARNING),
    ],
)
def test_proxies__to_trust_everybody__is_a_warning(settings: Settings, trusted: tuple[str, ...], level: Level) -> None:
    *_, found = exposure.limits(having(settings, trusted_proxies=trusted))
    assert found.level is level


def test_files__fewer_than_connections_need__is_a_warning(settings: Settings) -> None:
    (found,) = exposure.files(having(settings, max_connections=2**40))
    assert (found.level, "LimitNOFILE" in found.remedy) == (Level.WARNING, True)


def test_metrics__on_the_ports_api__fail(settings: Settings) -> None:
    (found,) = exposure.metrics(having(settings, metrics_port=settings.port))
    assert found.level is Level.FAILED


def test_traces__without_the_extra__fail(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "_TRACING", ("a-package-that-nobody-has",))
    *_, found = exposure.logs_and_traces(having(settings, otlp_endpoint=AnyHttpUrl("http://127.0.0.1:4318")))
    assert (found.subject, found.level) == ("traces", Level.FAILED)
