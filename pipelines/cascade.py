"""`EarthCascadePipeline`: from a sentence or an image down a chain of GSDs, each stage four times finer than the last.

MetaEarth's resolution-guided self-cascade (Yu et al. 2024, arXiv:2405.13570): one network, applied to its own output,
with the coarser image and the GSD as conditions. A stage is a call of `EarthPipeline`, then `consistent`.

A latent's colours are the means over its 4 × 4 pixels, which is what the coarser image holds. So it is known where they
come out, and where `consistency` is 1 they are led there, at noise level σ being c + σ (noise - c): what the network
makes of the detail then goes with them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import BaseOutput
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from earthgen.conditions import Conditions, Guidance, check_rgb
from earthgen.errors import ArgumentError
from earthgen.pipelines.arguments import check_inputs, conditions_of, guidance_of
from earthgen.pipelines.consistency import consistent
from earthgen.pipelines.earth import EarthPipeline
from earthgen.pipelines.refinement import lead_to
from earthgen.pipelines.stages import Crop, Generators, Stage, check_gsds, check_stages, decide
from earthgen.steps import usual_steps

FINEST_GSD = 0.3
"""Metres a pixel of the finest images that the bundled model learned from. What is finer, it has never seen."""


@dataclass
class EarthCascadeOutput(BaseOutput):  # type: ignore[misc]
    images: list[PIL.Image.Image] | np.ndarray | Tensor
    """Of the last stage: PIL, or an array (batch, height, width, 3) or tensor (batch, 3, height, width) in [0, 1]."""
    stages: list[Any]
    """The images of every stage in the same form, the first those that were given or made from noise."""
    gsds: list[float]
    """Metres a pixel of each stage's images."""
    conditions: list[list[Conditions]]
    """What each image of each stage was asked to show, its own GSD and place included. Of a last stage that was brought
    down to its GSD, as the finer image was asked."""


class EarthCascadePipeline(EarthPipeline):
    """Makes images at a chain of GSDs, each a refinement of the one before, by the same components as `EarthPipeline`.

    `from_pretrained` as there, or of a pipeline that is loaded already: `EarthCascadePipeline(**pipe.components)`.
    What `save_pretrained` writes is the same model folder, which both load.
    """

    stage = 0
    """Number of the stage that runs, as in `gsds`: for callbacks."""
    num_stages = 0

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        gsds: Sequence[float],
        image: np.ndarray | PIL.Image.Image | Sequence[np.ndarray | PIL.Image.Image] | None = None,
        lat: float | None = None,
        lon: float | None = None,
        height: int = 256,
        width: int = 256,
        crop: Crop | None = None,
        towards: tuple[float, float] | None = None,
        stages: Mapping[int, Stage] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance: Guidance | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        degradation: float | None = None,
        consistency: float | None = None,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **metadata: Any,
    ) -> EarthCascadeOutput:
        """Generate images down a chain of GSDs.

        Args:
            prompt: What to show, at every stage; one sentence or several, one an image.
            gsds: Metres a pixel of each stage, each a quarter of the one before (to 0.1 %). The last may be less than
                four times finer: that stage is made four times finer and brought to its GSD by averaging, its sides
                rounded to whole pixels.
            image: The first stage: PIL or uint8 RGB array, or several of one size. None makes it as `EarthPipeline`
                does.
            lat: Latitude of the first stage's centre, degrees. Where an image is cropped the place moves along.
            lon: Longitude of it.
            height: Pixels of the first stage, where no `image` is given.
            width: The same.
            crop: What each stage refines of the image before: None all of it, so that sides grow by four at each stage,
                (height, width) so many pixels in its middle, or (top, left, height, width).
            towards: (lat, lon) of the point around which `crop` = (height, width) is taken rather than the middle, as
                near to it as the image allows. Needs `lat` and `lon`.
            stages: What single stages are asked, by their number in `gsds`: `{2: Stage(num_images=3)}`.
            num_inference_steps: Denoising steps of each stage; by default what is usual for the model
                (`earthgen.steps`): 8, and 20 of a first stage made from noise.
            guidance_scale: One weight for all conditions but the coarser image and known pixels.
            guidance: A weight for each condition, in place of `guidance_scale`. Without either, a first stage made from
                noise has that of `EarthPipeline`, and refinements a weight of 1, as the coarser image says most.
            guidance_interval: As `EarthPipeline` has it.
            degradation: How far coarser images are to be mistrusted, 0 to 1. None: not at all. The network is told of
                0.3 at least (`earthgen.conditions.LEAST_TOLD`).
            consistency: How far the means over 4 × 4 pixels are brought to the coarser image, 0 to 1 (see
                `earthgen.pipelines.consistency`). None: 1 - degradation.
            num_images_per_prompt: Images of the first stage for each prompt or image.
            generator: One, or one for each image of the first stage. All stages draw from it, one after the other.
            output_type: "pil", "np" or "pt". Pixels are whole grey levels in each.
            return_dict: False for the tuple (images, stages).
            callback_on_step_end: As `EarthPipeline` has it; `pipeline.stage` is the number of the stage. Setting
                `pipeline._interrupt` ends the cascade with the stage that runs.
            callback_on_step_end_tensor_inputs: Names of the tensors the callback gets: "latents".
            metadata: `date` and `cloud_cover`, of every stage.

        Raises:
            ArgumentError: An argument breaks a rule; found out before any work.
        """
        if isinstance(callback_on_step_end, (PipelineCallback, MultiPipelineCallbacks)):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        if output_type not in ("pil", "np", "pt"):
            raise ArgumentError("output_type", 'must be "pil", "np" or "pt"', output_type)
        sources = _sources(image)
        chain = check_gsds(gsds, given=sources is not None)
        first = self._first(prompt, sources, num_images_per_prompt, gsd=chain[0], lat=lat, lon=lon, **metadata)
        if sources is not None:
            height, width = sources[0].shape[:2]
            sources = [s for s in sources for _ in range(len(first) // len(sources))]
        common = Stage(
            crop=crop,
            guidance=None if guidance is None and guidance_scale is None else guidance_of(guidance, guidance_scale),
            num_inference_steps=num_inference_steps,
            degradation=degradation,
            consistency=consistency,
            generator=generator,
        )
        choices = check_stages(stages, len(chain), given=sources is not None)
        given, usual = sources is not None, usual_steps(self)
        plans = decide(chain, first, (height, width), given, choices, common, towards, usual)
        for plan in plans if sources is None else plans[1:]:
            check_inputs(
                self, plan.conditions, plan.height, plan.width, plan.steps, 1.0, guidance_interval, plan.generator,
                plan.latents, output_type, callback_on_step_end_tensor_inputs,
            )  # fmt: skip
        if len(plans) > 1 and plans[-1].gsd < FINEST_GSD:
            text = f"no model has learned from images of {plans[-1].gsd:g} m a pixel, the finest were of {FINEST_GSD} m"
            warnings.warn(text, stacklevel=3)

        self.num_stages = len(chain)
        self._interrupt = False
        self._lead = None
        made: list[NDArray[np.uint8]] = [] if sources is None else [np.stack(sources)]
        shown: list[list[Conditions]] = [] if sources is None else [plans[0].conditions]
        for self.stage in range(len(made), len(plans)):
            plan = plans[self.stage]
            asked = plan.conditions
            if made:
                coarse = made[-1][:, *plan.window].repeat(plan.repeats, axis=0)
                asked = [c.replace(coarse=image) for c, image in zip(asked, coarse, strict=True)]
                self._lead = lead_to(coarse, plan.height, plan.width, self) if plan.consistency == 1 else None
            output = super().__call__(
                conditions=asked,
                height=plan.height,
                width=plan.width,
                num_inference_steps=plan.steps,
                guidance=plan.guidance,
                guidance_interval=guidance_interval,
                generator=plan.generator,
                latents=plan.latents,
                output_type="pt",
                callback_on_step_end=callback_on_step_end,
                callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
            )
            made.append(_agreeing(output.images, asked, plan.consistency))  # type: ignore[arg-type]
            shown.append(asked)
            if self._interrupt:
                break
        self._lead = None
        if len(made) == len(chain) and chain[-1] != plans[-1].gsd:
            made[-1] = resampled(made[-1], chain[-1] / plans[-1].gsd)
        results = [_as_type(images, output_type) for images in made]
        if not return_dict:
            return results[-1], results  # type: ignore[return-value]
        return EarthCascadeOutput(images=results[-1], stages=results, gsds=chain[: len(made)], conditions=shown)

    def progress_bar(self, iterable: Any = None, total: int | None = None) -> Any:
        """The bar of a stage, with its number."""
        bar = super().progress_bar(iterable, total)
        bar.set_description(f"stage {self.stage + 1} of {self.num_stages}", refresh=False)
        return bar

    def _first(self, prompt: Any, sources: Any, each: int, **metadata: Any) -> list[Conditions]:
        """What the images of the first stage show: one a prompt, or one an image where the prompt is for all."""
        for name, value in metadata.items():
            if name not in ("gsd", "lat", "lon", "date", "cloud_cover"):
                raise ArgumentError(name, "is no argument; what one stage alone is asked goes into `stages`", value)
        first = conditions_of(prompt, None, each, **metadata)
        if sources is None or len(sources) in (1, len(first) // each):
            return first
        if len(first) == each:
            return first * len(sources)
        rule = f"must be one, or one for each of the {len(sources)} images"
        raise ArgumentError("prompt", rule, f"{len(first) // each} of them")


def resampled(images: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Images (batch, height, width, 3) brought to pixels `factor` times as large, by averaging over their area.

    Sides are rounded to whole pixels over the same ground, so means stay; the factor is met to half a pixel a side.
    """
    sides = images.shape[1:3]
    down, across = (_area_weights(side, max(1, round(side / factor))) for side in sides)
    result = np.empty((len(images), down.shape[0], across.shape[0], 3), np.uint8)
    for image, row in zip(images, result, strict=True):
        for band in range(3):
            row[..., band] = np.rint((across @ (down @ image[..., band].astype(np.float32)).T).T)
    return result


def _area_weights(length: int, count: int) -> csr_array:
    """(count, length): what share each of `length` pixels has of each of `count` larger ones."""
    edges = np.arange(count + 1) * (length / count)
    pixel = edges[:-1, None].astype(int) + np.arange(int(length / count) + 2)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    rows = np.broadcast_to(np.arange(count)[:, None], pixel.shape)
    some = (overlap > 0) & (pixel < length)
    weights = (overlap[some] * (count / length)).astype(np.float32)
    return csr_array((weights, (rows[some], pixel[some])), shape=(count, length))


def _sources(image: Any) -> list[NDArray[np.uint8]] | None:
    """The given images as arrays of one size."""
    if image is None:
        return None
    several = list(image) if isinstance(image, (list, tuple)) else [image]
    if not several:
        raise ArgumentError("image", "must not be an empty list", image)
    arrays = [np.asarray(i.convert("RGB")) if isinstance(i, PIL.Image.Image) else i for i in several]
    for array in arrays:
        check_rgb("image", array)
        if array.shape != arrays[0].shape:
            raise ArgumentError("image", f"must all be of one size, {arrays[0].shape}", array.shape)
    return arrays


def _agreeing(images: Tensor, asked: Sequence[Conditions], strength: float) -> NDArray[np.uint8]:
    """Images (batch, 3, height, width) in [0, 1] → uint8 (batch, height, width, 3) that agree with the coarser ones."""
    coarse = [c.coarse for c in asked if c.coarse is not None]
    if not coarse:
        pixels = images.mul(255).round().to(torch.uint8)
    else:
        nothing = np.zeros(images.shape[-2:], np.bool_)
        kept = [nothing if c.known_mask is None else c.known_mask for c in asked]
        known = torch.from_numpy(np.stack(kept))[:, None].to(images.device) if np.any(kept) else None
        means = torch.from_numpy(np.stack(coarse)).permute(0, 3, 1, 2).to(images.device).float() / 255
        pixels = consistent(images, means, strength, known)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def _as_type(images: NDArray[np.uint8], output_type: str) -> Any:
    if output_type == "pil":
        return [PIL.Image.fromarray(image) for image in images]
    array = images.astype(np.float32) / 255
    return array if output_type == "np" else torch.from_numpy(array).permute(0, 3, 1, 2)
