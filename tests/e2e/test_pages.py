"""The dashboard, in Chromium, against a running demo."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser import DESKTOP, PATIENCE_MS, PHONE, Open, Visit, opened
from tests.e2e.door import Door

TICKS = 2
MOST_SHIFT = 0.01
FEED = "/v1/feeds/btc-usdt-4h"
ATTACK = "<img src=x onerror=\"document.body.dataset.attacked='yes'\">"
KINDS = ("good", "warn", "bad", "wait", "none")
MINUTE = timedelta(minutes=1)


def live_window(visit: Visit) -> str:
    shown = visit.page.get_by_test_id("live-window")
    expect(shown).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d UTC$"))
    return shown.inner_text()


def next_window(visit: Visit, before: str) -> str:
    expect(visit.page.get_by_test_id("live-window")).not_to_have_text(before)
    return live_window(visit)


@pytest.fixture(scope="module")
def watched(browser: Browser, demo: Any) -> Iterator[dict[tuple[int, int], tuple[Visit, list[str]]]]:
    """The dashboard on a desktop and a phone, each with the windows that it has shown, over two ticks."""
    with opened(browser, demo.url) as visit:
        visits = {size: visit("/", size) for size in (DESKTOP, PHONE)}
        windows = {size: [live_window(one)] for size, one in visits.items()}
        for _, (size, one) in itertools.product(range(TICKS), visits.items()):
            windows[size].append(next_window(one, windows[size][-1]))
        yield {size: (one, windows[size]) for size, one in visits.items()}


def test_dashboard__at_a_tick__shows_the_next_window(watched: Any) -> None:
    for _, windows in watched.values():
        assert windows == sorted(set(windows))
        assert len(windows) == TICKS + 1


def test_dashboard__gives_the_browser_nothing_to_complain_of(watched: Any) -> None:
    for visit, _ in watched.values():
        assert visit.errors == []
        assert visit.failures == []
        assert visit.reported("violations") == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_dashboard__while_values_change__does_not_move(watched: Any, size: tuple[int, int]) -> None:
    visit, _ = watched[size]
    shifts = visit.reported("shifts")
    assert sum(shift["value"] for shift in shifts) < MOST_SHIFT, shifts


def test_dashboard__marks_what_is_not_real(watched: Any) -> None:
    visit, _ = watched[PHONE]
    marks = visit.page.get_by_role("list", name="What to know about this data")
    for mark in ("Simulated market", "Development SRS: proofs can be forged"):
        expect(marks.get_by_text(mark)).to_be_visible()
    expect(visit.page.get_by_test_id("track-record")).to_contain_text("Back-test, on stored candles")


def test_dashboard__says_in_words_what_it_draws(watched: Any) -> None:
    page = watched[DESKTOP][0].page
    chart = page.get_by_role(
        "img", name=re.compile(r"^The last day\. Price \d+ to \d+, last \d+\. Forecast volatility ")
    )
    expect(chart).to_be_visible()
    page.get_by_text("The same as a table, hour by hour").click()
    expect(page.get_by_role("region", name="The last day, hour by hour").get_by_role("row")).to_have_count(25)


def test_dashboard__has_landmarks_headings_and_names(watched: Any) -> None:
    visit, _ = watched[DESKTOP]
    for role in ("banner", "main", "contentinfo"):
        expect(visit.page.get_by_role(role)).to_have_count(1)
    regions = visit.page.get_by_role("main").get_by_role("region")
    expect(regions.filter(has=visit.page.get_by_role("heading", level=2))).to_have_count(8)
    expect(visit.page.get_by_role("heading", level=1)).to_have_count(1)
    assert unnamed(visit) == []


def unnamed(visit: Visit) -> list[str]:
    """What has no name in the browser's own accessibility tree and needs one, or has one that is endless."""
    need_a_name = {"button", "link", "combobox", "radio", "region", "img", "navigation", "table", "DisclosureTriangle"}
    nodes = visit.page.context.new_cdp_session(visit.page).send("Accessibility.getFullAXTree")["nodes"]
    found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert {"link", "button", "region"} <= {role for role, _ in found}
    return [f"{role}: {name}" for role, name in found if role in need_a_name and not 0 < len(name.strip()) <= 250]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_dashboard__in_every_state__has_enough_contrast(visit: Open, theme: str) -> None:
    seen = visit(color_scheme=theme)
    live_window(seen)
    expect(seen.page.get_by_test_id("track-record")).to_contain_text("Back-test, on stored candles")
    assert too_faint(seen) == []


def too_faint(visit: Visit) -> list[Any]:
    """Texts that are hard to read, in any of the colours that stand for a state."""
    found = []
    for kind in KINDS:
        visit.run("paint.js", kind)
        measured = visit.run("contrast.js")
        assert len(measured) > 60
        found += [text for text in measured if text["ratio"] < text["needed"]]
    return found


def test_feed_choice__shows_the_other_feed(visit: Open) -> None:
    seen = visit()
    expect(seen.page.locator("#feed-name")).to_contain_text("BTC/USDT")
    seen.page.get_by_label("Feed").select_option("eth-usdt-4h")
    expect(seen.page).to_have_url(re.compile(r"\?feed=eth-usdt-4h$"))
    expect(seen.page.locator("#feed-name")).to_contain_text("ETH/USDT")


def test_theme__is_switched_and_kept(visit: Open) -> None:
    seen = visit(color_scheme="light")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = seen.page.evaluate(ground)
    seen.page.get_by_role("button", name="Switch to the dark theme").click()
    dark = seen.page.evaluate(ground)
    assert dark != light
    seen.page.reload(wait_until="domcontentloaded")
    assert seen.page.evaluate(ground) == dark
    expect(seen.page.get_by_role("button", name="Switch to the light theme")).to_have_text("Light")


def test_keyboard__reaches_every_control_and_shows_where_it_is(visit: Open) -> None:
    seen = visit()
    live_window(seen)
    expect(seen.page.get_by_test_id("track-record")).to_contain_text("Back-test, on stored candles")
    seen.page.context.set_offline(True)
    expect(seen.page.locator("#stream-state")).not_to_have_text("live")
    assert tabbed_through(seen) == []


def tabbed_through(visit: Visit) -> list[str]:
    """Controls that Tab does not reach, or on which the focus cannot be seen."""
    visit.page.context.set_offline(True)  # nothing comes and goes any more
    controls = visit.run("controls.js")
    shown = set()
    for _ in range(len(controls) + 5):
        visit.page.keyboard.press("Tab")
        where = visit.run("focused.js")
        if where["control"] is not None and where["outline"] >= 2 and where["inView"]:
            shown.add(where["control"])
    return [name for i, name in enumerate(controls) if i not in shown]


def test_skip_link__leads_past_the_header(visit: Open) -> None:
    seen = visit()
    live_window(seen)
    seen.page.keyboard.press("Tab")
    skip = seen.page.get_by_role("link", name="Skip to the forecast")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport(ratio=1)
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("#now")).to_be_focused()


@pytest.mark.parametrize("listed", ["pipeline", "predictions"])
def test_focus__on_a_forecast_that_moves_on__stays_there(visit: Open, listed: str) -> None:
    seen = visit()
    before = live_window(seen)
    newest = seen.page.get_by_test_id(listed).get_by_test_id("prediction-link").first
    id_of_it = newest.get_attribute("href")
    newest.focus()
    next_window(seen, before)
    assert seen.page.evaluate("() => document.activeElement.getAttribute('href')") == id_of_it


@pytest.mark.parametrize("path", ["/", "/predictions/{id}", "/docs"])
def test_page__on_a_narrow_phone__does_not_scroll_sideways(visit: Open, demo: Any, path: str) -> None:
    own = httpx2.get(f"{demo.url}{FEED}/latest").json()["id"]
    seen = visit(path.format(id=own), (360, 740))
    seen.page.wait_for_load_state("load")
    filled = {"/": "#scores tr", "/docs": ".opblock"}.get(path, "#proof-facts dd")
    expect(seen.page.locator(filled).first).to_be_visible()
    assert seen.page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_record_of_few_windows__fits_a_narrow_phone_whatever_its_scores(visit: Open) -> None:
    def extreme(record: Any) -> Any:
        scores = record["model"] | {"r2_log_vol": -58_291.33, "qlike": 1_234.5}
        return record | {"model": scores, "baselines": dict.fromkeys(record["baselines"], scores)}

    seen = visit(size=(360, 740), answers={"**/track-record?*": extreme})
    expect(seen.page.locator("#scores")).to_contain_text("-5.83e+4")
    assert seen.page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_motion__is_for_those_who_want_it(visit: Open) -> None:
    running = """() => {
      document.querySelector(".steps li").dataset.state = "running";
      return document.getAnimations().length;
    }"""
    assert visit(reduced_motion="no-preference").page.evaluate(running) >= 1
    assert visit(reduced_motion="reduce").page.evaluate(running) == 0


def test_texts_of_the_api__are_shown_as_texts(visit: Open) -> None:
    def attacked(answer: Any) -> Any:
        for feed in answer["feeds"]:
            feed |= {"symbol": ATTACK, "model_name": ATTACK}
            feed["last_tick"] |= {"detail": ATTACK}
            feed["venues"] = [venue | {"venue": ATTACK, "reason": ATTACK} for venue in feed["venues"]]
        return answer

    def signed(answer: Any) -> Any:
        signatures = [one | {"attester": ATTACK, "reason": ATTACK} for one in answer["attestations"]]
        return answer | {"attestations": signatures, "failure": ATTACK}

    seen = visit(answers={"**/v1/feeds": attacked, "**/latest?*": signed})
    for part in ("#feed-name", "#model-name", "#last-tick", "#venues", "#attesters"):
        expect(seen.page.locator(part)).to_contain_text(ATTACK)
    expect(seen.page.locator("main img")).to_have_count(0)
    assert seen.page.evaluate("() => document.body.dataset.attacked") is None


def test_offline__is_said_and_no_row_is_missing_afterwards(visit: Open, demo: Any, wait: Any) -> None:
    seen = visit()
    before = live_window(seen)
    seen.page.context.set_offline(True)
    notice = seen.page.locator("#notice")
    expect(notice).to_contain_text("The server does not answer since")
    expect(notice).to_contain_text("The last known values are shown.")
    expect(seen.page.locator("#stream-state")).to_have_text("asking every few seconds")
    missed = minute_of(before) + MINUTE
    wait(PATIENCE_MS / 1000, lambda: newest(demo) > missed)
    seen.page.context.set_offline(False)
    expect(notice).to_have_text("Up to date, and proved.")
    expect(seen.page.locator("#stream-state")).to_have_text("live")
    assert minute_of(live_window(seen)) > missed
    wait(PATIENCE_MS / 1000, lambda: minute_of(before) in (rows := windows_listed(seen)) and missed in rows)
    rows = windows_listed(seen)
    assert rows == [rows[0] - i * MINUTE for i in range(len(rows))]


def test_browser_says_offline__though_the_server_answers__the_stream_is_opened_anew_and_goes_on(visit: Open) -> None:
    seen = visit()
    before = live_window(seen)
    with seen.page.expect_request(lambda asked: "/v1/stream?" in asked.url):
        seen.page.evaluate("() => dispatchEvent(new Event('offline'))")
    expect(seen.page.locator("#stream-state")).to_have_text("live")
    next_window(seen, before)


def windows_listed(visit: Visit) -> list[datetime]:
    links = visit.page.get_by_test_id("predictions").get_by_test_id("prediction-link")
    return [minute_of(text) for text in links.all_inner_texts()]


def minute_of(text: str) -> datetime:
    return datetime.strptime(text.removesuffix(" UTC"), "%Y-%m-%d %H:%M")


def newest(demo: Any) -> datetime:
    latest = httpx2.get(f"{demo.url}{FEED}/latest").json()
    return datetime.fromisoformat(latest["window_end"]).replace(tzinfo=None)


def test_server_that_is_gone__is_said_until_it_is_back(browser: Browser, demo: Any, tmp_path: Path) -> None:
    with Door(demo.url) as door, opened(browser, door.url) as visit:
        seen = visit()
        live_window(seen)
        notice = seen.page.locator("#notice")
        expect(notice).to_have_text("Up to date, and proved.")
        door.close()
        expect(notice).to_contain_text(re.compile(r"does not answer since \d\d:\d\d:\d\d UTC \(no connection\)"))
        expect(seen.page.locator("#now-title")).to_have_text("Last known regime")
        door.open()
        expect(notice).to_have_text("Up to date, and proved.")
        expect(seen.page.locator("#now-title")).to_have_text("Current regime")
