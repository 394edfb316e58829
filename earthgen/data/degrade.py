"""Degradation of the coarser image a stage of the cascade refines, so that it survives the faults of the stage before.

Two rounds of blur, resizing, noise and JPEG, the recipe of Real-ESRGAN (Wang et al., 2021) that MetaEarth
(Yu et al., 2024) trains its cascade with.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from earthgen.errors import ArgumentError

ROUNDS = 2
BLUR = 1.2
"""Largest standard deviation of a round's blur, pixels."""
SHRINK = 1.0
"""A round shrinks by up to 1 + this."""
NOISE = 10.0
"""Largest standard deviation of a round's noise, grey levels of 255."""
QUALITY = (95.0, 35.0)
"""JPEG quality at the weakest and the strongest."""
FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)


def degrade(image: NDArray[np.uint8], level: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """An image blurred, resized, noisy and compressed.

    Args:
        image: RGB, (height, width, 3).
        level: 0 leaves the image as it is; 1 is as strong as it gets. The strength of each step is drawn from the
            upper half of what the level allows, so that the level says how far the result is to be mistrusted.
        rng: Draws strengths, kinds and noise.

    Returns:
        An image of the same size.
    """
    if not 0.0 <= level <= 1.0:
        raise ArgumentError("level", "must be from 0 to 1", level)
    if level == 0.0:
        return image.copy()
    height, width = image.shape[:2]
    picture = Image.fromarray(np.ascontiguousarray(image))
    for _ in range(ROUNDS):
        blur, shrink, noise, loss = (float(level * rng.uniform(0.5, 1.0)) for _ in range(4))
        picture = picture.filter(ImageFilter.GaussianBlur(BLUR * blur))
        scale = 1.0 + SHRINK * shrink
        size = max(1, round(width / scale)), max(1, round(height / scale))
        picture = picture.resize(size, FILTERS[rng.integers(len(FILTERS))])
        picture = _noisy(picture, NOISE * noise, rng)
        picture = _compressed(picture, QUALITY[0] + (QUALITY[1] - QUALITY[0]) * loss)
        # Back to the full size within the round: the second blur then acts on the same scale as the first.
        picture = picture.resize((width, height), FILTERS[1 + rng.integers(2)])
    return np.array(picture)


def _noisy(picture: Image.Image, sigma: float, rng: np.random.Generator) -> Image.Image:
    """Gaussian or shot noise, in grey or in each colour on its own, each with even odds."""
    values = np.asarray(picture, np.float32)
    channels = 3 if rng.random() < 0.5 else 1
    noise = rng.standard_normal((*values.shape[:2], channels), np.float32) * np.float32(sigma)
    if rng.random() < 0.5:  # shot noise grows with the root of the brightness; equal to the other at mid grey
        noise = noise * np.sqrt(values / 127.5)
    return Image.fromarray(np.clip(np.rint(values + noise), 0, 255).astype(np.uint8))


def _compressed(picture: Image.Image, quality: float) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=round(quality))
    return Image.open(buffer).convert("RGB")
