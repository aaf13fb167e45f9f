"""Files that are damaged under a service at work: keys are built again, the rest is refused in words; nobody dies."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.errors import ProverUnavailable, SrsInvalid
from app.features.variation import INPUTS
from app.inference.release import ReleasedModel
from app.proving import engine
from app.proving.keys import ensure_keys, mend_keys, read_keys_records
from app.proving.pool import Limits, ProverPool
from app.proving.srs import development_srs, serving_srs
from app.types import Keys

OBSERVATION = (0,) * INPUTS
Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "empty": lambda whole: b"",
    "cut-short": lambda whole: whole[: len(whole) // 2],
    "one-bit": lambda whole: (
        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]
    ),
}


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("var")


@pytest.fixture(scope="module")
def keys(var: Path, model: ReleasedModel) -> Keys:
    return ensure_keys(var / "keys", model.circuit, serving_srs(var / "srs", model.circuit.logrows))


@pytest.fixture(scope="module")
def pool() -> Iterator[ProverPool]:
    with ProverPool(1, Limits()) as pool:
        yield pool


@pytest.fixture
def put_back(keys: Keys) -> Iterator[None]:
    whole = keys.srs.read_bytes()
    yield
    keys.srs.write_bytes(whole)


def test_proving_key_damaged_between_proofs__is_built_again_by_the_same_process(pool: ProverPool, keys: Keys) -> None:
    pool.prove(keys, OBSERVATION)
    workers, whole = pool.process_ids(), keys.pk.read_bytes()
    keys.pk.write_bytes(DAMAGES["cut-short"](whole))
    assert pool.prove(keys, OBSERVATION).vk_hash == keys.vk_hash
    assert keys.pk.read_bytes() == whole
    assert pool.process_ids() == workers


@pytest.mark.parametrize(
    ("name", "damage"),
    [("vk.key", "one-bit"), ("pk.key", "empty"), ("Verifier.sol", "cut-short"), ("keys.json", "cut-short")],
)
def test_mend_keys__any_damaged_file__is_what_it_was_again(keys: Keys, name: str, damage: str) -> None:
    path = keys.pk.with_name(name)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    mend_keys(keys)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.usefixtures("put_back")
def test_prove__under_a_damaged_srs__is_refused_by_its_name(pool: ProverPool, keys: Keys, damage: str) -> None:
    keys.srs.write_bytes(DAMAGES[damage](keys.srs.read_bytes()))
    with pytest.raises(ProverUnavailable, match=r"\.srs is gone or was changed: put back the file with SHA-256"):
        pool.prove(keys, OBSERVATION)


def test_prove__once_the_srs_is_put_back__goes_on(pool: ProverPool, keys: Keys) -> None:
    away = keys.srs.rename(keys.srs.with_suffix(".away"))
    with pytest.raises(ProverUnavailable):
        pool.prove(keys, OBSERVATION)
    away.rename(keys.srs)
    assert pool.prove(keys, OBSERVATION)


def test_prove__with_another_circuit_file__is_refused_by_its_name(pool: ProverPool, keys: Keys, tmp_path: Path) -> None:
    other = Path(shutil.copy(keys.circuit.compiled, tmp_path))
    other.write_bytes(DAMAGES["one-bit"](other.read_bytes()))
    circuit = dataclasses.replace(keys.circuit, compiled=other)
    with pytest.raises(ProverUnavailable, match=r"circuit\.ezkl is gone or was changed"):
        pool.prove(dataclasses.replace(keys, circuit=circuit), OBSERVATION)


def test_keys_for_srs__of_another_size_than_the_circuit__is_refused(pool: ProverPool, var: Path, keys: Keys) -> None:
    small = development_srs(var / "srs", 6)
    with pytest.raises(SrsInvalid, match="is for k = 6, the circuit needs k = 11"):
        pool.keys_for_srs(var, keys.circuit, small.sha256)


def test_ensure_keys__after_a_builder_was_killed__leaves_nothing_of_its(var: Path, keys: Keys) -> None:
    left = keys.pk.parent.parent / ".building-left"
    left.mkdir()
    (left / "pk.key").write_bytes(b"half")
    keys.vk.unlink()
    mend_keys(keys)
    assert not left.exists()
    assert [record.intact for record in read_keys_records(var / "keys")] == [True]


def test_ensure_keys__in_two_processes_at_once__is_built_once(keys: Keys, tmp_path: Path, var: Path) -> None:
    words = (
        "import sys, pathlib; from app.proving.keys import ensure_keys; from app.proving.srs import serving_srs;"
        "from app.inference.release import load_model; var = pathlib.Path(sys.argv[1]);"
        "model = load_model(pathlib.Path(sys.argv[2]));"
        "keys = ensure_keys(var / 'keys', model.circuit, serving_srs(var / 'srs', model.circuit.logrows));"
        "print(keys.pk.stat().st_ino)"
    )
    shutil.copytree(var / "srs", tmp_path / "srs")
    command = [sys.executable, "-c", words, str(tmp_path), str(keys.circuit.compiled.parent)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    assert len({process.communicate(timeout=60)[0] for process in running}) == 1
    assert [process.returncode for process in running] == [0, 0]


def test_mend_keys__of_untouched_files__reads_none_of_them_again(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    mend_keys(keys)
    monkeypatch.setattr(engine, "sha256_file", lambda path: pytest.fail(f"{path} is read again"))
    mend_keys(keys)
