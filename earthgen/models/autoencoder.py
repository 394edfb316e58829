"""The autoencoder: RGB images to latents of 4 × 4 pixels each, and back. Local: convolutions only.

The first three channels of a latent are the mean colour of its pixels, so the latent of an image holds the image at a
quarter of its resolution; the others, learned, hold the detail within. A denoiser thus sees structure as it is, and
what comes out of the decoder averages to the colours that went in, exactly.

No normalisation over space and no attention, so a latent depends on a bounded patch of pixels and a pixel on a
bounded patch of latents (`receptive_field`), and any image can be coded in tiles that agree with the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn


@dataclass
class EncoderOutput(BaseOutput):  # type: ignore[misc]
    latent: Tensor
    """(batch, latent_channels, height / 4, width / 4); of mean 0, deviating by about 1 within an image."""


@dataclass
class DecoderOutput(BaseOutput):  # type: ignore[misc]
    sample: Tensor
    """(batch, 3, height, width), RGB, about -1 to 1."""


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside an identity path; starts as the identity, which needs no normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


COLOUR = ((1 / 3, 1 / 3, 1 / 3), (-0.5, 0.0, 0.5), (-0.25, 0.5, -0.25))
"""RGB → brightness, blue against red, green against both: nearly uncorrelated in images of the Earth."""
RGB = torch.linalg.inv(torch.tensor(COLOUR)).tolist()


def mixed(x: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """The colours of `x` (batch, 3, h, w) times a 3 × 3 matrix, in the precision of `x` even under autocast."""
    return (x.new_tensor(matrix).view(1, 3, 3, 1, 1) * x.unsqueeze(1)).sum(2)


def spread(cells: Tensor, factor: int) -> Tensor:
    """Values of cells (batch, c, h, w) → pixels (batch, c, factor × h, factor × w) without steps at the cells' borders.

    Bilinear enlargement of values sharpened to make up for its blur, so that means over cells of what comes back are
    nearly `cells`.
    """
    taps = cells.new_tensor([-0.25, 1.5, -0.25])
    kernel = taps.outer(taps).expand(cells.shape[1], 1, 3, 3)
    sharp = F.conv2d(F.pad(cells, (1, 1, 1, 1), mode="replicate"), kernel, groups=cells.shape[1])
    return F.interpolate(sharp, scale_factor=factor, mode="bilinear")


class EarthAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """An autoencoder of spatial factor 4: plain residual blocks at scales that pixel (un)shuffling makes.

    The first shuffle works on pixels directly: convolutions at full resolution cost most and gain least. A third
    entry in the three tuples makes the factor 8, and so on.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,  # 3 of mean colour, the others of detail
        block_channels: tuple[int, ...] = (48, 128),  # at 1/2, 1/4, ... of the image's size
        encoder_blocks: tuple[int, ...] = (1, 2),
        decoder_blocks: tuple[int, ...] = (1, 3),
        latents_mean: tuple[float, ...] | None = None,  # None: 0; measured over the training data when training ends
        latents_std: tuple[float, ...] | None = None,  # None: 1
        halo: tuple[int, int] | None = None,  # measured as well; None: `receptive_field`
    ) -> None:
        super().__init__()
        if latent_channels < 4:
            raise ValueError(f"`latent_channels` must be at least 4, 3 of them of colour, but got {latent_channels}")
        if not len(block_channels) == len(encoder_blocks) == len(decoder_blocks) >= 1:
            lengths = (len(block_channels), len(encoder_blocks), len(decoder_blocks))
            raise ValueError(f"`block_channels`, `encoder_blocks`, `decoder_blocks` must be as long, but got {lengths}")
        first, last = block_channels[0], block_channels[-1]
        encoder: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(12, first, 3, padding=1)]
        decoder: list[nn.Module] = [nn.SiLU(), nn.Conv2d(first, 12, 3, padding=1), nn.PixelShuffle(2)]
        for i, width in enumerate(block_channels):
            if i:
                above = block_channels[i - 1]
                encoder += [nn.PixelUnshuffle(2), nn.Conv2d(4 * above, width, 1)]
                decoder = [nn.Conv2d(width, 4 * above, 1), nn.PixelShuffle(2), *decoder]
            encoder += [ResidualBlock(width) for _ in range(encoder_blocks[i])]
            decoder = [*(ResidualBlock(width) for _ in range(decoder_blocks[i])), *decoder]
        self.encoder = nn.Sequential(*encoder, nn.SiLU(), nn.Conv2d(last, latent_channels - 3, 3, padding=1))
        self.decoder = nn.Sequential(nn.Conv2d(latent_channels, last, 3, padding=1), *decoder)

        # Without normalisation the path around the residual blocks must carry signals at their own scale at first.
        for layer in (*self.encoder, *self.decoder):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @property
    def spatial_factor(self) -> int:
        """Pixels of a latent's side."""
        return 2 ** len(self.config.block_channels)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        channels = self.config.latent_channels
        mean = self.config.latents_mean or [0.0] * channels
        std = self.config.latents_std or [1.0] * channels
        return like.new_tensor(mean).view(1, -1, 1, 1), like.new_tensor(std).view(1, -1, 1, 1)

    def to_latent(self, x: Tensor) -> Tensor:
        """Latents before they are normalised, float32."""
        colour = mixed(F.avg_pool2d(x.float(), self.spatial_factor), COLOUR)
        return torch.cat([colour, self.encoder(x.to(self.dtype)).float()], 1)

    def from_latent(self, z: Tensor) -> Tensor:
        """Images of latents that are not normalised, float32. Colours stay in float32: bfloat16 would show bands."""
        mean = mixed(z[:, :3].float(), RGB)
        x = F.interpolate(mean, scale_factor=self.spatial_factor, mode="bilinear") + self.decoder(z.to(self.dtype))
        # What the cells' pixels miss of their mean colours, first smoothly, for else cells would show in calm places;
        # the little that is then left is given to all pixels of a cell alike.
        x = x + spread(mean - F.avg_pool2d(x, self.spatial_factor), self.spatial_factor)
        return x + F.interpolate(mean - F.avg_pool2d(x, self.spatial_factor), scale_factor=self.spatial_factor)

    @apply_forward_hook
    def encode(self, x: Tensor) -> EncoderOutput:
        """Latents of RGB images (batch, 3, height, width) in [-1, 1]; sides divisible by `spatial_factor`."""
        f = self.spatial_factor
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % f or x.shape[3] % f:
            raise ValueError(f"`x` must be (batch, 3, height, width), sides divisible by {f}, but got {tuple(x.shape)}")
        z = self.to_latent(x)
        mean, std = self._statistics(z)
        return EncoderOutput(latent=(z - mean) / std)

    def encode_colours(self, means: Tensor) -> Tensor:
        """The first three channels of latents whose pixels average to these colours, (batch, 3, h, w) in [-1, 1]."""
        mean, std = self._statistics(means)
        return (mixed(means, COLOUR) - mean[:, :3]) / std[:, :3]

    @apply_forward_hook
    def decode(self, z: Tensor) -> DecoderOutput:
        """RGB images (batch, 3, height, width) of latents (batch, latent_channels, height / 4, width / 4)."""
        if z.ndim != 4 or z.shape[1] != self.config.latent_channels:
            wanted = f"(batch, {self.config.latent_channels}, height, width)"
            raise ValueError(f"`z` must be {wanted}, but got {tuple(z.shape)}")
        mean, std = self._statistics(z)
        return DecoderOutput(sample=self.from_latent(z * std + mean))

    def forward(self, x: Tensor) -> DecoderOutput:
        """The reconstruction of `x`."""
        return self.decode(self.encode(x).latent)

    @property
    def halo(self) -> tuple[int, int]:
        """What a tile needs around it to be (encoded, decoded) as in the whole, in latents.

        Where it was measured, when training ended: to 0.001 of a latent's deviation, and to 1/100 of a grey level.
        """
        return tuple(self.config.halo or self.receptive_field)

    @property
    def receptive_field(self) -> tuple[int, int]:
        """Radius in latents that (a latent depends on through the encoder, a pixel depends on through the decoder).

        An upper bound: each 3×3 convolution reaches one cell further at its own scale.
        """
        scales = [2 ** (i + 1) for i in range(len(self.config.block_channels))]  # pixels a cell
        factor = scales[-1]
        encoder = scales[0] + factor + sum(2 * n * p for n, p in zip(self.config.encoder_blocks, scales, strict=True))
        decoder = scales[0] + factor + sum(2 * n * p for n, p in zip(self.config.decoder_blocks, scales, strict=True))
        # A cell's mean reaches almost one latent further than a pixel; `spread` hands it on over two cells.
        return math.ceil(encoder / factor), math.ceil(decoder / factor) + 3
