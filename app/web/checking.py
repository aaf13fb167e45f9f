"""Work that strangers may ask for and that takes the prover processes: one piece at a time, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import to_thread

from app.errors import Busy

PATIENCE_S = 5.0
"""How long one waits for its turn before it is sent away."""

_T = TypeVar("_T")


class OneAtATime:
    """A proof that has to be made waits for one of these at most. Lives in the event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, check: Callable[[], _T]) -> _T:
        """What ``check`` gives, run in a thread. Raises `Busy` where its turn does not come."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._turn.acquire()
        except TimeoutError:
            raise Busy("others wait to have their bundles checked, one at a time: come back later") from None
        try:
            # Left to itself when the process is to end: it must not wait for a prover that hangs.
            return await to_thread.run_sync(check, abandon_on_cancel=True)
        finally:
            self._turn.release()
