"""Chromium for the tests of the pages. As a program (``python -m tests.e2e.browser``) it says whether there is one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    Playwright,
    Request,
    Response,
    Route,
    ViewportSize,
    expect,
    sync_playwright,
)

NAMED = "VERIREGIME_CHROMIUM"
NONE_FOUND = (
    "no Chromium here, so the pages are not tested: run `.venv/bin/playwright install chromium`, install it with your "
    f"system's packages, or name one with {NAMED}"
)
SCRIPTS = Path(__file__).with_name("pages")
PATIENCE_MS = 30_000
DESKTOP, PHONE = (1280, 900), (390, 844)
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", _MAC)
_QUIETLY = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_STREAM = "/v1/stream"


@dataclass(eq=False)
class Visit:
    """A page, and all that the browser complained of since it was opened."""

    page: Page
    errors: list[str] = field(default_factory=list)
    """Errors in the console, and exceptions that nobody caught."""
    failures: list[str] = field(default_factory=list)
    """Requests without an answer, or with one of 400 and above."""
    asked: list[str] = field(default_factory=list)
    """The address of every request."""

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def run(self, script: str, argument: Any = None) -> Any:
        """What a script of ``tests/e2e/pages`` finds in the page."""
        return self.page.evaluate((SCRIPTS / script).read_text(), argument)

    def reported(self, what: str) -> list[Any]:
        """``shifts`` or ``violations``, as the browser reported them."""
        found: list[Any] = self.page.evaluate(f"() => reported.{what}")
        return found

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location}")

    def _failed(self, request: Request) -> None:
        # Who leaves a page ends its stream.
        if not (_STREAM in request.url and request.failure == "net::ERR_ABORTED"):
            self.failures.append(f"{request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.failures.append(f"{response.url}: HTTP {response.status}")


Size = tuple[int, int]
Change = Callable[[Any], Any]
Open = Callable[..., Visit]


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Open]:
    """Opens pages of a server, each in a profile of its own; they are closed with the block."""
    contexts = []

    def visit(path: str = "/", size: Size = DESKTOP, answers: dict[str, Change] | None = None, **more: Any) -> Visit:
        """``answers`` says what becomes of the JSON that the server answers, by a pattern of the address."""
        context = browser.new_context(viewport=ViewportSize(width=size[0], height=size[1]), base_url=url, **more)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(path=SCRIPTS / "watching.js")
        for pattern, change in (answers or {}).items():
            context.route(pattern, _changing(change))
        visit = Visit(context.new_page())
        visit.page.goto(path)
        return visit

    expect.set_options(timeout=PATIENCE_MS)
    try:
        yield visit
    finally:
        for context in contexts:
            context.unroute_all(behavior="ignoreErrors")
            context.close()


def _changing(change: Change) -> Callable[[Route], None]:
    def answer(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=change(response.json()))

    return answer


@contextmanager
def chromium() -> Iterator[Browser | None]:
    """A browser without a window, or None where there is none. A named one that does not start is an error."""
    with sync_playwright() as playwright:
        executable = find(playwright)
        if executable is None:
            yield None
            return
        with playwright.chromium.launch(executable_path=executable, args=list(_QUIETLY)) as browser:
            yield browser


def find(playwright: Playwright) -> Path | None:
    """The one that is named, one on the path, or the one that Playwright has fetched."""
    if named := os.environ.get(NAMED):
        return Path(named)
    installed = next(filter(None, map(shutil.which, _NAMES)), None)
    own = Path(playwright.chromium.executable_path)
    return Path(installed) if installed else own if own.is_file() else None


def main() -> int:
    try:
        with chromium() as browser:
            print(f"Chromium {browser.version}" if browser else NONE_FOUND)
            return 0 if browser else 1
    except Error as error:
        print(f"Chromium does not start: {error.message.splitlines()[0]}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
