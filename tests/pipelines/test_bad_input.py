"""Every argument that breaks a rule is refused before any work is done: which argument, what rule, what came."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from earthgen import Box, Conditions, Guidance
from earthgen.errors import ArgumentError

MASK = np.zeros((32, 32), np.uint8)
IMAGE = np.zeros((32, 32, 3), np.uint8)
ONE = Conditions(text="a river")

CASES: list[tuple[dict[str, Any], str, str, str]] = [
    # arguments, the one at fault, part of the rule, part of the value
    ({"prompt": "x" * 10_000}, "text", "at most 2000 characters", "xxx"),
    ({"prompt": 5}, "prompt", "a string, a list of strings", "5"),
    ({"prompt": ["a", 5]}, "text", "a string", "5"),
    ({"prompt": []}, "prompt", "must not be an empty list", r"\[\]"),
    ({"lat": 91, "lon": 0}, "lat", "-90 to 90", "91"),
    ({"lat": 0, "lon": 181}, "lon", "-180 to 180", "181"),
    ({"lat": 5}, "lon", "together with `lat`", "None"),
    ({"gsd": 0}, "gsd", "metres a pixel from 0.05", "0"),
    ({"gsd": -10}, "gsd", "metres a pixel from 0.05", "-10"),
    ({"gsd": math.nan}, "gsd", "metres a pixel from 0.05", "nan"),
    ({"gsd": "10"}, "gsd", "metres a pixel from 0.05", "'10'"),
    ({"cloud_cover": 30}, "cloud_cover", "0 to 1", "30"),
    ({"date": "2024-06-15"}, "date", "datetime.date", "2024-06-15"),
    ({"boxes": [Box("ship", 100, 100, 5, 5)]}, "boxes", "must overlap the image of 32 x 32", "ship"),
    ({"boxes": [("ship", 1, 1, 5, 5)]}, "boxes", "must hold earthgen.Box", "ship"),
    ({"mask": MASK[:16], "mask_classes": ("water",)}, "mask", r"image's size, \(32, 32\)", r"\(16, 32\)"),
    ({"mask": MASK + 3, "mask_classes": ("water",)}, "mask", "indices below 1", r"\[3\]"),
    ({"mask": MASK}, "mask_classes", "must name the mask's classes", r"\(\)"),
    ({"mask": MASK.astype(float), "mask_classes": ("water",)}, "mask", "uint8", "float64"),
    ({"known": IMAGE}, "known_mask", "together with its pair", "None"),
    ({"known": IMAGE, "known_mask": MASK}, "known_mask", "boolean array of shape", "uint8"),
    ({"known": IMAGE[:8], "known_mask": MASK[:8] == 0}, "known", r"image's size, \(32, 32\)", r"\(8, 32\)"),
    ({"coarse": IMAGE}, "coarse", r"1/4 of the image's size, rounded up: \(8, 8\)", r"\(32, 32\)"),
    ({"height": 7}, "height", "from 8 to 16384", "7"),
    ({"width": 20_000}, "width", "from 8 to 16384", "20000"),
    ({"height": 64.0}, "height", "whole number", "64.0"),
    ({"num_inference_steps": 0}, "num_inference_steps", "from 1 to 1000", "0"),
    ({"num_inference_steps": True}, "num_inference_steps", "from 1 to 1000", "True"),
    ({"num_images_per_prompt": 0}, "num_images_per_prompt", "from 1", "0"),
    ({"image": IMAGE, "strength": 0}, "strength", "above 0", "0"),
    ({"image": IMAGE, "strength": 1.5}, "strength", "at most 1", "1.5"),
    ({"image": IMAGE, "strength": math.nan}, "strength", "above 0", "nan"),
    ({"image": IMAGE.astype(float)}, "image", "uint8", "float64"),
    ({"image": "photo.png"}, "image", "uint8", "photo.png"),
    ({"guidance_scale": -1}, "guidance_scale", "0 to 50", "-1"),
    ({"guidance_scale": 2, "guidance": Guidance()}, "guidance_scale", "absent where `guidance`", "2"),
    ({"guidance": 2}, "guidance", "earthgen.Guidance", "2"),
    ({"guidance_interval": (0.8, 0.2)}, "guidance_interval", "low <= high", "0.8"),
    ({"guidance_interval": 0.5}, "guidance_interval", "two noise levels", "0.5"),
    ({"generator": 42}, "generator", "torch.Generator", "42"),
    ({"generator": [torch.Generator()] * 2}, "generator", "a list of 1, one an image", "2"),
    ({"latents": torch.zeros(1, 4, 32, 32)}, "latents", r"shape \(1, 4, 8, 8\)", r"\(1, 4, 32, 32\)"),
    ({"latents": "noise"}, "latents", "tensor", "noise"),
    ({"output_type": "jpeg"}, "output_type", '"pil", "np", "pt" or "latent"', "jpeg"),
    ({"callback_on_step_end_tensor_inputs": ["noise"]}, "callback_on_step_end_tensor_inputs", "latents", "noise"),
    ({"prompt": "a river", "conditions": ONE}, "prompt", "absent where `conditions`", "a river"),
    ({"gsd": 10, "conditions": ONE}, "gsd", "absent where `conditions`", "10"),
    ({"conditions": ["a river"]}, "conditions", "earthgen.Conditions", "a river"),
    ({"conditions": []}, "conditions", "must not be an empty list", r"\[\]"),
    ({"negative_prompt": 5}, "negative_prompt", "a string, a list of 1, one a prompt, or None", "5"),
    ({"negative_prompt": ["a", "b"]}, "negative_prompt", "a list of 1", "'b'"),
    ({"negative_prompt": [5]}, "negative_prompt", "must be a string", "5"),
    ({"negative_prompt": "x" * 10_000}, "negative_prompt", "at most 2000 characters", "xxx"),
    ({"negative_prompt": "clouds", "guidance_scale": 1}, "negative_prompt", "for text above 1", "text=1"),
    ({"negative_prompt": "clouds", "guidance": Guidance(text=0)}, "negative_prompt", "for text above 1", "text=0"),
    ({"text": "a river"}, "text", "is no argument and no condition", "a river"),
]


@pytest.mark.parametrize(("arguments", "name", "rule", "value"), CASES)
def test_argument_rule_and_value_are_named(
    pipe: Any, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], name: str, rule: str, value: str
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was done before the arguments were found wrong")

    monkeypatch.setattr(pipe.unet, "forward", work)
    monkeypatch.setattr(pipe.text_encoder, "forward", work)
    with pytest.raises(ArgumentError, match=f"^`{name}` .*{rule}.*, but got .*{value}") as caught:
        pipe(**({"height": 32, "width": 32} | arguments))
    assert caught.value.argument == name
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "scheduler",
    [DDIMScheduler(), EulerDiscreteScheduler(), DPMSolverMultistepScheduler(use_flow_sigmas=True)],
    ids=lambda s: type(s).__name__,
)
def test_a_scheduler_that_is_not_for_flow_matching_is_refused(pipe: Any, scheduler: Any) -> None:
    pipe.scheduler = scheduler
    with pytest.raises(ArgumentError, match=f"`scheduler` must be for flow matching.*{type(scheduler).__name__}"):
        pipe("a river", height=32, width=32)


@pytest.mark.parametrize("prompt", ["", "   ", None])
def test_an_empty_prompt_is_no_prompt(pipe: Any, prompt: str | None) -> None:
    options = {"height": 32, "width": 32, "num_inference_steps": 2, "output_type": "np", "guidance_scale": 4}
    a = pipe(prompt, gsd=10, generator=torch.Generator().manual_seed(0), **options).images
    b = pipe(gsd=10, generator=torch.Generator().manual_seed(0), **options).images
    assert np.array_equal(a, b)


def test_a_long_prompt_is_cut_with_a_warning(pipe: Any, caplog: pytest.LogCaptureFixture) -> None:
    options = {"height": 16, "width": 16, "num_inference_steps": 1, "output_type": "np"}
    assert np.isfinite(pipe("river " * 300, **options).images).all()
    assert "reads 64 tokens" in caplog.text
