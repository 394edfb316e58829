"""The autoencoder: RGB images to latents eight times smaller a side, and back. Local: convolutions only.

No normalisation over space and no attention, so a latent depends on a bounded patch of pixels and a pixel on a
bounded patch of latents (`receptive_field`), and any image can be coded in tiles that agree with the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn


@dataclass
class EncoderOutput(BaseOutput):  # type: ignore[misc]
    latent: Tensor
    """(batch, latent_channels, height / 8, width / 8); over the training data of mean 0 and deviation 1."""


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


class EarthAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """An autoencoder of spatial factor 8, three scales by pixel (un)shuffling, plain residual blocks.

    The first shuffle works on pixels directly: convolutions at full resolution cost most and gain least.
    """

    spatial_factor = 8

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,
        block_channels: tuple[int, int, int] = (48, 96, 192),  # at 1/2, 1/4, 1/8 of the image's size
        encoder_blocks: tuple[int, int, int] = (1, 1, 2),
        decoder_blocks: tuple[int, int, int] = (1, 2, 2),
        latents_mean: tuple[float, ...] | None = None,  # None: 0; measured over the training data when training ends
        latents_std: tuple[float, ...] | None = None,  # None: 1
    ) -> None:
        super().__init__()
        c2, c4, c8 = block_channels
        e2, e4, e8 = encoder_blocks
        d2, d4, d8 = decoder_blocks
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, c2, 3, padding=1),
            *(ResidualBlock(c2) for _ in range(e2)),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * c2, c4, 1),
            *(ResidualBlock(c4) for _ in range(e4)),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * c4, c8, 1),
            *(ResidualBlock(c8) for _ in range(e8)),
            nn.SiLU(),
            nn.Conv2d(c8, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, c8, 3, padding=1),
            *(ResidualBlock(c8) for _ in range(d8)),
            nn.Conv2d(c8, 4 * c4, 1),
            nn.PixelShuffle(2),
            *(ResidualBlock(c4) for _ in range(d4)),
            nn.Conv2d(c4, 4 * c2, 1),
            nn.PixelShuffle(2),
            *(ResidualBlock(c2) for _ in range(d2)),
            nn.SiLU(),
            nn.Conv2d(c2, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )

        # Without normalisation the path around the residual blocks must carry signals at their own scale at first.
        for layer in (*self.encoder, *self.decoder):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        channels = self.config.latent_channels
        mean = self.config.latents_mean or [0.0] * channels
        std = self.config.latents_std or [1.0] * channels
        return like.new_tensor(mean).view(1, -1, 1, 1), like.new_tensor(std).view(1, -1, 1, 1)

    @apply_forward_hook
    def encode(self, x: Tensor) -> EncoderOutput:
        """Latents of RGB images (batch, 3, height, width) in [-1, 1]; height and width divisible by 8."""
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % 8 or x.shape[3] % 8:
            raise ValueError(f"`x` must be (batch, 3, height, width), sides divisible by 8, but got {tuple(x.shape)}")
        z = self.encoder(x)
        mean, std = self._statistics(z)
        return EncoderOutput(latent=(z - mean) / std)

    @apply_forward_hook
    def decode(self, z: Tensor) -> DecoderOutput:
        """RGB images (batch, 3, height, width) of latents (batch, latent_channels, height / 8, width / 8)."""
        if z.ndim != 4 or z.shape[1] != self.config.latent_channels:
            wanted = f"(batch, {self.config.latent_channels}, height, width)"
            raise ValueError(f"`z` must be {wanted}, but got {tuple(z.shape)}")
        mean, std = self._statistics(z)
        return DecoderOutput(sample=self.decoder(z * std + mean))

    def forward(self, x: Tensor) -> DecoderOutput:
        """The reconstruction of `x`."""
        return self.decode(self.encode(x).latent)

    @property
    def receptive_field(self) -> tuple[int, int]:
        """Radius in latents that (a latent depends on through the encoder, a pixel depends on through the decoder).

        An upper bound: each 3×3 convolution reaches one cell further at its own scale.
        """
        e2, e4, e8 = self.config.encoder_blocks
        d2, d4, d8 = self.config.decoder_blocks
        encoder = ((1 + 2 * e2) * 2 + 2 * e4 * 4 + (2 * e8 + 1) * 8) / 8
        decoder = ((2 * d2 + 1) * 2 + 2 * d4 * 4 + (1 + 2 * d8) * 8) / 8
        return -int(-encoder // 1), -int(-decoder // 1)
