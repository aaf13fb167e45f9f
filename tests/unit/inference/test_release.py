from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import ModelFolderInvalid, UnknownModel
from app.inference.release import (
    COMPILED,
    MANIFEST,
    NETWORK,
    OUTPUTS,
    SETTINGS,
    ReleasedModel,
    canonical_json,
    load_model,
    load_models,
    manifest_id,
    model_by_id,
)

FILES = (NETWORK, SETTINGS, COMPILED)
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(model: ReleasedModel, tmp_path: Path) -> Path:
    """A copy of the released model that may be damaged."""
    return Path(shutil.copytree(model.folder, tmp_path / "models" / model.folder.name))


@pytest.fixture
def change_manifest(folder: Path) -> Callable[[Change], None]:
    def rewrite(change: Change) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        change(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return rewrite


def test_load_model__released_folder__is_what_its_manifest_says(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    model = load_model(folder)
    assert (model.name, model.feeds, model.manifest) == (manifest["name"], tuple(manifest["feeds"]), manifest)


def test_load_model__circuit__carries_the_manifests_numbers(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    circuit = load_model(folder).circuit
    told = (circuit.logrows, circuit.proof_bytes, circuit.input_scale, circuit.compiled_sha256)
    assert told == (
        manifest["circuit"]["logrows"],
        manifest["circuit"]["proof_bytes"],
        manifest["observation"]["input_scale"],
        manifest["files"][COMPILED],
    )


def test_load_model__tolerance__has_one_number_per_output(folder: Path) -> None:
    tolerance = load_model(folder).tolerance
    assert len(tolerance) == len(OUTPUTS)
    assert min(tolerance) > 0


def test_load_model__copied_elsewhere__keeps_its_id(folder: Path, model: ReleasedModel) -> None:
    assert load_model(folder).model_id == model.model_id


def test_load_model__manifest_written_in_another_layout__keeps_its_id(folder: Path, model: ReleasedModel) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(dict(reversed(manifest.items())), indent=8))
    assert load_model(folder).model_id == model.model_id


def test_load_model__any_other_word_in_the_manifest__is_another_id(
    folder: Path, model: ReleasedModel, change_manifest: Callable[[Change], None]
) -> None:
    change_manifest(lambda manifest: manifest.update(seed=-1))
    assert load_model(folder).model_id != model.model_id


@pytest.mark.parametrize("name", FILES)
def test_load_model__one_byte_more__is_refused_with_both_hashes_and_the_remedy(folder: Path, name: str) -> None:
    stated = json.loads((folder / MANIFEST).read_text())["files"][name]
    with (folder / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ModelFolderInvalid) as caught:
        load_model(folder)
    words = str(caught.value)
    assert words.startswith(f"{folder / name} has SHA-256 ")
    assert f"but its manifest says {stated[:16]}…: restore the released file (git checkout models)" in words


@pytest.mark.parametrize("name", FILES)
def test_load_model__one_bit_flipped__is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFolderInvalid, match="but its manifest says"):
        load_model(folder)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_load_model__file_missing__is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFolderInvalid) as caught:
        load_model(folder)
    assert str(caught.value) == f"{folder / name} cannot be read: No such file or directory"


@pytest.mark.parametrize("content", [b"", b"not json", b"\xff\xfe", b'{"format":'])
def test_load_model__manifest_that_is_not_json__is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ModelFolderInvalid, match=r"manifest\.json is not JSON"):
        load_model(folder)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"format": "veriregime-model/2"}'])
def test_load_model__manifest_of_another_format__is_refused(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    with pytest.raises(ModelFolderInvalid, match="is not a veriregime-model/1 manifest"):
        load_model(folder)


@pytest.mark.parametrize("name", ["name", "files", "outputs", "circuit", "observation"])
def test_load_model__manifest_without_an_entry__is_refused_by_name(
    folder: Path, change_manifest: Callable[[Change], None], name: str
) -> None:
    change_manifest(lambda manifest: manifest.pop(name))
    with pytest.raises(ModelFolderInvalid, match=f"lacks or misstates '{name}'"):
        load_model(folder)


@pytest.mark.parametrize("name", FILES)
def test_load_model__manifest_without_a_hash__is_refused_by_name(
    folder: Path, change_manifest: Callable[[Change], None], name: str
) -> None:
    change_manifest(lambda manifest: manifest["files"].pop(name))
    with pytest.raises(ModelFolderInvalid, match=f"lacks or misstates '{name}'"):
        load_model(folder)


@pytest.mark.parametrize("value", [None, "ten", [11]])
def test_load_model__logrows_that_are_no_number__are_refused(
    folder: Path, change_manifest: Callable[[Change], None], value: object
) -> None:
    change_manifest(lambda manifest: manifest["circuit"].update(logrows=value))
    with pytest.raises(ModelFolderInvalid, match="lacks or misstates"):
        load_model(folder)


def test_load_model__outputs_in_another_order__are_refused(
    folder: Path, change_manifest: Callable[[Change], None]
) -> None:
    change_manifest(lambda manifest: manifest["outputs"].update(names=list(reversed(OUTPUTS))))
    with pytest.raises(ModelFolderInvalid, match="outputs must be logit_low, logit_high, ln_vol_annualised"):
        load_model(folder)


def test_load_model__manifest_with_nan__is_refused(folder: Path, change_manifest: Callable[[Change], None]) -> None:
    change_manifest(lambda manifest: manifest.update(threshold=float("nan")))
    with pytest.raises(ModelFolderInvalid, match="lacks or misstates"):
        load_model(folder)


def test_load_model__made_for_another_ezkl__is_refused(folder: Path, change_manifest: Callable[[Change], None]) -> None:
    change_manifest(lambda manifest: manifest.update(ezkl_version="1.0.0"))
    with pytest.raises(ModelFolderInvalid, match="ezkl"):
        load_model(folder)


def test_load_models__a_folder__is_keyed_by_the_names_in_the_manifests(folder: Path, model: ReleasedModel) -> None:
    assert set(load_models(folder.parent)) == {model.name}


def test_load_models__folders_without_manifest__are_passed_over(folder: Path, model: ReleasedModel) -> None:
    (folder.parent / "draft").mkdir()
    assert set(load_models(folder.parent)) == {model.name}


def test_load_models__one_damaged_folder__is_refused(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("damaged"))
    (folder.with_name("damaged") / NETWORK).write_bytes(b"")
    with pytest.raises(ModelFolderInvalid, match="damaged"):
        load_models(folder.parent)


def test_load_models__two_folders_with_one_name__are_refused(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("copy"))
    with pytest.raises(ModelFolderInvalid):
        load_models(folder.parent)


def test_load_models__no_such_folder__names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderInvalid, match="does not exist: point VERIREGIME_MODELS_DIR"):
        load_models(tmp_path / "nothing")


def test_model_by_id__known__is_that_model(models: dict[str, ReleasedModel], model: ReleasedModel) -> None:
    assert model_by_id(models, model.model_id) is model


def test_model_by_id__unknown__is_refused_with_at_most_64_of_its_characters(
    models: dict[str, ReleasedModel],
) -> None:
    with pytest.raises(UnknownModel) as caught:
        model_by_id(models, "f" * 1000)
    assert str(caught.value) == f"no released model here has the id {'f' * 64}"


def test_canonical_json__is_sorted_dense_ascii() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == b'{"a":"\\u00e9","b":[1,2.5]}'


def test_manifest_id__is_sha256_of_the_canonical_json() -> None:
    empty_object = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert manifest_id({}) == empty_object


def test_load_model__manifest_nested_without_end__is_refused(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"[" * 100_000)
    with pytest.raises(ModelFolderInvalid, match=r"manifest\.json is not JSON"):
        load_model(folder)


@pytest.mark.parametrize("name", [MANIFEST, COMPILED])
def test_load_model__file_larger_than_any_release__is_refused_unread(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.truncate(2**27)
    with pytest.raises(ModelFolderInvalid, match="has 134,217,728 bytes, more than the"):
        load_model(folder)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_load_model__link_out_of_the_folder__is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    outside = (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(outside)
    with pytest.raises(ModelFolderInvalid, match=f"{name} is no file of that folder"):
        load_model(folder)


def test_load_model__folder_that_is_a_link__is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder)
    assert load_model(tmp_path / "current").name == load_model(folder).name


@pytest.mark.parametrize(
    "name", ["../elsewhere", "/etc", "a/b", "", ".", "..", "-x", "UPPER", "a\n", "a" * 65, 7, None, "caf\u00e9"]
)
@pytest.mark.parametrize("what", ["name", "feeds"])
def test_load_model__name_that_may_not_stand_in_a_path__is_refused(
    folder: Path, change_manifest: Callable[[Change], None], what: str, name: object
) -> None:
    change_manifest(lambda manifest: manifest.update({what: name if what == "name" else [name]}))
    with pytest.raises(ModelFolderInvalid, match="is no name: small letters"):
        load_model(folder)


@pytest.mark.parametrize("feeds", [[], {}, "btc-usdt-4h", ["btc-usdt-4h"] * 257])
def test_load_model__feeds_that_are_no_short_list__are_refused(
    folder: Path, change_manifest: Callable[[Change], None], feeds: object
) -> None:
    change_manifest(lambda manifest: manifest.update(feeds=feeds))
    with pytest.raises(ModelFolderInvalid, match="feeds must be a list of 1 to 256 names"):
        load_model(folder)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("circuit", "logrows", 29),
        ("circuit", "logrows", True),
        ("circuit", "logrows", "11"),
        ("circuit", "proof_bytes", 10**30),
        ("circuit", "proof_bytes", 0),
        ("batch", "windows", 65),
        ("batch", "windows", 1.5),
        ("observation", "input_scale", -1),
        ("outputs", "scale", 64),
        ("outputs", "tolerance", [0.1, 0.1]),
        ("outputs", "tolerance", [0.1, 0.1, 0]),
        ("outputs", "tolerance", [0.1, 0.1, "x"]),
    ],
)
def test_load_model__number_out_of_all_bounds__is_refused(
    folder: Path, change_manifest: Callable[[Change], None], part: str, field: str, value: object
) -> None:
    change_manifest(lambda manifest: manifest[part].update({field: value}))
    with pytest.raises(ModelFolderInvalid):
        load_model(folder)


@pytest.mark.parametrize("part", ["files", "outputs", "circuit", "batch", "observation", "feeds", "name"])
@pytest.mark.parametrize("value", [None, [], 7, "x" * 100_000, [[]], {}])
def test_load_model__part_of_another_kind__is_refused_in_a_short_line(
    folder: Path, change_manifest: Callable[[Change], None], part: str, value: object
) -> None:
    change_manifest(lambda manifest: manifest.update({part: value}))
    with pytest.raises(ModelFolderInvalid) as caught:
        load_model(folder)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
