"""What ``veriregime watch`` shows: how a feed stands, as frozen values, what an event changes in them, their picture.

Whatever a service sends is shown as plain text: it cannot paint, or move the cursor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.client import Event, Feed, Forecast, TrackRecord

_STALE_S = 180
_BAR = 20
_WIDE = 100
_COLUMNS = ("window", "regime", "high", "a year", "witness", "prove", "verify", "signed", "chain", "gas", "was")
_STYLES = {
    "low": "bold green",
    "high": "bold yellow",
    "confirmed": "green",
    "failed": "red",
    "reverted": "red",
    "refused": "red",
    "right": "green",
    "wrong": "red",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One window on its way from the forecast to the chain and to what came."""

    id: str
    window_end: datetime
    regime: str
    p_high: float
    vol_annualised: float
    status: str
    proved: bool = False
    witness_seconds: float | None = None
    prove_seconds: float | None = None
    verify_seconds: float | None = None
    answers: Mapping[str, str] | None = None
    """What each attester did."""
    chain: str = ""
    gas_used: int | None = None
    right: bool | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A feed as it stands. ``at`` is when `feed` was asked for, in seconds of `time.monotonic`."""

    feed: Feed
    at: float
    rows: tuple[Row, ...] = ()
    """Newest window first."""
    record: TrackRecord | None = None

    def newest(self) -> Row | None:
        """The newest proved one."""
        return next((row for row in self.rows if row.proved), None)

    def age_seconds(self, window_end: datetime, now: float) -> float:
        """Market time since a window's end, by the market's own clock and pace."""
        market_now = self.feed.market_time + timedelta(seconds=(now - self.at) * self.feed.market_speed)
        return (market_now - window_end).total_seconds()


def row_of(forecast: Forecast) -> Row:
    """From a forecast with all its evidence."""
    proof, onchain, outcome = forecast.proof, forecast.onchain, forecast.outcome
    return Row(
        id=forecast.id,
        window_end=forecast.window_end,
        regime=forecast.regime,
        p_high=forecast.p_high,
        vol_annualised=forecast.vol_annualised,
        status=forecast.status,
        proved=proof is not None,
        witness_seconds=proof.witness_seconds if proof else None,
        prove_seconds=proof.prove_seconds if proof else None,
        verify_seconds=proof.verify_seconds if proof else None,
        answers={one.attester: one.outcome for one in forecast.attestations or ()},
        chain=onchain.state if onchain else "",
        gas_used=onchain.gas_used if onchain else None,
        right=outcome.right if outcome else None,
    )


def after(view: View, event: Event, most_rows: int) -> View:
    """The view once an event has happened. One about another feed, or an old window, changes nothing."""
    data = event.data
    if data.get("feed") != view.feed.feed:
        return view
    if event.kind == "prediction" and all(row.id != data["id"] for row in view.rows):
        began = Row(
            id=data["id"],
            window_end=datetime.fromisoformat(data["window_end"]),
            regime=data["regime"],
            p_high=data["p_high"],
            vol_annualised=data["vol_annualised"],
            status=data["status"],
        )
        rows = sorted((began, *view.rows), key=lambda row: row.window_end, reverse=True)
        return replace(view, rows=tuple(rows[:most_rows]))
    return replace(view, rows=tuple(_changed(row, event) if row.id == data.get("id") else row for row in view.rows))


def _changed(row: Row, event: Event) -> Row:
    data = event.data
    match event.kind:
        case "proof":
            names = ("regime", "p_high", "vol_annualised", "status")
            seconds = ("witness_seconds", "prove_seconds", "verify_seconds")
            return replace(row, proved=True, **{name: data[name] for name in (*names, *seconds)})
        case "failure":
            return replace(row, status="failed")
        case "attestation":
            return replace(row, answers={**(row.answers or {}), data["attester"]: data["outcome"]})
        case "transaction" | "round":
            return replace(row, chain=data["state"], gas_used=data["gas_used"])
        case "outcome":
            return replace(row, right=data["right"])
    return row


def picture(views: Sequence[View], connection: str, now: float, width: int) -> RenderableType:
    """All feeds below each other, and a line about the connection, for a terminal of ``width`` columns."""
    return Group(*(_panel(view, now, width) for view in views), Text(plain(connection), style="dim", no_wrap=True))


def _panel(view: View, now: float, width: int) -> Panel:
    feed = view.feed
    marks = [] if feed.market == "live" else [f"{feed.market} market" + _pace(feed.market_speed)]
    marks += ["development SRS: proofs can be forged"] if feed.srs.development else []
    return Panel(
        Group(_now(view, now), *_standing(view), Text(), _table(view, width)),
        title=Text(plain(f"{feed.feed} · {feed.model_name}"), style="bold"),
        title_align="left",
        subtitle=Text(plain(" · ".join(marks)), style="yellow"),
        subtitle_align="right",
    )


def _pace(speed: float) -> str:
    return "" if speed == 1 else f" at {speed:g} × real time"


def _now(view: View, now: float) -> Text:
    row = view.newest()
    if row is None:
        return Text("no proved forecast yet")
    age_s = view.age_seconds(row.window_end, now)
    full = round(row.p_high * _BAR)
    return Text.assemble(
        (f" {plain(row.regime).upper()} ", _STYLES.get(row.regime, "") + " reverse"),
        (f"  {percent(row.vol_annualised)} a year", "bold"),
        f"   high: {percent(row.p_high)} ",
        ("█" * full + "░" * (_BAR - full), _STYLES.get(row.regime, "")),
        (f"   age {age_s:.0f} s", "red bold" if age_s > _STALE_S else ""),
    )


def _standing(view: View) -> list[Text]:
    feed, lines = view.feed, []
    venues = [(plain(f"{one.venue} {one.reason or one.state}"), one.state == "fresh") for one in feed.venues]
    lines.append(Text("venues: ").append_text(_joined(venues)))
    lines.append(Text(_track_record(view.record), style="dim"))
    if feed.pipeline and not feed.pipeline.alive:
        seen = f"since {clock(feed.pipeline.seen)}" if feed.pipeline.seen else "yet"
        lines.append(Text(f"no pipeline was heard of {seen}: nothing new will come", style="red bold"))
    if feed.last_tick and feed.last_tick.outcome in ("skipped", "failed"):
        lines.append(Text(plain(f"last tick {feed.last_tick.outcome}: {feed.last_tick.detail}"), style="red"))
    if feed.alarms:
        lines.append(Text(f"{len(feed.alarms)} alarm(s): network and circuit disagreed", style="red bold"))
    return lines


def _joined(parts: Sequence[tuple[str, bool]]) -> Text:
    line = Text()
    for number, (words, good) in enumerate(parts):
        line.append(" · " if number else "").append(words, style="" if good else "red")
    return line


def _track_record(record: TrackRecord | None) -> str:
    if record is None or not record.windows or record.model.accuracy is None:
        return "track record: no window is over yet"
    words = f"track record ({record.origin}): {percent(record.model.accuracy)} right in {record.windows:,} windows"
    ahead = record.points_above_better_persistence
    return words + (f", {ahead:+.1f} points against persistence" if ahead is not None else "")


def _table(view: View, width: int) -> Table:
    """The windows; on a narrow terminal without what matters least."""
    left_out = ("witness", "verify") if width < _WIDE else ()
    rows = [_cells(row) for row in view.rows]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in _COLUMNS:
        if name not in left_out:
            table.add_column(name, justify="left" if name in ("window", "regime", "chain", "was") else "right")
    for cells in rows:
        table.add_row(*(cells[name] for name in _COLUMNS if name not in left_out))
    return table


def _cells(row: Row) -> dict[str, Text]:
    stage = "" if row.proved else row.status
    return {
        "window": Text(clock(row.window_end)),
        "regime": _styled(row.regime),
        "high": Text(percent(row.p_high)),
        "a year": Text(percent(row.vol_annualised)),
        "witness": Text(seconds(row.witness_seconds)),
        "prove": _styled(stage) if stage else Text(seconds(row.prove_seconds)),
        "verify": Text(seconds(row.verify_seconds)),
        "signed": _signed(row.answers or {}),
        "chain": _styled(row.chain),
        "gas": Text(f"{row.gas_used:,}" if row.gas_used is not None else ""),
        "was": _styled({None: "", True: "right", False: "wrong"}[row.right]),
    }


def _signed(answers: Mapping[str, str]) -> Text:
    signed = sum(outcome == "signed" for outcome in answers.values())
    return Text(f"{signed}/{len(answers)}" if answers else "", style="red" if signed < len(answers) else "")


def _styled(words: str) -> Text:
    return Text(plain(words), style=_STYLES.get(words, ""))


def line(event: Event) -> str:
    """An event as one line of text."""
    data = event.data
    if event.kind == "reset":
        return f"reset: events up to {data.get('newest')} are no longer kept"
    about = f"{event.kind} {data.get('feed')} {data.get('window_end')}"
    return plain(f"{about}: {_words(event.kind, data)}")


def _words(kind: str, data: Mapping[str, Any]) -> str:
    match kind:
        case "prediction":
            return f"{data['regime']}, {percent(data['vol_annualised'])} a year, high: {percent(data['p_high'])}"
        case "proof":
            parts = f"witness {seconds(data['witness_seconds'])}, verify {seconds(data['verify_seconds'])}"
            return f"{data['regime']}, proved in {seconds(data['prove_seconds'])} ({parts})"
        case "attestation":
            return f"{data['attester']} {data['outcome']} {data['signer'] or ''}".rstrip()
        case "transaction" | "round":
            gas = "" if data["gas_used"] is None else f", block {data['block_number']}, {data['gas_used']:,} gas"
            return f"{data['state']} {data['tx_hash'] or ''}{gas}"
        case "outcome" if data["right"] is not None:
            came = f"{data['realised_regime']}, {percent(data['realised_vol_annualised'])} a year"
            return f"{'right' if data['right'] else 'wrong'}: said {data['regime']}, it was {came}"
    return str(data.get("reason") or data.get("missing") or "")


def percent(fraction: float) -> str:
    return f"{fraction * 100:.1f} %"


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} s" if value < 0.1 else f"{value:.2f} s"


def clock(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%H:%MZ")


def plain(words: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in words)
