"""SRS files from elsewhere: `.ptau` files that snarkjs made, .srs files, and downloads."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.errors import SrsInvalid, SrsUnavailable
from app.features.variation import INPUTS
from app.inference.release import ReleasedModel
from app.proving import engine
from app.proving.ceremony import SrsOrigin
from app.proving.intake import check_srs_file, fetch_srs, import_srs
from app.proving.keys import ensure_keys, read_keys_records
from app.proving.srs import development_srs, serving_srs, srs_size

ROOT = Path(__file__).resolve().parents[3]
SNARKJS = ROOT / "contracts" / "node_modules" / "snarkjs" / "build" / "cli.cjs"
POWER = 4
OBSERVATION = tuple((index * 37) % 257 - 128 for index in range(INPUTS))


def ceremony(folder: Path, power: int, curve: str = "bn128") -> tuple[Path, Path]:
    """A ceremony of one participant: the `.ptau` before and after `prepare phase2`."""
    new, contributed, prepared = (folder / f"{name}.ptau" for name in ("new", "contributed", "prepared"))
    snarkjs("new", curve, str(power), str(new))
    snarkjs("contribute", str(new), str(contributed), "--name=test", "-e=some entropy")
    snarkjs("prepare", "phase2", str(contributed), str(prepared))
    return contributed, prepared


def snarkjs(*arguments: str) -> None:
    subprocess.run(["node", SNARKJS, "powersoftau", *arguments], check=True, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def ptaus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return ceremony(tmp_path_factory.mktemp("ceremony"), POWER)


@pytest.fixture(scope="module")
def prepared(ptaus: tuple[Path, Path]) -> Path:
    return ptaus[1]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .srs file that ezkl made elsewhere."""
    return development_srs(tmp_path_factory.mktemp("elsewhere"), 6).path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "srs"


def section(raw: bytes, wanted: int) -> int:
    """Where the content of a section of a `.ptau` begins."""
    at = 12
    while int.from_bytes(raw[at : at + 4], "little") != wanted:
        at += 12 + int.from_bytes(raw[at + 4 : at + 12], "little")
    return at + 12


def flipped(source: Path, place: int, target: Path) -> Path:
    raw = bytearray(source.read_bytes())
    raw[place] ^= 1
    target.write_bytes(raw)
    return target


@pytest.mark.slow
def test_ptau__at_the_models_size__serves_keys_whose_proofs_verify(
    tmp_path: Path, folder: Path, model: ReleasedModel
) -> None:
    _, prepared = ceremony(tmp_path, model.circuit.logrows)
    (imported,) = import_srs(prepared, folder, needed=[model.circuit.logrows])
    trusted = (imported.sha256,)
    srs = serving_srs(folder, model.circuit.logrows, trusted)
    assert (srs.sha256, srs.origin) == (imported.sha256, SrsOrigin.TRUSTED)
    keys = ensure_keys(tmp_path / "keys", model.circuit, srs)
    assert not keys.srs_is_development
    proof = engine.prove(keys, OBSERVATION)
    assert engine.verify(keys, proof.proof, proof.instances)
    (record,) = read_keys_records(tmp_path / "keys")
    assert record.intact
    assert record.stated["srs_origin"] == "trusted"
    assert record.stated["srs_sha256"] == imported.sha256


def test_ptau__is_kept_once_for_each_size_asked(prepared: Path, folder: Path) -> None:
    strings = import_srs(prepared, folder, [POWER, 1], needed=[11])
    assert [srs.logrows for srs in strings] == [1, POWER]
    assert {srs.path for srs in strings} == set(folder.glob("*.srs"))
    assert all(srs.path.stem == srs.sha256 for srs in strings)


def test_ptau__where_no_size_is_asked__is_kept_for_those_needed_that_it_is_large_enough_for(
    prepared: Path, folder: Path
) -> None:
    assert [srs.logrows for srs in import_srs(prepared, folder, needed=[11, 3])] == [3]


def test_ptau__imported_twice__is_the_same(prepared: Path, folder: Path) -> None:
    assert import_srs(prepared, folder, [POWER]) == import_srs(prepared, folder, [POWER])


def test_ptau__is_noted_beside_what_was_made_of_it(prepared: Path, folder: Path) -> None:
    (srs,) = import_srs(prepared, folder, [POWER])
    note = json.loads(srs.path.with_suffix(".json").read_text())
    assert note == {
        "source": "ptau",
        "blake2b": hashlib.blake2b(prepared.read_bytes()).hexdigest(),
        "power": POWER,
    }


def test_ptau__of_a_ceremony_that_is_not_on_the_list__is_of_unknown_origin(prepared: Path, folder: Path) -> None:
    (srs,) = import_srs(prepared, folder, [POWER])
    assert srs.origin is SrsOrigin.DEVELOPMENT


def test_ptau__is_told_by_its_content_not_its_name(prepared: Path, tmp_path: Path, folder: Path) -> None:
    renamed = shutil.copyfile(prepared, tmp_path / "kzg4.srs")
    assert import_srs(renamed, folder, [POWER])


def test_ptau__not_prepared_for_phase_2__is_refused(ptaus: tuple[Path, Path], folder: Path) -> None:
    with pytest.raises(SrsInvalid, match="not prepared for phase 2"):
        import_srs(ptaus[0], folder, [POWER])
    assert not folder.exists()


def test_ptau__smaller_than_needed__is_refused(prepared: Path, folder: Path) -> None:
    with pytest.raises(SrsInvalid, match=r"2\^4 points and 2\^11 are needed"):
        import_srs(prepared, folder, needed=[11])


@pytest.mark.parametrize("length", [10, 100, 5000, -1])
def test_ptau__cut_short__is_refused(prepared: Path, tmp_path: Path, folder: Path, length: int) -> None:
    short = tmp_path / "short.ptau"
    short.write_bytes(prepared.read_bytes()[:length])
    with pytest.raises(SrsInvalid, match=r"cut short|no section|version"):
        import_srs(short, folder, [POWER])
    assert not folder.exists()


def test_ptau__of_another_curve__is_refused(tmp_path: Path, folder: Path) -> None:
    new = tmp_path / "new.ptau"
    snarkjs("new", "bls12-381", "1", str(new))
    with pytest.raises(SrsInvalid, match="BN254"):
        import_srs(new, folder, [1])


@pytest.mark.parametrize(
    ("number", "offset", "reason"),
    [
        (1, 0, "BN254"),
        (1, 4, "BN254"),
        (1, 36, "cannot hold"),
        (2, -12, "section 3 twice"),
        (2, -8, "cut short|section"),
        (2, 0, "monomial base"),
        (2, 16 * 64 - 1, "monomial base"),
        (3, 0, "G2"),
        (3, 255, "s·G2"),
        (12, 15 * 64, "Lagrange base"),
        (12, 31 * 64 - 1, "Lagrange base"),
    ],
)
def test_ptau__with_a_byte_changed_where_it_matters__is_refused(
    prepared: Path, tmp_path: Path, folder: Path, number: int, offset: int, reason: str
) -> None:
    place = section(prepared.read_bytes(), number) + offset
    with pytest.raises(SrsInvalid, match=reason):
        import_srs(flipped(prepared, place, tmp_path / "flipped.ptau"), folder, [POWER])
    assert not folder.exists()


def test_srs__sound__is_kept_under_its_hash(sound: Path, folder: Path) -> None:
    (srs,) = import_srs(sound, folder, needed=[6, 11])
    assert srs.path == folder / f"{hashlib.sha256(sound.read_bytes()).hexdigest()}.srs"
    assert [path.name for path in folder.iterdir()] == [srs.path.name]


def test_srs__for_another_size_than_asked__is_refused(sound: Path, folder: Path) -> None:
    with pytest.raises(SrsInvalid, match="k = 6, not 11"):
        import_srs(sound, folder, [11])


@pytest.mark.parametrize(
    "place", [0, 1, 3, 4, 67, 68, 4 + 64 * 64 - 1, 4 + 64 * 64, 4 + 128 * 64 - 1, -256, -129, -128, -1]
)
def test_srs__with_a_byte_changed__is_refused_and_not_kept(
    sound: Path, tmp_path: Path, folder: Path, place: int
) -> None:
    with pytest.raises(SrsInvalid, match="is refused"):
        import_srs(flipped(sound, place, tmp_path / "flipped.srs"), folder)
    assert not folder.exists()


def test_srs__checked_where_it_lies__names_its_size(sound: Path, tmp_path: Path) -> None:
    assert check_srs_file(sound) == 6
    with pytest.raises(SrsInvalid, match="s·G2"):
        check_srs_file(flipped(sound, -1, tmp_path / "flipped.srs"))


@pytest.mark.parametrize("content", [b"", b"\x0b", b"PK\3\4 something else", b"ptau"])
def test_file__that_is_no_srs__is_refused(tmp_path: Path, folder: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(SrsInvalid, match="is refused"):
        import_srs(path, folder, [1])


def test_file__that_is_not_there__is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(SrsUnavailable, match=r"none\.srs cannot be read"):
        import_srs(tmp_path / "none.srs", folder)


@contextmanager
def answering(status: int, content: bytes) -> Iterator[str]:
    """A server that gives the same answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_fetch__forbidden__says_what_to_do_instead(folder: Path) -> None:
    with (
        answering(403, b"") as url,
        pytest.raises(SrsUnavailable, match=r"answered 403.*srs import FILE.*hez_final_11"),
    ):
        fetch_srs(folder, 11, url)


def test_fetch__of_a_sound_srs_that_is_not_the_public_one__is_refused(sound: Path, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    with (
        answering(200, sound.read_bytes()) as url,
        pytest.raises(SrsInvalid, match=r"its SHA-256 is .* the public file's is 85030b29"),
    ):
        fetch_srs(folder, 6, url + "/", lambda done, total: seen.append((done, total)))
    assert seen[-1] == (srs_size(6), srs_size(6))
    assert not folder.exists()


def test_fetch__longer_than_the_public_file__is_refused(folder: Path) -> None:
    with answering(200, bytes(srs_size(6) + 1)) as url, pytest.raises(SrsInvalid, match="longer than"):
        fetch_srs(folder, 6, url)


def test_fetch__from_nowhere__says_what_to_do_instead(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(SrsUnavailable, match=r"does not answer \(ConnectionError\).*srs import FILE"):
        fetch_srs(folder, 6, f"http://127.0.0.1:{port}")


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def veriregime(tmp_path: Path) -> Run:
    """The command line, on an installation of its own."""
    environment = {**os.environ, "VERIREGIME_VAR_DIR": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120)

    return run


def test_command_srs_dev__says_loudly_what_it_made(veriregime: Run, folder: Path) -> None:
    made = veriregime("srs", "dev", "--logrows", "6", "--json")
    assert json.loads(made.stdout)[0]["origin"] == "development"
    assert "DEVELOPMENT SRS" in made.stderr
    assert (folder / "dev-k6.srs").is_file()


@pytest.mark.parametrize("logrows", ["0", "21"])
def test_command_srs_dev__of_a_size_that_cannot_be__is_bad_usage(veriregime: Run, logrows: str) -> None:
    assert veriregime("srs", "dev", "--logrows", logrows).returncode == 2


def test_command_srs_import__then_info__shows_the_file(veriregime: Run, prepared: Path, folder: Path) -> None:
    imported = veriregime("srs", "import", str(prepared), "--logrows", str(POWER))
    assert imported.returncode == 0
    assert "UNKNOWN ORIGIN" in imported.stderr
    (shown,) = json.loads(veriregime("srs", "info", "--check", "--json").stdout)
    assert (shown["logrows"], shown["origin"], shown["points_checked"]) == (POWER, "development", True)
    assert shown["bytes"] == srs_size(POWER)


def test_command_srs_import__refused__is_one_line_and_exit_code_2(veriregime: Run, ptaus: tuple[Path, Path]) -> None:
    refused = veriregime("srs", "import", str(ptaus[0]))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "not prepared for phase 2" in refused.stderr


def test_command_srs_info__damaged_file__is_exit_code_1(veriregime: Run, sound: Path, folder: Path) -> None:
    (srs,) = import_srs(sound, folder)
    flipped(srs.path, 100, srs.path)
    shown = veriregime("srs", "info")
    assert shown.returncode == 1
    assert "damaged" in shown.stdout


def test_command_keys__build_then_info__shows_them_intact_until_they_are_damaged(
    veriregime: Run, model: ReleasedModel
) -> None:
    built = veriregime("keys", "build", "--model", model.name, "--json")
    made = json.loads(built.stdout)
    assert "DEVELOPMENT SRS" in built.stderr
    shown = json.loads(veriregime("keys", "info", "--json").stdout)
    assert {(row["intact"], row["model"]) for row in shown} == {(True, model.name)}
    assert {row["vk_hash"] for row in shown} == {row["vk_hash"] for row in made}
    pk = Path(made[0]["folder"]) / "pk.key"
    flipped(pk, 1000, pk)
    damaged = veriregime("keys", "info")
    assert damaged.returncode == 1
    assert "DAMAGED" in damaged.stdout


def test_command_keys_build__of_a_model_that_is_not_here__names_those_that_are(
    veriregime: Run, model: ReleasedModel
) -> None:
    refused = veriregime("keys", "build", "--model", "none")
    assert refused.returncode == 2
    assert model.name in refused.stderr


def test_srs__of_a_size_that_no_model_needs__is_refused_unless_asked_for(tmp_path: Path, folder: Path) -> None:
    other = development_srs(tmp_path / "made", 5)
    with pytest.raises(SrsInvalid, match=r"it is for k = 5, the released models need k = 11 and 15 \(--logrows 5 "):
        import_srs(other.path, folder, needed=[11, 15])
    assert not list(folder.glob("*.srs"))
    (kept,) = import_srs(other.path, folder, [5], needed=[11, 15])
    assert kept.logrows == 5
