"""`EarthPipeline`: a sentence, a place, a resolution, a layout, known pixels → Earth images. A diffusers pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from earthgen.conditions import Conditions, Guidance
from earthgen.errors import ArgumentError
from earthgen.models import Conditioning, EarthAutoencoder, EarthUNet
from earthgen.models.inputs import conditioning_of, image_latents, padded_size
from earthgen.pipelines.folders import finish_saved_folder, load_components
from earthgen.tiling import LATENT_TILE, apply_tiled, decode_tiled

MAX_SIDE = 16_384
DEFAULT_STEPS = 20


@dataclass
class EarthPipelineOutput(BaseOutput):  # type: ignore[misc]
    images: list[PIL.Image.Image] | np.ndarray | Tensor
    """PIL images, or an array (batch, height, width, 3) or tensor (batch, 3, height, width) in [0, 1], or latents."""


def guidance_chain(conditioning: Conditioning, guidance: Guidance) -> list[tuple[float, Conditioning]]:
    """Which evaluations guidance needs: the velocity is the sum of weight × evaluation.

    Conditions are added in order of their weights w₁ < w₂ < …, those of one weight together, after those of weight 1
    (Brooks et al. 2023, equation 3, for any number of conditions):

        v = v(∅ ∪ S₁) + Σ wₖ (v(S₁ ∪ … ∪ Sₖ) - v(S₁ ∪ … ∪ Sₖ₋₁))
    """
    given = {name: getattr(guidance, name) for name in Guidance.__dataclass_fields__}
    given = {n: w for n, w in given.items() if w != 0 and bool(conditioning.is_present(n).any())}
    kept = {"known"} | {n for n, w in given.items() if w == 1}
    stages = [(1.0, frozenset(kept))]
    for weight in sorted({w for w in given.values() if w != 1}):
        last, before = stages[-1]
        stages[-1] = (last - weight, before)
        kept = kept | {n for n, w in given.items() if w == weight}
        stages.append((weight, frozenset(kept)))
    return [(w, conditioning.keep(names)) for w, names in stages if w != 0]


class EarthPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Generates images of the Earth, with every condition optional and each with its own guidance weight.

    Components: `unet` (`EarthUNet`), `vae` (`EarthAutoencoder`), `text_encoder` and `tokenizer` (MiniLM), `scheduler`
    (any of diffusers' flow-matching schedulers).
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _callback_tensor_inputs = ["latents"]

    def __init__(
        self, unet: EarthUNet, vae: EarthAutoencoder, text_encoder: Any, tokenizer: Any, scheduler: Any
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler)
        self.image_processor = VaeImageProcessor(vae_scale_factor=vae.spatial_factor)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any = "earthgen/mini", **kwargs: Any) -> EarthPipeline:
        """The bundled model ("earthgen/mini") or a folder's, checked against its checksums before anything is loaded.

        In bfloat16 where the machine computes with it, unless `torch_dtype` says otherwise.

        Raises:
            WeightsError: Nothing is there, a file is damaged or altered, or the weights are not safetensors.
        """
        pipeline = cls(**load_components(pretrained_model_name_or_path, **kwargs))
        for model in (pipeline.unet, pipeline.vae):
            model.to(memory_format=torch.channels_last)
        return pipeline

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Write a folder that `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` loads too."""
        super().save_pretrained(save_directory, **kwargs)
        finish_saved_folder(save_directory)

    def check_inputs(
        self,
        conditions: Sequence[Conditions],
        height: int,
        width: int,
        num_inference_steps: int,
        strength: float,
        generator: Any,
        output_type: str,
    ) -> None:
        """Raise `ArgumentError` unless the call's arguments make sense."""
        for name, side in (("height", height), ("width", width)):
            if not isinstance(side, int) or not 8 <= side <= MAX_SIDE:
                raise ArgumentError(name, f"must be a whole number of pixels from 8 to {MAX_SIDE}", side)
        if not isinstance(num_inference_steps, int) or not 1 <= num_inference_steps <= 1000:
            raise ArgumentError("num_inference_steps", "must be a whole number from 1 to 1000", num_inference_steps)
        if not 0 < strength <= 1:
            raise ArgumentError("strength", "must be above 0 and at most 1", strength)
        if isinstance(generator, list) and len(generator) != len(conditions):
            raise ArgumentError("generator", f"must be one, or a list of {len(conditions)}, one an image", len(generator))
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ArgumentError("output_type", 'must be "pil", "np", "pt" or "latent"', output_type)
        for c in conditions:
            c.check_size(height, width)

    def velocity(self, latents: Tensor, timestep: Tensor, chain: list[tuple[float, Conditioning]]) -> Tensor:
        """The guided velocity of `latents`, computed in tiles where they are many."""
        halo = self.unet.receptive_radius + self.unet.receptive_radius % 2
        dtype = self.unet.dtype

        def window(rows: slice, columns: slice) -> Tensor:
            x = latents[..., rows, columns].to(dtype).contiguous(memory_format=torch.channels_last)
            whole = x.shape[-2:] == latents.shape[-2:]
            total: Tensor | None = None
            for weight, conditioning in chain:
                given = conditioning if whole else conditioning.window(rows, columns)
                part = weight * self.unet(x, timestep, given).sample.float()
                total = part if total is None else total + part
            return total  # type: ignore[return-value]

        return apply_tiled(window, latents.shape[2], latents.shape[3], LATENT_TILE, halo)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
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
    ) -> EarthPipelineOutput | tuple[Any]:
        """Generate images.

        Args:
            prompt: What to show; one sentence or several, one an image.
            gsd: Metres a pixel.
            lat: Latitude of the image centre, degrees.
            lon: Longitude of the image centre, degrees.
            conditions: Full conditions, one or one an image, in place of `prompt`, `gsd`, `lat`, `lon` and `metadata`.
            height: Pixels; any number from 8.
            width: Pixels; any number from 8.
            num_inference_steps: Denoising steps; 20 by default.
            guidance_scale: One weight for all conditions but the coarser image and known pixels.
            guidance: A weight for each condition, in place of `guidance_scale`.
            guidance_interval: Noise levels (0 clean, 1 noise) between which guidance acts; elsewhere all conditions
                have weight 1, which saves evaluations (Kynkäänniemi et al. 2024).
            num_images_per_prompt: Images for each prompt.
            image: Start from this RGB image rather than from noise (image to image); it sets height and width.
            strength: With `image`: how much of it to replace, from just above 0 to 1.
            generator: One for all images, or one an image, each image then being independent of its batch.
            latents: Initial noise (batch, channels, h, w) in place of the generator's.
            output_type: "pil", "np", "pt" or "latent".
            return_dict: False for a plain tuple.
            callback_on_step_end: Called as (pipeline, step, timestep, tensors) and may return changed tensors.
            callback_on_step_end_tensor_inputs: Names of the tensors the callback gets: "latents".
            metadata: Other fields of `Conditions`: date, cloud_cover, boxes, mask, mask_classes, known, known_mask,
                coarse, coarse_degradation.

        Raises:
            ArgumentError: An argument breaks a rule; the message names argument, rule and value.
        """
        steps = DEFAULT_STEPS if num_inference_steps is None else num_inference_steps
        source = None if image is None else np.asarray(image.convert("RGB") if isinstance(image, PIL.Image.Image) else image)
        if source is not None:
            Conditions(known=source, known_mask=np.zeros(source.shape[:2], bool))  # the same rules hold
            height, width = source.shape[:2]
        wanted = self._wanted(prompt, conditions, num_images_per_prompt, gsd=gsd, lat=lat, lon=lon, **metadata)
        if guidance is not None and guidance_scale is not None:
            raise ArgumentError("guidance_scale", "must be absent where `guidance` is given", guidance_scale)
        weights = guidance or (Guidance() if guidance_scale is None else Guidance.uniform(guidance_scale))
        self.check_inputs(wanted, height, width, steps, strength, generator, output_type)

        device = self._execution_device
        given = conditioning_of(wanted, height, width, self.vae, self.text_encoder, self.tokenizer)
        given = given.to(device, self.unet.dtype)
        chain = guidance_chain(given, weights)
        plain = [(1.0, given)]

        rows, columns = (side // self.vae.spatial_factor for side in padded_size(height, width))
        shape = (len(wanted), self.unet.config.latent_channels, rows, columns)
        if latents is None:
            noise = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        elif tuple(latents.shape) == shape:
            noise = latents.to(device, torch.float32)
        else:
            raise ArgumentError("latents", f"must have the shape {shape}", tuple(latents.shape))

        self.scheduler.set_timesteps(steps, device=device)
        timesteps, first = self.scheduler.timesteps, 0
        x = noise
        if source is not None:
            first = min(round(len(timesteps) * (1 - strength)), len(timesteps) - 1)
            if hasattr(self.scheduler, "set_begin_index"):
                self.scheduler.set_begin_index(first)
            sigma = self.scheduler.sigmas[first].to(device)
            x = (1 - sigma) * image_latents(source, self.vae).to(device) + sigma * noise

        accepts_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        extra = {"generator": generator} if accepts_generator else {}
        known_flag = given.is_present("known").view(-1, 1, 1, 1)
        with self.progress_bar(total=len(timesteps) - first) as bar:
            for i, t in enumerate(timesteps[first:], first):
                sigma = float(self.scheduler.sigmas[i])
                guided = guidance_interval[0] <= sigma <= guidance_interval[1]
                v = self.velocity(x, t, chain if guided else plain)
                x = self.scheduler.step(v, t, x, return_dict=False, **extra)[0]
                if bool(known_flag.any()):
                    # Known latents are put back at the noise level just reached, so that the rest grows to fit them.
                    level = float(self.scheduler.sigmas[i + 1])
                    here = given.known_mask.float() * known_flag
                    x = x * (1 - here) + here * ((1 - level) * given.known.float() + level * noise)
                if callback_on_step_end is not None:
                    tensors = {name: {"latents": x}[name] for name in callback_on_step_end_tensor_inputs}
                    x = callback_on_step_end(self, i, t, tensors).pop("latents", x)
                bar.update()

        images: Any = x
        if output_type != "latent":
            pixels = decode_tiled(self.vae, x).float()[..., :height, :width]
            pixels = self._keep_known(pixels, wanted)
            images = self.image_processor.postprocess(pixels, output_type=output_type)
        self.maybe_free_model_hooks()
        return EarthPipelineOutput(images=images) if return_dict else (images,)

    @staticmethod
    def _wanted(prompt: Any, conditions: Any, each: int, **fields: Any) -> list[Conditions]:
        """The conditions of every image of the call."""
        if conditions is not None:
            if prompt is not None or any(v is not None for v in fields.values()):
                raise ArgumentError("prompt", "and the metadata must be absent where `conditions` are given", prompt)
            wanted = [conditions] if isinstance(conditions, Conditions) else list(conditions)
        else:
            unknown = set(fields) - set(Conditions.__dataclass_fields__)
            if unknown:
                raise ArgumentError("metadata", "must name fields of earthgen.Conditions", sorted(unknown))
            prompts = [prompt] if prompt is None or isinstance(prompt, str) else list(prompt)
            wanted = [Conditions(text=p, **fields) for p in prompts]
        if not wanted:
            raise ArgumentError("prompt", "must not be an empty list", prompt)
        if not isinstance(each, int) or each < 1:
            raise ArgumentError("num_images_per_prompt", "must be a whole number from 1", each)
        return [c for c in wanted for _ in range(each)]

    @staticmethod
    def _keep_known(pixels: Tensor, wanted: Sequence[Conditions]) -> Tensor:
        """Put the known pixels themselves in place of their reconstruction."""
        for i, c in enumerate(wanted):
            if c.known is not None and c.known_mask is not None:
                known = torch.from_numpy(c.known.copy()).permute(2, 0, 1).to(pixels) / 127.5 - 1
                keep = torch.from_numpy(c.known_mask).to(pixels.device)
                pixels[i] = torch.where(keep, known, pixels[i])
        return pixels
