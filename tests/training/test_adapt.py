"""A tiny model taught on a few labelled images, in one command."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from earthgen import Box, labels, weights
from earthgen.errors import ArgumentError
from earthgen.labels import LabelledImage, LabelledSet, Shape
from earthgen.training import adapt, bundle, denoiser, distillation

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model(
    latent_cache: Path, autoencoder_run: Path, tmp_path_factory: pytest.TempPathFactory, flags: SimpleNamespace
) -> Path:
    out = tmp_path_factory.mktemp("model")
    denoiser.main(flags.denoiser(latent_cache, autoencoder_run, out / "run", 1))
    parts = ["--unet", out / "run" / "unet", "--autoencoder", autoencoder_run / "autoencoder"]
    bundle.main([str(p) for p in (*parts, "--output_dir", out / "model")])
    return out / "model"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    images = []
    for k in range(4):
        pixels = np.random.default_rng(k).integers(0, 255, (80, 72, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
        shapes = (Shape(Box("ship", 30, 30, 12, 20)), Shape(Box("ship", 60, 50, 12, 20)))
        images.append(LabelledImage(str(k), folder / f"{k}.png", 80, 72, shapes=shapes))
    return labels.export(LabelledSet(images, ("ship",)), folder / "out", ["coco"])["coco"]


def asked(real: Path, model: Path, out: Path, *more: object, steps: int = 6) -> list[str]:
    given = ("--real", real, "--gsd", 0.5, "--model", model, "--output_dir", out, "--records", 0.004)
    tiny = ("--cpu", "--train_batch_latents", 512, "--mixed_precision", "no")
    return [str(x) for x in (*given, "--max_train_steps", steps, *tiny, *more)]


def test_a_model_learns_from_labelled_images_and_goes_on_where_it_stopped(
    real: Path, model: Path, tmp_path: Path
) -> None:
    adapt.main(asked(real, model, tmp_path, steps=2))
    cache = tmp_path / "latents" / "64"
    assert np.load(cache / "labelled.npy")[:, 0].all() and (np.load(cache / "meta.npy")["gsd"] >= 0.5).all()
    assert any("ship" in text for text in json.loads((cache / "index.json").read_text())["texts"])
    assert not (tmp_path / "latents" / "128").exists()  # no image is as large
    first = load_file(tmp_path / "model" / WEIGHTS)
    adapt.main(asked(real, model, tmp_path, steps=6))
    assert (tmp_path / "denoiser" / "checkpoint-6").is_dir()
    second, before = load_file(tmp_path / "model" / WEIGHTS), load_file(model / WEIGHTS)
    assert any(not first[k].equal(second[k]) for k in first) and any(not second[k].equal(before[k]) for k in first)
    assert all(status.ok for status in weights.verify(tmp_path / "model"))
    with pytest.raises(ArgumentError, match=r"output_dir.*another gsd"):
        adapt.main(asked(real, model, tmp_path, "--gsd", 0.3))


def test_what_cannot_be_learned_from_is_refused_before_any_work(
    real: Path, model: Path, latent_cache: Path, autoencoder_run: Path, tmp_path: Path, flags: SimpleNamespace
) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (40, 90)).save(small)
    image = LabelledImage("small", small, 90, 40, shapes=(Shape(Box("ship", 20, 20, 9, 9)),))
    labelled = labels.export(LabelledSet([image], ("ship",)), tmp_path / "out", ["coco"])["coco"]
    with pytest.raises(ArgumentError, match=r"real.*64 px"):
        adapt.main(asked(labelled, model, tmp_path / "none"))
    for more, name in ((("--records", 0), "records"), (("--records", "nan"), "records"), (("--gsd", 0), "gsd")):
        with pytest.raises(ArgumentError, match=f"`{name}`"):
            adapt.main(asked(real, model, tmp_path / "none", *more))
    with pytest.raises(ArgumentError, match="`max_train_steps`"):
        adapt.main(asked(real, model, tmp_path / "none", steps=0))
    student = [*flags.denoiser(latent_cache, autoencoder_run, tmp_path / "few", 1), "--teacher", str(model / "unet")]
    student = [x for k, x in enumerate(student) if x != "--preset" and student[k - 1] != "--preset"]
    distillation.main(student)
    parts = ["--unet", tmp_path / "few" / "unet", "--autoencoder", autoencoder_run / "autoencoder"]
    bundle.main([str(p) for p in (*parts, "--output_dir", tmp_path / "student")])
    with pytest.raises(ArgumentError, match=r"model.*many steps"):
        adapt.main(asked(real, tmp_path / "student", tmp_path / "none"))
    assert not (tmp_path / "none").exists()
