"""`earthgen generate` with a real, tiny pipeline, and what is refused before any model is loaded."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthgen import weights
from earthgen.output.scene import Scene

QUICK = ("--size", "40x24", "--steps", 2)


def test_a_placed_image_of_a_size_that_is_no_multiple_of_8(run, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    options = ["--model", tiny_model, "--size", "37x29", "--steps", 2, "--seed", 7, "-o", out]
    result = run("generate", "a lake", "--gsd", 10, "--lat", 45, "--lon", 9, *options)
    assert result.exit_code == 0, result.output
    scene = Scene.read(out)
    assert scene.image.shape == (29, 37, 3)
    assert str(scene.crs) == "EPSG:32632"
    made_by = scene.provenance
    assert (made_by.model, made_by.steps) == ("tiny", 2)
    assert made_by.model_sha256 == weights.model_sha256(tiny_model)
    assert made_by.scheduler == "FlowMatchEulerDiscreteScheduler"
    assert str(tiny_model.parent) not in json.dumps(made_by.to_dict())


def test_a_seed_is_an_image_whatever_the_batch(run, tiny_model: Path, tmp_path: Path) -> None:
    common = ["generate", "a lake", "--model", tiny_model, *QUICK]
    result = run(*common, "--seed", 4, "-n", 3, "--batch-size", 2, "-o", tmp_path / "many")
    assert result.exit_code == 0, result.output
    run(*common, "--seed", 6, "-o", tmp_path / "one.png")
    many, one = (np.asarray(Image.open(p)) for p in (tmp_path / "many/03-a-lake-s6.png", tmp_path / "one.png"))
    assert np.abs(many.astype(int) - one).max() <= 2  # rounding differs between batch sizes, the image does not


def test_known_pixels_stay_as_they_are(run, tiny_model: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    keep = np.zeros((24, 40), np.uint8)
    keep[:, :20] = 255
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(keep).save(tmp_path / "keep.png")
    known = ["--known", tmp_path / "image.png", "--known-mask", tmp_path / "keep.png"]
    result = run("generate", *known, "--model", tiny_model, "--steps", 2, "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    made = np.asarray(Image.open(tmp_path / "out.png"))
    assert (made[:, :20] == image[:, :20]).all()
    assert (made[:, 20:] != image[:, 20:]).any()


class TestRefusedBeforeAnyModelIsLoaded:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--lat", 91, "--lon", 0], "`lat` must be degrees north from -90 to 90, but got 91.0"),
            (["--lat", 45], "`lon` must be given together with `lat`"),
            (["--gsd", 0], "`gsd` must be a number of metres"),
            (["--gsd", -1], "`gsd` must be a number of metres"),
            (["--gsd", "nan"], "`gsd` must be a number of metres"),
            (["--gsd", 200_000, "--lat", 0, "--lon", 0], "`gsd` must be at most"),
            (["--cloud-cover", 1.5], "`cloud_cover` must be a fraction"),
            (["--date", "summer"], "`date` must be a day"),
            (["--box", "ship,900,900,4,4"], "`boxes` must overlap the image"),
            (["--box", "ship,9,9,0,4"], "`box.width` must be a finite number > 0"),
            (["--size", "0"], "`size` must be"),
            (["--steps", 0], "`steps` must be a whole number >= 1"),
            (["--count", 0], "`count` must be a whole number >= 1"),
            (["--batch-size", 0], "`batch-size` must be a whole number >= 1"),
            (["--guidance", "colour=3"], "`guidance` must be"),
            (["--seed", -1], "`seed` must be from 0"),
            (["x" * 10_000], "`text` must be at most"),
            (["b", "-o", "a.tif"], "`output` must be a folder when 2 images are asked for"),
            (["-o", "a.webp"], "`output` must end in .tif, .png or .jpg"),
            (["--device", "abacus"], "`device` must be auto, cpu"),
        ],
    )
    def test_arguments(self, run, stand_in, tmp_path, monkeypatch, options: list[object], message: str) -> None:
        monkeypatch.chdir(tmp_path)
        result = run("generate", "a lake", *options)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert result.stderr.startswith("earthgen: ")
        assert result.stderr.count("\n") == 1
        assert stand_in.loaded == 0

    @pytest.mark.parametrize("name", ["in-the-way/out", "in-the-way/out.tif", "in-the-way"])
    def test_an_output_that_cannot_be_written(self, run, stand_in, tmp_path: Path, name: str) -> None:
        (tmp_path / "in-the-way").write_text("a file where a folder should be")
        result = run("generate", "a lake", "-o", tmp_path / name)
        assert result.exit_code == 1
        assert "cannot write into the folder" in result.stderr
        assert stand_in.loaded == 0

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_without_permission(self, run, stand_in, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        assert run("generate", "a lake", "-o", tmp_path / "out").exit_code == 1
        assert stand_in.loaded == 0

    def test_a_model_that_is_not_there(self, run, tmp_path: Path) -> None:
        result = run("generate", "a lake", "--model", "some/model", "-o", tmp_path)
        assert result.exit_code == 1
        assert "earthgen downloads nothing" in result.stderr


class TestDamagedModels:
    @pytest.fixture
    def model(self, tiny_model: Path, tmp_path: Path) -> Path:
        import shutil

        return Path(shutil.copytree(tiny_model, tmp_path / "model"))

    def attempt(self, run, model: Path) -> str:
        out = model.parent / "out.tif"
        result = run("generate", "a lake", *QUICK, "--model", model, "-o", out)
        assert result.exit_code == 1, result.output
        assert not out.exists()
        assert result.stderr.count("\n") == 1
        return str(result.stderr)

    def test_truncated(self, run, model: Path) -> None:
        path = model / "unet/diffusion_pytorch_model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        assert "is truncated" in self.attempt(run, model)

    def test_tampered(self, run, model: Path) -> None:
        path = model / "vae/diffusion_pytorch_model.safetensors"
        content = bytearray(path.read_bytes())
        content[-3] ^= 0xFF
        path.write_bytes(content)
        assert "was altered" in self.attempt(run, model)

    def test_a_pickle(self, run, model: Path) -> None:
        import torch

        (model / weights.SUMS).unlink()
        path = model / "unet/diffusion_pytorch_model.safetensors"
        path.unlink()
        torch.save({"weight": torch.ones(2)}, path.with_suffix(".bin"))
        message = self.attempt(run, model)
        assert "pickle" in message or "no safetensors weights" in message

    def test_a_pickle_in_disguise(self, run, model: Path) -> None:
        import torch

        (model / weights.SUMS).unlink()
        torch.save({"weight": torch.ones(2)}, model / "unet/diffusion_pytorch_model.safetensors")
        assert "is a pickle" in self.attempt(run, model)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_whole_files_only(tiny_model: Path, tmp_path: Path, heed_ctrl_c: Callable[[], None]) -> None:
    out = tmp_path / "out"
    options = ["--model", tiny_model, *QUICK, "-n", 5000, "--seed", 0, "-o", out]
    command = [sys.executable, "-m", "earthgen.cli", "generate", "a lake", *map(str, options)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed_ctrl_c)
    manifest, deadline = out / "manifest.jsonl", time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if manifest.exists() and manifest.read_text().count("\n") >= 1:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "earthgen: interrupted"
    assert [path for path in out.iterdir() if path.suffix not in {".tif", ".png", ".json", ".jsonl"}] == []
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert rows
    for row in rows:
        assert Scene.read(out / row["file"]).image.shape == (24, 40, 3)
