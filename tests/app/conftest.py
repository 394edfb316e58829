"""A server over a tiny untrained pipeline; a page of it in a real browser where there is one."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))
from conftest import tiny_pipeline  # the same components as the pipelines' tests

from earthgen.app.jobs import Job
from earthgen.app.settings import Settings

PATIENCE = 60_000
"""Milliseconds: the machine that runs this may be busy."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread: None) -> None:
    """Of all tests here."""


@pytest.fixture(scope="session")
def pipe() -> Any:
    return tiny_pipeline()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(folder=tmp_path / "out", cache=tmp_path / "tiles", rate=1e6, burst=10**6)


@pytest.fixture
def routes() -> Callable[[Settings, Any], Any]:
    """A client of a server's routes, without the page; to be used as a context."""
    pytest.importorskip("fastapi", reason="needs the extra `app`")
    from fastapi.testclient import TestClient

    from earthgen.app.server import create_app

    return lambda settings, pipe: TestClient(create_app(settings, pipe, page=False), base_url="http://testserver")


@pytest.fixture
def client(settings: Settings, pipe: Any, routes: Any) -> Iterator[Any]:
    with routes(settings, pipe) as client:
        yield client


@pytest.fixture
def finish() -> Callable[[Any, dict[str, Any]], dict[str, Any]]:
    """Waits until a work has ended; its record."""

    def wait(client: Any, record: dict[str, Any], seconds: float = 120) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            record = client.get(f"/jobs/{record['id']}").json()
            if record["state"] not in ("waiting", "running"):
                return record
            time.sleep(0.02)
        raise AssertionError(record)

    return wait


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set no work gets further than a fifth of its way, however fast the machine is."""
    go, step = threading.Event(), Job.step

    def slow(self: Job, progress: float) -> None:
        while progress > 0.2 and not self._cancelled.is_set() and not go.wait(0.02):
            pass
        step(self, progress)

    monkeypatch.setattr(Job, "step", slow)
    yield go
    go.set()


class Server:
    """A server that really listens, in a thread."""

    def __init__(self, settings: Settings, pipe: Any) -> None:
        import uvicorn

        from earthgen.app.server import create_app

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.settings = dataclasses.replace(settings, port=port)
        self.url = f"http://127.0.0.1:{port}"
        app = create_app(self.settings, pipe)
        self.engine = app.engine
        self._server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)


@pytest.fixture(scope="session")
def server(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("gradio", reason="needs the extra `app`")
    folder = tmp_path_factory.mktemp("served")
    with Server(Settings(folder=folder / "out", cache=folder / "tiles", rate=1e6, burst=10**6), pipe) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs a Chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


class Visit:
    """A page, and all that it complained of."""

    def __init__(self, browser: Any, server: Server, **options: Any) -> None:
        self.server, self.wrong = server, []
        self.events: set[Any] = set()
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.wrong.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._asked)
        self.page.on("requestfinished", lambda r: self.events.discard(r))
        self.page.on("requestfailed", lambda r: self.events.discard(r))
        self.page.on("response", lambda r: r.status >= 400 and self.wrong.append(f"{r.status} {r.url}"))

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.server.url + "/", "data:", "blob:")):
            self.wrong.append(f"asked for {request.url}")
        if "/queue/" in request.url:
            self.events.add(request)

    def open(self, link: str = "") -> Any:
        self.page.goto(f"{self.server.url}/{link}")
        self.page.wait_for_selector(".eg-map.leaflet-container")
        self.sharp()
        self.settled()  # what a link fills into the form would come over what is typed there
        return self.page

    def sharp(self) -> None:
        """Wait until no tile is a preview any more."""
        self.page.wait_for_function("document.querySelector('.eg-map').dataset.left === '0'", timeout=PATIENCE)

    def settled(self) -> None:
        """Wait until the server has taken what was done on the page: no event of Gradio is on its way."""
        self.page.wait_for_timeout(300)  # an event leaves the browser, with its own delay
        end = time.monotonic() + PATIENCE / 1000
        while self.events:
            assert time.monotonic() < end, "events that never end"
            self.page.wait_for_timeout(50)

    def tab(self, name: str) -> Any:
        self.page.get_by_role("tab", name=name).click()
        panel = self.page.get_by_role("tabpanel").filter(visible=True)
        panel.locator(".eg-map.leaflet-container").wait_for()
        return panel

    def done(self) -> Any:
        """The newest work, once it is done."""
        row = self.page.locator(".eg-jobs li").first
        row.and_(self.page.locator("[data-state=done]")).wait_for(timeout=2 * PATIENCE)
        return row


@pytest.fixture
def visitor(browser: Any, server: Server) -> Callable[..., Visit]:
    """Makes visits, to another server too, with options of a browser's context."""
    return lambda at=server, **options: Visit(browser, at, **options)


@pytest.fixture
def visit(visitor: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visit that nothing may go wrong in."""
    made = visitor(**getattr(request, "param", {}))
    yield made
    made.context.close()
    assert made.wrong == []
