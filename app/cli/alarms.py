"""``veriregime alarms``: windows where network and circuit said different things, kept until somebody has looked."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.terminal import JsonFlag, print_json, read_settings
from app.errors import UnknownPrediction

if TYPE_CHECKING:
    from app.types import Disagreement

alarms = typer.Typer(help="Look into disagreements of network and circuit.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The prediction's id, as `alarms list` shows it.")]


@alarms.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """List all of them, newest window first. Exit code 1 while one is open."""
    from app.wiring import open_database

    with closing(open_database(read_settings())) as database, database.unit_of_work(write=False) as store:
        found = store.disagreements.all()
    if as_json:
        print_json([_facts(one) for one in found])
    else:
        print("\n".join(_line(_facts(one)) for one in found) or "no disagreement was ever seen")
    if any(one.cleared_at_ms is None for one in found):
        raise typer.Exit(1)


@alarms.command()
def show(prediction: Id) -> None:
    """Print a kept window as JSON: candles, observation, both outputs, proof."""
    from app.wiring import open_database

    with closing(open_database(read_settings())) as database, database.unit_of_work(write=False) as store:
        window = store.disagreements.window(prediction)
    if window is None:
        raise UnknownPrediction(f"no disagreement is kept of a prediction {prediction[:64]!r}: see `alarms list`")
    print_json(window)


@alarms.command()
def clear(prediction: Id, as_json: JsonFlag = False) -> None:
    """End an alarm once it was looked into. What was kept stays."""
    from app.clock import wall_ms
    from app.wiring import open_database

    with closing(open_database(read_settings())) as database, database.unit_of_work() as store:
        cleared = store.disagreements.clear(prediction, wall_ms())
    if not cleared:
        raise UnknownPrediction(f"there is no open alarm of a prediction {prediction[:64]!r}: see `alarms list`")
    if as_json:
        print_json({"prediction_id": prediction, "cleared": True})
    else:
        print("cleared")


def _facts(one: Disagreement) -> dict[str, Any]:
    from app.types import iso

    return {
        "prediction_id": one.prediction_id,
        "feed": one.feed,
        "window_end": iso(one.window_end_ms),
        "reason": one.reason,
        "cleared_at": iso(one.cleared_at_ms) if one.cleared_at_ms else None,
    }


def _line(facts: dict[str, Any]) -> str:
    state = f"cleared {facts['cleared_at']}" if facts["cleared_at"] else "OPEN"
    return f"{facts['prediction_id']}  {facts['feed']} at {facts['window_end']}  {state}  {facts['reason']}"
