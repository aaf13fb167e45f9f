"""``veriregime bench …``: what proving costs, measured on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.terminal import JsonFlag, examples, print_json, read_settings
from app.errors import BadInput, Misconfigured

if TYPE_CHECKING:
    from app.inference.release import ReleasedModel
    from app.settings import Settings

bench = typer.Typer(help="Measure here and now what proving, serving and publishing cost.", no_args_is_help=True)

_DIFFERENT_WINDOWS = 50

Model = Annotated[str | None, typer.Option(help="A released model's name; the only one by default.")]


@bench.command(epilog=examples("veriregime bench proving --only production,ten-feeds --json"))
def proving(
    only: Annotated[str | None, typer.Option(help="Some rows, comma separated: production,ten-feeds.")] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Proofs per row, instead of each row's own number.")
    ] = None,
    model: Model = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure every kind of proof, from the original network to ten feeds. Exit code 1 when a row failed."""
    from app.bench.proving import bench_proving, chosen_rows, has_failed
    from app.bench.table import proving_table

    settings = read_settings()
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


@bench.command()
def oracle(model: Model = None, as_json: JsonFlag = False) -> None:
    """Measure the gas of whole updates: signatures, feeds in one proof, storage paid ahead or not."""
    from app.bench.oracle import bench_oracle
    from app.bench.table import oracle_table
    from app.progress import watched
    from app.wiring import open_pool

    settings = read_settings()
    chosen = released(settings, model)
    if chosen.batch is None:
        raise BadInput(f"model {chosen.name} has no circuit for several windows: choose another with --model")
    with watched("bench oracle") as step, open_pool(settings, 1) as pool:
        step("proving, deploying and sending updates to a chain of its own")
        keys, joint_keys = (
            pool.serving_keys(settings.var_dir, circuit, *settings.srs_choice)
            for circuit in (chosen.circuit, chosen.batch)
        )
        document = bench_oracle(chosen, pool, keys, joint_keys, settings.contracts_dir, settings.var_dir / "bench")
    if as_json:
        print_json(document)
    else:
        print(oracle_table(document))


@bench.command()
def circuit(
    ten: Annotated[bool, typer.Option("--ten", help="The circuit for ten windows instead of one.")] = False,
    windows: Annotated[int, typer.Option(min=10, help="To compare circuit and float network on.")] = 100,
    candles: Annotated[Path | None, typer.Option(help="Windows of this file instead of a simulated market.")] = None,
    only: Annotated[str | None, typer.Option(help="Some candidates beside the released one, comma separated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the table here, as Markdown.")] = None,
    model: Model = None,
    as_json: JsonFlag = False,
) -> None:
    """Search the circuit's settings for the best, and say why it is picked (`train` extra)."""
    from app.bench.candidates import chosen, joint_candidates, single_candidates
    from app.bench.search import search_circuits
    from app.bench.table import circuit_table
    from app.training.circuit import JOINT

    settings = read_settings()
    candidates = chosen(joint_candidates() if ten else single_candidates(), names(only))
    document = search_circuits(
        released(settings, model),
        candidates,
        joint=JOINT.windows if ten else 1,
        windows=windows,
        candles=candles,
        contracts_dir=settings.contracts_dir,
        cache_dir=settings.var_dir / "bench",
    )
    if out is not None:
        write_text(out, circuit_table(document, as_markdown=True) + "\n")
    if as_json:
        print_json(document)
    else:
        print(circuit_table(document))


def write_text(path: Path, text: str) -> None:
    """Raises `Misconfigured` where the file cannot be written."""
    try:
        path.write_text(text)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}") from error


@bench.command()
def pool(
    proofs: Annotated[int, typer.Option(min=10, help="Proofs in a row, for each number of workers.")] = 500,
    workers: Annotated[str, typer.Option(help="Numbers of workers, comma separated.")] = "1,2",
    model: Model = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure proofs back to back: lost ones, throughput, memory. Exit code 1 when one was lost."""
    from app.bench.inputs import market_windows
    from app.bench.sustained import as_text, bench_pool
    from app.features.variation import VariationSpec
    from app.progress import watched
    from app.wiring import limits

    settings = read_settings()
    judged = released(settings, model)
    spec = VariationSpec.from_manifest(judged.manifest["observation"])
    observations = market_windows(spec, _DIFFERENT_WINDOWS).at_scale(spec.input_scale).tolist()
    with watched("bench pool") as say:
        found = bench_pool(
            lambda made: made.serving_keys(settings.var_dir, judged.circuit, *settings.srs_choice),
            observations,
            limits(settings),
            proofs=proofs,
            workers=_numbers(workers),
            say=lambda count: lambda step: say(f"{count} worker(s), {step}"),
        )
    _show(found, as_json, as_text)
    if any(run["lost"] for run in found["runs"]):
        raise typer.Exit(1)


@bench.command(epilog=examples("veriregime bench serving --only latest,streams --json"))
def serving(
    ticks: Annotated[int, typer.Option(min=1, help="Windows to wait for.")] = 60,
    speed: Annotated[float, typer.Option(min=0.1, max=60, help="How much faster than real time the market runs.")] = 20,
    only: Annotated[str | None, typer.Option(help="Some parts, comma separated: ticks,latest,streams,load.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Of each stretch of `load`.")] = 60,
    as_json: JsonFlag = False,
) -> None:
    """Measure what consumers meet, and what load does to ticks. Exit code 1 when anything fell short.

    From the end of a minute to its proved forecast over HTTP; `latest` beside a bare route that gives the same bytes;
    a thousand clients of the stream. With --only load: ticks while as much is asked as can be answered.
    """
    from app.bench.serving import Effort, bench_serving
    from app.bench.serving_text import as_text
    from app.progress import watched

    with watched("bench serving") as say:
        found = bench_serving(read_settings(), Effort(ticks=ticks, speed=speed, busy_s=seconds), say, names(only))
    _show(found, as_json, as_text)
    whole, holds = found.get("streams", {}).get("whole", True), found.get("load", {}).get("holds", True)
    if found.get("ticks", ticks) < ticks or not (whole and holds):
        raise typer.Exit(1)


@bench.command(epilog=examples("veriregime bench soak --hours 6 --speed 30 --json"))
def soak(
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of the market to run for.")] = 6,
    speed: Annotated[float, typer.Option(min=1, max=60, help="How much faster than real time the market runs.")] = 30,
    feeds: Annotated[str | None, typer.Option(help="Feeds instead of the demo's, comma separated.")] = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 3,
    as_json: JsonFlag = False,
) -> None:
    """Run the whole system for hours, and look at what grows. Exit code 1 when something does that must not.

    Memory, files, threads and processes of every role, growth of the database against what is documented, windows
    missed. It takes --hours divided by --speed, and a GiB of memory.
    """
    from app.bench.soak import SoakEffort, bench_soak
    from app.bench.soak_text import as_text
    from app.progress import watched

    effort = SoakEffort(hours=hours, speed=speed, every_s=every)
    with watched("bench soak") as say:
        found = bench_soak(read_settings(), effort, names(feeds, "--feeds") or [], say)
    _show(found, as_json, as_text)
    if not found["passed"]:
        raise typer.Exit(1)


@bench.command(epilog=examples("veriregime bench capacity --feeds 100 --days 365 --json"))
def capacity(
    feeds: Annotated[int, typer.Option(min=1, max=1000, help="Feeds of the simulated year.")] = 100,
    days: Annotated[int, typer.Option(min=0, max=366, help="To simulate; 0 for the formulas alone.")] = 365,
    constants: Annotated[
        Path | None, typer.Option(help="JSON of a former run to take the constants from, instead of measuring.")
    ] = None,
    provers: Annotated[int, typer.Option(min=0, help="Proofs at once, a core each; 0 for as many as it takes.")] = 0,
    pipelines: Annotated[int, typer.Option(min=0, help="Processes that tick; 0 for as many as it takes.")] = 0,
    seed: Annotated[int, typer.Option(help="Of markets and troubles: the same seed is the same year.")] = 0,
    model: Model = None,
    as_json: JsonFlag = False,
) -> None:
    """Reckon what many feeds take, and simulate a year of them against that.

    Constants are measured here first, which takes some two minutes: proofs, ticks, requests, gas. docs/scaling.md has
    the formulas.
    """
    from app.bench.capacity import CapacityEffort, bench_capacity
    from app.bench.capacity_text import as_text
    from app.progress import watched

    settings = read_settings()
    effort = CapacityEffort(feeds=feeds, days=days, provers=provers, pipelines=pipelines, seed=seed)
    with watched("bench capacity") as say:
        found = bench_capacity(settings, released(settings, model), effort, constants, say)
    _show(found, as_json, as_text)


@bench.command()
def agreement(
    candles: Annotated[Path, typer.Option(help="One-minute candles, .parquet or .csv.")],
    windows: Annotated[int, typer.Option(min=10, help="Windows, evenly over the file.")] = 10_000,
    model: Model = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare the float network with witnesses of the circuit, in regime and accuracy."""
    from app.bench.agreement import as_text, bench_agreement
    from app.progress import watched
    from app.proving.cores import usable_cores
    from app.wiring import open_pool

    settings = read_settings()
    judged = released(settings, model)
    with watched("bench agreement") as say, open_pool(settings, usable_cores()) as provers:
        keys = provers.serving_keys(settings.var_dir, judged.circuit, *settings.srs_choice)
        found = bench_agreement(judged, keys, provers, candles, windows, say)
    _show(found, as_json, as_text)


@bench.command()
def candles(
    days: Annotated[int, typer.Option(min=8, max=366, help="How long a history to fill the database with.")] = 30,
    database_url: Annotated[
        str | None, typer.Option(help="An empty database, emptied again, instead of a new SQLite file.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure the candle store: reading a week, adding a minute, pruning, room on disk."""
    from app.bench.candles import as_text, bench_candles, scratch_database
    from app.progress import watched

    with (
        watched("bench candles") as say,
        scratch_database(read_settings().var_dir / "bench", database_url) as database,
    ):
        found = bench_candles(database, days=days, say=say)
    _show(found, as_json, as_text)


def _show(found: dict[str, Any], as_json: bool, as_text: Callable[[dict[str, Any]], str]) -> None:
    if as_json:
        print_json(found)
    else:
        print(as_text(found))


def _numbers(option: str) -> list[int]:
    try:
        found = [int(part) for part in option.split(",")]
    except ValueError:
        found = []
    if not found or not all(1 <= number <= 64 for number in found):
        raise BadInput(f"--workers {option!r}: numbers from 1 to 64, comma separated")
    return found


def names(option: str | None, called: str = "--only") -> list[str] | None:
    """What a comma separated option lists; none without the option. Raises `BadInput` when it lists nothing."""
    if option is None:
        return None
    listed = [part.strip() for part in option.split(",") if part.strip()]
    if not listed:
        raise BadInput(f"{called} names nothing")
    return listed


def released(settings: Settings, name: str | None) -> ReleasedModel:
    from app.inference.release import load_models
    from app.training.evaluate import choose_model

    return choose_model(load_models(settings.models_dir), settings.models_dir, name)
