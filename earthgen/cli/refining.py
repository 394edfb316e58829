"""A stage of `earthgen upscale`, from file to file, window by window.

A window is refined with a margin that is thrown away, from noise that depends on the seed and the place in the image
alone: what two neighbours would make of their common border is the same, as far as the network looks.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import typer
from rasterio.windows import Window
from tqdm.auto import tqdm

from earthgen.cli.models import Model
from earthgen.cli.stagefiles import Image, Mask, created, write
from earthgen.conditions import COARSE_FACTOR
from earthgen.data.augment import coarser
from earthgen.models.inputs import filled
from earthgen.output.geotiff import quiet_without_place
from earthgen.pipelines import EarthCascadePipeline, Stage
from earthgen.pipelines.cascade import FINEST_GSD
from earthgen.tiling import tiles
from earthgen.world.noise import noise_field

if TYPE_CHECKING:
    from earthgen.cli.upscaling import Request

WINDOW = 384
"""Pixels a side of the coarser image that are refined at once: as many as the network takes without cutting them."""
MARGIN = 32
"""Of which on each side the result is thrown away: `benchmarks/cascade.py --margins` says how far windows agree."""

Inside = tuple[slice, slice]
"""Rows and columns of what was read that are kept."""


class Refiner:
    """The stages of a request, each from file to file."""

    def __init__(
        self, request: Request, model: Model, holes: bool, on_step: Callable[[float], None] | None = None
    ) -> None:
        self.request, self.model, self.holes = request, model, holes
        self.pipe = EarthCascadePipeline(**model.pipe.components)
        # A window's own steps are shown where it is the only one.
        alone = max(request.picture.height, request.picture.width) <= WINDOW
        self.pipe.set_progress_bar_config(disable=None if alone else True, leave=False)
        self.degradations = [request.degradation, *[0.0] * (len(request.gsds) - 2)]
        fixed = request.consistency
        self.consistencies = [1 - d if fixed is None else fixed for d in self.degradations]
        self._unit = max(1, self.pipe.grid // COARSE_FACTOR)
        self._on_step, self._done = on_step, 0
        sizes = [
            (COARSE_FACTOR**n * request.picture.height, COARSE_FACTOR**n * request.picture.width)
            for n in range(len(request.gsds) - 1)
        ]
        self._steps = model.steps * sum(len(list(_windows(*size, self._unit))) for size in sizes)
        self.windows = 0
        self.figures: list[float] = []
        """Of each stage: how well it averages down to the one before, dB."""
        if request.gsds[-1] < FINEST_GSD:
            finest = f"no model has learned from images of {request.gsds[-1]:g} m a pixel, the finest were of"
            typer.echo(f"earthgen: {finest} {FINEST_GSD} m", err=True)

    def refine(self, number: int, source: Path, target: Path) -> None:
        """One stage, window by window."""
        request, nodata = self.request, self.request.picture.nodata
        sums = np.zeros(2)
        with (
            quiet_without_place(),
            rasterio.open(source) as coarse,
            created(target, request.picture, number, request.output) as dataset,
        ):
            places = list(_windows(coarse.height, coarse.width, self._unit))
            title = f"stage {number} of {len(request.gsds) - 1}"
            for read, kept, inside in tqdm(places, desc=title, unit="window", disable=_quiet(len(places)), leave=False):
                image = coarse.read(window=read).transpose(1, 2, 0)
                valid = (coarse.read_masks(window=read) > 0).any(0)
                if valid[inside].any():
                    fine = self._one(number, filled(image, valid), read)
                    self.windows += 1
                    sums += _differences(fine, image, valid, inside)
                else:
                    fine = np.zeros((COARSE_FACTOR * read.height, COARSE_FACTOR * read.width, 3), np.uint8)
                part = tuple(slice(COARSE_FACTOR * s.start, COARSE_FACTOR * s.stop) for s in inside)
                whole = valid[inside].repeat(COARSE_FACTOR, 0).repeat(COARSE_FACTOR, 1)
                write(dataset, fine[part], whole, _finer(kept), nodata, masked=self.holes)
        error = max(sums[0] / max(sums[1], 1), 1e-4)  # none at all would be endless decibels
        self.figures.append(round(10 * math.log10(255**2 / error), 1))

    def _note(self, _pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self._done += 1
        if self._on_step is not None:
            self._on_step(self._done / self._steps)
        return tensors

    def _one(self, number: int, image: Image, window: Window) -> Image:
        """The finer image of a window."""
        request, vae = self.request, self.pipe.vae
        height, width = (COARSE_FACTOR * side for side in image.shape[:2])
        _, channels, rows, columns = self.pipe.latents_shape(1, height, width)
        top, left = (COARSE_FACTOR * start // vae.spatial_factor for start in (window.row_off, window.col_off))
        noise = noise_field(request.seed, number, range(top, top + rows), range(left, left + columns), channels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of GSDs too fine, said once already
            output = self.pipe(
                request.shown.text,
                image=image,
                gsds=request.gsds[number - 1 : number + 1],
                lat=request.shown.lat,
                lon=request.shown.lon,
                date=request.shown.date,
                cloud_cover=request.shown.cloud_cover,
                num_inference_steps=self.model.steps,
                guidance=self.model.guidance,
                degradation=self.degradations[number - 1],
                consistency=self.consistencies[number - 1],
                stages={1: Stage(latents=noise[None])},
                output_type="pil",
                callback_on_step_end=self._note,
            )
        fine = np.asarray(output.images[0])
        if len(request.picture.bands) == 1:
            fine = np.rint(fine.mean(-1, keepdims=True)).astype(np.uint8).repeat(3, -1)
        return fine


def _windows(height: int, width: int, unit: int) -> Iterator[tuple[Window, Window, Inside]]:
    """What to read of the coarser image, which part of that to keep, and where this lies in what was read."""
    margin = math.ceil(MARGIN / unit) * unit
    tile = max((WINDOW - 2 * margin) // unit, 1) * unit

    def along(length: int) -> list[tuple[slice, slice, slice]]:
        return list(tiles(length, length if length <= WINDOW else tile, margin))

    for (r, rows, inside_rows), (c, columns, inside_columns) in itertools.product(along(height), along(width)):
        yield Window.from_slices(r, c), Window.from_slices(rows, columns), (inside_rows, inside_columns)


def _finer(window: Window) -> Window:
    return Window(*(COARSE_FACTOR * n for n in (window.col_off, window.row_off, window.width, window.height)))


def _quiet(windows: int) -> bool | None:
    """Whether to hide the bar of windows; None hides it where there is no terminal."""
    return True if windows == 1 else None


def _differences(fine: Image, coarse: Image, valid: Mask, inside: Inside) -> tuple[float, int]:
    """The sum of squared differences between a finer image averaged down and the coarser one, and their number."""
    difference = (coarser(fine).astype(int) - coarse)[inside][valid[inside]]
    return float(np.square(difference).sum()), difference.size
