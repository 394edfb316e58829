"""Radially averaged power spectra: how much contrast a set of images has at each scale.

Generated images are known to lack power at high frequencies; the eye overlooks it, this does not.
Frequencies are cycles a pixel; Nyquist's is 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import hann

from earthgen.errors import ArgumentError

NYQUIST = 0.5
LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in luma, ITU-R BT.601."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Mean power spectral density over a set of images."""

    frequency: NDArray[np.float64]
    """Mean frequency of each ring, cycles a pixel, rising: (rings,)."""
    power: NDArray[np.float64]
    """Density of each ring, grey levels², such that white noise of variance v has v everywhere: (rings,)."""
    weight: NDArray[np.float64]
    """Frequency cells in each ring: (rings,)."""

    def octaves(self) -> list[tuple[float, float, float]]:
        """(low, high, mean density) of each octave up to Nyquist's frequency, coarsest first.

        The coarsest octave is the lowest that holds at least two rings; below it the window blurs what there is.
        """
        bands = []
        high = NYQUIST
        while True:
            inside = (self.frequency > high / 2) & (self.frequency <= high)
            if inside.sum() < 2:
                break
            bands.append((high / 2, high, float(np.average(self.power[inside], weights=self.weight[inside]))))
            high /= 2
        return bands[::-1]


def spectrum(images: NDArray[np.generic]) -> Spectrum:
    """Mean radial power spectral density of the luma of images.

    A Hann window keeps the jump between opposite edges, which no image has, out of the spectrum; the mean under
    the window is removed first. Rings are one cycle per shorter side wide, from two cycles, below which removing the
    mean takes power away, to Nyquist's frequency.

    Args:
        images: (number, height, width, 3) RGB or (number, height, width) of one band, any scale, at least 8 px a side.
    """
    if images.ndim not in (3, 4) or not len(images) or min(images.shape[1:3]) < 8:
        rule = "must be (number, height, width) or (number, height, width, 3), number > 0, sides of at least 8"
        raise ArgumentError("images", rule, images.shape)
    height, width = images.shape[1:3]
    window = np.outer(hann(height, sym=False), hann(width, sym=False))
    total = np.zeros((height, width // 2 + 1))
    for image in images:
        grey = image.astype(np.float64)
        grey = grey @ LUMINANCE if grey.ndim == 3 else grey
        grey = (grey - np.average(grey, weights=window)) * window
        total += np.abs(np.fft.rfft2(grey)) ** 2
    density = total / (len(images) * np.square(window).sum())

    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    # Cells inside the half plane stand for their mirror image too.
    weight = np.full(density.shape, 2.0)
    weight[:, 0] = 1
    if width % 2 == 0:
        weight[:, -1] = 1
    ring = np.rint(radius * min(height, width)).astype(int)
    inside = (ring >= 2) & (radius <= NYQUIST + 1e-9)
    ring, weight = ring[inside], weight[inside]
    counts = np.bincount(ring, weight)[2:].astype(np.float64)
    means = [np.bincount(ring, weight * values[inside])[2:] / counts for values in (radius, density)]
    return Spectrum(means[0], means[1], counts)


def octave_ratio(images: NDArray[np.generic], reference: NDArray[np.generic]) -> dict[str, float]:
    """Power of `images` ÷ power of `reference` in each octave, coarsest first; 1 is perfect.

    Keys name an octave by its wavelengths in pixels: "2-4 px" is the finest. Sizes may differ.
    """
    theirs = {band[:2]: band[2] for band in spectrum(reference).octaves()}
    ours = spectrum(images).octaves()
    return {f"{1 / high:g}-{1 / low:g} px": p / theirs[low, high] for low, high, p in ours if (low, high) in theirs}


def spectrum_error(
    images: NDArray[np.generic], reference: NDArray[np.generic], up_to: float = 0.5
) -> tuple[float, float]:
    """Largest and mean of |power ÷ power of the reference - 1| over the rings up to a share of Nyquist's frequency.

    Args:
        images: As `spectrum` takes them.
        reference: Images of the same size.
        up_to: Share of Nyquist's frequency, 0 to 1.
    """
    if images.shape[1:3] != reference.shape[1:3]:
        raise ArgumentError("images", f"must have the reference's size, {reference.shape[1:3]}", images.shape[1:3])
    if not 0 < up_to <= 1:
        raise ArgumentError("up_to", "must be above 0 and at most 1", up_to)
    ours, theirs = spectrum(images), spectrum(reference)
    inside = theirs.frequency <= up_to * NYQUIST + 1e-9
    error = np.abs(ours.power / np.maximum(theirs.power, 1e-12) - 1)[inside]
    return float(error.max()), float(error.mean())
