"""``veriregime watch``: a running service as it goes, followed from any machine through the client."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.terminal import say

if TYPE_CHECKING:
    from rich.live import Live

    from app.cli.watch_view import View
    from app.client import AsyncVeriRegime, Event, VeriRegime

_START_S = 3.0
_ASK_S = 5.0
_DRAW_EVERY_S = 0.25
_ASK_ANEW_S = 15.0
_LINES_OF_A_PANEL = 8
_FEWEST_ROWS, _MOST_ROWS = 3, 15


def watch(
    url: Annotated[str, typer.Option(metavar="URL", help="Of the service.")] = "http://127.0.0.1:8000",
    feed: Annotated[str | None, typer.Option(metavar="NAME", help="One feed only, such as btc-usdt-4h.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document for each event, in a line.")] = False,
) -> None:
    """Watch a running service: forecasts, proofs, signatures, transactions and venues, until Ctrl-C.

    A live view on a terminal, a line for each event elsewhere.
    """
    from rich.console import Console

    from app.client import VeriRegime

    console = Console()
    live = not as_json and console.is_terminal and not console.is_dumb_terminal
    try:
        with VeriRegime(url, patience_s=_START_S) as client:
            names = [client.feed(feed).feed] if feed else [one.feed for one in client.feeds()]
            if not live:
                _print_events(client, names if feed else (), as_json)
        if live:
            asyncio.run(_Screen(names).show(url))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # whoever read has seen enough; Python must not notice it again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_events(client: VeriRegime, feeds: Sequence[str], as_json: bool) -> None:
    from app.cli.watch_view import line

    def tell(reason: str | None, pause_s: float) -> None:
        if reason is not None:
            say(f"veriregime: {reason}: again in {pause_s:.0f} s")

    for event in client.stream(feeds, patience_s=math.inf, tell=tell):
        document = {"id": event.id, "event": event.kind, "data": event.data}
        print(json.dumps(document) if as_json else line(event), flush=True)


class _Screen:
    """The live view: what is shown, and what keeps it up to date."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._views: dict[str, View] = {}
        self._outdated = set(names)
        """Feeds to be asked for."""
        self._unread = set(names)
        """Feeds whose windows and track record are to be read anew as well."""
        self._connection = "connecting"
        self._connected = asyncio.Event()
        self._happened: list[Event] | None = None
        """While windows are being read: they may have been read before it."""
        self._rows = _MOST_ROWS

    async def show(self, url: str) -> None:
        from rich.live import Live

        from app.client import AsyncVeriRegime, OracleError

        async with AsyncVeriRegime(url, patience_s=_ASK_S) as client:
            with Live(screen=True, auto_refresh=False) as live:
                try:
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._follow(client, url))
                        tasks.create_task(self._read(client))
                        tasks.create_task(self._draw(live))
                except* OracleError as several:
                    raise several.exceptions[0] from None

    async def _follow(self, client: AsyncVeriRegime, url: str) -> None:
        def tell(reason: str | None, pause_s: float) -> None:
            self._connected.set()
            self._connection = f"{reason}: again in {pause_s:.0f} s" if reason else f"connected to {url}"

        feeds = self._names if len(self._names) == 1 else ()
        async for event in client.stream(feeds, patience_s=math.inf, tell=tell):
            self._take(event)

    def _take(self, event: Event) -> None:
        from app.cli.watch_view import after

        if self._happened is not None:
            self._happened.append(event)
        self._views = {name: after(view, event, self._rows) for name, view in self._views.items()}
        named = {str(event.data.get("feed"))} & set(self._names)
        if event.kind == "prediction":
            self._outdated |= named
        if event.kind in ("outcome", "reset"):
            self._unread |= named or set(self._names)

    async def _read(self, client: AsyncVeriRegime) -> None:
        """Ask for what events do not tell, when they say that it has changed, and now and then in any case."""
        await self._connected.wait()  # from then on nothing happens that we are not told
        asked = time.monotonic()
        while True:
            outdated, unread = self._outdated | self._unread, self._unread
            self._outdated, self._unread = set(), set()
            for name in outdated:
                await self._ask(client, name, thoroughly=name in unread)
            await asyncio.sleep(_DRAW_EVERY_S)
            if time.monotonic() - asked > _ASK_ANEW_S:
                asked, self._outdated = time.monotonic(), set(self._names)

    async def _ask(self, client: AsyncVeriRegime, name: str, *, thoroughly: bool) -> None:
        from app.cli.watch_view import View
        from app.client import NotNow

        try:
            feed = await client.feed(name)
            kept = self._views.get(name)
            self._views[name] = replace(kept, feed=feed, at=time.monotonic()) if kept else View(feed, time.monotonic())
            if thoroughly:
                await self._ask_for_windows(client, name)
        except NotNow:  # the last line says how the connection is
            (self._unread if thoroughly else self._outdated).add(name)

    async def _ask_for_windows(self, client: AsyncVeriRegime, name: str) -> None:
        from app.cli.watch_view import after, row_of

        happened = self._happened = []
        newest = [one async for one in client.history(name, limit=self._rows)]
        rows = tuple([row_of(await client.prediction(one.id)) for one in newest])
        record = await client.track_record(name)
        if not record.windows:
            record = await client.track_record(name, origin="backtest")
        view = replace(self._views[name], rows=rows, record=record)
        for event in happened:
            view = after(view, event, self._rows)
        self._views[name], self._happened = view, None

    async def _draw(self, live: Live) -> None:
        from app.cli.watch_view import picture

        while True:
            each = live.console.height // len(self._names) - _LINES_OF_A_PANEL
            self._rows = max(_FEWEST_ROWS, min(_MOST_ROWS, each))
            views = [self._views[name] for name in self._names if name in self._views]
            shown = picture(views, self._connection, time.monotonic(), live.console.width)
            live.update(shown, refresh=True)
            await asyncio.sleep(_DRAW_EVERY_S)
