"""``veriregime keys …``: build the keys of the released models, and look over those that are here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.srs import released_circuits, warn_of_development
from app.cli.terminal import JsonFlag, examples, print_json, read_settings
from app.errors import UnknownModel

if TYPE_CHECKING:
    from app.proving.keys import KeysRecord
    from app.proving.srs import Srs
    from app.settings import Settings
    from app.types import Circuit, Keys

keys = typer.Typer(help="Build and look over the keys of the released models.", no_args_is_help=True)


@keys.command(epilog=examples("veriregime keys build"))
def build(
    model: Annotated[str | None, typer.Option(help="A released model's name; all by default.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Build the keys under the most trustworthy SRS that is here.

    Those that are here and intact are left as they are. Without an SRS a development one is made first.
    """
    from app.progress import watched
    from app.proving.keys import ensure_keys
    from app.proving.srs import serving_srs

    settings = read_settings()
    strings, built = [], []
    with watched("keys build") as say:
        for name, circuit in _circuits(settings, model):
            say(f"{name}, {circuit.windows} window(s) a proof")
            srs = serving_srs(settings.var_dir / "srs", circuit.logrows, *settings.srs_choice)
            strings.append(srs)
            built.append(_built(name, ensure_keys(settings.var_dir / "keys", circuit, srs), srs))
    warn_of_development(list(dict.fromkeys(strings)))
    if as_json:
        print_json(built)
        return
    for row in built:
        print(f"{_subject(row)}: vk {row['vk_hash']} under a {row['srs_origin']} SRS, in {row['folder']}")


@keys.command(epilog=examples("veriregime keys info --json"))
def info(as_json: JsonFlag = False) -> None:
    """Show the keys that are here. Exit code 1 when some are damaged: `keys build` makes those in use anew."""
    from app.proving.keys import read_keys_records

    settings = read_settings()
    folder = settings.var_dir / "keys"
    here = {circuit.compiled_sha256: (name, circuit.windows) for name, circuit in released_circuits(settings)}
    found = [_facts(record, here) for record in read_keys_records(folder)]
    if as_json:
        print_json(found)
    elif not found:
        print(f"no keys in {folder} yet: veriregime keys build")
    else:
        print("\n".join(_line(facts) for facts in found))
    if not all(facts["intact"] for facts in found):
        raise typer.Exit(1)


def _built(name: str, made: Keys, srs: Srs) -> dict[str, Any]:
    return {
        "model": name,
        "windows": made.circuit.windows,
        "folder": made.vk.parent,
        "vk_hash": made.vk_hash,
        "srs_sha256": srs.sha256,
        "srs_origin": srs.origin,
        "logrows": made.circuit.logrows,
    }


def _circuits(settings: Settings, model: str | None) -> list[tuple[str, Circuit]]:
    circuits = released_circuits(settings)
    names = dict.fromkeys(name for name, _ in circuits)
    if model is not None and model not in names:
        raise UnknownModel(f"{model!r} is not among the released models {', '.join(names)}")
    return [(name, circuit) for name, circuit in circuits if model in (None, name)]


def _subject(facts: dict[str, Any]) -> str:
    return f"{facts['model']}, {facts['windows']} window{'s' * (facts['windows'] != 1)} a proof"


def _facts(record: KeysRecord, here: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    stated = record.stated
    model, windows = here.get(stated.get("circuit_sha256", ""), (None, None))
    return {
        "folder": record.folder,
        "intact": record.intact,
        "model": model,
        "windows": windows,
        "circuit_sha256": stated.get("circuit_sha256"),
        "vk_hash": stated.get("vk.key"),
        "srs_sha256": stated.get("srs_sha256"),
        "srs_origin": stated.get("srs_origin"),
        "logrows": stated.get("logrows"),
        "ezkl_version": stated.get("ezkl_version"),
    }


def _line(facts: dict[str, Any]) -> str:
    state = "intact" if facts["intact"] else "DAMAGED"
    if facts["circuit_sha256"] is None:
        return f"{state:8} {facts['folder']}: its keys.json cannot be read"
    subject = _subject(facts) if facts["model"] else "of no model that is here"
    return (
        f"{state:8} {facts['folder']}\n"
        f"         {subject}, circuit {facts['circuit_sha256'][:16]}, "
        f"k = {facts['logrows']}, ezkl {facts['ezkl_version']}\n"
        f"         vk {facts['vk_hash']}\n"
        f"         SRS {facts['srs_sha256']} ({facts['srs_origin']})"
    )
