"""What a cluster worker takes for a circuit, and what it refuses. Its proofs have tests with a real cluster."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import OracleError, ProvingFailed, VenueUnavailable
from app.proving.cluster_worker import Answer, Material, MaterialNeeded, Order, ProofMaker
from app.proving.pool import Limits, ProverPool
from app.types import Circuit, Keys

COMPILED, SETTINGS = b"a compiled circuit", b'{"run_args": {}}'


NOBODY = ProverPool(0, Limits(threads=1))
"""These tests end before a prover process would be asked."""


@pytest.fixture
def circuit(tmp_path: Path) -> Circuit:
    """Of the service's machine."""
    compiled, settings = tmp_path / "service.ezkl", tmp_path / "service.json"
    compiled.write_bytes(COMPILED)
    settings.write_bytes(SETTINGS)
    digest = hashlib.sha256(COMPILED).hexdigest()
    return Circuit(compiled, settings, digest, logrows=14, input_scale=7, proof_bytes=3200, windows=10)


@pytest.fixture
def order(circuit: Circuit, tmp_path: Path) -> Order:
    nowhere = tmp_path / "nowhere"
    keys = Keys(
        circuit=circuit,
        srs=nowhere,
        srs_hash="34" * 32,
        srs_is_development=True,
        vk=nowhere,
        vk_hash="12" * 32,
        pk=nowhere,
        verifier_sol=nowhere,
    )
    return Order.of(keys, [1, -2, 3])


@pytest.fixture
def maker(tmp_path: Path) -> ProofMaker:
    return ProofMaker(NOBODY, tmp_path / "worker", [])


def test_order__names_no_path_of_its_machine(order: Order, tmp_path: Path) -> None:
    assert str(tmp_path).encode() not in pickle.dumps(order)


def test_order__carries_every_number_of_the_circuit(order: Order, circuit: Circuit, maker: ProofMaker) -> None:
    assert maker.find_circuit(order) is None
    released = ProofMaker(NOBODY, maker._var_dir, [replace(circuit, windows=1, logrows=1)])
    assert released.find_circuit(order) == circuit


def test_order_for_an_unknown_circuit__asks_for_it(order: Order, maker: ProofMaker) -> None:
    assert maker.answer(order, Material()) == MaterialNeeded(circuit=True)


@pytest.mark.parametrize(
    ("material", "what"),
    [
        (Material(compiled=COMPILED + b"\0", settings=SETTINGS), "compiled circuit"),
        (Material(compiled=COMPILED, settings=SETTINGS + b" "), "circuit settings"),
    ],
)
def test_material_with_another_hash__is_refused(order: Order, maker: ProofMaker, material: Material, what: str) -> None:
    refused = maker.answer(order, material)
    assert isinstance(refused, ProvingFailed)
    assert str(refused).startswith(f"the {what} that was sent does not have the SHA-256")
    assert maker.find_circuit(order) is None


def test_circuit_received_once__is_found_again_until_it_is_damaged(order: Order, maker: ProofMaker) -> None:
    kept = maker._keep_circuit(order, Material(compiled=COMPILED, settings=SETTINGS))
    assert kept is not None
    assert maker.find_circuit(order) == kept
    assert kept.windows == 10
    kept.compiled.write_bytes(COMPILED[:-1])
    assert maker.find_circuit(order) is None


def test_released_circuit_with_other_settings__is_not_taken(order: Order, circuit: Circuit, tmp_path: Path) -> None:
    other = replace(circuit, settings=tmp_path / "other.json")
    other.settings.write_bytes(b"{}")
    assert ProofMaker(NOBODY, tmp_path / "worker", [other]).find_circuit(order) is None


def test_folder_that_cannot_be_written__is_said(order: Order, circuit: Circuit) -> None:
    maker = ProofMaker(NOBODY, circuit.compiled, [])  # a file where the folder should be
    refused = maker.answer(order, Material(compiled=COMPILED, settings=SETTINGS))
    assert isinstance(refused, ProvingFailed)
    assert "cannot be written: Not a directory" in str(refused)


@pytest.mark.parametrize("error", [ProvingFailed("why"), VenueUnavailable("why", retry_after_s=7)])
def test_error__travels_with_its_class_and_words(error: OracleError) -> None:
    back = pickle.loads(pickle.dumps(Answer("tcp://worker:1", "worker", error)))
    assert isinstance(back.outcome, type(error))
    assert (str(back.outcome), back.outcome.retry_after_s) == ("why", error.retry_after_s)
