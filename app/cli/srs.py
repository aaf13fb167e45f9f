"""``veriregime srs …``: make, bring, download and look over structured reference strings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.terminal import JsonFlag, examples, print_json, read_settings
from app.errors import SrsInvalid, SrsUnavailable
from app.proving.ceremony import LARGEST_LOGROWS, PUBLIC_SRS_URL

if TYPE_CHECKING:
    from app.proving.srs import Srs
    from app.settings import Settings
    from app.types import Circuit

srs = typer.Typer(help="Make, bring and look over the SRS behind the keys.", no_args_is_help=True)

Logrows = Annotated[
    list[int] | None,
    typer.Option(
        "--logrows",
        "-k",
        min=1,
        max=LARGEST_LOGROWS,
        help="For 2^K rows; what the released models need by default. Repeatable.",
    ),
]


@srs.command(epilog=examples("veriregime srs dev -k 11"))
def dev(logrows: Logrows = None, as_json: JsonFlag = False) -> None:
    """Make this installation's development SRS, for trying only.

    Its secret was in this machine's memory, so proofs under it convince nobody else, and no real chain is sent one.
    """
    from app.progress import watched
    from app.proving.srs import development_srs

    settings, made = read_settings(), []
    with watched("srs dev") as say:
        for k in logrows or needed_logrows(settings):
            say(f"k = {k}")
            made.append(development_srs(_folder(settings), k))
    _show(made, as_json)


@srs.command(epilog=examples("veriregime srs fetch", "veriregime srs fetch -k 11 -k 15"))
def fetch(
    logrows: Logrows = None,
    url: Annotated[str, typer.Option(help="Base URL of kzg{K}.srs.")] = PUBLIC_SRS_URL,
    as_json: JsonFlag = False,
) -> None:
    """Download the public SRS that ezkl uses, and keep it when it has the published SHA-256."""
    from app.proving.intake import fetch_srs

    settings = read_settings()
    fetched = []
    for k in logrows or needed_logrows(settings):
        with _download_progress(k) as progress:
            fetched.append(fetch_srs(_folder(settings), k, url, progress))
    _show(fetched, as_json)


@srs.command("import", epilog=examples("veriregime srs import powersOfTau28_hez_final_14.ptau"))
def import_(
    file: Annotated[Path, typer.Argument(help="A .srs file, or a .ptau file that is prepared for phase 2.")],
    logrows: Logrows = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every point of an SRS from elsewhere, and keep it; a .ptau is converted.

    A wrong file is refused. Some seconds for the sizes of the released models.
    """
    from app.progress import watched

    settings = read_settings()
    with watched("srs import") as say:
        say(f"checking every point of {file}")
        kept = bring_srs(file, settings, logrows or ())
    _show(kept, as_json)
    for k in () if logrows else sorted({*needed_logrows(settings)} - {one.logrows for one in kept}):
        print(f"veriregime: this was not for k = {k}, which the released models need too", file=sys.stderr)


@srs.command(epilog=examples("veriregime srs info --check --json"))
def info(
    file: Annotated[Path | None, typer.Argument(help="One .srs file; all that are kept here by default.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Check every point: some seconds for each file.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show which SRS files are here, and how far each can be trusted. Exit code 1 when one is damaged."""
    from app.progress import watched
    from app.proving.srs import srs_files

    settings, found = read_settings(), []
    with watched("srs info") as say:
        for path in [file] if file else srs_files(_folder(settings)):
            say(f"{'checking every point of' if check else 'reading'} {path}")
            found.append(_facts(path, settings, check))
    if as_json:
        print_json(found)
    elif not found:
        print(f"no SRS in {_folder(settings)} yet: veriregime srs fetch, import or dev")
    else:
        print("\n".join(_line(facts) for facts in found))
    if any("damaged" in facts for facts in found):
        raise typer.Exit(1)


def bring_srs(file: Path, settings: Settings, logrows: list[int] | tuple[()] = ()) -> list[Srs]:
    """Check an SRS file and keep it under its hash, where keys and audits look for it."""
    from app.proving.intake import import_srs

    needed = needed_logrows(settings)
    return import_srs(file, _folder(settings), logrows, needed=needed, trusted=settings.trusted_srs)


def needed_logrows(settings: Settings) -> list[int]:
    """The sizes that the released models need."""
    return sorted({circuit.logrows for _, circuit in released_circuits(settings)})


def released_circuits(settings: Settings) -> list[tuple[str, Circuit]]:
    """Every released circuit with its model's name: for one window, and for several at once where there is one."""
    from app.inference.release import load_models

    models = load_models(settings.models_dir).values()
    return [(model.name, circuit) for model in models for circuit in (model.circuit, model.batch) if circuit]


def warn_of_development(strings: list[Srs]) -> None:
    """On stderr, once for each: nobody should overlook this."""
    for one in strings:
        if one.is_development:
            print(f"veriregime: WARNING: {_development_warning(one)}", file=sys.stderr)


def _development_warning(one: Srs) -> str:
    if one.path.name == f"dev-k{one.logrows}.srs":
        return (
            f"{one.path} is a DEVELOPMENT SRS. This machine knew its secret, and whoever knows it can forge any proof: "
            "proofs under it convince nobody else, and no real chain is sent one. Before real use: "
            "veriregime srs fetch, or import a public ceremony's file"
        )
    return (
        f"{one.path} is of UNKNOWN ORIGIN: whoever made it may know its secret and forge any proof. Audits can use it. "
        f"To prove under it all the same: VERIREGIME_USE_SRS={one.sha256}. If you trust the ceremony it comes from: "
        f"VERIREGIME_TRUSTED_SRS={one.sha256}"
    )


def _folder(settings: Settings) -> Path:
    return settings.var_dir / "srs"


def _facts(path: Path, settings: Settings, check: bool) -> dict[str, Any]:
    from app.proving.intake import check_srs_file
    from app.proving.srs import read_srs

    try:
        found = read_srs(path, settings.trusted_srs)
        if check:
            check_srs_file(path)
    except (SrsInvalid, SrsUnavailable) as error:
        return {"path": path, "damaged": str(error)}
    return {**_described(found), "bytes": path.stat().st_size, "points_checked": check}


def _described(one: Srs) -> dict[str, Any]:
    return {"path": one.path, "logrows": one.logrows, "origin": one.origin, "sha256": one.sha256}


def _line(facts: dict[str, Any]) -> str:
    if "damaged" in facts:
        return f"damaged: {facts['damaged']}"
    checked = ", every point checked" if facts.get("points_checked") else ""
    return f"k = {facts['logrows']}  {facts['origin']:11}  SHA-256 {facts['sha256']}  {facts['path']}{checked}"


def _show(strings: list[Srs], as_json: bool) -> None:
    warn_of_development(strings)
    if as_json:
        print_json([_described(one) for one in strings])
    else:
        print("\n".join(_line(_described(one)) for one in strings))


@contextmanager
def _download_progress(logrows: int) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress

    console = Console(stderr=True)
    bar = Progress("kzg{task.fields[k]}.srs", BarColumn(), DownloadColumn(), console=console, transient=True)
    bar.disable = not console.is_terminal
    with bar:
        task = bar.add_task("download", total=None, k=logrows)
        yield lambda done, total: bar.update(task, completed=done, total=total)
