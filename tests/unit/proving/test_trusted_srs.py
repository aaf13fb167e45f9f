"""The setting that names SRS files the operator trusts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.settings import Settings


def test_trusted_srs__comma_separated__is_hashes_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERIREGIME_TRUSTED_SRS", f"{'AB' * 32}, {'cd' * 32}")
    assert Settings(_env_file=None).trusted_srs == ("ab" * 32, "cd" * 32)  # type: ignore[call-arg]


def test_trusted_srs__that_is_no_hash__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERIREGIME_TRUSTED_SRS", "hermez")
    with pytest.raises(ValidationError, match="not a SHA-256"):
        Settings(_env_file=None)  # type: ignore[call-arg]
