"""Published UNets of the Stable Diffusion family: what a network says of noise, latents and their pixels, text.

A noisy latent x = α z + β ε is told here by x/α = z + σ ε, with σ = β/α (`Schedule`). In that variable a step of DDIM
(η = 0) and one of Euler along a path of flow matching are the same: x/α moves by the change of σ times ε.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import hypot, log2
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextModel

from earthgen.errors import ArgumentError

log = logging.getLogger(__name__)

TOLD_LEVELS = range(10, 19)
"""Levels of a web map that Text2Earth was taught; 0 says that the resolution is not known."""
_BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")


def told_level(gsd: float) -> int:
    """The level that stands for a GSD in metres where a network is told levels, by Text2Earth's map: 2^(17 - level) m.

    The nearest; 0, unknown, for what is more than twice as coarse or as fine as any.
    """
    level = 17 - log2(gsd)
    if not TOLD_LEVELS[0] - 1 <= level <= TOLD_LEVELS[-1] + 1:
        return 0
    return min(max(round(level), TOLD_LEVELS[0]), TOLD_LEVELS[-1])


@dataclass(frozen=True)
class Schedule:
    """Noise levels σ, falling, and what of them a network was taught."""

    sigmas: tuple[float, ...]
    """The steps lie between them. The first is infinite where a schedule begins with noise alone."""
    times: tuple[float, ...]
    """What the network is told at each but the last."""
    prediction: str
    """What it gives: "epsilon", "v_prediction", "sample", or "flow"."""

    def share(self, sigma: float) -> float:
        """α, of the clean latent in a noisy one."""
        return 1 / (1 + sigma) if self.prediction == "flow" else 1 / hypot(1, sigma)

    def time(self, sigma: float) -> float:
        """What the network is told at one of the noise levels."""
        return self.times[self.sigmas.index(sigma)]

    def noise(self, output: Tensor, x: Tensor, sigma: float) -> Tensor:
        """ε, by what the network gave for the noisy latent `x`."""
        share = self.share(sigma)
        if self.prediction == "epsilon":
            return output
        if self.prediction == "sample":
            return (x - share * output) / (share * sigma)
        if self.prediction == "v_prediction":
            return share * output + share * sigma * x
        return x + share * output

    def last(self, strength: float) -> Schedule:
        """The last steps, that share of all: those of an image made from another. At least one."""
        first = len(self.times) - max(1, round(len(self.times) * strength))
        return Schedule(self.sigmas[first:], self.times[first:], self.prediction)


def schedule_of(scheduler: Any, steps: int) -> Schedule:
    """The noise levels that one of diffusers' schedulers takes in so many steps, by its betas or as flow matching.

    Of other schedulers than DDIM's and that of flow matching these are the levels that DDIM takes with their betas.

    Raises:
        ArgumentError: It has neither, or too few levels.
    """
    config = dict(scheduler.config)
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        if config.get("use_dynamic_shifting"):
            raise ArgumentError("model", "must have a scheduler that shifts all images alike", type(scheduler).__name__)
        fresh: Any = FlowMatchEulerDiscreteScheduler.from_config(config)
        fresh.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))  # to 0 in even steps, none from nearly 0 to 0
        levels = [float(s) for s in fresh.sigmas]
        sigmas = [s / (1 - s) if s < 1 else float("inf") for s in levels]
        return Schedule(tuple(sigmas), tuple(float(t) for t in fresh.timesteps), "flow")
    prediction = config.get("prediction_type", "epsilon")
    known = config.get("beta_schedule") in _BETAS or config.get("trained_betas") is not None
    if not known or prediction not in ("epsilon", "v_prediction", "sample"):
        rule = 'must have a scheduler of betas for "epsilon", "v_prediction" or "sample", or FlowMatchEulerDiscrete'
        raise ArgumentError("model", rule, f"{type(scheduler).__name__}, {prediction}")
    if steps > (most := int(config["num_train_timesteps"])):
        raise ArgumentError("steps", f"must be at most the {most} of the model's training", steps)
    ddim: Any = DDIMScheduler.from_config({name: config[name] for name in _TAKEN if name in config})
    ddim.set_timesteps(steps)
    times = [int(t) for t in ddim.timesteps]
    sigmas = [_sigma(float(ddim.alphas_cumprod[t])) for t in times]
    end = _sigma(float(ddim.final_alpha_cumprod))
    if end < sigmas[-1]:
        sigmas.append(end)
    else:  # the last of the levels is the end itself
        times = times[:-1]
    return Schedule(tuple(sigmas), tuple(float(t) for t in times), prediction)


_TAKEN = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "set_alpha_to_one",
    "steps_offset",
    "prediction_type",
    "timestep_spacing",
    "rescale_betas_zero_snr",
)
"""What of a scheduler's configuration says where its steps are. Not `clip_sample`: latents have no limits."""


def _sigma(alpha: float) -> float:
    """σ at a cumulated alpha, the square of the clean latent's share."""
    return ((1 - alpha) / alpha) ** 0.5 if alpha else float("inf")


class Published:
    """The components of a pipeline of diffusers' `StableDiffusionPipeline` kind, brought to one interface.

    Raises:
        ArgumentError: They are of another kind, or do not fit together.
    """

    def __init__(self, pipe: Any) -> None:
        self.unet, self.vae = pipe.unet, pipe.vae
        self.text_encoder, self.tokenizer, self.scheduler = pipe.text_encoder, pipe.tokenizer, pipe.scheduler
        _check(self)
        self.spatial_factor = _factor(self.vae)
        """Pixels a side of a latent."""
        self.channels = int(self.unet.config.in_channels)
        config = self.unet.config
        self.levels = config.class_embed_type == "timestep" or config.num_class_embeds is not None
        """Whether the network is told the level of a web map, as Text2Earth's is."""
        # Kept: diffusers looks through all modules for them.
        self.device, self._dtype = torch.device(self.unet.device), self.unet.dtype

    @torch.no_grad()
    def told(self, text: str) -> Tensor:
        """Vectors of a text's tokens, (1, tokens, channels); of the empty one, too."""
        length = self.tokenizer.model_max_length
        if (count := len(self.tokenizer(text).input_ids)) > length:
            log.warning("the text encoder reads %d tokens; the rest of a %d-token prompt is cut", length, count)
        tokens = self.tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        tokens = tokens.to(self.text_encoder.device)
        masked = getattr(self.text_encoder.config, "use_attention_mask", None)
        hidden = self.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask if masked else None)
        found: Tensor = hidden.last_hidden_state
        return found.to(self.device, self._dtype)

    def output(self, x: Tensor, time: float, text: Tensor, level: int) -> Tensor:
        """What the network gives for noisy latents (1, channels, h, w), told a text and a level; float32."""
        labels = torch.tensor([level], device=self.device) if self.levels else None
        given = x.to(self.device, self._dtype)
        at = torch.tensor([time], device=self.device)
        found: Tensor = self.unet(given, at, encoder_hidden_states=text, class_labels=labels).sample
        return found.float()

    def encode(self, image: Tensor) -> Tensor:
        """Latents (1, channels, h, w), float32 on the CPU, of pixels (1, 3, height, width) in [-1, 1].

        Of the distribution that an autoencoder gives, the middle.
        """
        config = self.vae.config
        found = self.vae.encode(image.to(self.vae.device, self.vae.dtype))
        latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
        latents = (latents.float().cpu() - (getattr(config, "shift_factor", None) or 0)) * config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (1, 3, height, width), about -1 to 1, float32 on the CPU."""
        config = self.vae.config
        z = latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0)
        found: Tensor = self.vae.decode(z.to(self.vae.device, self.vae.dtype)).sample
        return found.float().cpu()


def _factor(vae: Any) -> int:
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def _check(model: Published) -> None:
    """Raise `ArgumentError` unless the components are of the family and fit together."""
    kinds = {
        "unet": (UNet2DConditionModel,),
        "vae": (AutoencoderKL, AutoencoderTiny),
        "text_encoder": (CLIPTextModel,),
    }
    for name, allowed in kinds.items():
        if not isinstance(getattr(model, name), allowed):
            wanted = " or ".join(kind.__name__ for kind in allowed)
            raise ArgumentError(f"model.{name}", f"must be of {wanted}", type(getattr(model, name)).__name__)
    unet, vae, width = model.unet.config, model.vae.config, model.text_encoder.config.hidden_size
    channels = unet.in_channels, unet.out_channels
    if channels != (vae.latent_channels,) * 2:
        rule = f"must take and give the {vae.latent_channels} channels of its autoencoder, and nothing besides"
        raise ArgumentError("model.unet", f"{rule} (models for inpainting or upscaling take more)", channels)
    if unet.cross_attention_dim != width:
        raise ArgumentError(
            "model.unet", f"must attend to the text encoder's {width} channels", unet.cross_attention_dim
        )
    for name in ("addition_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim"):
        if getattr(unet, name, None) is not None:
            rule = "must be told the noise level, a text and at most a level of a map"
            raise ArgumentError("model.unet", rule, f"{name}={getattr(unet, name)}")
    classes = unet.class_embed_type, unet.num_class_embeds
    if classes[0] not in (None, "timestep") or (classes[0] is None and 0 < (classes[1] or 0) <= TOLD_LEVELS[-1]):
        rule = f'must have no classes but levels of a map: "timestep", or more than {TOLD_LEVELS[-1]} of them'
        raise ArgumentError("model.unet", rule, classes)
    if not 4 <= _factor(model.vae) <= 32:
        raise ArgumentError("model.vae", "must have latents of 4 to 32 px a side", _factor(model.vae))
