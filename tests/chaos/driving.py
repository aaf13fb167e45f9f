"""Plays a schedule against a rig: fault by fault, with the time until all is well again."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import requests
import sqlalchemy as sa

from tests.chaos.faults.fault import DATABASE, Fault, ProductAtFaultError
from tests.chaos.invariants.watch import Watch
from tests.chaos.schedule import Planned
from tests.rig.processes import Child
from tests.rig.rig import Rig

log = logging.getLogger(__name__)

_RECOVERS_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.1
_NOT_PLAYED = (OSError, RuntimeError, subprocess.SubprocessError, psutil.Error)
_STEP_FAILED = 2
_STARTS_WITHIN_S = 30.0
HELD = "held"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a fault. ``recovery_s`` is from its end until all was well; none where that did not come."""

    number: int
    rig: str
    market_ms: int
    kind: str
    fault: str
    recovery_s: float | None
    result: str
    """`HELD`, or what went wrong."""


@dataclass(slots=True)
class _Active:
    planned: Planned
    market_ms: int
    began_s: float
    healed_s: float | None = None
    healed_market_ms: int = 0
    failure: str | None = None

    @property
    def fault(self) -> Fault:
        return self.planned.fault


_SPREAD = 0.97


class Drive:
    """One rig, one schedule. ``at_once`` faults may be under way together, as long as they touch different things."""

    def __init__(
        self,
        rig: Rig,
        watch: Watch,
        planned: Sequence[Planned],
        *,
        at_once: int,
        tell: Callable[[Result], None],
        over_ms: int = 0,
    ) -> None:
        """The faults are spread over ``over_ms`` of the market's time; one after the other where that is nothing."""
        self._rig = rig
        self._watch = watch
        self._waiting = list(planned)
        self._wanted = max(1, len(planned))
        self._over_ms = over_ms
        self._at_once = at_once
        self._tell = tell
        self._active: list[_Active] = []
        self._next_s = 0.0
        self._database_s = -_STARTS_WITHIN_S
        self.results: list[Result] = []

    def go(self, deadline_s: float) -> None:
        """Until the schedule is played, or until ``deadline_s`` (monotonic): what is under way then is still ended."""
        while self._active or (self._waiting and time.monotonic() < deadline_s):
            for one in list(self._active):
                self._go_on(one)
            self._mourn()
            if time.monotonic() < deadline_s:
                self._begin_next()
            time.sleep(_LOOK_EVERY_S)

    def _begin_next(self) -> None:
        now_s = time.monotonic()
        if len(self._active) >= self._at_once or now_s < self._next_s or self._rig.lived_ms() < self._not_before_ms():
            return
        taken = frozenset[str]().union(*(one.fault.touches for one in self._active))
        planned = next((one for one in self._waiting if not one.fault.touches & taken), None)
        if planned is None:
            return
        self._waiting.remove(planned)
        self._next_s = now_s + planned.pause_s
        active = _Active(planned, self._rig.market_ms(), now_s)
        self._active.append(active)
        self._attempt(active, active.fault.inject)
        active.began_s = time.monotonic()

    def _not_before_ms(self) -> float:
        """Of the rig's life: the faults are spread over the hours that it is to have, and end a little before them."""
        return _SPREAD * self._over_ms * (1 - len(self._waiting) / self._wanted) if self._waiting else 0.0

    def _attempt(self, active: _Active, what: Callable[[Rig], None]) -> None:
        try:
            what(self._rig)
        except ProductAtFaultError as error:
            active.failure = active.failure or str(error)
        except _NOT_PLAYED as error:
            active.failure = active.failure or f"the fault could not be played: {type(error).__name__}: {error}"

    def _go_on(self, active: _Active) -> None:
        now_s = time.monotonic()
        if active.healed_s is None:
            if now_s - active.began_s >= active.fault.hold_s:
                self._attempt(active, active.fault.heal)
                active.healed_s, active.healed_market_ms = time.monotonic(), self._rig.market_ms()
                self._database_s = active.healed_s if DATABASE in active.fault.touches else self._database_s
            return
        lacking = self._lacking(active)
        if lacking is None:
            self._end(active, now_s - active.healed_s)
        elif now_s - active.healed_s > _RECOVERS_WITHIN_S:
            active.failure = active.failure or f"not well after {_RECOVERS_WITHIN_S:g} s: {lacking}"
            self._rescue(active)
            self._end(active, None)

    def _lacking(self, active: _Active) -> str | None:
        """What is not yet as it should be after a fault."""
        for name in active.fault.touches & set(self._rig.children):
            if not self._rig.children[name].is_up():
                return f"{name} is not up"
        newest = _newest(self._rig, "'proved', 'submitted', 'confirmed'")
        if newest is None or newest <= active.healed_market_ms:
            return "no window that ended since is proved"
        if active.fault.wants_round:
            newest = _newest(self._rig, "'confirmed'")
            if newest is None or newest <= active.healed_market_ms:
                return "no window that ended since is confirmed"
        return None

    def _end(self, active: _Active, recovery_s: float | None) -> None:
        self._active.remove(active)
        broken = self._look()
        result = active.failure or HELD
        if broken:
            result = "; ".join([*([active.failure] if active.failure else []), *broken])
        fault = active.fault
        done = Result(
            active.planned.number,
            self._rig.options.name,
            active.market_ms,
            fault.kind,
            fault.name,
            None if recovery_s is None else round(recovery_s, 2),
            result,
        )
        self.results.append(done)
        self._tell(done)

    def _look(self) -> list[str]:
        self._rig.note_processes()
        if any(DATABASE in one.fault.touches for one in self._active):
            return []  # it may be away: seen with the next fault
        try:
            return self._watch.look()
        except sa.exc.DBAPIError as error:
            return [f"the database could not be looked at: {type(error.orig).__name__}"]
        except requests.RequestException:
            return []  # anvil is frozen by another fault

    def _mourn(self) -> None:
        """A process that ended though nothing was done to it: told as the failure of a fault under way, and started."""
        touched = frozenset[str]().union(*(one.fault.touches for one in self._active))
        for name, child in self._rig.children.items():
            if child.is_running or (name in touched and not self._was_healed(name)):
                continue
            if self._could_not_start(child):
                child.start()
                continue
            last = (child.said().strip().splitlines() or ["it said nothing"])[-1][:300]
            words = f"{name} ended by itself with {child.exit_code}: {last}"
            for one in self._active:
                one.failure = one.failure or words
            log.error("%s", words)
            child.start()

    def _could_not_start(self, child: Child) -> bool:
        """It ended in order because the database was away when it started: whoever keeps it running starts it again."""
        without_database = any(DATABASE in one.fault.touches for one in self._active) or self._database_was_away()
        return child.exit_code == _STEP_FAILED and not child.was_up and without_database

    def _database_was_away(self) -> bool:
        return time.monotonic() - self._database_s < _STARTS_WITHIN_S

    def _was_healed(self, name: str) -> bool:
        return all(one.healed_s is not None for one in self._active if name in one.fault.touches)

    def _rescue(self, active: _Active) -> None:
        """So that the next fault meets a rig that is well: everything of the product starts anew."""
        log.error("%s: %s; everything is started anew", self._rig.options.name, active.failure)
        for child in self._rig.services:
            child.kill()
            child.start()


def _newest(rig: Rig, states: str) -> int | None:
    engine = rig.engine()
    try:
        with engine.connect() as connection:
            query = sa.text(f"SELECT max(window_end_ms) FROM predictions WHERE status IN ({states})")
            found = connection.execute(query).scalar_one_or_none()
            return None if found is None else int(found)
    except sa.exc.DBAPIError:
        return None
    finally:
        engine.dispose()
