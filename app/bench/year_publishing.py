"""A simulated year of updates: which forecasts go on chain under which policy, alone or ten in one.

What is due is what `PublishingPolicy.due` says, for all feeds at once; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.bench.capacity_constants import JOINT, Constants
from app.bench.capacity_model import DAY_MINUTES, Policy, transactions_per_minute
from app.bench.year_markets import Forecasts
from app.bench.year_troubles import Troubles
from app.types import BoolArray, FloatArray

Say = Callable[[str], None]
MODES = ("single", "joint")
_TELL_EVERY = 20_000


class Ledger:
    """The newest round of each feed, by policy and mode: shapes (policies, modes, places), places in groups of ten."""

    def __init__(self, policies: Sequence[Policy], places: int) -> None:
        shape = (len(policies), len(MODES), places)
        self.ln_vol: FloatArray = np.zeros(shape)
        self.high: BoolArray = np.zeros(shape, dtype=np.bool_)
        self.minute: FloatArray = np.full(shape, -np.inf)
        self._heartbeat = np.array([policy.heartbeat_minutes for policy in policies])[:, None, None]
        self._deviation = np.array([policy.deviation for policy in policies])[:, None, None]

    def due(self, minute: int, ln_vol: npt.NDArray[Any], high: BoolArray) -> BoolArray:
        """The first round, another regime, a volatility that has moved, or an old round."""
        first = np.isneginf(self.minute)
        moved = np.abs(np.expm1(ln_vol - self.ln_vol)) >= self._deviation
        late = minute - self.minute >= self._heartbeat
        due: BoolArray = first | (high != self.high) | moved | late
        return due

    def publish(self, sent: BoolArray, minute: int, ln_vol: npt.NDArray[Any], high: BoolArray) -> None:
        self.ln_vol = np.where(sent, ln_vol, self.ln_vol)
        self.high = np.where(sent, high, self.high)
        self.minute = np.where(sent, minute, self.minute)


def publishing_year(
    constants: Constants,
    made: Forecasts,
    policies: Sequence[Policy],
    proved: BoolArray,
    troubles: Troubles,
    say: Say,
) -> list[dict[str, Any]]:
    """A row for each policy and mode. One account sends one transaction a block, so that what is due may wait."""
    feeds = len(made.market_of)
    groups = -(-feeds // JOINT)
    ledger, real = Ledger(policies, groups * JOINT), np.arange(groups * JOINT) < feeds
    tally = _Tally(len(policies), groups)
    ln_vol, high = np.zeros(groups * JOINT), np.zeros(groups * JOINT, dtype=np.bool_)
    for minute in range(made.minutes):
        if minute % _TELL_EVERY == 0:
            say(f"publishing, {100 * minute // made.minutes} % of the year")
        if not proved[minute] or troubles.chain_away[minute]:
            continue
        ln_vol[:feeds], high[:feeds] = made.at(minute)
        due = ledger.due(minute, ln_vol, high) & real
        ledger.publish(tally.sent(due, real, minute), minute, ln_vol, high)
    return tally.told(constants, policies, feeds, made.minutes)


class _Tally:
    """Counts transactions and decides which of those that are due fit into the minute's blocks."""

    def __init__(self, policies: int, groups: int) -> None:
        self._shape = (policies, len(MODES), groups, JOINT)
        self._room = int(transactions_per_minute())
        self._alone = np.zeros((policies, len(MODES)), dtype=np.int64)
        self._joint = np.zeros((policies, len(MODES)), dtype=np.int64)
        self._rounds = np.zeros((policies, len(MODES)), dtype=np.int64)
        self._crowded = np.zeros((policies, len(MODES)), dtype=np.int64)

    def sent(self, due: BoolArray, real: BoolArray, minute: int) -> BoolArray:
        """Ten feeds go together where two of them are due; one alone goes alone. Who comes first takes turns."""
        grouped = due.reshape(self._shape)
        together = grouped.sum(axis=-1) >= 2
        together[:, MODES.index("single")] = False
        transactions = np.where(together, 1, grouped.sum(axis=-1))
        wanted = transactions.sum(axis=-1)
        crowded = wanted > self._room
        sent = np.where(together[..., None], real.reshape(self._shape[2:]), grouped)
        if crowded.any():
            sent = self._that_fit(sent, together, minute)
        went_together = together & sent.any(axis=-1)
        self._crowded += crowded
        self._joint += went_together.sum(axis=-1)
        self._alone += np.where(went_together[..., None], False, sent).sum(axis=(-1, -2))
        self._rounds += sent.sum(axis=(-1, -2))
        return sent.reshape(due.shape)

    def _that_fit(self, sent: BoolArray, together: BoolArray, minute: int) -> BoolArray:
        """The first transactions, beginning with another group every minute."""
        turned = np.roll(sent, -minute, axis=2)
        joint = np.roll(together, -minute, axis=2)[..., None]
        # A joint transaction is counted at its first window, a single one at its own.
        opens = np.where(joint, np.cumsum(turned, axis=-1) == 1, True) & turned
        before = opens.reshape(*self._shape[:2], -1).cumsum(axis=-1).reshape(self._shape)
        fitting: BoolArray = np.roll(turned & (before <= self._room), minute, axis=2)
        return fitting

    def told(self, constants: Constants, policies: Sequence[Policy], feeds: int, minutes: int) -> list[dict[str, Any]]:
        days = minutes / DAY_MINUTES
        gas = self._alone * constants.gas_single + self._joint * constants.gas_joint
        return [
            {
                "policy": policy.name,
                "mode": mode,
                "rounds_per_feed_and_day": round(float(self._rounds[row, column] / days / feeds), 2),
                "transactions_per_day": round(float((self._alone + self._joint)[row, column] / days), 1),
                "million_gas_per_day": round(float(gas[row, column] / days / 1e6), 1),
                "minutes_with_more_due_than_blocks": round(float(self._crowded[row, column] / minutes), 4),
            }
            for row, policy in enumerate(policies)
            for column, mode in enumerate(MODES)
        ]
