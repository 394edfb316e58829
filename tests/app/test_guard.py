"""Who may ask, how often, how much."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from earthgen.app.guard import Rate
from earthgen.app.settings import Settings
from earthgen.errors import ArgumentError


def test_another_name_for_this_server_is_refused(client: Any) -> None:
    assert client.get("/health", headers={"Host": "localhost:7860"}).status_code == 200
    assert client.get("/health", headers={"Host": "[::1]:7860"}).status_code == 200
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421


def test_another_site_may_not_post(client: Any) -> None:
    empty = {"type": "FeatureCollection", "features": []}
    assert client.post("/regions", json=empty).status_code == 201
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/regions", json=empty, headers=headers).status_code == 403


def test_user_and_password_are_asked_for_everywhere(settings: Settings, pipe: Any, routes: Any) -> None:
    guarded = dataclasses.replace(settings, user="me", password="secret")
    assert "secret" not in repr(guarded)
    with routes(guarded, pipe) as client:
        for path in ("/health", "/tiles/0/0/0.png", "/canvas/base.js", "/docs", "/openapi.json", "/nothing"):
            answer = client.get(path)
            assert answer.status_code == 401 and "Basic" in answer.headers["www-authenticate"]
        assert client.get("/health", auth=("me", "wrong")).status_code == 401
        assert client.get("/health", auth=("me", "secret")).status_code == 200


def test_other_pages_read_the_map_alone(client: Any) -> None:
    allowed = {"/tiles/2/1/1.png", "/tilejson.json", "/bbox.png?zoom=1", "/statistics?zoom=1"}
    for path in (*allowed, "/health", "/jobs/" + "0" * 32, "/uploads/" + "0" * 32 + ".png", "/places?q=rom"):
        answer = client.get(path, headers={"Origin": "http://map.example"})
        assert answer.headers.get("access-control-allow-origin") == ("*" if path in allowed else None), path


def test_too_much_is_refused(settings: Settings, pipe: Any, routes: Any) -> None:
    with routes(dataclasses.replace(settings, upload_bytes=1000), pipe) as client:
        assert client.post("/uploads", content=b"x" * 1001).status_code == 413
        assert client.post("/uploads", content=(b"x" * 400 for _ in range(3))).status_code == 411
        assert client.post("/uploads", content=b"x" * 900).status_code == 422
        assert client.post("/regions", content=b" " * (3 << 20)).status_code == 413
        assert client.post("/uploads", headers={"Content-Length": "-1"}).status_code == 413


def test_a_rate_is_kept(settings: Settings, pipe: Any, routes: Any) -> None:
    with routes(dataclasses.replace(settings, rate=0.01, burst=3), pipe) as client:
        answers = [client.get("/health") for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 503, 503]
    assert int(answers[-1].headers["retry-after"]) > 0


def test_the_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("earthgen.app.guard.time.monotonic", lambda: now[0])
    rate = Rate(2, 2)
    assert [rate.wait("a") for _ in range(3)] == [0, 0, 0.5]
    assert rate.wait("b") == 0
    now[0] = 0.5
    assert rate.wait("a") == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": "me"},
        {"password": "x"},
        {"user": "a:b", "password": "x"},
        {"user": "a", "password": ""},
        {"port": 70000},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        Settings(**wrong)


def test_gradios_own_files_and_uploads_are_not_reached(client: Any) -> None:
    for path in (
        "upload",
        "file=/etc/passwd",
        "proxy=http://127.0.0.1/",
        "monitoring",
        "../gradio_api/upload",
        "vibe-edit",
    ):
        assert client.post(f"/gradio_api/{path}").status_code in (404, 405)
        assert client.get(f"/gradio_api/{path}").status_code == 404
