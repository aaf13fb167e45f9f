"""Every setting in one table, read off `app.settings`: what `veriregime settings` prints and docs/settings.md holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl, SecretStr
from pydantic.fields import FieldInfo

from app.settings import Settings

PREFIX = "VERIREGIME_"

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Feeds and venues": (
        "feeds",
        "venues",
        "feed_venues",
        "markets",
        "quorum",
        "venue_urls",
        "venue_timeout_s",
        "venue_clock",
        "settle_s",
        "late_candle_s",
        "straggler_s",
        "max_clock_skew_s",
    ),
    "HTTP": (
        "host",
        "port",
        "cors_origins",
        "public_rpc_url",
        "explorer_url",
        "max_bundle_bytes",
        "verify_rate",
        "bundle_rate",
        "max_streams",
        "max_streams_per_client",
        "max_connections",
        "trusted_proxies",
    ),
    "Files and database": (
        "var_dir",
        "models_dir",
        "contracts_dir",
        "database_url",
        "database_url_file",
        "candle_retention_days",
        "event_retention_days",
        "prediction_retention_days",
    ),
    "Logs, metrics, traces": ("log_format", "metrics_port", "otlp_endpoint"),
    "Proving": (
        "prover",
        "prover_workers",
        "prover_jobs",
        "prover_threads",
        "prover_memory_mib",
        "prover_lifetime",
        "proof_time_limit_s",
        "proof_attempts",
        "catch_up_s",
        "batching",
        "trusted_srs",
        "use_srs",
    ),
    "Chain": (
        "rpc_urls",
        "chain_id",
        "oracle_address",
        "deployments_dir",
        "testnets",
        "submitter_key",
        "submitter_key_file",
        "submitter_password_file",
        "heartbeat_s",
        "deviation",
        "confirmations",
        "max_fee_gwei",
        "max_tip_gwei",
        "replace_after_s",
        "low_balance_updates",
        "dry_run",
    ),
    "Attesters": (
        "attesters",
        "attest_timeout_s",
        "proposer_token",
        "proposer_token_file",
        "attester_key",
        "attester_key_file",
        "attester_password_file",
    ),
}
UNGROUPED = "Other"

_UNITS = {
    "_s": "seconds",
    "_days": "days",
    "_mib": "MiB",
    "_gwei": "gwei",
    "_bytes": "bytes",
    "deviation": "share",
    "confirmations": "blocks",
}
_BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the table, in words."""

    name: str
    """As an environment variable."""
    group: str
    default: str
    """Empty where it is unset."""
    form: str
    """Type, unit and bounds."""
    description: str
    secret: bool
    """Its value, or a part of it, is nobody else's business."""


@dataclass(frozen=True, slots=True)
class Current:
    """How a setting stands in this process."""

    name: str
    value: str
    source: str
    """``default``, ``environment``, ``.env``; with the other setting's name where a file holds the value."""


def settings_table() -> list[Setting]:
    """Every setting of the service, group by group."""
    fields = Settings.model_fields
    grouped = {name: group for group, names in GROUPS.items() for name in names if name in fields}
    listed = [*grouped, *(name for name in fields if name not in grouped)]
    return [_setting(name, fields[name], grouped.get(name, UNGROUPED)) for name in listed]


def as_markdown(table: Iterable[Setting]) -> str:
    """The page docs/settings.md."""
    lines = [_INTRODUCTION]
    group = None
    for one in table:
        if one.group != group:
            group = one.group
            lines += ["", f"## {group}", "", "| setting | default | form | |", "|---|---|---|---|"]
        default = f"`{one.default}`" if one.default else ""
        lines.append(f"| `{one.name}` | {_cell(default)} | {_cell(one.form)} | {_cell(one.description)} |")
    return "\n".join(lines) + "\n"


def current_settings(settings: Settings, environment: Mapping[str, str], dotenv: Mapping[str, Any]) -> list[Current]:
    """What is in force and where it comes from; of secrets only that they are there."""
    source = _source_in(environment, dotenv)
    return [_current(one, settings, source) for one in settings_table()]


def unknown_settings(environment: Mapping[str, str], dotenv: Mapping[str, Any]) -> list[str]:
    """Variables that look like settings and are none: nobody would notice them otherwise."""
    known = {one.name for one in settings_table()}
    return sorted({name for name in (*environment, *dotenv) if name.upper().startswith(PREFIX)} - _spellings(known))


_INTRODUCTION = """# Settings

Each is an environment variable, or a line of a `.env` file in the folder that `veriregime` is started from; what the
environment says goes before the file. A list is comma separated; JSON stands in one line. A secret can be given as the
path of a file that holds it, in the setting whose name ends in `_FILE`. Folders stand where the project was checked
out; an installed package has its own models, and the others are in the folder it is started from.

`veriregime settings --current` shows what is in force on this machine and where it comes from, without the secrets;
`veriregime check` says whether it works. This page is `veriregime settings --markdown`."""


def _setting(name: str, field: FieldInfo, group: str) -> Setting:
    return Setting(
        name=PREFIX + name.upper(),
        group=group,
        default="" if _is_secret(field) else _shown(field.default),
        form=_form(name, field),
        description=" ".join((field.description or "").split()),
        secret=_is_secret(field),
    )


def _is_secret(field: FieldInfo) -> bool:
    """Also what is kept out of representations: addresses that may hold an access key."""
    return not field.repr or any(kind is SecretStr for kind in _kinds(field.annotation))


def _kinds(annotation: Any) -> Iterator[Any]:
    """The type and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _shown(value: Any) -> str:
    """A value as it would be written into the environment; empty where there is none."""
    match value:
        case None | () | "":
            return ""
        case bool():
            return str(value).lower()
        case dict():
            return json.dumps(value, default=_plain, ensure_ascii=False) if value else ""
        case tuple():
            return ",".join(_shown(one) for one in value)
        case Path():
            return f"{value.name}/"
        case float():
            return f"{value:g}"
        case _:
            return _plain(value)


def _plain(value: Any) -> str:
    """Of an address only where it leads to: the rest may hold a key."""
    if not isinstance(value, AnyHttpUrl):
        return str(value)
    parts = urlsplit(str(value))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{'/…' if parts.path.strip('/') or parts.query else ''}"


def _form(name: str, field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), None)
    return ", ".join(part for part in (unit if unit and kind.endswith("number") else kind, *_bounds(field)) if part)


def _kind(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _kind(next(part for part in parts if part is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is tuple:
        return f"list of {_PLURALS.get(parts[0], 'words')}"
    return "JSON" if origin is dict else _NAMES.get(annotation, "text")


_NAMES: Mapping[Any, str] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    Path: "path",
    SecretStr: "secret",
    AnyHttpUrl: "URL",
}
_PLURALS: Mapping[Any, str] = {int: "whole numbers", AnyHttpUrl: "URLs"}


def _bounds(field: FieldInfo) -> Iterator[str]:
    """``1 to 64``, ``> 0``: what may stand there."""
    found = {bound: getattr(said, bound) for said in field.metadata for bound in _BOUNDS if hasattr(said, bound)}
    if set(found) == {"ge", "le"}:
        yield f"{found['ge']:,g} to {found['le']:,g}"
        return
    yield from (_BOUNDS[bound].format(f"{value:,g}") for bound, value in found.items())


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _spellings(names: Iterable[str]) -> set[str]:
    return {spelling for name in names for spelling in (name, name.lower())}


def _source_in(environment: Mapping[str, str], dotenv: Mapping[str, Any]) -> Callable[[str], str | None]:
    """Where a variable is set; names are the same in capitals and small letters."""
    of_process, of_file = ({name.upper() for name in place} for place in (environment, dotenv))

    def source(name: str) -> str | None:
        return "environment" if name in of_process else ".env" if name in of_file else None

    return source


def _current(one: Setting, settings: Settings, source: Callable[[str], str | None]) -> Current:
    value = getattr(settings, one.name.removeprefix(PREFIX).lower())
    where, by_file = source(one.name), source(f"{one.name}_FILE")
    if where is None and by_file is not None:
        return Current(one.name, "(secret)", f"file of {one.name}_FILE")
    if one.secret:
        return Current(one.name, "(secret)" if where else "", where or "default")
    return Current(one.name, str(value) if isinstance(value, Path) else _shown(value), where or "default")
