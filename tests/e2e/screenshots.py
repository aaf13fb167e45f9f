"""The pictures of the documentation, taken of a demo of their own: ``make screenshots``."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from playwright.sync_api import FloatRect, Page, expect

from tests.e2e.browser import DESKTOP, NONE_FOUND, PHONE, Open, Size, chromium, opened

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
VERIREGIME = Path(sys.executable).with_name("veriregime")
SPEED = "3"
"""Ticks come often enough to fill the lists in four minutes, and the venues' clocks still agree."""
FILLED_MS = 420_000
MARGIN = 16
THEMES = ("light", "dark")
FORMS: dict[str, Size] = {"desktop": DESKTOP, "phone": PHONE}


def main() -> int:
    with TemporaryDirectory() as folder, demo(Path(folder)) as url, chromium() as browser:
        if browser is None:
            print(NONE_FOUND, file=sys.stderr)
            return 2
        IMAGES.mkdir(exist_ok=True)
        with opened(browser, url) as visit:
            until_filled(visit)
        for theme in THEMES:
            for form, size in FORMS.items():
                with opened(browser, url) as visit:
                    picture(visit, f"{form}-{theme}", size, color_scheme=theme, reduced_motion="reduce")
    return 0


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """The address of a demo with keys, database and log in this folder."""
    log = folder / "demo.log"
    own = os.environ | {"VERIREGIME_VAR_DIR": str(folder), "VERIREGIME_PORT": "0"}
    with log.open("w") as output:
        process = subprocess.Popen([VERIREGIME, "demo", "--speed", SPEED], env=own, stdout=output, stderr=output)
    try:
        while not (said := re.search(r"dashboard and API at (http://\S+)", log.read_text())):
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.2)
        yield said[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def until_filled(visit: Open) -> None:
    page = visit().page
    rows = page.locator("#predictions tr")
    expect(rows.filter(has=page.get_by_test_id("prediction-link"))).not_to_have_count(0)
    expect(rows.filter(has_not=page.get_by_test_id("prediction-link"))).to_have_count(0, timeout=FILLED_MS)
    expect(page.locator("#record-words")).to_contain_text("Back-test, on stored candles", timeout=FILLED_MS)


def picture(visit: Open, name: str, size: Size, **options: Any) -> None:
    """The dashboard down to its chart and from there on, and a prediction that was verified."""
    page = visit("/", size, **options).page
    settled(page)
    tall = size is DESKTOP
    save(f"dashboard-{name}", page.screenshot(full_page=tall, clip=span(page, "body", "#chart") if tall else None))
    if tall:
        save(f"record-{name}", page.screenshot(full_page=True, clip=span(page, "#venues", "#predictions")))
    page.locator("#predictions tr", has_text="confirmed").first.get_by_role("link").click()
    page.get_by_test_id("verify").click()
    for who in ("server", "chain"):
        expect(page.get_by_test_id(f"{who}-verdict")).to_have_attribute("data-kind", "good")
    page.evaluate("() => document.activeElement.blur()")
    save(f"prediction-{name}", page.screenshot(full_page=tall))


def settled(page: Page) -> None:
    """Just after a forecast has come on chain: nothing is on its way."""
    expect(page.locator("#record-words")).to_contain_text("Back-test, on stored candles")
    expect(page.locator("#pipeline li .step-name", has_text="Submit").first).to_be_visible()
    window = page.get_by_test_id("live-window").inner_text()
    expect(page.get_by_test_id("live-window")).not_to_have_text(window)
    expect(page.locator("#pipeline > li .state").first).to_have_text("confirmed")
    expect(page.locator("#status")).to_have_text("confirmed")


def span(page: Page, first: str, last: str) -> FloatRect:
    """The width of the page, from the section with the first element to the end of the one with the last."""
    edges: Callable[[str], dict[str, float]] = lambda one: page.evaluate(  # noqa: E731
        """one => {
          const element = document.querySelector(one);
          const { top, bottom } = (element.closest("section") ?? element).getBoundingClientRect();
          return { top: top + scrollY, bottom: bottom + scrollY };
        }""",
        one,
    )
    top = max(0.0, edges(first)["top"] - MARGIN)
    return FloatRect(x=0, y=top, width=DESKTOP[0], height=edges(last)["bottom"] + MARGIN - top)


def save(name: str, png: bytes) -> None:
    """With a palette: a third of the bytes, and no difference to the eye."""
    path = IMAGES / f"{name}.png"
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(IMAGES.parents[1])}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
