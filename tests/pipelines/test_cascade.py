"""`EarthCascadePipeline` on real, tiny components: each stage is `EarthPipeline`'s work on the one before."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.callbacks import PipelineCallback
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen import Box, Conditions, Guidance
from earthgen.data.augment import coarser
from earthgen.errors import ArgumentError
from earthgen.geo import transform_for
from earthgen.pipelines import EarthCascadePipeline, EarthPipeline, Stage
from earthgen.pipelines.cascade import resampled
from earthgen.pipelines.consistency import consistent
from earthgen.pipelines.stages import LEAST_TOLD, check_gsds
from earthgen.steps import MANY

RNG = np.random.default_rng(0)
PHOTO = np.kron(RNG.integers(40, 216, (4, 6, 3), np.uint8), np.ones((2, 2, 1), np.uint8))  # 8 × 12
QUICK: dict[str, Any] = {"num_inference_steps": 2, "output_type": "np"}


@pytest.fixture
def cascade(components: dict[str, object]) -> EarthCascadePipeline:
    fresh = EarthCascadePipeline(**(components | {"scheduler": FlowMatchEulerDiscreteScheduler()}))  # type: ignore[arg-type]
    fresh.set_progress_bar_config(disable=True)
    return fresh


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def pixels(images: Any) -> np.ndarray:
    """uint8 (batch, height, width, 3) of an array in [0, 1]."""
    return (np.asarray(images) * 255).round().astype(np.uint8)


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9)))


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding, which differs between batches and which a next stage sees as other grey levels."""
    off = np.abs(a.astype(int) - b)
    return bool(off.max() <= 3 and off.mean() < 0.05)


# The chain


def test_a_stage_is_the_pipelines_work_on_the_one_before(cascade: Any, pipe: Any) -> None:
    asked = {"lat": 45.4, "lon": 9.2, "date": dt.date(2024, 6, 15), "cloud_cover": 0.2}
    options = {"height": 16, "width": 24, "generator": seed(5), "consistency": 0}
    out = cascade("a river", gsds=(160, 40, 10), **asked, **options, **QUICK)
    assert [s.shape for s in out.stages] == [(1, 16, 24, 3), (1, 64, 96, 3), (1, 256, 384, 3)]
    assert out.images is out.stages[-1] and out.gsds == [160, 40, 10]

    generator, before = seed(5), None
    for gsd, stage, (said,) in zip(out.gsds, out.stages, out.conditions, strict=True):
        given = Conditions(text="a river", gsd=gsd, **asked)
        if before is not None:
            given = given.replace(coarse=before, coarse_degradation=LEAST_TOLD)
        weights = Guidance() if before is None else Guidance.uniform(1)
        height, width = stage.shape[1:3]
        by_hand = pipe(
            conditions=given, height=height, width=width, guidance=weights, generator=generator, **QUICK
        ).images
        assert np.array_equal(pixels(by_hand), pixels(stage))
        assert said.to_dict() == given.to_dict()
        before = pixels(stage)[0]


def test_every_stage_agrees_with_the_one_before(cascade: Any) -> None:
    out = cascade("a river", gsds=(64, 16, 4), height=16, width=16, degradation=0, generator=seed(1), **QUICK)
    for coarse, fine in zip(out.stages, out.stages[1:], strict=False):
        assert decibels(coarser(pixels(fine)[0]), pixels(coarse)[0]) > 35
    raw = cascade("a river", gsds=(64, 16), height=16, width=16, consistency=0, generator=seed(1), **QUICK)
    assert decibels(coarser(pixels(raw.images)[0]), pixels(raw.stages[0])[0]) < 30


def test_what_is_mistrusted_is_followed_less(cascade: Any) -> None:
    def residual(degradation: float | None) -> np.ndarray:
        out = cascade(image=PHOTO, gsds=(40, 10), degradation=degradation, generator=seed(1), **QUICK)
        assert out.conditions[1][0].coarse_degradation == max(degradation or 0, LEAST_TOLD)
        return pixels(out.images)[0].astype(float)

    raw = {
        d: pixels(cascade(image=PHOTO, gsds=(40, 10), degradation=d, consistency=0, generator=seed(1), **QUICK).images)
        for d in (0.0, 0.5)
    }

    def mean(image: np.ndarray) -> np.ndarray:
        return image.reshape(8, 4, 12, 4, 3).mean((1, 3))

    assert np.abs(mean(residual(None)) - PHOTO).max() < 3
    halfway = (mean(raw[0.5][0]) + PHOTO) / 2
    assert np.abs(mean(residual(0.5)) - halfway).max() < 3


def test_one_stage_alone_is_the_pipeline(cascade: Any, pipe: Any) -> None:
    out = cascade("a river", gsds=[10], height=32, width=16, generator=seed(3), **QUICK)
    alone = pipe("a river", gsd=10, height=32, width=16, generator=seed(3), **QUICK).images
    assert np.array_equal(pixels(out.images), pixels(alone)) and len(out.stages) == 1


def test_a_last_gsd_between_is_averaged_from_the_finer_stage(cascade: Any) -> None:
    full = cascade(image=PHOTO, gsds=(40, 10), generator=seed(1), **QUICK)
    out = cascade(image=PHOTO, gsds=(40, 16), generator=seed(1), **QUICK)
    assert out.images.shape == (1, 20, 30, 3) and out.gsds == [40, 16]
    assert out.conditions[1][0].gsd == 10
    assert np.array_equal(pixels(out.images), resampled(pixels(full.images), 1.6))
    assert np.allclose(out.images.mean((1, 2)), full.images.mean((1, 2)), atol=0.003)


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(1, 4), height=st.integers(2, 40), width=st.integers(2, 40))
def test_resampling_keeps_means_and_constants(factor: float, height: int, width: int) -> None:
    images = RNG.integers(0, 256, (2, height, width, 3), np.uint8)
    result = resampled(images, factor)
    assert result.shape == (2, max(1, round(height / factor)), max(1, round(width / factor)), 3)
    assert np.abs(result.mean((1, 2)) - images.mean((1, 2))).max() <= 0.5
    assert (resampled(np.full_like(images, 77), factor) == 77).all()


def test_resampling_is_by_area() -> None:
    assert np.array_equal(resampled(PHOTO[None], 1.0)[0], PHOTO)
    assert np.array_equal(resampled(PHOTO[None], 2.0)[0], coarser(PHOTO, 2))
    line = np.array([0, 30, 60, 90, 120], np.uint8)[None, None, :, None].repeat(3, 3)
    # Pixels of 2.5: (0 + 30 + 60/2) / 2.5 and (60/2 + 90 + 120) / 2.5.
    assert resampled(line, 2.5)[0, 0, :, 0].tolist() == [24, 96]


def test_check_gsds() -> None:
    assert check_gsds((9783.94, 2445.985, 611.496)) == [9783.94, 2445.985, 611.496]
    assert check_gsds([40, 10, 2.5, 1.2]) == [40, 10, 2.5, 1.2]
    for wrong in ([40, 20, 5], [40, 12, 3], [10, 40], [10, 10], [10, 2], 10, "10", [], [math.nan], [40, None]):
        with pytest.raises(ArgumentError, match=r"`gsds?`"):
            check_gsds(wrong)


# Where it is


def test_crops_are_followed_and_the_place_moves_along(cascade: Any) -> None:
    options = {"height": 16, "width": 24, "lat": 45.0, "lon": 9.0, "generator": seed(2), **QUICK}
    out = cascade(gsds=(160, 40, 10), crop=(8, 8), stages={1: Stage(crop=(4, 2, 8, 12))}, **options)
    assert [s.shape[1:3] for s in out.stages] == [(16, 24), (32, 48), (32, 32)]
    first, second = (pixels(s)[0] for s in out.stages[:2])
    assert np.array_equal(out.conditions[1][0].coarse, first[4:12, 2:14])
    assert np.array_equal(out.conditions[2][0].coarse, second[12:20, 20:28])
    crs, transform = transform_for(45.0, 9.0, 160, 16, 24)
    here = out.conditions[1][0]
    # On the map of the whole, the crop's own map has its corner where the crop begins.
    crop_crs, crop_transform = transform_for(here.lat, here.lon, 40, 32, 48)
    assert crop_crs == crs
    corner = ~transform @ (crop_transform.c, crop_transform.f)
    assert corner == pytest.approx((2, 4), abs=0.01)
    assert (out.conditions[2][0].lat, out.conditions[2][0].lon) == (here.lat, here.lon)
    assert here.lat > 45.0 - 0.01 and here.lon < 9.0


def test_towards_a_place(cascade: Any) -> None:
    place = (45.006, 9.012)
    options = {"height": 16, "width": 24, "lat": 45.0, "lon": 9.0, "generator": seed(2), **QUICK}
    out = cascade(gsds=(160, 40, 10), crop=(4, 6), towards=place, **options)
    ends = [(c.lat, c.lon) for (c,) in out.conditions]
    misses = [math.hypot(lat - place[0], (lon - place[1]) * 0.7) * 111_320 for lat, lon in ends]
    assert misses[0] > 1000 and misses[1] < 160 and misses[2] < 40
    at_the_rim = cascade(gsds=(160, 40), crop=(4, 6), towards=(45.0, 9.0 + 0.0243), **options)
    assert np.array_equal(at_the_rim.conditions[1][0].coarse, pixels(at_the_rim.stages[0])[0, 6:10, 18:24])


def test_an_image_of_ones_own(cascade: Any) -> None:
    picture = PIL.Image.fromarray(PHOTO).convert("RGBA")
    out = cascade("a river", image=picture, gsds=(2.4, 0.6), generator=seed(1), num_inference_steps=2)
    assert out.stages[0][0].mode == "RGB" and np.array_equal(np.asarray(out.stages[0][0]), PHOTO)
    assert out.images[0].size == (48, 32)
    assert decibels(coarser(np.asarray(out.images[0])), PHOTO) > 40
    assert out.conditions[0][0].coarse is None and out.conditions[1][0].coarse_degradation == LEAST_TOLD
    again = cascade(image=PHOTO, gsds=(2.4, 0.6), generator=seed(1), **QUICK)
    assert not np.array_equal(pixels(again.images)[0], np.asarray(out.images[0]))  # the sentence matters


def test_several_images_and_prompts(cascade: Any) -> None:
    alone = [cascade("a lake", image=i, gsds=(8, 2), generator=[seed(7)], **QUICK) for i in (PHOTO, 255 - PHOTO)]
    both = cascade("a lake", image=[PHOTO, 255 - PHOTO], gsds=(8, 2), generator=[seed(7), seed(7)], **QUICK)
    for i in range(2):
        assert alike(pixels(both.images)[i], pixels(alone[i].images)[0])
    each = cascade(["a lake", "a wood"], image=PHOTO, gsds=(8, 2), num_images_per_prompt=2, **QUICK)
    assert [c.text for c in each.conditions[1]] == ["a lake", "a lake", "a wood", "a wood"]
    assert len(each.stages[0]) == len(each.images) == 4


# Choices for a stage


def test_diverse_images_of_one_coarse_image(cascade: Any) -> None:
    out = cascade("a river", image=PHOTO, gsds=(64, 16, 4), stages={1: Stage(num_images=3)}, **QUICK)
    assert [len(s) for s in out.stages] == [1, 3, 3]
    kinds = pixels(out.stages[1])
    assert min(np.abs(kinds[i].astype(int) - kinds[j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))) > 1
    for kind, finer in zip(kinds, out.conditions[2], strict=True):
        assert decibels(coarser(kind), PHOTO) > 40
        assert np.array_equal(finer.coarse, kind)


def test_each_stage_has_its_own_noise(cascade: Any) -> None:
    def last(**stage: Any) -> tuple[np.ndarray, np.ndarray]:
        out = cascade(
            "a river", gsds=(40, 10), height=16, width=16, generator=seed(1), stages={1: Stage(**stage)}, **QUICK
        )
        return pixels(out.stages[0]), pixels(out.images)

    (base, a), (same, b), (_, c) = last(generator=seed(1)), last(generator=seed(2)), last(generator=seed(1))
    assert np.array_equal(base, same) and np.array_equal(a, c) and not np.array_equal(a, b)
    noise = torch.randn(cascade.latents_shape(1, 64, 64), generator=seed(1))
    assert np.array_equal(last(latents=noise)[1], a)


def test_with_a_generator_each_images_are_independent_of_their_batch(cascade: Any) -> None:
    options: dict[str, Any] = {"gsds": (40, 10), "height": 16, "width": 16, "stages": {1: Stage(num_images=2)}, **QUICK}
    together = cascade(["a river", "a forest"], generator=[seed(1), seed(2)], **options)
    alone = cascade("a forest", generator=[seed(2)], **options)
    assert alike(pixels(together.images)[2:], pixels(alone.images))


def test_conditions_steps_and_guidance_of_a_stage(cascade: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = EarthPipeline.__call__

    def note(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(options)
        return original(self, *args, **options)

    monkeypatch.setattr(EarthPipeline, "__call__", note)
    known_mask = np.zeros((32, 48), bool)
    known_mask[5:20, 3:30] = True
    known = RNG.integers(0, 256, (32, 48, 3), np.uint8)
    own = Conditions(
        text="a harbour", cloud_cover=0.0, boxes=(Box("ship", 30, 20, 10, 4, 15),), known=known, known_mask=known_mask
    )
    stage = Stage(conditions=own, guidance=Guidance(text=3), num_inference_steps=3, degradation=0.4, consistency=1.0)
    day = dt.date(2020, 1, 2)
    out = cascade("a coast", gsds=(40, 10), height=8, width=12, date=day, stages={1: stage}, generator=seed(1), **QUICK)
    assert [c["num_inference_steps"] for c in calls] == [2, 3]
    assert [c["guidance"] for c in calls] == [Guidance(), Guidance(text=3)]
    (asked,) = out.conditions[1]
    assert (asked.text, asked.date, asked.cloud_cover, asked.gsd, asked.boxes) == ("a harbour", day, 0.0, 10, own.boxes)
    assert asked.coarse_degradation == 0.4
    assert out.conditions[0][0].text == "a coast" and out.conditions[0][0].boxes is None
    assert np.array_equal(pixels(out.images)[0][known_mask], known[known_mask])


def test_a_stage_may_move_and_images_may_be_asked_apart(cascade: Any) -> None:
    stage = Stage(conditions=[Conditions(text="a", lat=10, lon=20), Conditions(text="b")], num_images=2)
    out = cascade(
        ["x", "y"], gsds=(64, 16, 4), lat=1, lon=2, height=8, width=8, crop=(2, 2), stages={1: stage}, **QUICK
    )
    assert [(c.text, c.lat) for c in out.conditions[1]] == [("a", 10), ("a", 10), ("b", 1), ("b", 1)]
    assert [(c.text, c.lat) for c in out.conditions[2]] == [("x", 10), ("x", 10), ("y", 1), ("y", 1)]


# What diffusers promises


def test_the_same_images_in_each_output_type(cascade: Any) -> None:
    def stages(kind: str) -> Any:
        options = {"num_inference_steps": 2, "output_type": kind}
        return cascade("a river", gsds=(40, 10), height=8, width=12, generator=seed(4), **options).stages

    pil, array, tensor = (stages(kind) for kind in ("pil", "np", "pt"))
    for p, a, t in zip(pil, array, tensor, strict=True):
        assert isinstance(p[0], PIL.Image.Image) and a.dtype == np.float32 and t.shape[1] == 3
        assert np.array_equal(np.asarray(p[0]), pixels(a)[0])
        assert np.array_equal(t.permute(0, 2, 3, 1).numpy(), a)
    images, everything = cascade(gsds=(40, 10), height=8, width=8, return_dict=False, **QUICK)
    assert len(everything) == 2 and images is everything[-1]


def test_callbacks_know_the_stage_and_may_end_the_cascade(cascade: Any) -> None:
    seen = []

    def look(p: Any, step: int, timestep: torch.Tensor, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append((p.stage, step, tuple(tensors["latents"].shape[2:])))
        return tensors

    cascade(image=PHOTO, gsds=(64, 16, 4), callback_on_step_end=look, **QUICK)
    assert seen == [(1, 0, (8, 12)), (1, 1, (8, 12)), (2, 0, (32, 48)), (2, 1, (32, 48))]

    class Stop(PipelineCallback):  # type: ignore[misc]
        tensor_inputs = ()

        def callback_fn(self, pipeline: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> Any:
            pipeline._interrupt = pipeline.stage == 1
            return tensors

    stop = Stop(cutoff_step_ratio=None, cutoff_step_index=1)
    out = cascade(gsds=(64, 16, 4), height=8, width=8, callback_on_step_end=stop, **QUICK)
    assert out.gsds == [64, 16] and len(out.stages) == len(out.conditions) == 2


def test_bars_name_their_stage(cascade: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cascade.set_progress_bar_config(disable=False)
    cascade(gsds=(64, 16), height=8, width=8, **QUICK)
    shown = capsys.readouterr().err
    assert "stage 1 of 2" in shown and "stage 2 of 2" in shown


def test_it_comes_from_a_pipeline_or_a_folder_and_goes_into_one(
    cascade: Any, pipe: Any, saved: Path, tmp_path: Path
) -> None:
    options = {"image": PHOTO, "gsds": (8, 2), **QUICK}
    wanted = pixels(cascade(generator=seed(1), **options).images)
    shared = EarthCascadePipeline(**pipe.components)
    assert shared.unet is pipe.unet
    loaded = EarthCascadePipeline.from_pretrained(saved, torch_dtype=torch.float32)
    assert type(loaded) is EarthCascadePipeline
    cascade.save_pretrained(tmp_path / "again")
    again = EarthCascadePipeline.from_pretrained(tmp_path / "again", torch_dtype=torch.float32)
    for other in (shared, loaded, again, EarthCascadePipeline.from_pipe(pipe)):
        other.set_progress_bar_config(disable=True)
        assert np.array_equal(pixels(other(generator=seed(1), **options).images), wanted)
    plain = DiffusionPipeline.from_pretrained(tmp_path / "again", trust_remote_code=True)
    assert type(plain) is EarthPipeline


def test_offloading(own_pipe: Any) -> None:
    cascade = EarthCascadePipeline(**own_pipe.components)
    cascade.set_progress_bar_config(disable=True)
    options = {"gsds": (64, 16), "height": 8, "width": 8, **QUICK}
    wanted = cascade("a river", generator=seed(1), **options).images
    cascade.enable_model_cpu_offload(device="cpu")
    assert np.array_equal(cascade("a river", generator=seed(1), **options).images, wanted)


def test_large_stages_are_computed_in_windows(cascade: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = RNG.integers(0, 256, (6, 110, 3), np.uint8)
    whole = pixels(cascade(image=image, gsds=(8, 2), generator=seed(1), **QUICK).images)
    for module in ("earthgen.pipelines.earth.LATENT_TILE", "earthgen.tiling.LATENT_TILE"):
        monkeypatch.setattr(module, 8)
    monkeypatch.setattr("earthgen.pipelines.consistency._TILE", 8)
    tiled = pixels(cascade(image=image, gsds=(8, 2), generator=seed(1), **QUICK).images)
    assert alike(whole, tiled)


# Bad input

IMAGE = PHOTO
TWO: dict[str, Any] = {"gsds": (40, 10)}
HERE = {"lat": 45, "lon": 9}
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"gsds": (40, 20)}, "height", ""),  # a valid chain; the height below is not
    ({"gsds": (40, 4)}, "gsds", "a quarter of the one before"),
    ({"gsds": (40,), "image": IMAGE}, "gsds", "at least 2 GSDs, that of `image` first"),
    ({"gsds": (1e6, 2.5e5)}, "gsd", "from 0.05"),
    ({"gsds": (0.16, 0.04)}, "gsd", "from 0.05"),
    ({"gsds": (2560, 640, 160, 40, 10)}, "gsds", "at most 16384 pixels a side: fewer stages, or a `crop`"),
    ({**TWO, "image": "photo.png"}, "image", "uint8"),
    ({**TWO, "image": []}, "image", "empty"),
    ({**TWO, "image": [IMAGE, IMAGE[:4]]}, "image", "all be of one size"),
    ({**TWO, "image": [IMAGE] * 3, "prompt": ["a", "b"]}, "prompt", "one for each of the 3 images"),
    ({**TWO, "crop": (1, 8)}, "crop", "2 px or more"),
    ({**TWO, "crop": (8, 999)}, "crop", "within the image of 256 x 256"),
    ({**TWO, "crop": (250, 0, 8, 8)}, "crop", "within the image"),
    ({**TWO, "crop": (8.0, 8.0)}, "crop", "within the image"),
    ({**TWO, "crop": 8}, "crop", "must be (height, width)"),
    ({**TWO, "towards": (45, 9)}, "towards", "together with a `crop`"),
    ({**TWO, "towards": (45, 9), "crop": (8, 8)}, "towards", "together with `lat` and `lon`"),
    ({**TWO, "towards": (46, 9), "crop": (8, 8), **HERE}, "towards", "must lie in the image"),
    ({**TWO, "towards": "Milan", "crop": (8, 8), **HERE}, "towards", "(lat, lon)"),
    ({**TWO, "stages": {2: Stage()}}, "stages", "0 to 1"),
    ({**TWO, "stages": {0: Stage()}, "image": IMAGE}, "stages", "1 to 1"),
    ({**TWO, "stages": [Stage()]}, "stages", "mapping"),
    ({**TWO, "stages": {0: Stage(crop=(8, 8))}}, "stages[0].crop", "refines nothing"),
    ({**TWO, "stages": {1: Stage(conditions=Conditions(gsd=3))}}, "stages[1].conditions.gsd", "the cascade sets it"),
    ({**TWO, "stages": {1: Stage(conditions=[Conditions()] * 3)}}, "stages[1].conditions", "must be one"),
    ({**TWO, "stages": {1: Stage(conditions="a")}}, "stages[1].conditions", "earthgen.Conditions"),  # type: ignore[arg-type]
    ({**TWO, "stages": {1: Stage(num_inference_steps=0)}}, "num_inference_steps", "from 1"),
    ({**TWO, "stages": {1: Stage(generator=[seed(1)] * 3)}}, "generator", "a list of 1"),
    ({**TWO, "stages": {1: Stage(latents=torch.zeros(1, 4, 4, 4))}}, "latents", "shape"),
    ({**TWO, "degradation": 2}, "degradation", "0 to 1"),
    ({**TWO, "consistency": -1}, "consistency", "0 to 1"),
    ({**TWO, "guidance_scale": 1, "guidance": Guidance()}, "guidance_scale", "absent"),
    ({**TWO, "output_type": "latent"}, "output_type", '"pil", "np" or "pt"'),
    ({**TWO, "boxes": ()}, "boxes", "goes into `stages`"),
    ({**TWO, "coarse": IMAGE}, "coarse", "goes into `stages`"),
    ({**TWO, "lat": 91, "lon": 0}, "lat", "-90 to 90"),
    ({**TWO, "image": IMAGE[:1]}, "height", "from 8"),
]


@pytest.mark.parametrize(("arguments", "name", "rule"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_bad_input_is_refused_before_any_work(
    cascade: Any, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], name: str, rule: str
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was done before the arguments were found wrong")

    monkeypatch.setattr(EarthPipeline, "__call__", work)
    size = {"height": 7} if name == "height" and "image" not in arguments else {}
    with pytest.raises(ArgumentError) as error:
        cascade(**(arguments | size))
    assert error.value.argument == name
    assert rule in str(error.value)


def test_what_is_finer_than_anything_learned_from_is_said(cascade: Any) -> None:
    with pytest.warns(UserWarning, match=r"no model has learned from images of 0.125 m a pixel"):
        cascade(image=PHOTO, gsds=(0.5, 0.125), **QUICK)


def test_agreement_is_what_consistency_makes_it(cascade: Any) -> None:
    options = {"image": PHOTO, "gsds": (40, 10), **QUICK}
    raw = cascade(generator=seed(1), consistency=0, **options).images
    out = cascade(generator=seed(1), consistency=0.9, **options).images
    given = torch.from_numpy(PHOTO).permute(2, 0, 1)[None] / 255
    made = consistent(torch.from_numpy(raw).permute(0, 3, 1, 2), given, 0.9)
    assert np.abs(made.permute(0, 2, 3, 1).numpy().astype(int) - pixels(out)).max() <= 2


def test_colours_are_led_to_the_coarser_images(cascade: Any) -> None:
    seen = []

    def look(p: Any, step: int, timestep: torch.Tensor, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(tensors["latents"].clone())
        return tensors

    image = PHOTO[:7, :11]  # latents beyond it fill the network's grid
    noise = torch.randn(cascade.latents_shape(1, 28, 44), generator=seed(1))
    stages = {1: Stage(latents=noise)}
    cascade(image=image, gsds=(40, 10), num_inference_steps=4, stages=stages, callback_on_step_end=look)
    sigmas = cascade.scheduler.sigmas[1:]
    pixels_of = image.repeat(4, 0).repeat(4, 1)
    end = cascade.vae.encode(torch.from_numpy(pixels_of).permute(2, 0, 1)[None] / 127.5 - 1).latent[:, :3]
    for x, sigma in zip(seen, sigmas, strict=True):
        straight = (1 - sigma) * end + sigma * noise[:, :3, :7, :11]
        assert torch.allclose(x[:, :3, :7, :11], straight, atol=1e-4)
    assert not torch.allclose(seen[-1][:, 3:], noise[:, 3:], atol=0.1)


def test_refinements_take_fewer_steps(cascade: Any) -> None:
    taken = []

    def count(p: Any, step: int, timestep: torch.Tensor, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        taken.append(p.stage)
        return tensors

    cascade(gsds=(40, 10), height=8, width=8, callback_on_step_end=count)
    assert [taken.count(n) for n in (0, 1)] == [MANY.first, MANY.refining]
