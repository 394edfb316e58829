"""A tiny EuroSAT in its true layout, and the recipes run on it for a few steps."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from PIL import Image

from earthgen.data.base import cell_of, split_of


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps its settings for the life of a process; each test is a run of its own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EuroSAT with 12 images in cells of the training split and 4 of the test split."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    wanted = {"train": 12, "test": 4}
    for i in range(400):
        lat, lon = 36 + (i % 20) + 0.5, -8 + (i // 20) + 0.5
        split = split_of(cell_of(lat, lon))
        if not wanted[split]:
            continue
        wanted[split] -= 1
        label = ("River", "Forest")[i % 2]
        path = f"{label}/{label}_{i + 1}.jpg"
        (root / "eurosat_rgb" / label).mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).save(root / "eurosat_rgb" / path)
        rows.append((path, label, lat, lon))
    with (root / "eurosat_centres.csv").open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(("path", "label", "lat", "lon"))
        writer.writerows(rows)
    assert not any(wanted.values())
    return root


@pytest.fixture(scope="session")
def autoencoder_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from earthgen.training import autoencoder

    out = tmp_path_factory.mktemp("runs") / "autoencoder"
    autoencoder.main(autoencoder_flags(tiny_data, out, 3))
    AcceleratorState._reset_state(reset_partial_state=True)
    return out


@pytest.fixture(scope="session")
def latent_cache(tiny_data: Path, autoencoder_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from earthgen.training import latents

    out = tmp_path_factory.mktemp("latents")
    flags = ["--data_root", tiny_data, "--sets", "eurosat", "--sizes", 64, "--scale", 0.001]
    latents.main([str(a) for a in (*flags, "--autoencoder", autoencoder_run / "autoencoder", "--output_dir", out)])
    return out


def autoencoder_flags(data: Path, out: Path, steps: int) -> list[str]:
    flags = [
        "--data_root", data, "--sets", "eurosat", "--output_dir", out, "--max_train_steps", steps, "--cpu",
        "--latent_channels", 4, "--block_channels", 8, 8, "--train_batch_pixels", 2 * 64 * 64,
        "--validation_steps", 2, "--checkpointing_steps", 2, "--logging_steps", 1, "--lr_warmup_steps", 1,
    ]  # fmt: skip
    return [str(f) for f in flags]


def denoiser_flags(cache: Path, autoencoder: Path, out: Path, steps: int) -> list[str]:
    flags = [
        "--latents", cache, "--autoencoder", autoencoder / "autoencoder", "--output_dir", out, "--cpu",
        "--preset", "tiny", "--max_train_steps", steps, "--train_batch_latents", 4 * 256, "--validation_steps", 0,
        "--checkpointing_steps", 2, "--logging_steps", 1, "--lr_warmup_steps", 1, "--mixed_precision", "no",
    ]  # fmt: skip
    return [str(f) for f in flags]


@pytest.fixture(scope="session")
def flags() -> SimpleNamespace:
    """The flags of tiny runs, to be called with (data or cache and autoencoder, output folder, steps)."""
    return SimpleNamespace(autoencoder=autoencoder_flags, denoiser=denoiser_flags)
