"""The denoiser: a local UNet over latents that takes every condition earthgen knows.

Local means: convolutions, normalisation over the channels of one position, and attention only from a position to the
words of the text. A velocity therefore depends on inputs within `receptive_radius` latents and on nothing else,
not on where in an image it stands nor how large the image is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from torch import Tensor, nn

from earthgen.conditions import CONDITION_NAMES
from earthgen.errors import ArgumentError
from earthgen.layout import BOX_CHANNELS, LAYOUT_CHANNELS, MASK_CHANNELS
from earthgen.models.conditioning import Conditioning
from earthgen.text import TEXT_DIM


@dataclass
class DenoiserOutput(BaseOutput):  # type: ignore[misc]
    sample: Tensor
    """(batch, latent_channels, h, w): the velocity noise - latent of flow matching."""


PRESETS: dict[str, dict[str, Any]] = {
    # parameters and GFLOPs of one evaluation at 256 px: see `benchmarks/presets.py` and weights.md
    "tiny": {"channels": (32, 32, 48), "blocks": (1, 1, 2), "embedding": 64, "heads": 2},
    "mini": {"channels": (64, 128, 256), "blocks": (2, 2, 4), "embedding": 256, "heads": 4},
    "deep": {"channels": (64, 128, 256), "blocks": (2, 2, 8), "embedding": 256, "heads": 4},
    "base": {"channels": (128, 256, 512), "blocks": (2, 3, 6), "embedding": 384, "heads": 8},
    "large": {"channels": (256, 512, 1024), "blocks": (3, 4, 8), "embedding": 768, "heads": 16},
}
"""Sizes: `tiny` for tests, `mini` ships with the package, `deep` has more blocks, `base` and `large` want a GPU."""


def channel_norm(x: Tensor) -> Tensor:
    """Layer normalisation over the channels of each position of (batch, channels, h, w)."""
    # For OpenVINO, which fuses this but turns every map round for a layer norm.
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        y = x - x.mean(1, keepdim=True)
        return y * torch.rsqrt(y.square().mean(1, keepdim=True) + 1e-5)
    y = x.permute(0, 2, 3, 1)
    return F.layer_norm(y, y.shape[-1:], eps=1e-5).permute(0, 3, 1, 2)


def preconditioning(time: Tensor) -> tuple[Tensor, Tensor]:
    """(skip, gain) such that velocity = skip × sample + gain × network(gain × sample), for `time` 0 clean to 1 noise.

    The skip is the best linear guess of the velocity for data of deviation 1, and what is then left for the network has
    deviation 1 at every noise level (the reasoning of Karras et al. 2022, for flow matching). Without it, a network
    must hand the image through its normalisations to subtract it again.
    """
    power = (1 - time) ** 2 + time**2
    return (2 * time - 1) / power, power.rsqrt()


def waves(x: Tensor, octaves: int) -> Tensor:
    """Fourier features: `x` (..., n) → (..., n + 2 n octaves), with wavelengths 2, 1, 1/2, ..."""
    angles = x.unsqueeze(-1) * (math.pi * 2.0 ** torch.arange(octaves, device=x.device))
    angles = angles.flatten(-2)
    return torch.cat([x, angles.sin(), angles.cos()], -1)


class Embedder(nn.Sequential):
    """Features of a condition → its share of the modulation vector, none at all at first where it `starts_at_zero`."""

    def __init__(self, features: int, width: int, starts_at_zero: bool = False) -> None:
        super().__init__(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
        for p in self[-1].parameters() if starts_at_zero else ():
            nn.init.zeros_(p)


class MetadataEmbedding(nn.Module):
    """Time and the conditions that are numbers → one modulation vector a position, (batch, width, rows, columns).

    Where the network knows where a step ends (`few_step`), that noise level counts beside that it starts from.
    """

    octaves: ClassVar = {"time": 6, "gsd": 5, "position": 5, "date": 2, "cloud": 3, "degradation": 2}
    inputs: ClassVar = {"time": 1, "gsd": 1, "position": 3, "date": 3, "cloud": 1, "degradation": 1}

    def __init__(self, width: int, few_step: bool = False) -> None:
        super().__init__()
        self.embedders = nn.ModuleDict(
            {n: Embedder(k * (1 + 2 * self.octaves[n]), width) for n, k in self.inputs.items()}
        )
        self.embedders["text"] = Embedder(TEXT_DIM, width)
        # At zero, so that it starts as the network whose weights it is given.
        self.until = Embedder(1 + 2 * self.octaves["time"], width, starts_at_zero=True) if few_step else None
        names = ("text", *(n for n in self.inputs if n != "time"))
        self.null = nn.ParameterDict({n: nn.Parameter(torch.randn(width) * 0.02) for n in names})

    def forward(self, time: Tensor, until: Tensor, text: Tensor, given: Conditioning) -> Tensor:
        dtype = text.dtype
        weights = given.text_mask.unsqueeze(-1).to(text)
        pooled = (text * weights).sum(1) / weights.sum(1).clamp(min=1)
        features = {
            "time": time.view(-1, 1, 1, 1),
            "gsd": given.gsd.unsqueeze(-1) / 8,  # log2 runs from about -4 to 18
            "position": given.position.permute(0, 2, 3, 1),
            "date": given.date.permute(0, 2, 3, 1),
            "cloud": given.cloud.unsqueeze(-1),
            "degradation": given.degradation.unsqueeze(-1),
        }
        flags = {n: given.is_present(n) for n in ("text", "gsd", "position", "date", "cloud")}
        flags["degradation"] = given.is_present("coarse")
        total = self.embedders["time"](waves(features.pop("time").float(), self.octaves["time"]).to(dtype))
        if self.until is not None:
            total = total + self.until(waves(until.view(-1, 1, 1, 1).float(), self.octaves["time"]).to(dtype))
        for name, flag in flags.items():
            if name == "text":
                value = self.embedders[name](pooled)[:, None, None]
            else:
                value = self.embedders[name](waves(features[name].float(), self.octaves[name]).to(dtype))
            total = total + torch.where(flag.view(-1, 1, 1, 1), value, self.null[name].to(value))
        return F.silu(total).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions; the first sees its input scaled and shifted by the modulation vector."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.modulation = nn.Conv2d(embedding, 2 * channels, 1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for layer in (self.modulation, self.conv2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).chunk(2, 1)
        h = channel_norm(x) * (1 + scale) + shift
        h = self.conv1(F.silu(h))
        return x + self.conv2(F.silu(channel_norm(h)))


class Blocks(nn.ModuleList):
    """Residual blocks, one after the other."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x


class TextAttention(nn.Module):
    """Each position asks the words of the text; positions do not see one another."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.key_value = nn.Linear(TEXT_DIM, 2 * channels, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        q = self.query(channel_norm(x)).permute(0, 2, 3, 1).reshape(batch, height * width, self.heads, -1)
        k, v = self.key_value(text).unflatten(-1, (2, self.heads, -1)).unbind(2)
        # (batch, positions, heads, channels of a head); the mask holds for every head and position. Through diffusers,
        # so that `unet.set_attention_backend("xformers")` and its other backends work; SDPA is the default.
        y = dispatch_attention_fn(q, k, v, attn_mask=text_mask[:, None, None, :])
        y = y.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        return x + self.out(y)


class LayoutEncoder(nn.Module):
    """The layout field → the UNet's first features. Absent parts get learned nulls."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.null = nn.Parameter(torch.randn(LAYOUT_CHANNELS) * 0.02)
        self.cells = nn.Sequential(nn.Conv2d(LAYOUT_CHANNELS, channels, 1), nn.SiLU())
        # 1×1, so that a layout that is absent everywhere costs one position's work and has no border.
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, layout: Tensor, boxes: Tensor, mask: Tensor) -> Tensor:
        given = torch.zeros(layout.shape[0], LAYOUT_CHANNELS, 1, 1, dtype=torch.bool, device=layout.device)
        given[:, BOX_CHANNELS] = boxes.view(-1, 1, 1, 1)
        given[:, MASK_CHANNELS] = mask.view(-1, 1, 1, 1)
        return self.out(self.cells(torch.where(given, layout, self.null.to(layout).view(1, -1, 1, 1))))


class EarthUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Residual blocks on the latent grid (4 px) and on grids twice and four times as coarse; there it reads the text.

    Both sides of a scale have the same number of blocks and a path between them.
    """

    text_mean: Tensor
    text_std: Tensor

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,
        channels: tuple[int, ...] = PRESETS["mini"]["channels"],  # width at each scale, the finest first
        blocks: tuple[int, ...] = PRESETS["mini"]["blocks"],  # on each side of each scale; in all at the last
        embedding: int = PRESETS["mini"]["embedding"],  # width of the modulation vector
        heads: int = PRESETS["mini"]["heads"],  # of the attention to the text
        taught_guidance: float | None = None,  # of a network of few steps: see `few_step`
    ) -> None:
        super().__init__()
        if len(channels) != len(blocks):
            raise ValueError(f"`channels` and `blocks` must be as long, but got {channels} and {blocks}")
        fine, wide = channels[0], channels[-1]

        def row(width: int, count: int) -> Blocks:
            return Blocks(ResidualBlock(width, embedding) for _ in range(count))

        self.stem = nn.Conv2d(latent_channels, fine, 3, padding=1)
        self.coarse_stem = nn.Conv2d(latent_channels, fine, 3, padding=1)
        self.known_stem = nn.Conv2d(latent_channels + 1, fine, 3, padding=1)
        self.coarse_null = nn.Parameter(torch.zeros(latent_channels))
        self.layout = LayoutEncoder(fine)
        self.metadata = MetadataEmbedding(embedding, taught_guidance is not None)
        # Words as the text encoder gives them share a large mean and vary little: see `set_text_statistics`.
        self.register_buffer("text_mean", torch.zeros(TEXT_DIM))
        self.register_buffer("text_std", torch.ones(TEXT_DIM))
        self.text_null = nn.Parameter(torch.randn(TEXT_DIM) * 0.02)
        steps = list(zip(channels[:-1], channels[1:], blocks[:-1], strict=True))
        self.down = nn.ModuleList(row(c, n) for c, _, n in steps)
        self.shrink = nn.ModuleList(nn.Conv2d(c, d, 3, stride=2, padding=1) for c, d, _ in steps)
        self.middle = row(wide, blocks[-1])
        self.attention = nn.ModuleList(TextAttention(wide, heads) for _ in range(blocks[-1] // 2))
        self.grow = nn.ModuleList(nn.Sequential(nn.Conv2d(d, 4 * c, 1), nn.PixelShuffle(2)) for c, d, _ in steps)
        self.join = nn.ModuleList(nn.Conv2d(2 * c, c, 1) for c, _, _ in steps)
        self.up = nn.ModuleList(row(c, n) for c, _, n in steps)
        self.head_modulation = nn.Conv2d(embedding, 2 * fine, 1)
        self.head = nn.Conv2d(fine, latent_channels, 3, padding=1)
        for layer in (self.head_modulation, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @classmethod
    def preset(cls, name: str, latent_channels: int = 8) -> EarthUNet:
        """An untrained denoiser of one of the `PRESETS`."""
        return cls(latent_channels=latent_channels, **PRESETS[name])

    def grown(self, name: str) -> EarthUNet:
        """One of the `PRESETS` that gives what this network gives: what it has more of are blocks, which start as the
        identity.

        Raises:
            ArgumentError: The preset is not this network with more blocks.
        """
        config = {key: value for key, value in self.config.items() if not key.startswith("_")} | PRESETS[name]
        larger = type(self)(**config)
        try:
            surplus = bool(larger.load_state_dict(self.state_dict(), strict=False).unexpected_keys)
        except RuntimeError:  # of another width
            surplus = True
        if surplus:
            have = {key: tuple(self.config[key]) for key in ("channels", "blocks")}
            raise ArgumentError("preset", f"must be as wide as the network to begin from, and as deep: {have}", name)
        return larger

    @property
    def few_step(self) -> bool:
        """Whether it is told where a step ends and gives the mean velocity until there, with guidance of the weight
        `config.taught_guidance` in it: made by `earthgen.training.distillation`, for images in one to eight steps.
        """
        return self.config.taught_guidance is not None

    @property
    def receptive_radius(self) -> int:
        """Latents beyond this distance from a position, in any direction, change nothing there."""
        # In cells of each scale, from the coarsest: two convolutions a block. A step up doubles the radius and adds
        # two, as shrinking reaches one further and growing hands one vector to both cells of a side.
        *outer, middle = self.config.blocks
        radius = 2 * middle
        for count in reversed(outer):
            radius = 2 * radius + 2 + 2 * 2 * count
        return radius + 2  # stem and head

    @property
    def grid(self) -> int:
        """Sides of its input are multiples of this: latents a side of a cell of the coarsest scale."""
        return int(2 ** (len(self.config.blocks) - 1))

    def set_text_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and deviation of each of the 384 features over the words of the training captions."""
        self.text_mean.copy_(mean)
        self.text_std.copy_(std)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        conditioning: Conditioning,
        return_dict: bool = True,
        until: Tensor | float | None = None,
    ) -> DenoiserOutput | tuple[Tensor]:
        """Velocity of `sample` (batch, latent_channels, h, w) at `timestep`, 0 clean to 1000 noise, scalar or (batch,).

        `h` and `w` are multiples of `grid`. The text may be of any number of tokens; fields as `Conditioning` says.
        A network of `few_step` gives the mean velocity, guidance included, of the path from `timestep` to `until`, a
        lower timestep; that at `timestep` itself where `until` is None. Other networks make nothing of `until`.
        """
        channels, grid = self.config.latent_channels, self.grid
        if sample.ndim != 4 or sample.shape[1] != channels or sample.shape[2] % grid or sample.shape[3] % grid:
            wanted = f"(batch, {channels}, h, w) with h and w divisible by {grid}"
            raise ValueError(f"`sample` must be {wanted}, but got {tuple(sample.shape)}")
        given = conditioning
        batch, _, height, width = sample.shape
        time = torch.as_tensor(timestep, device=sample.device, dtype=torch.float32).expand(batch) / 1000
        end = time if until is None else torch.as_tensor(until, device=time.device, dtype=time.dtype) / 1000
        skip, gain = preconditioning(time.view(-1, 1, 1, 1))
        noisy, sample = sample, (gain * sample).to(self.dtype)  # the velocity keeps the precision of what came
        text = ((given.text - self.text_mean) / self.text_std).to(sample.dtype)
        embedding = self.metadata(time, end.expand(batch), text, given)
        if embedding.shape[-2:] != (1, 1):
            embedding = F.interpolate(embedding, (height, width), mode="nearest")

        has_text = given.is_present("text").view(-1, 1, 1)
        # A dropped text keeps one token, the null, so that attention has something to read.
        first = torch.arange(text.shape[1], device=sample.device) == 0
        text = torch.where(has_text, text, self.text_null.to(sample.dtype))
        text_mask = torch.where(has_text[:, :, 0], given.text_mask, first)

        def flag(name: str) -> Tensor:
            return given.is_present(name).view(-1, 1, 1, 1)

        coarse = torch.where(flag("coarse"), given.coarse.to(sample), self.coarse_null.to(sample).view(1, -1, 1, 1))
        coarse = coarse.expand(-1, -1, height, width)
        known = torch.cat([given.known, given.known_mask], 1).to(sample) * flag("known")
        known = known.expand(-1, -1, height, width)
        layout = self.layout(given.layout.to(sample), given.is_present("boxes"), given.is_present("mask"))
        layout = layout.expand(-1, -1, height, width)
        x = self.network(sample, coarse, known, layout, embedding, text, text_mask)
        velocity = (skip * noisy + gain * x).to(noisy.dtype)
        return DenoiserOutput(sample=velocity) if return_dict else (velocity,)

    def network(
        self,
        sample: Tensor,
        coarse: Tensor,
        known: Tensor,
        layout: Tensor,
        embedding: Tensor,
        text: Tensor,
        text_mask: Tensor,
    ) -> Tensor:
        """Nearly all of `forward`'s work, on plain tensors, so that it can be exported: see `earthgen.models.backends`.

        `sample` and `coarse` (batch, latent_channels, h, w), `known` with a channel more; `layout` (batch, channels[0],
        h, w); `embedding` (batch, embedding, h, w) or 1 × 1; `text` (batch, tokens, 384) and `text_mask`.
        """
        embeddings = [embedding]  # one a scale
        for _ in self.shrink:
            last = embeddings[-1]
            embeddings.append(last if last.shape[-2:] == (1, 1) else F.avg_pool2d(last, 2))

        x = self.stem(sample) + self.coarse_stem(coarse) + self.known_stem(known) + layout
        paths = []
        for blocks, shrink, here in zip(self.down, self.shrink, embeddings, strict=False):
            x = blocks(x, here)
            paths.append(x)
            x = shrink(x)
        for i, block in enumerate(self.middle):
            x = block(x, embeddings[-1])
            if i % 2:
                x = self.attention[i // 2](x, text, text_mask)
        for i in reversed(range(len(paths))):
            x = self.join[i](torch.cat([self.grow[i](x), paths[i]], 1))
            x = self.up[i](x, embeddings[i])
        scale, shift = self.head_modulation(embedding).chunk(2, 1)
        return self.head(F.silu(channel_norm(x) * (1 + scale) + shift))


assert len(CONDITION_NAMES) == 9  # each is read above: text, gsd, position, date, cloud, boxes, mask, known, coarse
