"""`EarthPipeline` on real, tiny components: what diffusers promises, and what earthgen adds to it."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.callbacks import PipelineCallback

from earthgen import Box, Conditions, Guidance
from earthgen.conditions import LEAST_TOLD
from earthgen.errors import ArgumentError
from earthgen.models.inputs import conditioning_of
from earthgen.pipelines.refinement import Lead, small_parts
from earthgen.steps import FEW_NOISE
from earthgen.tiling import LATENT_TILE
from earthgen.training.distillation import student_of

SMALL = {"height": 32, "width": 48, "num_inference_steps": 3}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
SCHEDULERS = [
    FlowMatchEulerDiscreteScheduler(),
    FlowMatchEulerDiscreteScheduler(shift=3.0),
    FlowMatchHeunDiscreteScheduler(),
    DPMSolverMultistepScheduler(**FLOW),
    UniPCMultistepScheduler(**FLOW),
]
RNG = np.random.default_rng(0)
PHOTO = np.kron(RNG.integers(0, 256, (4, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8))  # 32 × 48


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(n) for n in numbers]


def everything(height: int, width: int) -> Conditions:
    """Every condition at once."""
    known_mask = np.zeros((height, width), bool)
    known_mask[:, : width // 3] = True
    return Conditions(
        text="a river through farmland",
        gsd=10,
        lat=45.4,
        lon=9.2,
        date=dt.date(2024, 6, 15),
        cloud_cover=0.2,
        boxes=(Box("house", width / 2, height / 2, 20, 12, 30),),
        mask=np.indices((height, width))[1].astype(np.uint8) % 2,
        mask_classes=("water", "forest"),
        known=np.full((height, width, 3), 90, np.uint8),
        known_mask=known_mask,
        coarse=np.full((math.ceil(height / 4), math.ceil(width / 4), 3), 120, np.uint8),
        coarse_degradation=0.5,
    )


# What comes out


def test_the_same_image_in_each_output_type(pipe: Any) -> None:
    def images(kind: str) -> Any:
        return pipe("a river", generator=seeds(7), output_type=kind, **SMALL).images

    (pil,), array, tensor, latent = (images(kind) for kind in ("pil", "np", "pt", "latent"))
    assert isinstance(pil, PIL.Image.Image) and pil.size == (48, 32) and pil.mode == "RGB"
    assert array.shape == (1, 32, 48, 3) and array.dtype == np.float32 and 0 <= array.min() <= array.max() <= 1
    assert tensor.shape == (1, 3, 32, 48) and np.array_equal(tensor[0].permute(1, 2, 0).numpy(), array[0])
    assert np.array_equal((array[0] * 255).round().astype(np.uint8), np.asarray(pil))
    assert latent.shape == (1, 4, 8, 12)
    decoded = pipe.image_processor.postprocess(pipe.vae.decode(latent).sample, output_type="np")
    assert np.allclose(decoded, array, atol=1e-6)


def test_a_tuple_on_demand_and_several_images_a_prompt(pipe: Any) -> None:
    (images,) = pipe(["a river", "a forest"], num_images_per_prompt=2, return_dict=False, **SMALL)
    assert len(images) == 4
    assert len({image.tobytes() for image in images}) == 4


@pytest.mark.parametrize(("height", "width"), [(8, 8), (33, 50), (17, 200), (40, 41)])
def test_sizes_off_the_grid_are_cropped_exactly(pipe: Any, height: int, width: int) -> None:
    padded = {"height": math.ceil(height / 16) * 16, "width": math.ceil(width / 16) * 16}
    options = {"num_inference_steps": 2, "output_type": "np"}
    cropped = pipe("a river", gsd=10, height=height, width=width, generator=seeds(1), **options).images[0]
    whole = pipe("a river", gsd=10, **padded, generator=seeds(1), **options).images[0]
    assert cropped.shape == (height, width, 3)
    assert np.array_equal(cropped, whole[:height, :width])


def test_a_negative_prompt_takes_the_place_of_no_text(pipe: Any) -> None:
    def image(prompt: Any, negative: Any, **options: Any) -> Any:
        given = {"generator": seeds(1), "output_type": "np", **SMALL, **options}
        return pipe(prompt, negative_prompt=negative, **given).images

    plain, away = image("a river", None), image("a river", "a forest")
    assert np.abs(away - plain).max() > 0.01
    assert np.array_equal(image("a river", "  "), plain) and np.array_equal(image("a river", ""), plain)
    assert np.abs(image("a river", "a desert") - away).max() > 0.01
    # Without a prompt it leads from the text to what is learned without any.
    assert np.abs(image(None, "a forest") - image(None, None)).max() > 0.01
    # A weight of 2 goes the way from the negative text to the prompt twice, but for what lies along the latent.
    one = {"gsd": 10, "num_inference_steps": 1, "output_type": "latent"}
    river, forest = (image(text, None, guidance=Guidance.uniform(1), **one) for text in ("a river", "a forest"))
    along = ((river - forest) * river).sum(1, keepdim=True) / (river.square().sum(1, keepdim=True) + 0.1)
    made = image("a river", "a forest", guidance=Guidance(text=2, gsd=1), **one)
    assert torch.allclose(made, river + (river - forest) - along * river, atol=1e-3)


def test_negative_prompts_are_one_a_prompt_and_leave_refinements_alone(pipe: Any) -> None:
    options = {"guidance_scale": 3.0, "output_type": "np", "num_images_per_prompt": 2, **SMALL}
    both = pipe(["a river", "a lake"], negative_prompt=["a forest", ""], generator=seeds(1, 2, 3, 4), **options).images
    river = pipe("a river", negative_prompt="a forest", generator=seeds(1, 2), **options).images
    lake = pipe("a lake", generator=seeds(3, 4), **options).images
    assert np.abs(both - np.concatenate([river, lake])).max() < 2 / 255
    counted: list[int] = []
    counting = pipe.unet.register_forward_hook(lambda *_: counted.append(1))
    pipe("a river", negative_prompt="a forest", height=80, width=72, base_side=16, num_inference_steps=5)
    counting.remove()
    assert len(counted) == 2 * 5 + 2


def test_a_network_that_has_guidance_in_it_takes_a_negative_prompt_above_that(own_pipe: Any) -> None:
    own_pipe.unet = student_of(own_pipe.unet, 4.0)
    options = {"height": 32, "width": 32, "num_inference_steps": 1, "output_type": "np"}
    with pytest.raises(ArgumentError, match=r"`negative_prompt` needs .*for text above 4, .*text=4"):
        own_pipe("a river", negative_prompt="a forest", **options)
    plain, away = (
        own_pipe("a river", negative_prompt=n, guidance=Guidance(text=8), generator=seeds(1), **options).images
        for n in (None, "a forest")
    )
    assert np.abs(away - plain).max() > 0.01


# Randomness


def test_the_same_seed_is_the_same_image_and_another_is_not(pipe: Any) -> None:
    def image(seed: int) -> np.ndarray:
        return pipe(conditions=everything(32, 48), generator=seeds(seed), output_type="np", **SMALL).images

    assert np.array_equal(image(3), image(3))
    assert np.abs(image(3) - image(4)).max() > 0.05


def test_with_a_generator_each_an_image_is_independent_of_its_batch(pipe: Any) -> None:
    prompts = ["a river", "a dense residential area with straight streets and many small houses", ""]
    together = pipe(prompts, gsd=10, generator=seeds(5, 6, 7), output_type="latent", **SMALL).images
    for i, prompt in enumerate(prompts):
        alone = pipe(prompt, gsd=10, generator=seeds(5 + i), output_type="latent", **SMALL).images
        assert torch.allclose(alone[0], together[i], atol=1e-4)
    other = pipe(prompts[::-1], gsd=10, generator=seeds(7, 6, 5), output_type="latent", **SMALL).images
    assert torch.allclose(other.flip(0), together, atol=1e-4)


def test_latents_take_the_place_of_the_generators_noise(pipe: Any) -> None:
    noise = torch.randn(pipe.latents_shape(1, 32, 48), generator=torch.Generator().manual_seed(9))
    kept = noise.clone()
    a = pipe("a river", latents=noise, output_type="np", **SMALL).images
    b = pipe("a river", generator=torch.Generator().manual_seed(9), output_type="np", **SMALL).images
    assert np.array_equal(a, b)
    assert torch.equal(noise, kept)


# Schedulers and callbacks


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: f"{type(s).__name__}-{s.config.get('shift', '')}")
def test_every_flow_matching_scheduler_solves_a_flow_of_known_solution(
    pipe: Any, monkeypatch: pytest.MonkeyPatch, scheduler: Any
) -> None:
    # Where the data are normal of deviation s, the velocity is known and carries noise to s × noise.
    s = 0.5

    def velocity(x: torch.Tensor, sigma: float, _chain: object, _until: float) -> torch.Tensor:
        return x * (sigma - (1 - sigma) * s**2) / ((1 - sigma) ** 2 * s**2 + sigma**2)

    monkeypatch.setattr(pipe, "velocity", velocity)
    pipe.scheduler = scheduler
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    result = pipe(latents=noise, height=32, width=32, num_inference_steps=100, output_type="latent").images
    assert torch.allclose(result, s * noise, rtol=0.04, atol=0.01)


@pytest.mark.parametrize("scheduler", SCHEDULERS[::3], ids=lambda s: type(s).__name__)
def test_no_line_continues_mean_velocities(pipe: Any, monkeypatch: pytest.MonkeyPatch, scheduler: Any) -> None:
    s = 0.5

    def factor(sigma: float) -> float:
        return ((1 - sigma) ** 2 * s**2 + sigma**2) ** 0.5

    def velocity(x: torch.Tensor, sigma: float, _chain: object, until: float) -> torch.Tensor:
        return x * (factor(until) / factor(sigma) - 1) / (until - sigma)

    monkeypatch.setattr(pipe, "velocity", velocity)
    pipe.unet, pipe.scheduler = student_of(pipe.unet, 4.0), scheduler
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    result = pipe(latents=noise, height=32, width=32, num_inference_steps=3, output_type="latent").images
    assert torch.allclose(result, s * FEW_NOISE * noise, rtol=2e-3)


@pytest.mark.parametrize("scheduler", SCHEDULERS[1:], ids=lambda s: type(s).__name__)
def test_schedulers_swap(pipe: Any, scheduler: Any) -> None:
    options = {"height": 32, "width": 32, "output_type": "latent", "guidance_scale": 1}
    exact = pipe("a river", generator=seeds(2), num_inference_steps=60, **options).images
    pipe.scheduler = type(scheduler).from_config(scheduler.config)
    result = pipe("a river", generator=seeds(2), num_inference_steps=20, **options).images
    assert torch.isfinite(result).all()
    assert (result - exact).std() < 0.1 * exact.std()
    from_image = pipe("a river", image=PHOTO, strength=0.55, generator=seeds(2), num_inference_steps=20).images
    assert from_image[0].size == (48, 32)


def test_a_callback_sees_each_step_and_may_change_the_latents(pipe: Any) -> None:
    seen = []

    def look(p: Any, step: int, timestep: torch.Tensor, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert p is pipe and list(tensors) == ["latents"]
        seen.append((step, float(timestep), tensors["latents"].shape))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else tensors

    result = pipe("a river", callback_on_step_end=look, output_type="latent", **SMALL).images
    assert [s for s, _, _ in seen] == [0, 1, 2] and seen[0][1] == 1000 and seen[2][1] < seen[1][1]
    assert not result.any()


def test_a_callback_may_stop_the_run(pipe: Any) -> None:
    steps = []

    class Stop(PipelineCallback):  # type: ignore[misc]
        tensor_inputs = ()

        def callback_fn(self, pipeline: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> Any:
            steps.append(step)
            assert not tensors
            pipeline._interrupt = step == 1
            return tensors

    assert pipe("a river", callback_on_step_end=Stop(cutoff_step_ratio=None, cutoff_step_index=1), **SMALL).images
    assert steps == [0, 1]


# Image to image, inpainting, outpainting


def test_image_to_image_goes_from_the_image_to_independence_of_it(pipe: Any) -> None:
    options = {"num_inference_steps": 10, "output_type": "latent"}

    def latents(image: Any, strength: float) -> torch.Tensor:
        return pipe("a river", image=image, strength=strength, generator=seeds(4), **options).images

    rebuilt = pipe.vae.encode(torch.from_numpy(PHOTO).permute(2, 0, 1)[None] / 127.5 - 1).latent
    assert torch.allclose(latents(PHOTO, 0.002), rebuilt, atol=0.02)
    distances = [float((latents(PIL.Image.fromarray(PHOTO), s) - rebuilt).std()) for s in (0.002, 0.3, 0.6, 1.0)]
    assert distances == sorted(distances)
    assert torch.equal(latents(PHOTO, 1.0), latents(255 - PHOTO, 1.0))
    from_noise = pipe("a river", height=32, width=48, generator=seeds(4), **options).images
    assert torch.equal(latents(PHOTO, 1.0), from_noise)


REGIONS = {
    "inpainting": np.pad(np.zeros((16, 16), bool), ((9, 8), (12, 22)), constant_values=True),
    "outpainting": np.arange(50)[None].repeat(33, 0) < 21,
    "scattered": RNG.random((33, 50)) < 0.5,
}


@pytest.mark.parametrize("region", REGIONS)
def test_known_pixels_are_kept_exactly_and_what_the_others_hold_does_not_matter(pipe: Any, region: str) -> None:
    known_mask = REGIONS[region]
    photo = RNG.integers(0, 256, (33, 50, 3), np.uint8)
    options = {"height": 33, "width": 50, "num_inference_steps": 2, "output_type": "pil"}

    def image(known: np.ndarray) -> np.ndarray:
        given = Conditions(text="a river", known=known, known_mask=known_mask)
        return np.asarray(pipe(conditions=given, generator=seeds(1), **options).images[0])

    result = image(photo)
    assert np.array_equal(result[known_mask], photo[known_mask])
    assert np.abs(result[~known_mask].astype(int) - photo[~known_mask]).mean() > 5
    other = np.where(known_mask[..., None], photo, 255 - photo)
    assert np.array_equal(image(other), result)


def test_known_pixels_matter_beyond_themselves(pipe: Any) -> None:
    known_mask = np.arange(48)[None].repeat(32, 0) < 24

    def beyond(known: np.ndarray) -> np.ndarray:
        result = pipe(known=known, known_mask=known_mask, generator=seeds(1), output_type="np", **SMALL).images[0]
        return result[~known_mask]

    assert np.abs(beyond(PHOTO) - beyond(255 - PHOTO)).max() > 1e-3


def test_nothing_known_is_as_if_none_were_given(pipe: Any) -> None:
    nothing = np.zeros((32, 48), bool)
    a = pipe("a river", known=PHOTO, known_mask=nothing, generator=seeds(1), output_type="np", **SMALL).images
    b = pipe("a river", generator=seeds(1), output_type="np", **SMALL).images
    assert np.array_equal(a, b)


def test_known_pixels_and_image_to_image_go_together(pipe: Any) -> None:
    known_mask = np.arange(48)[None].repeat(32, 0) < 24
    options = {"num_inference_steps": 4, "strength": 0.5, "generator": seeds(1)}
    (result,) = pipe(image=255 - PHOTO, known=PHOTO, known_mask=known_mask, **options).images
    assert np.array_equal(np.asarray(result)[known_mask], PHOTO[known_mask])


# Large images


def test_a_tiled_image_equals_the_whole(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    height, width = 40, 430
    options = {"height": height, "width": width, "num_inference_steps": 2, "output_type": "np"}

    def image() -> np.ndarray:
        return pipe(conditions=everything(height, width), generator=seeds(1), **options).images[0]

    whole = image()
    windows = []
    pipe.unet.register_forward_pre_hook(lambda _, args: windows.append(args[0].shape[-1]))
    monkeypatch.setattr("earthgen.pipelines.earth.LATENT_TILE", 8)
    monkeypatch.setattr("earthgen.tiling.LATENT_TILE", 8)
    try:
        tiled = image()
    finally:
        pipe.unet._forward_pre_hooks.clear()
    assert max(windows) <= 8 + 2 * pipe.unet.receptive_radius < width // 4
    assert np.abs(tiled - whole).max() < 1e-4


@pytest.mark.slow
def test_a_large_image_is_computed_in_bounded_windows(pipe: Any) -> None:
    seen: dict[str, int] = {"unet": 0, "vae": 0}
    hooks = []
    for name, module in (("unet", pipe.unet), ("vae", pipe.vae.decoder)):

        def note(_: object, args: tuple[torch.Tensor, ...], name: str = name) -> None:
            seen[name] = max(seen[name], args[0].shape[-1] * args[0].shape[-2])

        hooks.append(module.register_forward_pre_hook(note))
    try:
        image = pipe("a river", height=2048, width=2048, num_inference_steps=1, guidance_scale=1).images[0]
    finally:
        for hook in hooks:
            hook.remove()
    assert image.size == (2048, 2048)
    assert seen["unet"] <= (LATENT_TILE + 2 * pipe.unet.receptive_radius) ** 2 < 512**2 / 2
    assert seen["vae"] <= (LATENT_TILE + 2 * pipe.vae.receptive_field[1]) ** 2 < 512**2 / 2


# Precision and devices


def test_bfloat16(own_pipe: Any) -> None:
    options = {"conditions": everything(32, 48), "output_type": "np", **SMALL}
    exact = own_pipe(generator=seeds(1), **options).images
    half = own_pipe.to(torch.bfloat16)(generator=seeds(1), **options).images
    assert half.dtype == np.float32
    assert np.abs(half - exact).mean() < 0.02


def test_cpu_offload_brings_each_network_in_its_turn(own_pipe: Any) -> None:
    options = {"conditions": everything(32, 48), "output_type": "np", **SMALL}
    wanted = own_pipe(generator=seeds(1), **options).images
    own_pipe.enable_model_cpu_offload(device="cpu")  # the hooks are the same, whatever the device
    used = []
    for name in (n for n in own_pipe.model_cpu_offload_seq.split("->") if getattr(own_pipe, n)):
        hook = getattr(own_pipe, name)._hf_hook

        def before(module: Any, *args: Any, name: str = name, original: Any = hook.pre_forward, **more: Any) -> Any:
            used.append(name)
            return original(module, *args, **more)

        hook.pre_forward = before
    assert np.array_equal(own_pipe(generator=seeds(1), **options).images, wanted)
    assert used[0] == "text_encoder" and used[-1] == "vae"
    assert used.count("unet") == 2 * SMALL["num_inference_steps"]
    own_pipe("a river", **SMALL)  # and again, after the hooks were freed


@pytest.mark.gpu
@pytest.mark.parametrize("offload", [False, True])
def test_on_a_gpu(own_pipe: Any, offload: bool) -> None:
    options = {"conditions": everything(32, 48), "output_type": "np", **SMALL}
    wanted = own_pipe(generator=seeds(1), **options).images
    if offload:
        own_pipe.enable_model_cpu_offload()
    else:
        own_pipe.to("cuda")
    image = own_pipe(generator=seeds(1), **options).images
    assert np.abs(image - wanted).max() < 0.02
    if offload:
        assert {p.device.type for p in own_pipe.unet.parameters()} == {"cpu"}


# Large images are refined from small ones


def test_a_large_image_averages_to_the_small_one_it_was_refined_from(pipe: Any) -> None:
    stages: list[Conditions] = []
    denoise = pipe._denoise

    def note(wanted: Any, *rest: Any) -> torch.Tensor:
        stages.append(wanted[0])
        return denoise(wanted, *rest)

    pipe._denoise = note
    asked = {"gsd": 10.0, "boxes": (Box("house", 30, 20, 12, 8, 30.0),)}
    image = pipe("a river", height=70, width=66, base_side=16, num_inference_steps=3, generator=seeds(1)[0], **asked)
    assert np.asarray(image.images[0]).shape == (70, 66, 3)
    small, full = stages
    assert small.gsd == 40 and small.coarse is None and small.boxes[0] == Box("house", 7.5, 5, 3, 2, 30.0)
    assert full.gsd == 10 and full.coarse.shape == (18, 17, 3) and full.coarse_degradation == LEAST_TOLD
    pixels = np.asarray(image.images[0], np.float64)[:68, :64].reshape(17, 4, 16, 4, 3).mean((1, 3))
    # Not equal, as the detail of an untrained network is wild and is cut off at black and white.
    assert np.corrcoef(pixels.ravel(), full.coarse[:17, :16].ravel())[0, 1] > 0.95


def test_a_cascade_is_counted_over_all_of_it_and_is_the_same_in_any_batch(pipe: Any) -> None:
    steps: list[tuple[int, int]] = []

    def look(pipeline: Any, step: int, _t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps.append((step, pipeline.num_timesteps))
        return tensors

    size: dict[str, Any] = {"height": 80, "width": 72, "base_side": 16, "output_type": "np"}
    one = pipe("a river", generator=[seeds(5)[0]], num_inference_steps=5, callback_on_step_end=look, **size).images
    assert steps == [(i, 7) for i in range(7)]  # 5, and 0.4 x 5 to refine
    two = pipe(["a lake", "a river"], generator=[seeds(4)[0], seeds(5)[0]], num_inference_steps=5, **size).images
    assert np.abs(two[1] - one[0]).max() < 2 / 255
    del size["base_side"]  # and any image is made at once
    steps.clear()
    at_once = pipe("a river", generator=[seeds(5)[0]], num_inference_steps=5, callback_on_step_end=look, **size).images
    assert steps == [(i, 5) for i in range(5)] and np.abs(at_once[0] - one[0]).mean() > 0.01


def test_a_cascade_that_is_stopped_early_gives_the_small_image_enlarged(pipe: Any) -> None:
    def stop(pipeline: Any, _step: int, _t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipeline._interrupt = True
        return tensors

    size = {"height": 80, "width": 72, "base_side": 16, "num_inference_steps": 2, "output_type": "latent"}
    latents = pipe("a river", generator=seeds(5)[0], callback_on_step_end=stop, **size).images
    assert latents[:, :3].std() > 0 and not latents[:, 3:].any()


def test_what_is_known_is_known_in_every_stage(pipe: Any) -> None:
    known = np.random.default_rng(0).integers(0, 255, (70, 66, 3), np.uint8)
    keep = np.zeros((70, 66), bool)
    keep[:40] = True
    result = pipe("a river", height=70, width=66, base_side=16, known=known, known_mask=keep, num_inference_steps=2)
    assert np.array_equal(np.asarray(result.images[0])[:40], known[:40])


def test_what_is_small_in_the_coarser_image_has_colours_of_its_own(pipe: Any) -> None:
    small, large = Box("ship", 40, 40, 80, 16), Box("field", 100, 40, 70, 64)
    free = small_parts([Conditions(boxes=(small, large)), Conditions()], 80, 160, pipe)
    assert free.shape == (2, 1, 20, 40)
    assert free[0, 0, 8:12, :20].all() and free.sum() == 4 * 20  # 4 by 20 latents
    assert small_parts([Conditions(boxes=(large,))], 80, 160, pipe) is None

    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    given = conditioning_of([Conditions()], 32, 32, pipe.grid, pipe.vae, pipe.text_encoder, pipe.tokenizer)
    told = [(1.0, pipe.unet, given)]
    own = pipe.velocity(x, 0.5, told, 0.0)
    try:
        pipe._lead = Lead(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))
        pipe._lead.free[..., :4] = 1
        both = pipe.velocity(x, 0.5, told, 0.0)
    finally:
        pipe._lead = None
    assert torch.allclose(both[..., :4], own[..., :4], atol=1e-5)
    assert torch.allclose(both[:, :3, :, 4:], x[:, :3, :, 4:] / 0.5, atol=1e-5) and torch.equal(both[:, 3:], own[:, 3:])
