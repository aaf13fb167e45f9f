"""``veriregime alarms``: windows where network and circuit said different things, kept until somebody has looked."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from app.cli.training import JsonFlag, print_json
from app.clock import wall_ms
from app.errors import UnknownPrediction
from app.settings import Settings
from app.types import iso

alarms = typer.Typer(help="Disagreements of network and circuit, kept for study.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The prediction's id, as `alarms list` shows it.")]


@alarms.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """All of them, newest window first. Exit code 1 while one is open."""
    from app.wiring import open_database

    with closing(open_database(Settings())) as database, database.unit_of_work(write=False) as store:
        found = store.disagreements.all()
    if as_json:
        print_json(
            [
                {
                    "prediction_id": one.prediction_id,
                    "feed": one.feed,
                    "window_end": iso(one.window_end_ms),
                    "reason": one.reason,
                    "cleared_at": iso(one.cleared_at_ms) if one.cleared_at_ms else None,
                }
                for one in found
            ]
        )
    else:
        for one in found:
            state = f"cleared {iso(one.cleared_at_ms)}" if one.cleared_at_ms else "OPEN"
            print(f"{one.prediction_id}  {one.feed} at {iso(one.window_end_ms)}  {state}  {one.reason}")
        if not found:
            print("no disagreement was ever seen")
    if any(one.cleared_at_ms is None for one in found):
        raise typer.Exit(1)


@alarms.command()
def show(prediction: Id) -> None:
    """The kept window as JSON: candles, observation, both outputs, proof."""
    from app.wiring import open_database

    with closing(open_database(Settings())) as database, database.unit_of_work(write=False) as store:
        window = store.disagreements.window(prediction)
    if window is None:
        raise UnknownPrediction(f"no disagreement is kept of a prediction {prediction[:64]!r}: see `alarms list`")
    print_json(window)


@alarms.command()
def clear(prediction: Id) -> None:
    """End an alarm once it was looked into. What was kept stays."""
    from app.wiring import open_database

    with closing(open_database(Settings())) as database, database.unit_of_work() as store:
        cleared = store.disagreements.clear(prediction, wall_ms())
    if not cleared:
        raise UnknownPrediction(f"there is no open alarm of a prediction {prediction[:64]!r}: see `alarms list`")
    print("cleared")
