"""Audits of a real bundle: it holds as it is, and not after any change, with the right name for what was changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic_core import to_json

from app.audit.bundle import Bundle, parse_bundle
from app.audit.checks import Auditor, Verdict
from app.errors import BundleMalformed
from app.features.variation import candles_digest
from app.types import Candles
from app.wiring import Application

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def document(bundle: Bundle) -> dict[str, Any]:
    return bundle.model_dump(mode="json")


@pytest.fixture
def audit(app: Application) -> Callable[[dict[str, Any]], Verdict]:
    def verdict(document: dict[str, Any]) -> Verdict:
        return app.auditor.verify(parse_bundle(to_json(document), 2**24))

    return verdict


def test_bundle__as_it_was_made__holds(audit: Callable[[dict[str, Any]], Verdict], document: dict[str, Any]) -> None:
    verdict = audit(document)
    assert verdict.holds, verdict.reason
    assert verdict.checks[-1] == "sha256"
    assert list(verdict.signers) == [one["signer"] for one in document["attested"]["signatures"]]
    assert (list(verdict.venues), verdict.quorum) == (sorted(document["candles"]), document["quorum"])
    assert len(verdict.venues) == 3


def test_bundle__nobody_signed__holds_and_says_so(bundle: Bundle, app: Application) -> None:
    unsigned = bundle.model_copy(update={"attested": None})
    verdict = app.auditor.verify(unsigned.model_copy(update={"sha256": unsigned.digest()}))
    assert (verdict.holds, verdict.signers) == (True, ())


def test_signed_by__whoever_signed_in_any_letters__holds(bundle: Bundle, app: Application) -> None:
    assert bundle.attested is not None
    wanted = [one.signer for one in bundle.attested.signatures]
    assert len(wanted) >= 2
    for accounts in (wanted, [wanted[0].lower()], ["0x" + wanted[1][2:].upper()]):
        assert app.auditor.verify(bundle, accounts).holds


@pytest.mark.parametrize("signed", [True, False], ids=["signed by others", "signed by nobody"])
def test_signed_by__somebody_who_did_not__is_named(bundle: Bundle, app: Application, signed: bool) -> None:
    stranger = "0x" + "11" * 20
    changed = bundle if signed else bundle.model_copy(update={"attested": None})
    verdict = app.auditor.verify(changed, [stranger])
    assert (verdict.holds, verdict.failed, verdict.signers) == (False, "signatures", ())
    assert verdict.reason == f"{stranger} has not signed it"


def test_quorum__below_the_models__is_named(
    app: Application, document: dict[str, Any], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = next(model for model in app.models.values() if model.model_id == bundle.model_id)
    monkeypatch.setitem(model.manifest["observation"], "quorum", bundle.quorum + 1)
    verdict = app.auditor.verify(bundle)
    assert verdict.failed == "observation"
    assert (
        verdict.reason == f"the model asks for a quorum of {bundle.quorum + 1}, the bundle for one of {bundle.quorum}"
    )


def _copy(document: dict[str, Any]) -> dict[str, Any]:
    """What may be changed without harm; row by row, as a deep copy of so many candles takes its time."""
    rest = copy.deepcopy({field: value for field, value in document.items() if field != "candles"})
    candles = {venue: [list(row) for row in rows] for venue, rows in document["candles"].items()}
    return {field: candles if field == "candles" else rest[field] for field in document}


def _flip_hex(text: str, place: int) -> str:
    place %= len(text)
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


def _candle(row: int, column: int, step: float) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["candles"]["binance"][row][column] += step

    return change


def _drop_candle(document: dict[str, Any]) -> None:
    del document["candles"]["binance"][5000]


def _rename_venue(document: dict[str, Any]) -> None:
    for part in ("candles", "markets"):
        document[part]["okx"] = document[part].pop("binance")


def _market(venue: str, symbol: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["markets"][venue] = symbol

    return change


def _without_venue(document: dict[str, Any]) -> None:
    for part in ("candles", "markets"):
        del document[part]["kraken"]
    document["candles_sha256"] = _digest(document)


def _other_closes(document: dict[str, Any]) -> None:
    """A close of every venue, with the digest that goes with it: of one alone, the jump might be set aside."""
    for rows in document["candles"].values():
        row = rows[-2]
        row[4] *= 1.002
        row[2] = max(row[2], row[4])
    document["candles_sha256"] = _digest(document)


def _digest(document: dict[str, Any]) -> str:
    return candles_digest({venue: Candles.from_rows(rows) for venue, rows in document["candles"].items()})


def _add(field: str, index: int, step: float) -> Change:
    def change(document: dict[str, Any]) -> None:
        document[field][index] += step

    return change


def _flip(*path: str, place: int) -> Change:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path
        for name in parents:
            document = document[name]
        document[last] = _flip_hex(document[last], place)

    return change


def _put(field: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        document[field] = value

    return change


def _put_in_proof(field: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["proof"][field] = value

    return change


def _in_attested(*path: Any, value: Any) -> Change:
    """Put a value, or what a function makes of the one that is there."""

    def change(document: dict[str, Any]) -> None:
        place = document["attested"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value

    return change


def _signed_twice(document: dict[str, Any]) -> None:
    document["attested"]["signatures"] *= 2


def _swap_signers(document: dict[str, Any]) -> None:
    first, second = document["attested"]["signatures"][:2]
    first["signer"], second["signer"] = second["signer"], first["signer"]


def _other_regime(document: dict[str, Any]) -> None:
    document["regime"] = "low" if document["regime"] == "high" else "high"


def _other_feed(document: dict[str, Any]) -> None:
    document["feed"] = "eth-usdt-4h"
    document["markets"] = dict.fromkeys(document["markets"], "ETH/USDT")


def _both_feeds(document: dict[str, Any]) -> None:
    _other_feed(document)
    document["attested"]["windows"][0][0] = document["feed"]


CHANGES: list[tuple[str, Change, str]] = [
    ("a venue's market, to another dollar", _market("kraken", "BTC/USDC"), "sha256"),
    ("a venue's market, to euro", _market("kraken", "BTC/EUR"), "markets"),
    ("a venue's market, to another coin", _market("binance", "ETH/USDT"), "markets"),
    ("a market without candles", _market("okx", "BTC/USDT"), "markets"),
    ("closes, with their digest", _other_closes, "observation"),
    ("a venue left out, with the digest", _without_venue, "observation"),
    ("the quorum, to more than there are venues", _put("quorum", 16), "observation"),
    ("the quorum, to one", _put("quorum", 1), "sha256"),
    ("a close", _candle(4000, 4, 0.01), "candles"),
    ("a volume", _candle(4000, 5, 0.5), "candles"),
    ("an open within high and low", _candle(1, 1, 0.0001), "candles"),
    ("the time of the first candle", _candle(0, 0, -60_000), "candles"),
    ("the time of the last candle", _candle(-1, 0, 60_000), "candles"),
    ("a candle left out", _drop_candle, "candles"),
    ("the venue's name", _rename_venue, "candles"),
    ("the candles' digest", _flip("candles_sha256", place=5), "candles"),
    ("the first input", _add("observation", 0, 1), "observation"),
    ("the last input", _add("observation", -1, -1), "observation"),
    ("an output by the least", _add("outputs", 0, 1), "outputs"),
    ("an output by much", _add("outputs", 2, 10**8), "outputs"),
    ("what the network said", _add("network_outputs", 1, 0.01), "outputs"),
    ("what the network said, a little", _add("network_outputs", 1, 1e-7), "sha256"),
    ("the commitment in the proof", _flip("proof", "proof", place=2), "commitment"),
    ("a proof byte in the middle", _flip("proof", "proof", place=2002), "proof"),
    ("the last proof byte", _flip("proof", "proof", place=-1), "proof"),
    ("the commitment beside the proof", _flip("proof", "commitment", place=9), "commitment"),
    ("the vk hash", _flip("proof", "vk_hash", place=0), "keys"),
    ("the SRS hash", _flip("proof", "srs_hash", place=0), "keys"),
    ("the circuit hash", _flip("proof", "circuit_hash", place=0), "keys"),
    ("the model id", _flip("model_id", place=0), "model_id"),
    ("the feed", _put("feed", "eth-usdt-4h"), "markets"),
    ("the feed and its markets", _other_feed, "signatures"),
    ("the feed, of the signatures too", _both_feeds, "signatures"),
    ("the feed, to one without a model", _put("feed", "sol-usdt-4h"), "model_id"),
    ("what kind the SRS is", _put_in_proof("srs_development", False), "keys"),
    ("a joint proof", _put("joint", {"slot": 0, "observations": [[1]] * 10}), "keys"),
    ("a joint proof of more windows", _put("joint", {"slot": 0, "observations": [[1]] * 11}), "keys"),
    ("the window end, earlier", _put("window_end", "2026-01-01T00:00:00Z"), "window_end"),
    ("the regime", _other_regime, "forecast"),
    ("the probability", _put("p_high", 0.123), "forecast"),
    ("the volatility", _put("vol_annualised", 0.5), "forecast"),
    ("the chain that was signed for", _in_attested("chain_id", value=1), "signatures"),
    ("the oracle that was signed for", _in_attested("oracle", value="0x" + "11" * 20), "signatures"),
    ("the oracle's letters", _in_attested("oracle", value=str.lower), "sha256"),
    ("the feed that was signed for", _in_attested("windows", 0, 0, value="eth-usdt-4h"), "signatures"),
    ("the window that was signed for", _in_attested("windows", 0, 1, value="2026-01-01T00:00:00Z"), "signatures"),
    ("windows that the proof does not have", _in_attested("windows", value=lambda one: one * 2), "signatures"),
    ("a signer", _in_attested("signatures", 0, "signer", value="0x" + "11" * 20), "signatures"),
    ("a signer's letters", _in_attested("signatures", 0, "signer", value=str.lower), "signatures"),
    ("an r", _in_attested("signatures", 0, "r", value=lambda one: _flip_hex(one, 9)), "signatures"),
    ("an r that is no number of the curve", _in_attested("signatures", 0, "r", value="0x" + "ff" * 32), "signatures"),
    ("a vs", _in_attested("signatures", 1, "vs", value=lambda one: _flip_hex(one, -1)), "signatures"),
    ("a vs in the upper half", _in_attested("signatures", 1, "vs", value="0x7f" + "ff" * 31), "signatures"),
    ("somebody signing twice", _signed_twice, "signatures"),
    ("who signed what", _swap_signers, "signatures"),
    ("a signature left out", _in_attested("signatures", value=lambda one: one[1:]), "sha256"),
    ("all signatures left out", _put("attested", None), "sha256"),
    ("the id", _flip("id", place=3), "id"),
    ("proved before it was predicted", _put("proved_at", "2020-01-01T00:00:00Z"), "times"),
    ("proved a little later", _put("proved_at", "2036-01-01T00:00:00Z"), "sha256"),
    ("the bundle's digest", _flip("sha256", place=0), "sha256"),
]


@pytest.mark.parametrize(("change", "failed"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_bundle__changed__fails_by_the_right_name(
    audit: Callable[[dict[str, Any]], Verdict], document: dict[str, Any], change: Change, failed: str
) -> None:
    changed = _copy(document)
    change(changed)
    assert changed != document
    verdict = audit(changed)
    assert not verdict.holds
    assert verdict.failed == failed, verdict.reason
    assert verdict.reason


def test_window_end__moved_by_a_minute__is_named(
    audit: Callable[[dict[str, Any]], Verdict], document: dict[str, Any], bundle: Bundle
) -> None:
    minute = int(bundle.window_end[14:16])
    moved = f"{bundle.window_end[:14]}{(minute + 1) % 60:02d}:00Z"
    verdict = audit({**document, "window_end": moved})
    assert verdict.failed == "window_end"
    assert "closes at" in (verdict.reason or "")


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document; of lists the first, a middle and the last item, of the candles a middle one."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    elif isinstance(value, list):
        ends = set() if len(value) > 1000 else {0, len(value) - 1}
        for index in sorted({len(value) // 2} | ends):
            yield from _leaves(value[index], (*path, index))
    else:
        yield path


def _another(value: Any) -> Any:
    if value is None:  # only `joint` is
        return {"slot": 0, "observations": [[1]] * 10}
    if isinstance(value, bool):
        return not value
    return _flip_hex(value, len(value) // 2) if isinstance(value, str) else value + 1


def test_no_field__can_be_changed_unnoticed(
    audit: Callable[[dict[str, Any]], Verdict], document: dict[str, Any]
) -> None:
    unnoticed = []
    for path in _leaves(document):
        changed = _copy(document)
        place: Any = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = _another(place[path[-1]])
        try:
            if audit(changed).holds:
                unnoticed.append(path)
        except BundleMalformed:
            pass
    assert unnoticed == []


def test_proof_of_another_window__does_not_hold(
    app: Application, audit: Callable[[dict[str, Any]], Verdict], document: dict[str, Any]
) -> None:
    served = app.pipeline.feeds["btc-usdt-4h"]
    other = app.pool.prove(served.keys, [value + 1 for value in document["observation"]])
    changed = _copy(document)
    changed["proof"]["proof"] = "0x" + other.proof.hex()
    assert audit(changed).failed == "commitment"


@pytest.fixture
def said_to_be_of_a_ceremony(bundle: Bundle) -> Bundle:
    """The bundle as whoever trusts its SRS would write it."""
    proof = bundle.proof.model_copy(update={"srs_development": False})
    changed = bundle.model_copy(update={"proof": proof})
    return changed.model_copy(update={"sha256": changed.digest()})


def test_srs__that_the_auditor_trusts__may_be_said_to_be_no_development_one(
    app: Application, said_to_be_of_a_ceremony: Bundle
) -> None:
    trusted = (said_to_be_of_a_ceremony.proof.srs_hash,)
    verdict = Auditor(app.models, app.pool, app.settings.var_dir, trusted).verify(said_to_be_of_a_ceremony)
    assert verdict.holds, verdict.reason


def test_srs__that_the_auditor_does_not_trust__is_a_development_one(
    app: Application, said_to_be_of_a_ceremony: Bundle
) -> None:
    verdict = Auditor(app.models, app.pool, app.settings.var_dir, ("ab" * 32,)).verify(said_to_be_of_a_ceremony)
    assert verdict.failed == "keys"
    assert "VERIREGIME_TRUSTED_SRS" in (verdict.reason or "")
