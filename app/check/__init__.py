"""``veriregime check``: what this installation has, what it lacks, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.check import exposure, machine, outside, proving, store
from app.check.finding import Finding, Level, side_by_side
from app.check.onchain import chain
from app.errors import OracleError
from app.settings import Settings

__all__ = ["Finding", "Level", "check_installation"]

_PATIENCE_S = 12.0
_SHORTER = {"venue_timeout_s": 3.0, "attest_timeout_s": 3.0}
"""Whoever looks waits for the answers; a service has more patience."""


@dataclass(frozen=True, slots=True)
class _Look:
    """One thing to look at, and what is said where it cannot be looked at at all."""

    group: str
    subject: str
    look: Callable[[Settings], Iterable[Finding]]
    otherwise: Level
    remedy: str


def check_installation(settings: Settings, unknown: Sequence[str] = ()) -> list[Finding]:
    """Everything that is found, group by group; within about twelve seconds, however much is out of reach.

    ``unknown`` are variables that look like settings and are none.
    """
    looks = _looks(unknown, len(settings.model_fields_set))
    hasty = settings.model_copy(
        update={name: min(getattr(settings, name), limit_s) for name, limit_s in _SHORTER.items()}
    )
    found: dict[_Look, list[Finding]] = {look: [] for look in looks}
    ended = side_by_side([partial(_take, hasty, look, into) for look, into in found.items()], _PATIENCE_S)
    for look, has_ended in zip(looks, ended, strict=True):
        if not has_ended:
            silence = f"no answer within {_PATIENCE_S:g} s"
            found[look].append(Finding(look.subject, look.otherwise, silence, look.remedy))
    return [replace(one, group=look.group) for look, findings in found.items() for one in tuple(findings)]


def _looks(unknown: Sequence[str], given: int) -> tuple[_Look, ...]:
    ill, bad = Level.WARNING, Level.FAILED
    here, prove, data, market, on = "This machine", "Models and proofs", "Database", "Market", "Chain and attesters"
    shown = "What others see"
    return (
        _Look(here, "python", machine.python, bad, "run `make setup`, or install the package anew"),
        _Look(here, "settings", partial(machine.spelling, unknown, given), ill, "see `veriregime settings`"),
        _Look(here, "port", machine.port, bad, "see VERIREGIME_HOST and VERIREGIME_PORT"),
        _Look(here, "disk", machine.disk, bad, "choose a folder that can be written with VERIREGIME_VAR_DIR"),
        _Look(here, "user", exposure.identity, ill, "see ops/systemd"),
        _Look(here, "open files", exposure.files, ill, "see VERIREGIME_MAX_CONNECTIONS"),
        _Look(here, "memory", machine.memory, ill, "look with `free -m`"),
        _Look(here, "pages", machine.pages, ill, "run `make setup`"),
        _Look(here, "tools", machine.tools, ill, "run `make setup` (it needs Node 20 or newer with npm)"),
        _Look(
            prove, "models", proving.models, bad, "restore the folder of VERIREGIME_MODELS_DIR, or see VERIREGIME_FEEDS"
        ),
        _Look(prove, "keys", proving.keys, bad, "see `veriregime srs info` and `veriregime keys info`"),
        _Look(prove, "prover", proving.prover, bad, "see VERIREGIME_PROVER and the limits of VERIREGIME_PROVER_…"),
        _Look(data, "database", store.database, bad, "see VERIREGIME_DATABASE_URL, and whether its server runs"),
        _Look(shown, "secrets", exposure.secrets, bad, "see the settings that end in _FILE"),
        _Look(shown, "limits", exposure.limits, bad, "see VERIREGIME_VERIFY_RATE, _BUNDLE_RATE and _TRUSTED_PROXIES"),
        _Look(shown, "metrics", exposure.metrics, bad, "see VERIREGIME_METRICS_PORT"),
        _Look(shown, "traces", exposure.logs_and_traces, ill, "see VERIREGIME_OTLP_ENDPOINT"),
        _Look(market, "venues", outside.venues, ill, "see VERIREGIME_VENUES"),
        _Look(on, "chain", chain, bad, "see VERIREGIME_RPC_URLS and `veriregime contracts status`"),
        _Look("Extras", "extras", machine.extras, ill, "see pyproject.toml"),
    )


def _take(settings: Settings, look: _Look, into: list[Finding]) -> bool:
    """True when it came to its end; what was found before something hangs is in ``into`` all the same."""
    try:
        for finding in look.look(settings):
            into.append(finding)
    except (OracleError, OSError) as error:
        into.append(Finding(look.subject, look.otherwise, str(error), look.remedy))
    return True
