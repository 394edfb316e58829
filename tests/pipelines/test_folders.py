"""Model folders: saved and loaded to the same pictures, by plain diffusers too, and never when damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file

from earthgen.conditions import Guidance
from earthgen.errors import ArgumentError, WeightsError
from earthgen.models import EarthUNet
from earthgen.models.backends import backend_of
from earthgen.pipelines import EarthPipeline
from earthgen.training.distillation import student_of
from earthgen.weights import SUMS, write_sums
from earthgen.world import World

WEIGHTS = "diffusion_pytorch_model.safetensors"
CALL = {"prompt": "a river", "gsd": 10, "height": 40, "width": 24, "num_inference_steps": 2, "output_type": "np"}


def images(pipe: Any) -> np.ndarray:
    return np.asarray(pipe(generator=torch.Generator().manual_seed(3), **CALL).images)


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of a saved folder to damage. The text encoder is left out, as in the bundled model."""
    copy = tmp_path / "model"
    shutil.copytree(saved, copy, ignore=shutil.ignore_patterns("text_encoder", "tokenizer"))
    write_sums(copy)
    return copy


def test_a_saved_pipeline_makes_the_same_picture(pipe: Any, saved: Path, tmp_path: Path) -> None:
    loaded = EarthPipeline.from_pretrained(saved, torch_dtype=torch.float32)
    for name in ("unet", "vae", "text_encoder"):
        before, after = (getattr(p, name).state_dict() for p in (pipe, loaded))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k], after[k]) for k in before)
    assert type(loaded.scheduler) is type(pipe.scheduler)
    loaded.save_pretrained(tmp_path)
    again = EarthPipeline.from_pretrained(tmp_path, torch_dtype=torch.float32)
    a, b, c = (images(p) for p in (pipe, loaded, again))
    assert np.array_equal(b, c)
    # Weights mapped from a file are aligned otherwise than those in memory, which may alter the last bits.
    assert np.abs(a - b).max() < 1e-5


def test_images_of_few_steps_are_made_by_the_network_for_them(saved: Path, tmp_path: Path) -> None:
    pipe = EarthPipeline.from_pretrained(saved, torch_dtype=torch.float32)
    pipe.register_modules(few_step_unet=student_of(pipe.unet, Guidance().text))
    pipe.save_pretrained(tmp_path)
    loaded = EarthPipeline.from_pretrained(tmp_path, torch_dtype=torch.float32)
    calls = dict.fromkeys(("unet", "few_step_unet"), 0)
    for name in calls:
        network = getattr(loaded, name)
        network.register_forward_pre_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
    for steps, wanted in ((4, (0, 4)), (5, (10, 4))):  # guidance is in the network, or takes a second evaluation
        loaded(**CALL | {"num_inference_steps": steps})
        assert tuple(calls.values()) == wanted
    other = EarthUNet.preset("tiny", 6)
    with pytest.raises(ArgumentError, match="`few_step_unet` must have the grid"):
        EarthPipeline(**pipe.components | {"few_step_unet": other})


def test_precision_is_as_asked(saved: Path) -> None:
    half = EarthPipeline.from_pretrained(saved, torch_dtype=torch.bfloat16)
    assert {half.unet.dtype, half.vae.dtype, half.text_encoder.dtype} == {torch.bfloat16}


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs earthgen[openvino]")
def test_a_backend_makes_the_same_picture(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHGEN_CACHE", str(tmp_path / "cache"))
    plain = EarthPipeline.from_pretrained(saved, torch_dtype=torch.float32)
    fast = EarthPipeline.from_pretrained(saved, backend="openvino", torch_dtype=torch.float32)
    assert [backend_of(model) for model in (fast.unet, fast.vae, plain.unet)] == ["openvino", "openvino", "torch"]
    assert np.abs(images(plain) - images(fast)).max() < 1e-4
    worlds = [World.open(0, pipe, cache=tmp_path / "tiles") for pipe in (plain, fast)]
    assert worlds[0].request.key != worlds[1].request.key
    fast.save_pretrained(tmp_path / "again")
    again = EarthPipeline.from_pretrained(tmp_path / "again", torch_dtype=torch.float32)
    assert np.array_equal(images(again), images(plain))


def test_an_unknown_backend_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="`backend` must be one of torch, openvino, onnx, but got 'tpu'"):
        EarthPipeline.from_pretrained(tmp_path / "nothing", backend="tpu")


def test_components_may_be_given(pipe: Any, folder: Path) -> None:
    loaded = EarthPipeline.from_pretrained(folder, scheduler=pipe.scheduler, unet=pipe.unet)
    assert loaded.scheduler is pipe.scheduler and loaded.unet is pipe.unet
    with pytest.raises(TypeError, match="revision"):
        EarthPipeline.from_pretrained(folder, revision="main")


def test_plain_diffusers_loads_a_saved_folder(pipe: Any, saved: Path, tmp_path: Path) -> None:
    script = (
        "import json, sys, numpy, torch\n"
        "from diffusers import DiffusionPipeline\n"
        "pipe = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "assert type(pipe).__name__ == 'EarthPipeline'\n"
        "images = pipe(generator=torch.Generator().manual_seed(3), **json.loads(sys.argv[2])).images\n"
        "numpy.save(sys.argv[3], images)\n"
    )
    assert "earthgen" not in script
    environment = os.environ | {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", script, str(saved), json.dumps(CALL), str(tmp_path / "images.npy")]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=900)
    assert np.abs(np.load(tmp_path / "images.npy") - images(pipe)).max() < 1e-5


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def pickle_instead(path: Path) -> None:
    torch.save(load(path.read_bytes()), path)


def pickle_beside(path: Path) -> None:
    torch.save(load(path.read_bytes()), path.with_suffix(".bin"))
    path.unlink()


def drop_a_tensor(path: Path) -> None:
    tensors = load(path.read_bytes())
    tensors.pop(next(iter(tensors)))
    save_file(tensors, path, metadata={"format": "pt"})


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("component", ["unet", "vae"])
@pytest.mark.parametrize("damage", [flip_a_byte, cut, pickle_instead, pickle_beside, drop_a_tensor, remove])
def test_a_damaged_folder_is_refused_by_its_checksums(
    folder: Path, damage: Callable[[Path], None], component: str
) -> None:
    damage(folder / component / WEIGHTS)
    with pytest.raises(WeightsError, match=component):
        EarthPipeline.from_pretrained(folder)


@pytest.mark.parametrize("damage", [cut, pickle_instead, pickle_beside, drop_a_tensor, remove])
def test_without_checksums_what_can_be_seen_is(folder: Path, damage: Callable[[Path], None]) -> None:
    (folder / SUMS).unlink()
    assert EarthPipeline.from_pretrained(folder)
    damage(folder / "unet" / WEIGHTS)
    with pytest.raises(WeightsError, match="unet"):
        EarthPipeline.from_pretrained(folder)


def test_an_altered_config_or_added_code_is_refused(folder: Path) -> None:
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace('"heads": 2', '"heads": 4'))
    with pytest.raises(WeightsError, match=r"unet/config\.json was altered"):
        EarthPipeline.from_pretrained(folder)
    write_sums(folder)
    (folder / "extra.py").write_text("import os")
    with pytest.raises(WeightsError, match=r"extra\.py is not listed"):
        EarthPipeline.from_pretrained(folder)


def test_what_is_no_model_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no model folder"):
        EarthPipeline.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="is no model folder"):
        EarthPipeline.from_pretrained(tmp_path)
