"""What tests share: a model folder that is real but tiny, and a skip for what the machine lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Help and errors without colours and without line breaks that depend on the terminal."""
    for name, value in {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "160", "TERMINAL_WIDTH": "160"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch computes on one thread, so that sums come out the same to the last bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder laid out as a model's, with checksums. Its tensors mean nothing."""
    import torch
    from safetensors.torch import save_file

    from earthgen import weights

    folder = tmp_path / "model"
    for part in ("unet", "vae"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps({"part": part}))
        tensors = {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3, dtype=torch.bfloat16)}
        save_file(tensors, folder / part / "diffusion_pytorch_model.safetensors")
    (folder / "model_index.json").write_text("{}")
    weights.write_sums(folder)
    return folder
