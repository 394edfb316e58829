"""Simulated clouds over clear images, of a cover that is known exactly.

Clouds are fractal over the scales from tens of metres to thousands of kilometres (Lovejoy, 1982), so one spectrum
serves all resolutions; what changes is how large the largest pieces are in pixels and what casts a visible shadow.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from earthgen.errors import ArgumentError

Field = NDArray[np.float32]

LARGEST_SYSTEM = 1.5e6
"""Metres across of the largest pieces of cloud: weather systems."""
WINDING_FROM_GSD = 200.0
"""Metres a pixel above which a picture shows how the wind winds up the clouds."""
SMALLEST_GROUP = 900.0
"""Metres across of the pieces that dominate a small picture: cumulus."""
CLOUD_HEIGHT = (600.0, 2_500.0)
"""Metres from the shadow's ground to the cloud's edge, low and middle clouds."""


def add_clouds(
    image: NDArray[np.uint8],
    cover: float,
    rng: np.random.Generator,
    gsd: float | None = None,
) -> tuple[NDArray[np.uint8], float, Field]:
    """Lay clouds with their shadows over a clear image.

    Args:
        image: RGB, (height, width, 3), taken to be clear.
        cover: Fraction to cover, 0 to 1.
        rng: Decides on the kind and place of the clouds.
        gsd: Metres a pixel; None is taken as 10.

    Returns:
        The image with clouds, the fraction of pixels of which the cloud hides half or more (`cover` to within a
        pixel), and the opacity, (height, width), 0 to 1.
    """
    if not 0.0 <= cover <= 1.0:
        raise ArgumentError("cover", "must be a fraction from 0 to 1", cover)
    height, width = image.shape[:2]
    if cover == 0.0:
        return image.copy(), 0.0, np.zeros((height, width), np.float32)
    gsd = gsd or 10.0
    azimuth = rng.uniform(0, 2 * math.pi)
    reach = min(rng.uniform(*CLOUD_HEIGHT) * rng.uniform(0.4, 1.2) / gsd, 0.2 * max(height, width))
    shift = (round(reach * math.sin(azimuth)), round(reach * math.cos(azimuth)))
    margin = max(abs(shift[0]), abs(shift[1]))
    inside = (slice(margin, margin + height), slice(margin, margin + width))

    field = _field(height + 2 * margin, width + 2 * margin, rng, gsd)
    # A flat threshold cuts out exactly the share asked for; the edge is soft around it.
    shown = field[inside]
    threshold = float(np.quantile(shown, 1.0 - cover)) if cover < 1.0 else float(shown.min()) - 0.6
    softness = _softness(field.shape[0], field.shape[1], rng)
    opacity = _smoothstep((field - threshold) / (2 * softness) + 0.5)
    alpha = np.ascontiguousarray(opacity[inside])

    thickness = np.clip((field - threshold) / 1.6, 0.0, 1.0)
    light = _shading(thickness, azimuth, gsd)[inside]
    tint = np.array([0.985, 0.99, 1.0], np.float32) * rng.uniform(0.93, 1.0)
    cloud = 255.0 * np.clip(light, 0.0, 1.0)[:, :, None] * tint

    shadow = np.roll(opacity, shift, axis=(0, 1))[inside] * rng.uniform(0.3, 0.55)
    # Below about half a kilometre a pixel the shadow is wider than a pixel or two; above it is not seen.
    shadow *= min(1.0, reach / 2.0)
    ground = image * (1.0 - shadow)[:, :, None]
    result = ground + (cloud - ground) * alpha[:, :, None]
    mixed = np.clip(np.rint(result), 0, 255).astype(np.uint8)
    return mixed, float((alpha >= 0.5).mean()), alpha


def _field(height: int, width: int, rng: np.random.Generator, gsd: float) -> Field:
    """A smooth random height of cloud, (height, width), with zero mean and unit standard deviation."""
    side = max(height, width)
    # In pixels. Between cumulus and weather systems a picture shows pieces of about a third of its width.
    largest = float(np.clip(side * rng.uniform(0.2, 0.6), SMALLEST_GROUP / gsd, LARGEST_SYSTEM / gsd))
    largest = max(largest, 6.0)
    slope = rng.uniform(1.6, 1.9)
    base = _spectral(height, width, rng, largest, slope, rng.uniform(1.0, 2.0))
    # Bending the field along two smoother ones winds it into streaks and hooks, as wind does. Weather systems are
    # wound up; single clouds hardly are.
    bend = largest * rng.uniform(0.02, 0.06 if gsd < WINDING_FROM_GSD else 0.15)
    along = _spectral(height, width, rng, largest * 1.5, 3.0, 1.0) * bend
    across = _spectral(height, width, rng, largest * 1.5, 3.0, 1.0) * bend
    warped = _sampled(base, along, across)
    # Round heaps with sharp clefts between them, as convection makes them.
    heaps = np.abs(_spectral(height, width, rng, largest / 3, 1.9, 1.0))
    mixed = warped + rng.uniform(0.1, 0.5) * heaps
    normal: Field = ((mixed - mixed.mean()) / max(float(mixed.std()), 1e-6)).astype(np.float32)
    return normal


def _softness(height: int, width: int, rng: np.random.Generator) -> Field:
    """Half the width of the clouds' edges in units of the field: veils in some parts of a picture, heaps in others."""
    largest = max(6.0, 0.5 * max(height, width))
    veils = _spectral(height, width, rng, largest, 3.0, 1.0)
    middle = rng.uniform(0.15, 0.45)
    return np.asarray(middle * np.exp(0.6 * np.clip(veils, -2, 2)), np.float32)


def _spectral(height: int, width: int, rng: np.random.Generator, largest: float, slope: float, stretch: float) -> Field:
    """Gaussian noise whose amplitude falls as frequency ** -slope below `largest` px, stretched one way."""
    # Twice the size, so that the period of the Fourier transform is never seen.
    rows, columns = _fast(height + min(height, int(largest))), _fast(width + min(width, int(largest)))
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None, :]
    turn = rng.uniform(0, math.pi)
    u = fx * math.cos(turn) + fy * math.sin(turn)
    v = (fy * math.cos(turn) - fx * math.sin(turn)) * stretch
    amplitude = (u * u + v * v + (1.0 / largest) ** 2) ** (-slope / 2)
    noise = np.fft.rfft2(rng.standard_normal((rows, columns), np.float32))
    field = np.fft.irfft2(noise * amplitude, s=(rows, columns))[:height, :width]
    scale = field.std() or 1.0
    return ((field - field.mean()) / scale).astype(np.float32)


def _fast(size: int) -> int:
    """The next size that the Fourier transform is quick at."""
    return next(n for n in range(size, 2 * size + 2) if _is_smooth(n))


def _is_smooth(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


def _sampled(field: Field, dx: Field, dy: Field) -> Field:
    """The field read at each pixel moved by (dx, dy) pixels, bilinear, mirrored beyond its edges."""
    height, width = field.shape
    y = _mirrored(np.arange(height, dtype=np.float32)[:, None] + dy, height)
    x = _mirrored(np.arange(width, dtype=np.float32)[None, :] + dx, width)
    top, left = y.astype(np.intp), x.astype(np.intp)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    v, u = y - top, x - left
    upper = field[top, left] * (1 - u) + field[top, right] * u
    lower = field[bottom, left] * (1 - u) + field[bottom, right] * u
    return np.asarray(upper * (1 - v) + lower * v, np.float32)


def _mirrored(position: Field, size: int) -> Field:
    period = 2.0 * max(size - 1, 1)
    wrapped = np.mod(position, period)
    return np.asarray(np.minimum(wrapped, period - wrapped), np.float32)


def _shading(thickness: Field, azimuth: float, gsd: float) -> Field:
    """Brightness of the cloud's top, 0 to 1: thick is white, thin is grey, slopes away from the sun are darker."""
    dy, dx = np.gradient(thickness)
    slope = -(dx * math.cos(azimuth) + dy * math.sin(azimuth))
    spread = float(slope.std()) or 1.0
    relief = np.clip(slope / spread, -2.5, 2.5) * 0.03
    if gsd > 500.0:  # heaps are smaller than a pixel
        relief *= 500.0 / gsd
    return np.asarray(0.82 + 0.18 * np.sqrt(thickness) + relief, np.float32)


def _smoothstep(t: Field) -> Field:
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
