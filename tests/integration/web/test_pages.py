"""The pages for people: as they were built, with a policy that allows nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import AnyHttpUrl

from app.settings import Settings
from app.web import pages, problems

PATHS = {"/": "index.html", "/predictions/anything": "prediction.html", "/docs": "docs.html"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pages would be built; there are none yet."""
    monkeypatch.setattr(pages, "PAGES", tmp_path)
    return tmp_path


@pytest.fixture
def built(folder: Path) -> Path:
    (folder / "assets").mkdir()
    (folder / "assets" / "main-1a2b.js").write_text("run()")
    for name in PATHS.values():
        (folder / name).write_text(f"<title>{name}</title>")
    return folder


@pytest.fixture
def browse() -> Callable[..., TestClient]:
    def open_one(**settings: object) -> TestClient:
        web = FastAPI(docs_url=None)
        problems.install(web)
        pages.install(web, Settings(_env_file=None, **settings))  # type: ignore[call-arg]
        return TestClient(web, raise_server_exceptions=False)

    return open_one


def policy_of(client: TestClient, path: str) -> dict[str, str]:
    rules = client.get(path).headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (rule.partition(" ") for rule in rules)}


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(("path", "name"), PATHS.items())
def test_page__is_the_one_that_was_built_and_asked_for_again_each_time(
    browse: Callable[..., TestClient], path: str, name: str
) -> None:
    page = browse().get(path)
    assert (page.status_code, page.text) == (200, f"<title>{name}</title>")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    held = {"If-None-Match": page.headers["etag"]}
    assert browse().get(path, headers=held).headers["etag"] == page.headers["etag"]


@pytest.mark.usefixtures("built")
def test_page__comes_with_a_policy_that_allows_nothing_from_elsewhere(browse: Callable[..., TestClient]) -> None:
    rules = policy_of(browse(), "/")
    assert rules.pop("default-src") == rules.pop("frame-ancestors") == rules.pop("form-action") == "'none'"
    assert rules == {
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
    }


@pytest.mark.usefixtures("built")
def test_page__may_ask_the_public_chain_endpoint_by_its_origin_alone(browse: Callable[..., TestClient]) -> None:
    client = browse(public_rpc_url=AnyHttpUrl("https://user:pass@rpc.example:8545/v2/key?x=1"))
    assert policy_of(client, "/")["connect-src"] == "'self' https://rpc.example:8545"
    assert policy_of(client, "/predictions/x")["connect-src"] == "'self' https://rpc.example:8545"


@pytest.mark.usefixtures("built")
def test_docs__may_style_themselves_and_ask_nobody_else(browse: Callable[..., TestClient]) -> None:
    rules = policy_of(browse(public_rpc_url=AnyHttpUrl("https://rpc.example")), "/docs")
    assert rules["style-src"] == "'self' 'unsafe-inline'"
    assert (rules["script-src"], rules["connect-src"]) == ("'self'", "'self'")


@pytest.mark.usefixtures("built")
def test_asset__is_kept_forever_whole_or_as_it_was(browse: Callable[..., TestClient]) -> None:
    found = browse().get("/assets/main-1a2b.js")
    assert (found.status_code, found.text) == (200, "run()")
    assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = browse().get("/assets/main-1a2b.js", headers={"If-None-Match": found.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, found.headers["cache-control"])


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("path", ["/assets/other.js", "/assets/../index.html", "/assets/%2e%2e/index.html", "/assets/"])
def test_asset__that_there_is_not__is_a_problem_that_nobody_keeps(browse: Callable[..., TestClient], path: str) -> None:
    answer = browse().get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "immutable" not in answer.headers.get("cache-control", "")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("path", PATHS)
def test_page__that_was_not_built__is_a_problem_that_says_how(browse: Callable[..., TestClient], path: str) -> None:
    answer = browse().get(path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["type"]) == (500, "pages-missing")
    assert "make" in answer.json()["detail"]
