"""What differs between two pictures of an unchanged place: season, light, haze, alignment, noise, compression.

Each is a switch with a strength; how it came out is recorded. At strength 0 the image stays as it is, bit for bit.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from PIL import Image

from earthgen.conditions import check_number, check_rgb
from earthgen.errors import ArgumentError
from earthgen.simulate.events import Mask, stream

RGB = NDArray[np.uint8]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SMALLEST_RECTANGLE = 16
"""Pixels a side of a rectangle that is made anew without change."""


@dataclass(frozen=True, slots=True)
class Nuisance:
    """How strong each may be, 0 (off) to 1 but where a unit is given. Draws lie between half of it and all of it."""

    season: float = 0.0
    """What is green becomes yellow and brown, or fresher."""
    illumination: float = 0.0
    """Gain, gamma and a colour cast."""
    relief: float = 0.0
    """Sun from another side: slopes of the brightness lighter or darker, objects' shadows where masks are known."""
    haze: float = 0.0
    """A veil, bluish and uneven."""
    misregistration: float = 0.0
    """Pixels, up to 10: a shift and a smooth warp."""
    noise: float = 0.0
    """Of the sensor: shot noise and read noise, up to 12 grey levels."""
    jpeg: float = 0.0
    """Compression, down to a quality of 30."""
    rectangles: int = 0
    """Rectangles made anew by the model that show the same as before, up to 100: no sign of change (HySCDG)."""

    def __post_init__(self) -> None:
        for f in fields(self):
            high = {"misregistration": 10, "rectangles": 100}.get(f.name, 1)
            check_number(f"nuisance.{f.name}", getattr(self, f.name), f"must be a number from 0 to {high}", 0, high)
        if not isinstance(self.rectangles, (int, np.integer)):
            raise ArgumentError("nuisance.rectangles", "must be a whole number", self.rectangles)


def disturbed(
    image: RGB, nuisance: Nuisance, seed: int, number: int = 0, objects: Mask | None = None
) -> tuple[RGB, dict[str, Any]]:
    """The image as another day and another sensor would show it, and a JSON-ready record of what was done.

    Rectangles are not among it: they need a model (`ChangePipeline`).

    Args:
        image: RGB, (height, width, 3).
        nuisance: What and how strong.
        seed: Decides on all that is drawn.
        number: Of the image in its series: each has draws of its own.
        objects: (height, width), true where something stands that casts a shadow.

    Raises:
        ArgumentError: The image is no RGB.
    """
    check_rgb("image", image)
    record: dict[str, Any] = {}
    pixels = image.astype(np.float32)
    for place, name in enumerate(_STEPS):
        strength = getattr(nuisance, name)
        if strength:
            # A stream each, so that switching one on changes none of the others.
            random = stream(seed, number, place)
            done, record[name] = _STEPS[name](pixels, strength, random, objects)
            pixels = np.asarray(done, np.float32)
    if not record:
        return image.copy(), record
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8), record


Pixels = NDArray[np.float32]
Random = np.random.RandomState
Done = tuple[Pixels, dict[str, Any]]


def _drawn(random: Random, strength: float) -> float:
    """With a random sign, from half the strength to all of it."""
    return float(strength * random.uniform(0.5, 1.0) * (1 if random.randint(2) else -1))


def _uneven(random: Random, low: float, high: float, pixels: Pixels) -> Pixels:
    """A smooth field between two values, (height, width): four by four draws with straight lines between them."""
    rows, columns = (np.linspace(0, 3, side) for side in pixels.shape[:2])
    where = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(scipy.ndimage.map_coordinates(random.uniform(low, high, (4, 4)), where, order=1), np.float32)


def _season(pixels: Pixels, strength: float, random: Random, objects: Mask | None) -> Done:
    """Shifts what is green (excess green index, Woebbecke et al. 1995) towards straw, or away from it."""
    amount = _drawn(random, strength)
    total = pixels.sum(-1) + 1
    green = np.clip((2 * pixels[..., 1] - pixels[..., 0] - pixels[..., 2]) / total * 8 + 0.4, 0, 1)
    straw = np.array([0.32, 0.06, -0.16], np.float32) if amount > 0 else np.array([0.14, -0.12, 0.06], np.float32)
    shift = abs(amount) * green[..., None] * straw * pixels.mean(-1, keepdims=True)
    return pixels + shift, {"browning": amount}


def _illumination(pixels: Pixels, strength: float, random: Random, objects: Mask | None) -> Done:
    gain = 1 + 0.3 * _drawn(random, strength)
    gamma = math.exp(0.3 * _drawn(random, strength))
    cast = 1 + 0.1 * np.array([_drawn(random, strength) for _ in range(3)])
    light = 255 * np.clip(pixels / 255, 0, 1) ** gamma * (gain * cast)
    return light.astype(np.float32), {"gain": gain, "gamma": gamma, "cast": cast.tolist()}


def _relief(pixels: Pixels, strength: float, random: Random, objects: Mask | None) -> Done:
    """Shade by the slope of the smoothed brightness towards the sun; a shadow on the far side of each object."""
    azimuth, amount = random.uniform(0, 2 * math.pi), strength * random.uniform(0.5, 1.0)
    height = scipy.ndimage.gaussian_filter(pixels @ _LUMA, 2.0)
    dy, dx = np.gradient(height)
    slope = dx * math.cos(azimuth) + dy * math.sin(azimuth)
    shade = 1 + 0.2 * amount * np.tanh(slope / (2 * float(slope.std()) + 1e-6))
    record = {"azimuth": math.degrees(azimuth), "amount": amount}
    if objects is not None and objects.any():
        length = 1 + round(5 * amount)
        shadow = np.zeros_like(objects)
        for step in range(1, length + 1):
            shift = round(step * math.sin(azimuth)), round(step * math.cos(azimuth))
            shadow |= _shifted(objects, *shift)
        shade = shade * np.where(shadow & ~objects, 1 - 0.5 * amount, 1)
        record["shadow_length"] = length
    return pixels * shade[..., None].astype(np.float32), record


def _haze(pixels: Pixels, strength: float, random: Random, objects: Mask | None) -> Done:
    """Koschmieder's law: light of the ground weakened by a veil, and the veil's own light added."""
    depth = 0.5 * strength * random.uniform(0.5, 1.0)
    veil = np.float32(depth) * _uneven(random, 0.6, 1.0, pixels)[..., None]
    return pixels * (1 - veil) + np.array([200, 208, 218], np.float32) * veil, {"depth": depth}


def _misregistration(pixels: Pixels, strength: float, random: Random, objects: Mask | None) -> Done:
    """Cubic interpolation at places shifted by up to `strength` pixels, a quarter of it a smooth warp."""
    length, angle = 0.75 * strength * random.uniform(0.5, 1.0), random.uniform(0, 2 * math.pi)
    shift = length * math.sin(angle), length * math.cos(angle)
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    warp = [0.25 * strength * _uneven(random, -1.0, 1.0, pixels) for _ in range(2)]
    where = [rows + shift[0] + warp[0], columns + shift[1] + warp[1]]
    bands = (scipy.ndimage.map_coordinates(pixels[..., c], where, order=3, mode="mirror") for c in range(3))
    moved = np.stack([*bands], -1)
    return moved, {"rows": shift[0], "columns": shift[1], "warp": 0.25 * strength}


def _noise(pixels: Pixels, strength: float, random: Random, objects: Mask | None) -> Done:
    """Variance in two equal parts at mid grey, one that grows with the light and one that does not."""
    sigma = 12 * strength * random.uniform(0.5, 1.0)
    spread = sigma * np.sqrt(0.5 + 0.5 * np.clip(pixels, 0, 255) / 127.5)
    return pixels + spread * random.standard_normal(pixels.shape), {"sigma": sigma}


def _jpeg(pixels: Pixels, strength: float, random: Random, objects: Mask | None) -> Done:
    quality = round(95 - 65 * strength * random.uniform(0.5, 1.0))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as picture:
        return np.asarray(picture.convert("RGB"), np.float32), {"quality": quality}


_STEPS = {
    "season": _season,
    "illumination": _illumination,
    "relief": _relief,
    "haze": _haze,
    "misregistration": _misregistration,
    "noise": _noise,
    "jpeg": _jpeg,
}
"""In the order in which light meets them: ground, sun, air, lens, sensor, file."""


def _shifted(mask: Mask, rows: int, columns: int) -> Mask:
    """A mask moved down and right, false where it comes from beyond the border."""
    return scipy.ndimage.shift(mask.astype(np.uint8), (rows, columns), order=0) > 0


def unchanged_rectangles(
    shape: tuple[int, int], count: int, avoid: Mask, seed: int, number: int = 0, share: float = 0.25
) -> list[tuple[int, int, int, int]]:
    """Rectangles (top, left, height, width) that keep clear of a mask and of each other: as many as fit, up to `count`.

    Sides are drawn from 16 px (70 px where the image is large, as HySCDG has them) to `share` of the image's.
    """
    random = stream(seed, number, len(_STEPS))
    height, width = shape
    taken = avoid.copy()
    low = max(_SMALLEST_RECTANGLE, min(70, min(shape) // 8))
    found: list[tuple[int, int, int, int]] = []
    for _ in range(20 * count):
        sides = [random.randint(low, max(low, int(share * side)) + 1) for side in shape]
        if len(found) == count or sides[0] > height or sides[1] > width:
            break
        top, left = random.randint(height - sides[0] + 1), random.randint(width - sides[1] + 1)
        place = (slice(top, top + sides[0]), slice(left, left + sides[1]))
        if not taken[place].any():
            taken[place] = True
            found.append((int(top), int(left), int(sides[0]), int(sides[1])))
    return found
