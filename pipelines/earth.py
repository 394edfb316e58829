"""`EarthPipeline`: a sentence, a place, a resolution, a layout, known pixels → Earth images. A diffusers pipeline."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from earthgen.conditions import Conditions, Guidance, check_rgb
from earthgen.errors import ArgumentError
from earthgen.models import Conditioning, EarthAutoencoder, EarthUNet
from earthgen.models.backends import check_backend, set_backend
from earthgen.models.guidance import guidance_chain, guided, with_guide
from earthgen.models.inputs import conditioning_of, image_latents, padded_size, with_texts
from earthgen.pipelines.arguments import check_inputs, check_whole, conditions_of, guidance_of, negatives_of
from earthgen.pipelines.folders import finish_saved_folder, load_components
from earthgen.pipelines.refinement import Lead, lead_to, stages_of, with_coarse
from earthgen.steps import denoiser_of, denoisers, guide_of, noise_of, scheduler_of, usual_steps
from earthgen.tiling import LATENT_TILE, apply_tiled, decode_tiled


@dataclass
class EarthPipelineOutput(BaseOutput):  # type: ignore[misc]
    images: list[PIL.Image.Image] | np.ndarray | Tensor
    """PIL images, or an array (batch, height, width, 3) or tensor (batch, 3, height, width) in [0, 1], or latents."""


class EarthPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Generates images of the Earth, with every condition optional and each with its own guidance weight.

    Components: `unet` (`EarthUNet`), perhaps a `refiner` (another, that makes images from coarser ones in few steps)
    and a `few_step_unet` (another, that makes them from noise in four steps or fewer), a `guide` (a weaker one, which a
    part of guidance leads away from: `earthgen.models.guidance.with_guide`), `vae` (`EarthAutoencoder`),
    `text_encoder` and `tokenizer` (MiniLM), `scheduler` (any of diffusers' flow-matching schedulers).
    """

    model_cpu_offload_seq = "text_encoder->unet->refiner->few_step_unet->guide->vae"
    _optional_components: ClassVar = ["refiner", "few_step_unet", "guide"]
    _callback_tensor_inputs: ClassVar = ["latents"]
    _lead: Lead | None = None
    """Where the colours of the latents come out, if that is known."""
    _num_timesteps = 0

    def __init__(
        self,
        unet: EarthUNet,
        vae: EarthAutoencoder,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        refiner: EarthUNet | None = None,
        few_step_unet: EarthUNet | None = None,
        guide: EarthUNet | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler, refiner=refiner,
            few_step_unet=few_step_unet, guide=guide,
        )  # fmt: skip
        for name, one in denoisers(self).items():
            wanted, got = ((u.grid, u.config.latent_channels) for u in (unet, one))
            if got != wanted:
                raise ArgumentError(name, f"must have the grid and latent channels of `unet`, {wanted}", got)
        if guide is not None and guide.few_step:
            taught = guide.config.taught_guidance
            raise ArgumentError("guide", "must be a network of many steps", f"taught_guidance {taught}")
        for model in (*denoisers(self).values(), vae):
            model.to(memory_format=torch.channels_last)  # the layout convolutions are fastest in
        self.image_processor = VaeImageProcessor(vae_scale_factor=vae.spatial_factor)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any = "earthgen/mini", backend: str = "torch", **kwargs: Any
    ) -> EarthPipeline:
        """The bundled model ("earthgen/mini") or a folder's, checked against its checksums before anything is loaded.

        In bfloat16 where the machine computes with it, unless `torch_dtype` says otherwise. `backend` "openvino" or
        "onnx" (always float32) computes faster than torch on a CPU: see `earthgen.models.backends`.

        Raises:
            ArgumentError: There is no such backend.
            EarthgenError: The backend is not installed.
            WeightsError: Nothing is there, a file is damaged or altered, or the weights are not safetensors.
        """
        if check_backend(backend) == "onnx":
            kwargs.setdefault("torch_dtype", torch.float32)
        pipe = cls(**load_components(pretrained_model_name_or_path, **kwargs))
        for model in (*denoisers(pipe).values(), pipe.vae):
            set_backend(model, backend)
        return pipe

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Write a folder that `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` loads too."""
        super().save_pretrained(save_directory, **kwargs)
        finish_saved_folder(save_directory)

    @property
    def grid(self) -> int:
        """Pixels: images are computed at sizes that are multiples of this and then cropped."""
        return int(self.vae.spatial_factor * self.unet.grid)

    def latents_shape(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Shape of the latents of images of this size in pixels: 4 px each, to the next 16 px in all."""
        rows, columns = (side // self.vae.spatial_factor for side in padded_size(height, width, self.grid))
        return batch, self.unet.config.latent_channels, rows, columns

    def set_noise_levels(
        self, num_inference_steps: int, device: Any, begin: float = 1.0, scheduler: Any = None
    ) -> list[float]:
        """Set the scheduler's steps. Returns the noise level (1 noise, 0 clean) before each and after the last.

        Begun at `begin`, before the scheduler's shift, they are so many fewer; of others than Euler's they are the last
        of the whole. `scheduler`: in place of the pipeline's.
        """
        scheduler, first = scheduler or self.scheduler, 0
        if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            # In even steps down to 0: left to itself, its last step is one from almost nothing to nothing.
            count = max(1, round(num_inference_steps * begin))
            scheduler.set_timesteps(sigmas=np.linspace(begin, begin / count, count), device=device)
        else:
            scheduler.set_timesteps(num_inference_steps, device=device)
            # Whole steps: a scheduler of second order (Heun) lists each but the first twice.
            first = min(round(num_inference_steps * (1 - begin)), num_inference_steps - 1) * scheduler.order
        sigmas = getattr(scheduler, "sigmas", None)
        kind = scheduler.config.get("prediction_type", "flow_prediction")
        if sigmas is None or float(sigmas.max()) > 1.001 or kind != "flow_prediction":
            rule = 'must be for flow matching: FlowMatch…, or `use_flow_sigmas` and `prediction_type="flow_prediction"`'
            raise ArgumentError("scheduler", rule, type(scheduler).__name__)
        scheduler.set_begin_index(first)
        return [float(sigma) for sigma in sigmas[first:]]

    def velocity(
        self, latents: Tensor, sigma: float, chain: list[tuple[float, EarthUNet, Conditioning]], until: float
    ) -> Tensor:
        """The guided velocity of `latents` at the noise level `sigma`, for a step to the level `until`, in tiles where
        they are many. In a refinement it leads to the colours of the coarser image.

        `chain`: weight, network and conditions of each evaluation (`with_guide`).
        """
        halo = max(math.ceil(unet.receptive_radius / unet.grid) * unet.grid for _, unet, _ in chain)

        def window(rows: slice, columns: slice) -> Tensor:
            x = latents[..., rows, columns].contiguous(memory_format=torch.channels_last)
            whole = x.shape[-2:] == latents.shape[-2:]
            made = []
            for weight, unet, conditioning in chain:
                given = conditioning if whole else conditioning.window(rows, columns)
                made.append((weight, unet(x, 1000 * sigma, given, until=1000 * until).sample.float()))
            return guided(made, x, sigma)

        v = apply_tiled(window, latents.shape[2], latents.shape[3], LATENT_TILE, halo)
        if self._lead is not None:
            self._lead.lead(v, latents, sigma)
        return v

    @property
    def num_timesteps(self) -> int:
        """Steps of the call in progress, or of the last: what a callback is told the number of."""
        return self._num_timesteps

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        negative_prompt: str | Sequence[str] | None = None,
        gsd: float | None = None,
        lat: float | None = None,
        lon: float | None = None,
        conditions: Conditions | Sequence[Conditions] | None = None,
        height: int = 256,
        width: int = 256,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance: Guidance | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        base_side: int = 0,
        num_images_per_prompt: int = 1,
        image: np.ndarray | PIL.Image.Image | None = None,
        strength: float = 0.7,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **metadata: Any,
    ) -> EarthPipelineOutput:
        """Generate images.

        Args:
            prompt: What to show; one sentence or several, one an image.
            negative_prompt: What to lead away from, one text for all or one a prompt: guidance by text then goes from
                it to the prompt, rather than from the learned null, which the empty string and None leave in place. It
                needs a weight for text above 1, and counts where that does: in stages that refine it does not.
            gsd: Metres a pixel.
            lat: Latitude of the image centre, degrees.
            lon: Longitude of the image centre, degrees.
            conditions: Full conditions, one or one an image, in place of `prompt`, `gsd`, `lat`, `lon` and `metadata`.
            height: Pixels; any number from 8.
            width: Pixels; any number from 8.
            num_inference_steps: Denoising steps; by default what is usual for the model (`earthgen.steps`). Stages that
                refine take the usual share of them.
            guidance_scale: One weight for all conditions but the coarser image and known pixels.
            guidance: A weight for each condition, in place of `guidance_scale`. Stages that refine take none above 1
                but those of boxes and mask.
            guidance_interval: Noise levels (0 clean, 1 noise) between which guidance acts; elsewhere every weight but
                0 counts as 1, which saves evaluations (Kynkäänniemi et al. 2024).
            base_side: Images whose shorter side is more than twice this many pixels are made a quarter as large first
                (and that a quarter as large, and so on), and then refined: faster, but the first is of a resolution
                that the bundled model may know less of. 0 makes any at once, as `image`, `latents` and a coarser image
                among the conditions do.
            num_images_per_prompt: Images for each prompt.
            image: Start from this image (PIL, or uint8 RGB array) rather than from noise (image to image); it sets
                height and width.
            strength: With `image`: how much of it to replace, from just above 0 to 1.
            generator: One for all images, or one an image, each image then being independent of its batch.
            latents: Initial noise in place of the generator's, of the shape that `latents_shape` says.
            output_type: "pil", "np", "pt" or "latent".
            return_dict: False for a plain tuple.
            callback_on_step_end: Called as (pipeline, step, timestep, tensors), with `step` below
                `pipeline.num_timesteps`; returns them, changed or not. It may set `pipeline._interrupt` to end after
                this step.
            callback_on_step_end_tensor_inputs: Names of the tensors the callback gets: "latents".
            metadata: Other fields of `Conditions`: date, cloud_cover, boxes, polygons, mask, mask_classes, known,
                known_mask, coarse, coarse_degradation.

        Raises:
            ArgumentError: An argument breaks a rule; the message names argument, rule and value.
        """
        usual = usual_steps(self)
        steps = usual.first if num_inference_steps is None else num_inference_steps
        source = np.asarray(image.convert("RGB")) if isinstance(image, PIL.Image.Image) else image
        if source is not None:
            check_rgb("image", source)
            height, width = source.shape[:2]
        wanted = conditions_of(prompt, conditions, num_images_per_prompt, gsd=gsd, lat=lat, lon=lon, **metadata)
        weights = guidance_of(guidance, guidance_scale)
        if isinstance(callback_on_step_end, (PipelineCallback, MultiPipelineCallbacks)):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        check_whole("base_side", base_side, "must be a whole number of pixels from 0", 0)
        check_inputs(
            self, wanted, height, width, steps, strength, guidance_interval, generator, latents, output_type,
            callback_on_step_end_tensor_inputs,
        )  # fmt: skip
        refined = any(c.coarse is not None for c in wanted)
        taught = 1.0 if refined else denoiser_of(self, refined, steps).config.taught_guidance or 1.0
        negatives = negatives_of(negative_prompt, len(wanted), num_images_per_prompt, weights, taught)
        at_once = source is not None or latents is not None or refined
        stages, sizes = stages_of(wanted, height, width, 0 if at_once else base_side)
        counts = [steps, *[usual.refinement(steps)] * (len(sizes) - 1)]
        begin = 1.0 if source is None else strength
        self._num_timesteps = sum(len(self.set_noise_levels(count, "cpu", begin)) - 1 for count in counts)
        start = None if source is None else image_latents(source, self.grid, self.vae)

        done = 0

        def on_step_end(t: Tensor, x: Tensor) -> Tensor:
            nonlocal done
            if callback_on_step_end is not None:
                tensors = {"latents": x} if "latents" in callback_on_step_end_tensor_inputs else {}
                x = callback_on_step_end(self, done, t, tensors).pop("latents", x)
            done += 1
            return x

        self._interrupt = False
        lead, coarse = self._lead, None  # a cascade that calls this has its own
        try:
            for asked, size, count in zip(stages, sizes, counts, strict=True):
                if coarse is not None:
                    self._lead, weights = lead_to(coarse, *size, self, asked), weights.of_refinement()
                    asked = with_coarse(asked, coarse)
                x = self._denoise(
                    asked, negatives, size, count, weights, guidance_interval, generator, latents, start, begin,
                    on_step_end,
                )  # fmt: skip
                if size != sizes[-1]:
                    coarse = np.stack(self._decoded(x, asked, *size, "np")) * 255
        finally:
            self._lead = lead
        images: Any = x if output_type == "latent" else self._decoded(x, wanted, height, width, output_type)
        self.maybe_free_model_hooks()
        return EarthPipelineOutput(images=images) if return_dict else (images,)  # type: ignore[return-value]

    def _denoise(
        self,
        wanted: Sequence[Conditions],
        negatives: Sequence[str] | None,
        size: tuple[int, int],
        steps: int,
        weights: Guidance,
        guidance_interval: tuple[float, float],
        generator: torch.Generator | list[torch.Generator] | None,
        latents: Tensor | None,
        start: Tensor | None,
        begin: float,
        on_step_end: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Latents of images of one size, made from `latents` or fresh noise, or from `start` at `begin`."""
        device = self._execution_device
        given = conditioning_of(wanted, *size, self.grid, self.vae, self.text_encoder, self.tokenizer)
        refined = bool(given.is_present("coarse").any())
        unet = denoiser_of(self, refined, steps)
        scheduler = scheduler_of(self, unet)
        levels = self.set_noise_levels(steps, device, begin, scheduler)
        timesteps = scheduler.timesteps[1 - len(levels) :]
        away = None
        if negatives is not None:
            away = with_texts(given, negatives, self.text_encoder, self.tokenizer).to(device, unet.dtype)
        given = given.to(device, unet.dtype)
        told = guidance_chain(given, weights, unet.config.taught_guidance, away)
        chain = with_guide(told, unet, guide_of(self, unet, refined))
        unguided = [(1.0, unet, told[-1][1])]  # the last has every condition whose weight is not 0
        known_flag = given.is_present("known").view(-1, 1, 1, 1)
        has_known = bool(known_flag.any())

        if latents is None:
            shape = self.latents_shape(len(wanted), *size)
            noise = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        else:
            noise = latents.to(device, torch.float32)
        noise = noise_of(unet, refined) * noise
        x = noise if start is None else (1 - levels[0]) * start.to(device) + levels[0] * noise
        if self._interrupt and self._lead is not None:  # what is left out is not made up
            return self._lead.alone(x.shape[1])

        accepts_generator = "generator" in inspect.signature(scheduler.step).parameters
        extra = {"generator": generator} if accepts_generator else {}
        with self.progress_bar(total=len(timesteps)) as bar:
            for i, t in enumerate(timesteps):
                here = chain if guidance_interval[0] <= levels[i] <= guidance_interval[1] else unguided
                v = self.velocity(x, levels[i], here, levels[i + 1])
                x = scheduler.step(v, t, x, return_dict=False, **extra)[0]
                if has_known:
                    # Known latents are put back at the noise level just reached, so that the rest grows to fit them.
                    level = levels[i + 1]
                    kept = given.known_mask.float() * known_flag
                    x = x * (1 - kept) + kept * ((1 - level) * given.known.float() + level * noise)
                x = on_step_end(t, x)
                bar.update()
                if self._interrupt:
                    break
        return x

    def _decoded(self, x: Tensor, wanted: Sequence[Conditions], height: int, width: int, output_type: str) -> Any:
        """Images of latents, with the known pixels themselves in place of their reconstruction."""
        pixels = self._keep_known(decode_tiled(self.vae, x).float()[..., :height, :width], wanted)
        return self.image_processor.postprocess(pixels, output_type=output_type)

    @staticmethod
    def _keep_known(pixels: Tensor, wanted: Sequence[Conditions]) -> Tensor:
        """Put the known pixels themselves in place of their reconstruction."""
        for i, c in enumerate(wanted):
            if c.known is not None and c.known_mask is not None:
                known = torch.from_numpy(c.known.copy()).permute(2, 0, 1).to(pixels) / 127.5 - 1
                keep = torch.from_numpy(c.known_mask.copy()).to(pixels.device)
                pixels[i] = torch.where(keep, known, pixels[i])
        return pixels
