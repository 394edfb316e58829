"""How a server starts: the page comes before the model, which is loaded behind it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from earthgen.app import engine as engines
from earthgen.app.settings import Settings
from earthgen.errors import WeightsError


def test_the_page_needs_nothing_of_the_model() -> None:
    pytest.importorskip("gradio", reason="needs the extra `app`")
    code = "import sys, earthgen.app.server, earthgen.app.page; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # SciPy's parts take a second, and come when they are used.
    assert not {"torch", "diffusers", "transformers", "scipy.ndimage", "scipy.signal"} & {*done.stdout.split()}


WATCHED = """
import sys
def seen(event, given):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("asked for", given[1] if event == "socket.connect" else given[0])
sys.addaudithook(seen)
from pathlib import Path
from fastapi.testclient import TestClient
from earthgen.app.server import create_app
from earthgen.app.settings import Settings
folder = Path(sys.argv[1])
with TestClient(create_app(Settings(folder / "out", cache=folder / "tiles")), base_url="http://localhost") as client:
    for path in ("/", "/config", "/canvas.js", "/gradio_api/info", "/docs", "/tiles/3/4/2.png?finer_than=-1"):
        assert client.get(path).status_code == 200, path
"""


@pytest.mark.slow
def test_nothing_is_asked_for_outside_the_machine(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra `app`")
    done = subprocess.run([sys.executable, "-c", WATCHED, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_what_is_answered_while_the_model_is_being_loaded(
    settings: Settings, pipe: Any, routes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(engines, "_loaded", lambda *_: go.wait(30) and engines._given(pipe))
    with routes(dataclasses.replace(settings, wait_s=0.3), None) as client:
        try:
            assert client.get("/health").json()["model"] is None
            assert not client.app.engine.worker.started
            ground = client.get("/tiles/8/134/90.png?steps=1&finer_than=-1")
            assert ground.status_code == 200
            assert (ground.headers["earthgen-model"], ground.headers["earthgen-level"]) == ("loading", "6")
            assert not client.app.engine.worker.started  # the map is there first
            for path in (
                "/tiles/8/134/90.png?steps=1",
                "/tiles/8/134/90.png?steps=1&finer_than=6",
                "/tiles/8/134/90.png?base=imagined&finer_than=-1",
                "/statistics?bounds=0,0,1,1&zoom=8",
            ):
                late = client.get(path)
                assert late.status_code == 503 and int(late.headers["retry-after"]) > 0
                assert "loaded" in late.json()["detail"]
            assert client.app.engine.worker.started
            job = client.post("/jobs/generate", json={"width": 32, "height": 32, "steps": 1}).json()
            assert job["state"] == "waiting"
            assert client.get("/tilejson.json").status_code == 200
        finally:
            go.set()
        while client.get(f"/jobs/{job['id']}").json()["state"] in ("waiting", "running"):
            time.sleep(0.02)
        assert client.get(f"/jobs/{job['id']}").json()["state"] == "done"
        again = client.get("/tiles/8/134/90.png?steps=1&finer_than=-1")
        assert "earthgen-model" not in again.headers and again.content == ground.content
        assert client.get("/health").json()["model"] == "in memory"


def test_a_server_whose_model_cannot_be_loaded_ends_and_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from earthgen.app import server

    def broken(*_: Any) -> Any:
        raise WeightsError("weights file x is truncated")

    monkeypatch.setattr(engines, "_loaded", broken)
    monkeypatch.setattr(server, "create_app", partial(server.create_app, page=False))
    asked = server.with_free_port(dataclasses.replace(settings, port=0, idle_s=0))
    # In a thread of its own: a browser of other tests has a loop running in this one.
    with ThreadPoolExecutor(1) as thread, pytest.raises(WeightsError, match="truncated"):
        thread.submit(server.run, asked).result()


def test_a_server_that_ends_gives_up_its_tile_and_answers_who_waits(
    settings: Settings, pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx
    import uvicorn

    from earthgen.app import server

    servers: list[Any] = []
    evaluations: list[int] = []
    startup = uvicorn.Server.startup

    async def seen(self: Any, sockets: Any = None) -> None:
        await startup(self, sockets)
        servers.append(self)

    monkeypatch.setattr(uvicorn.Server, "startup", seen)
    monkeypatch.setattr(server, "create_app", partial(server.create_app, pipe=pipe, page=False))
    asked = server.with_free_port(dataclasses.replace(settings, port=0))
    url = f"http://127.0.0.1:{asked.port}/tiles/8/134/90.png?steps=50"
    counting = pipe.unet.register_forward_hook(lambda *_: evaluations.append(1))
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(server.run, asked)
        try:
            while not servers:
                time.sleep(0.01)
            tile = threads.submit(httpx.get, url, timeout=60)
            while not evaluations:
                time.sleep(0.001)
        finally:
            for one in servers:
                one.should_exit = True
        assert tile.result(60).json() == {"detail": "the server ends"}
        running.result(60)
    counting.remove()
    assert 0 < len(evaluations) < 50
