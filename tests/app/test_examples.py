"""The notebook of the API does what it says, against a server that listens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "canvas_api.ipynb"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_the_notebook_carries_no_outputs() -> None:
    assert not [cell for cell in cells() if cell["outputs"] or cell["execution_count"] is not None]
    assert NOTEBOOK.stat().st_size < 20_000


@pytest.mark.slow
def test_the_notebook_runs(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHGEN_APP", server.url)
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(cells()):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert names["tile"].size == (256, 256)
    assert names["finer"]["about"]["size"][0] == 4 * names["upload"]["width"]
    assert names["record"]["about"]["seed"] == 3
    assert names["around"].headers["content-type"] == "image/png"
