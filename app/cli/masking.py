"""Which words of the settings no log line may show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from app.settings import Settings

_FILES = ("database_url_file", "submitter_key_file", "attester_key_file", "proposer_token_file")
_PASSWORD_FILES = ("submitter_password_file", "attester_password_file")
_ACCESS_KEY = 16
"""A part of an endpoint's path that is as long may be a key: no word of an API is."""


def secrets_of(settings: Settings) -> list[str]:
    """Keys, passwords and tokens, in the settings, in their files and in URLs. Never raises, changes nothing.

    A file that can be read only once, a pipe, is left alone.
    """
    values = (getattr(settings, name) for name in type(settings).model_fields)
    given = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
    paths = [getattr(settings, name) for name in (*_FILES, *_PASSWORD_FILES)]
    given += [text for path in paths if path is not None and (text := _content(path))]
    found = [part for secret in given for part in (_of_url(secret) if "://" in secret else [secret])]
    for url in (*settings.rpc_urls, *settings.attesters, *settings.venue_urls.values(), settings.otlp_endpoint):
        found += _of_url(str(url)) if url else []
    for url in settings.rpc_urls:
        parts = urlsplit(str(url))
        found += [part for part in re.split("[/&=]", f"{parts.path}&{parts.query}") if len(part) >= _ACCESS_KEY]
    return [part for part in found if part]


def _content(path: Path) -> str | None:
    try:
        return path.read_text().strip() if path.is_file() else None
    except (OSError, UnicodeDecodeError):
        return None


def _of_url(url: str) -> Iterator[str]:
    try:
        password = urlsplit(url).password
    except ValueError:  # no URL after all: whoever uses it says so
        password = url
    if password:
        yield from (password, unquote(password))
