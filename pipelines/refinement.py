"""Large images may be made small first, where structure is seen best, and then refined by factors of four.

A refinement leads the colours of its latents to those of the coarser image, but for what is too small to be seen there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from earthgen.conditions import COARSE_FACTOR, GSD_RANGE, LEAST_TOLD, Conditions
from earthgen.layout import covered
from earthgen.models.inputs import padded_size

SMALL = 16
"""Pixels: a box with a shorter side in the coarser image has colours of its own when that is refined."""

Size = tuple[int, int]
"""Height and width, pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """Where the colours of latents come out in a refinement."""

    colours: Tensor
    """(batch, 3, h, w): what the first three channels of the latents come to."""
    free: Tensor | None = None
    """(batch, 1, h, w): the part of each latent that has colours of its own, 0 to 1. None: of all of them 0."""

    def lead(self, velocity: Tensor, x: Tensor, sigma: float) -> None:
        """Let a velocity at latents `x` and noise level `sigma` end in these colours c. Changes it in place.

        At noise level σ they are c + σ (noise - c), and what the network makes of the detail goes with them.
        """
        led = (x[:, :3] - self.colours) / sigma
        velocity[:, :3] = led if self.free is None else led + self.free * (velocity[:, :3] - led)

    def alone(self, channels: int) -> Tensor:
        """Latents (batch, channels, h, w) with these colours and no detail."""
        return F.pad(self.colours, (0, 0, 0, 0, 0, channels - self.colours.shape[1]))


def stages_of(
    conditions: Sequence[Conditions], height: int, width: int, base_side: int
) -> tuple[list[list[Conditions]], list[Size]]:
    """What is asked of each stage that images of this size are made in, and its size, the coarsest first."""
    stages, sizes = [list(conditions)], [(height, width)]
    gsd = max(c.gsd or 0.0 for c in conditions)
    while base_side and min(sizes[0]) > 2 * base_side and gsd * COARSE_FACTOR ** len(sizes) <= GSD_RANGE[1]:
        stages.insert(0, [c.coarser(*sizes[0]) for c in stages[0]])
        sizes.insert(0, (math.ceil(sizes[0][0] / COARSE_FACTOR), math.ceil(sizes[0][1] / COARSE_FACTOR)))
    return stages, sizes


def with_coarse(conditions: Sequence[Conditions], coarse: NDArray[np.floating]) -> list[Conditions]:
    """The same for images that refine these, (batch, h, w, 3) from 0 to 255."""
    images = np.rint(coarse).astype(np.uint8)
    return [c.replace(coarse=i, coarse_degradation=LEAST_TOLD) for c, i in zip(conditions, images, strict=True)]


def lead_to(coarse: NDArray[Any], height: int, width: int, pipe: Any, conditions: Sequence[Conditions] = ()) -> Lead:
    """To images of this size whose 4 × 4 pixels average to `coarse`, (batch, h, w, 3) from 0 to 255.

    `conditions` are those of each image, by whose boxes it is told what is too small there.
    """
    rows, columns = pipe.latents_shape(1, height, width)[2:]
    padded = np.pad(coarse, ((0, 0), (0, rows - coarse.shape[1]), (0, columns - coarse.shape[2]), (0, 0)), "edge")
    means = torch.from_numpy(padded).to(pipe._execution_device).permute(0, 3, 1, 2).float() / 127.5 - 1
    return Lead(pipe.vae.encode_colours(means), small_parts(conditions, height, width, pipe))


def small_parts(conditions: Sequence[Conditions], height: int, width: int, pipe: Any) -> Tensor | None:
    """The part of each latent, (batch, 1, h, w), that boxes cover which are small in the coarser image.

    None where no box is.
    """
    size = padded_size(height, width, pipe.grid)
    small = [[b for b in c.boxes or () if min(b.width, b.height) < COARSE_FACTOR * SMALL] for c in conditions]
    parts = [covered(boxes, *size)[None] for boxes in small]
    return torch.from_numpy(np.stack(parts)).to(pipe._execution_device) if any(p.any() for p in parts) else None
