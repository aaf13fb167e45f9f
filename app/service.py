"""Keeps the roles of a process going: a tick a minute, a thread for each prover, for signatures, and for the chain."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psutil
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from app.errors import OracleError
from app.steps.attest import AttestOutcome
from app.steps.prove import ProveOutcome
from app.steps.publishing import SubmitOutcome
from app.steps.standing import Role, TickOutcome
from app.types import MINUTE_MS
from app.wiring import Application

log = logging.getLogger(__name__)

_IDLE_S = 1.0
_IDLE_ALONE_S = 0.25
"""Where no tick of this process says that there is work."""
_AFTER_FAILURE_S = 2.0
_GATHERING_S = 0.02
_FIRST_LOOK_S = 0.1
"""A local chain has mined a transaction by then; a public one is asked again every `_IDLE_S`."""
_TICK_AGAIN_S = 5.0
_LONGEST_WAIT_S = 1.0
_TICK_TAKEN_S = 1.0
"""How soon it is looked whether the process that ticks has come to an end, one way or another."""
_STOP_S = 5.0
"""What is under way gets so long to notice that the process is to end."""
_NOTHING_NOW = (
    SubmitOutcome.NO_CHAIN,
    SubmitOutcome.NO_ACCOUNT,
    SubmitOutcome.IDLE,
    SubmitOutcome.TAKEN,
    SubmitOutcome.PENDING,
    SubmitOutcome.INCLUDED,
)
_NOT_AGAIN_AT_ONCE = (
    SubmitOutcome.CHAIN_UNAVAILABLE,
    SubmitOutcome.WRONG_CHAIN,
    SubmitOutcome.WOULD_REVERT,
    SubmitOutcome.FEES_TOO_HIGH,
    SubmitOutcome.BALANCE_TOO_LOW,
)
_TRY_AGAIN = (None, TickOutcome.SKIPPED, TickOutcome.FAILED)
_PRUNE_EVERY_S = 3600.0
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Service:
    """The background work of one process, by its roles.

    `start` returns at once; `stop` leaves unfinished work in the store.
    """

    def __init__(self, application: Application) -> None:
        self._app = application
        self._idle_s = _IDLE_S if Role.PIPELINE in application.roles else _IDLE_ALONE_S
        self._stopping = threading.Event()
        self._work = threading.Event()
        self._proofs = threading.Event()
        self._signatures = threading.Event()
        self._told = threading.Event()
        self._threads: list[threading.Thread] = []
        self._scheduler: Any = BackgroundScheduler(timezone=UTC)

    def start(self) -> None:
        self._app.pipeline.free_jobs_of_the_dead(_is_alive)
        for loop in self._loops():
            thread = threading.Thread(target=self._keep_going, args=(loop,), name=_name(loop), daemon=True)
            thread.start()
            self._threads.append(thread)
        if Role.PIPELINE in self._app.roles:
            # Every whole hour, also where nothing runs for an hour at a stretch.
            self._scheduler.add_job(self._prune, IntervalTrigger(seconds=_PRUNE_EVERY_S, start_date=_EPOCH))
        self._scheduler.start()

    def stop(self) -> None:
        """What does not end within seconds is left behind with its lease, and taken up when that has lapsed."""
        self._stopping.set()
        for event in (self._work, self._proofs, self._signatures, self._told):
            event.set()
        self._app.pipeline.stop()
        self._scheduler.shutdown(wait=False)
        self._app.pool.stop()  # a proof under way is handed back by the thread that waits for it
        self._app.prover.stop()
        give_up = time.monotonic() + _STOP_S
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        left = [thread.name for thread in self._threads if thread.is_alive()]
        if left:
            log.warning("not waited for any longer: %s; others take it up when its lease lapses", ", ".join(left))

    def _loops(self) -> list[Callable[[], None]]:
        loops: list[Callable[[], None]] = [self._tell]
        if Role.PIPELINE in self._app.roles:
            loops += [partial(self._tick, feed) for feed in self._app.pipeline.feeds]
        if Role.PROVER in self._app.roles:
            most = self._app.settings.prover_jobs if self._app.prover is not self._app.pool else self._app.pool.slots
            loops += [partial(self._prove, number) for number in range(most)]
        if Role.SUBMITTER in self._app.roles:
            loops += [self._attest, self._submit]
        return loops

    def _tick(self, feed: str) -> None:
        """The newest window; then, in short waits, until the next one has ended: the clock may be set meanwhile."""
        clock, settle_s = self._app.clock, self._app.settings.settle_s
        done_ms = self._tick_until_done(feed)
        while not self._stopping.is_set():
            to_next_s = clock.seconds_until(done_ms + MINUTE_MS) + settle_s
            if to_next_s <= 0 or clock.last_minute_ms() < done_ms:
                return
            self._stopping.wait(min(to_next_s, _LONGEST_WAIT_S))

    def _tick_until_done(self, feed: str) -> int:
        """Again and again while the window cannot be had; when another minute has ended meanwhile, that one instead.

        Gives the end of the window that it came to.
        """
        clock = self._app.clock
        window_end_ms = clock.last_minute_ms()
        while not self._stopping.is_set():
            outcome = self._app.pipeline.tick(feed, window_end_ms)
            self._work.set()
            self._told.set()
            # While venues are away, minutes that are missing may still come; what others ticked they judge.
            if outcome is TickOutcome.PREDICTED:
                self._judge(feed, window_end_ms)
            if outcome not in _TRY_AGAIN and clock.last_minute_ms() == window_end_ms:
                break
            to_next_s = clock.seconds_until(window_end_ms + MINUTE_MS) + self._app.settings.settle_s
            pause_s = _TICK_TAKEN_S if outcome is None else _TICK_AGAIN_S
            self._stopping.wait(max(0.0, min(pause_s / clock.speed, to_next_s)))
            window_end_ms = clock.last_minute_ms()
        return window_end_ms

    def _judge(self, feed: str, window_end_ms: int) -> None:
        try:
            self._app.pipeline.judge_next(feed, window_end_ms)
        except OracleError as error:
            log.warning("judge: %s", error)

    def _tell(self) -> None:
        self._app.pipeline.tell()
        self._wait(self._told)

    def _prune(self) -> None:
        try:
            self._app.pipeline.prune()
        except OracleError as error:
            log.warning("prune: %s", error)

    def _prove(self, number: int) -> None:
        if number >= self._app.prover.slots:  # a cluster grows and shrinks
            self._stopping.wait(_IDLE_S)  # not for work: the call to it is for those who can take it
            return
        outcome = self._app.pipeline.prove_next()
        if outcome in (ProveOutcome.PROVED, ProveOutcome.DISAGREEMENT, ProveOutcome.LEASE_LOST):
            self._proofs.set()  # the other windows of a joint proof may be good
        elif outcome is ProveOutcome.GATHERING:
            self._stopping.wait(_GATHERING_S)
        elif outcome is ProveOutcome.IDLE:
            self._wait(self._work)

    def _attest(self) -> None:
        outcome = self._app.pipeline.attest_next()
        if outcome is AttestOutcome.ATTESTED:
            self._signatures.set()
        elif outcome is AttestOutcome.CHAIN_UNAVAILABLE:
            self._stopping.wait(_AFTER_FAILURE_S)
        else:
            self._wait(self._proofs)

    def _submit(self) -> None:
        outcome = self._app.pipeline.submit_next()
        if outcome in _NOTHING_NOW:
            self._wait(self._signatures)
        elif outcome is SubmitOutcome.SENT:
            self._stopping.wait(_FIRST_LOOK_S)
        elif outcome in _NOT_AGAIN_AT_ONCE:
            self._stopping.wait(_AFTER_FAILURE_S)

    def _wait(self, event: threading.Event) -> None:
        if not self._stopping.is_set():
            event.wait(self._idle_s)
            event.clear()

    def _keep_going(self, step: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                step()
            except OracleError as error:
                log.warning("%s: %s", _name(step), error)
                self._stopping.wait(_AFTER_FAILURE_S)
            except Exception:  # a loop that ends silently would be worse than any bug
                log.exception("%s met a bug and goes on", _name(step))
                self._stopping.wait(_AFTER_FAILURE_S)


def _name(step: Callable[[], None]) -> str:
    return str(getattr(step, "func", step).__name__).strip("_")


def _is_alive(owner: str) -> bool:
    """Whether who holds a job ("host:pid:token") may still be at work; of other machines we cannot know."""
    host, pid, *_ = owner.split(":")
    if host != socket.gethostname():
        return True
    return int(pid) != os.getpid() and psutil.pid_exists(int(pid))
