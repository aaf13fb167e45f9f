"""``veriregime bench …``: what proving costs, measured on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.training import JsonFlag, print_json
from app.errors import BadInput
from app.inference.release import ReleasedModel
from app.settings import Settings

bench = typer.Typer(help="What proving costs, measured here and now.", no_args_is_help=True)

Model = Annotated[str | None, typer.Option(help="A released model's name; the only one by default.")]


@bench.command()
def proving(
    only: Annotated[str | None, typer.Option(help="Some rows, comma separated: production,ten-feeds.")] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Proofs per row, instead of each row's own number.")
    ] = None,
    model: Model = None,
    as_json: JsonFlag = False,
) -> None:
    """Every kind of proof in one table, from the original network to ten feeds at once. Exit code 1 when a row failed."""
    from app.bench.proving import bench_proving, chosen_rows, has_failed
    from app.bench.table import proving_table

    settings = Settings()
    rows = chosen_rows(names(only))
    document = bench_proving(
        released(settings, model),
        rows,
        models_dir=settings.models_dir,
        contracts_dir=settings.contracts_dir,
        cache_dir=settings.var_dir / "bench",
        repeats=repeats,
    )
    if as_json:
        print_json(document)
    else:
        print(proving_table(document))
    if any(has_failed(row) for row in document["rows"]):
        raise typer.Exit(1)


def names(option: str | None) -> list[str] | None:
    """What a comma separated option lists; none without the option. Raises `BadInput` when it lists nothing."""
    if option is None:
        return None
    listed = [part.strip() for part in option.split(",") if part.strip()]
    if not listed:
        raise BadInput("--only names nothing")
    return listed


def released(settings: Settings, name: str | None) -> ReleasedModel:
    from app.inference.release import load_models
    from app.training.evaluate import choose_model

    return choose_model(load_models(settings.models_dir), settings.models_dir, name)
