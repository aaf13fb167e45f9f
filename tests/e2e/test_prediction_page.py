"""The page of one prediction and the description of the API, in Chromium, against a running demo."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import pytest
from playwright.sync_api import expect

from tests.e2e.browser import PHONE, Open, Visit
from tests.e2e.test_pages import ATTACK, FEED, MOST_SHIFT, tabbed_through, too_faint, unnamed

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def confirmed(demo: Any) -> str:
    """The id of a forecast whose round is on chain for good."""
    history = httpx2.get(f"{demo.url}{FEED}/predictions?limit=20").json()["predictions"]
    return next(str(one["id"]) for one in history if one["status"] == "confirmed")


@pytest.fixture
def prediction(visit: Open, confirmed: str) -> Callable[..., Visit]:
    """Opens the page of the confirmed prediction, and waits until it is filled."""

    def open_page(**options: Any) -> Visit:
        seen = visit(f"/predictions/{confirmed}", **options)
        expect(seen.page.locator("#notice")).not_to_have_attribute("data-kind", "wait")
        return seen

    return open_page


def verdicts(visit: Visit) -> dict[str, str]:
    """Presses *verify* and gives what the server and the chain said, as kinds."""
    visit.page.get_by_test_id("verify").click()
    found = {}
    for who in ("server", "chain"):
        verdict = visit.page.get_by_test_id(f"{who}-verdict")
        expect(verdict).to_have_attribute("data-kind", re.compile("good|bad|warn"))
        found[who] = verdict.get_attribute("data-kind") or ""
    return found


def test_prediction__opened_from_the_list__is_downloaded_and_holds_by_the_command_line(
    visit: Open, confirmed: str, veriregime: Run, tmp_path: Path
) -> None:
    seen = visit()
    seen.page.get_by_test_id("predictions").locator(f"a[href='/predictions/{confirmed}']").click()
    expect(seen.page).to_have_url(re.compile(f"/predictions/{confirmed}$"))
    with seen.page.expect_download() as downloading:
        seen.page.get_by_role("link", name="Download the bundle").click()
    assert downloading.value.suggested_filename == f"veriregime-{confirmed}.json"
    bundle = tmp_path / "bundle.json"
    downloading.value.save_as(bundle)
    assert json.loads(bundle.read_text())["id"] == confirmed
    done = veriregime("verify", str(bundle))
    assert done.returncode == 0, done.stdout + done.stderr


def test_verify__of_a_confirmed_forecast__turns_green_by_server_and_chain(prediction: Callable[..., Visit]) -> None:
    seen = prediction()
    assert verdicts(seen) == {"server": "good", "chain": "good"}
    expect(seen.page.get_by_test_id("server-verdict")).to_contain_text("14 checks passed")
    on_chain = seen.page.locator("#chain-checks li")
    expect(on_chain).to_have_count(5)
    expect(on_chain.filter(has_text="✓ holds")).to_have_count(5)
    asked = {urlsplit(url).netloc for url in seen.asked}
    assert len(asked) == 2, "this server and the chain's endpoint"
    assert (seen.errors, seen.failures, seen.reported("violations")) == ([], [], [])


def flipped(hexadecimal: str, place: int = 40) -> str:
    """With one byte changed."""
    at = 2 + 2 * place
    return f"{hexadecimal[:at]}{int(hexadecimal[at : at + 2], 16) ^ 1:02x}{hexadecimal[at + 2 :]}"


@pytest.mark.parametrize(
    ("tampered", "change", "kinds", "words"),
    [
        (
            "**/v1/predictions/*/proof",
            lambda proof: proof | {"proof": flipped(proof["proof"])},
            {"server": "good", "chain": "bad"},
            "✗ fails The chain's verifier accepts the proof",
        ),
        (
            "**/v1/predictions/*",
            lambda shown: shown | {"p_high": 1 - shown["p_high"]},
            {"server": "good", "chain": "bad"},
            "✗ fails The oracle's round says the same",
        ),
        (
            "**/v1/predictions/*/bundle",
            lambda bundle: bundle | {"p_high": 0.123},
            {"server": "bad", "chain": "good"},
            "✗ fails The forecast follows from the outputs",
        ),
    ],
    ids=["proof", "numbers", "bundle"],
)
def test_verify__of_a_tampered_answer__turns_red(
    prediction: Callable[..., Visit], tampered: str, change: Any, kinds: dict[str, str], words: str
) -> None:
    seen = prediction(answers={tampered: change})
    assert verdicts(seen) == kinds
    assert words in " ".join(" ".join(seen.page.locator(".checks li").all_inner_texts()).split())


def test_prediction__marks_what_is_not_real(prediction: Callable[..., Visit]) -> None:
    marks = prediction().page.get_by_role("list", name="What to know about this data")
    for mark in ("Simulated market", "Development SRS: proofs can be forged"):
        expect(marks.get_by_text(mark)).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_prediction__in_every_state__has_enough_contrast_and_does_not_move(
    prediction: Callable[..., Visit], theme: str
) -> None:
    seen = prediction(color_scheme=theme, size=PHONE)
    shifts = seen.reported("shifts")
    assert sum(shift["value"] for shift in shifts) < MOST_SHIFT, shifts
    seen.page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true }")
    assert too_faint(seen) == []


def test_prediction__by_keyboard_and_screen_reader(prediction: Callable[..., Visit]) -> None:
    seen = prediction()
    for role in ("banner", "main", "contentinfo"):
        expect(seen.page.get_by_role(role)).to_have_count(1)
    expect(seen.page.get_by_role("heading", level=1)).to_have_text(re.compile(r"^btc-usdt-4h, window to .* UTC$"))
    assert unnamed(seen) == []
    assert tabbed_through(seen) == []


def test_prediction__texts_of_the_api__are_shown_as_texts(prediction: Callable[..., Visit]) -> None:
    def attacked(answer: Any) -> Any:
        attempts = [one | {"prover": ATTACK, "reason": ATTACK} for one in answer["attempts"]]
        signatures = [one | {"attester": ATTACK, "reason": ATTACK} for one in answer["attestations"]]
        parts = {"attempts": attempts, "attestations": signatures, "left_out": {"kraken": ATTACK}}
        return answer | parts | {"status": "failed", "failure": ATTACK}

    seen = prediction(answers={"**/v1/predictions/*": attacked})
    for part in ("#notice", "#attempts", "#attestations", "#window-facts"):
        expect(seen.page.locator(part)).to_contain_text(ATTACK)
    assert_harmless(seen)


def test_unknown_prediction__is_said_with_its_name_as_text(visit: Open) -> None:
    seen = visit(f"/predictions/{quote(ATTACK, safe='')}")
    expect(seen.page.locator("#notice")).to_contain_text("There is no such prediction here")
    assert_harmless(seen)


def assert_harmless(visit: Visit) -> None:
    expect(visit.page.locator("main img")).to_have_count(0)
    assert visit.page.evaluate("() => document.body.dataset.attacked") is None
    assert visit.reported("violations") == []


def test_description__is_complete_and_asks_nobody_else(visit: Open, demo: Any) -> None:
    seen = visit("/docs")
    paths = httpx2.get(f"{demo.url}/openapi.json").json()["paths"]
    expect(seen.page.locator(".opblock")).to_have_count(sum(len(operations) for operations in paths.values()))
    assert {path.get_attribute("data-path") for path in seen.page.locator(".opblock-summary-path").all()} == set(paths)
    assert {urlsplit(url).netloc for url in seen.asked if not url.startswith("data:")} == {urlsplit(demo.url).netloc}
    assert (seen.errors, seen.failures, seen.reported("violations")) == ([], [], [])
