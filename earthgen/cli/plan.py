"""What `earthgen generate` was asked for, resolved to one job an image before any model is loaded."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earthgen.cli.known import Known, read_known
from earthgen.conditions import Box, Conditions, Guidance, Polygon, check_negative_prompt
from earthgen.errors import ArgumentError
from earthgen.output.picture import Scale

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS

DEFAULT_SIDE = 256
MAX_JOBS = 1_000_000
FILE_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg"})
_REFUSED_SUFFIXES = frozenset({".bmp", ".gif", ".jp2", ".json", ".npy", ".webp"})


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One image to make: a pure function of these fields and the request's size, steps and guidance."""

    name: str
    """Stem of its files."""
    title: str
    """A line for a person."""
    seed: int
    conditions: Conditions


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """All that one call of the command asks for."""

    jobs: tuple[Job, ...]
    height: int
    width: int
    seed: int
    """That of the first image; image k of `--count` has seed + k, whatever its sentence and scale."""
    steps: int | None
    guidance: Guidance | None
    negative_prompt: str
    """Of every image; empty for none."""
    output: Path
    """One file (`single`) or a folder."""
    columns: int
    """Of the contact sheet: one row a sentence."""
    crs: CRS | None = None
    transform: Affine | None = None
    """Georeference taken over from the known image; without it the jobs' own place and GSD decide."""
    gsd: float | None = None
    """Metres a pixel by that georeference."""

    @property
    def single(self) -> bool:
        """Whether `output` is the one file to write."""
        return self.output.suffix.lower() in FILE_SUFFIXES

    @property
    def folder(self) -> Path:
        """The folder that files are written to."""
        return self.output.parent if self.single else self.output

    @classmethod
    def from_options(
        cls,
        *,
        prompts: Sequence[str],
        gsds: Sequence[float],
        lat: float | None,
        lon: float | None,
        date: dt.date | None,
        cloud_cover: float | None,
        boxes: tuple[Box, ...] | None,
        polygons: tuple[Polygon, ...] | None,
        mask: Path | None,
        mask_classes: Sequence[str],
        known: Path | None,
        known_mask: Path | None,
        bands: tuple[int, ...] | None,
        scale: Scale | None,
        size: tuple[int, int] | None,
        seed: int,
        count: int,
        steps: int | None,
        guidance: Guidance | None,
        negative_prompt: str,
        output: Path,
    ) -> Request:
        """Validate the options and lay out the jobs: sentences x scales x count, in this order.

        Raises:
            ArgumentError: an option breaks a rule, or options do not go together.
            DataError: the known image or the mask cannot be read.
        """
        texts: list[str | None] = [*prompts] or [None]
        scales: list[float | None] = [*gsds] or [None]
        total = len(texts) * len(scales) * count
        if total > MAX_JOBS:
            raise ArgumentError("count", f"must come to at most {MAX_JOBS} images in one call", total)
        _check_output(output, total)
        check_negative_prompt(negative_prompt, guidance or Guidance())
        pixels = _known_pixels(known, known_mask, bands, scale, size)
        ground = None if mask is None else _mask(mask)
        if pixels is not None:
            height, width = pixels.keep.shape
        elif size is None and ground is not None:
            height, width = ground.shape
        else:
            height, width = size or (DEFAULT_SIDE, DEFAULT_SIDE)
        if pixels is not None:
            lat, lon = pixels.place or (None, None) if lat is None and lon is None else (lat, lon)
            scales = [pixels.gsd] if scales == [None] else scales
        placed = pixels is not None and pixels.crs is not None
        common = Conditions(
            lat=lat,
            lon=lon,
            date=date,
            cloud_cover=cloud_cover,
            boxes=boxes,
            polygons=polygons,
            mask=ground,
            mask_classes=tuple(mask_classes),
            known=pixels.image if pixels else None,
            known_mask=pixels.keep if pixels else None,
        )
        jobs = []
        for number, (text, gsd, k) in enumerate(itertools.product(texts, scales, range(count)), 1):
            conditions = common.replace(text=text, gsd=gsd)
            conditions.check_size(height, width)
            _check_place(conditions, height, width, placed=placed)
            title = ", ".join([text or "no text", *([] if gsd is None else [f"{gsd:g} m"])])
            if count > 1:
                title += f", seed {seed + k}"
            jobs.append(Job(_stem(number, total, text, gsd, seed + k), title, seed + k, conditions))
        columns = len(scales) * count if len(texts) > 1 else total
        return cls(
            jobs=tuple(jobs),
            height=height,
            width=width,
            seed=seed,
            steps=steps,
            guidance=guidance,
            negative_prompt=negative_prompt.strip(),
            output=output,
            columns=min(columns, 8),
            crs=pixels.crs if pixels else None,
            transform=pixels.transform if pixels else None,
            gsd=pixels.gsd if pixels and placed else None,
        )


def _check_output(output: Path, total: int) -> None:
    suffix = output.suffix.lower()
    if suffix in _REFUSED_SUFFIXES:
        raise ArgumentError("output", "must end in .tif, .png or .jpg, or be a folder", str(output))
    if suffix in FILE_SUFFIXES and total > 1:
        raise ArgumentError("output", f"must be a folder when {total} images are asked for", str(output))
    if suffix in FILE_SUFFIXES and output.is_dir():
        raise ArgumentError("output", "must not be an existing folder if it ends as a file does", str(output))


def _check_place(conditions: Conditions, height: int, width: int, placed: bool) -> None:
    """An image that fits on no map is found out now, not when it is written."""
    if not placed and conditions.lat is not None and conditions.lon is not None and conditions.gsd is not None:
        from earthgen.geo import transform_for

        transform_for(conditions.lat, conditions.lon, conditions.gsd, height, width)


def _known_pixels(
    known: Path | None,
    mask: Path | None,
    bands: tuple[int, ...] | None,
    scale: Scale | None,
    size: tuple[int, int] | None,
) -> Known | None:
    if known is None:
        for name, given in (("known-mask", mask), ("bands", bands), ("scale", scale)):
            if given is not None:
                raise ArgumentError("known", f"must be given together with `{name}`", None)
        return None
    pixels = read_known(known, mask, bands, scale)
    if size is not None:
        pixels = pixels.centred(*size)
    if pixels.keep.all():
        rule = "must leave something to generate: give --known-mask, a larger --size, or an image with nodata or alpha"
        raise ArgumentError("known", rule, str(known))
    return pixels


def _mask(path: Path) -> NDArray[np.uint8]:
    """The classes' numbers (height, width) of a picture of one channel."""
    from earthgen.labels.pictures import read_indices

    indices = read_indices(path)
    if indices.ndim != 2:
        raise ArgumentError("mask", "must be a picture of one channel, numbers of classes", str(path))
    return indices


def _stem(number: int, total: int, text: str | None, gsd: float | None, seed: int) -> str:
    """Such as `03-a-river-through-farmland-10m-s7`: sorted as asked for, readable, safe on every file system."""
    words = re.sub(r"[^a-z0-9]+", "-", (text or "").lower()).strip("-")[:40].strip("-")
    scale = "" if gsd is None else f"{gsd:g}m"
    return "-".join(part for part in (f"{number:0{max(2, len(str(total)))}d}", words, scale, f"s{seed}") if part)
