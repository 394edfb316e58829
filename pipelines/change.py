"""`ChangePipeline`: one place at several dates, the same scene wherever nothing has changed. A diffusers pipeline.

The first image is given, or made from its labels. Each later one is the one before, made anew in the places of its
events and in a margin around them, from the labels of its own date: the pixels around are known to the denoiser, the
noise is that of the coordinates, the same at all dates. In the margin the two fade into each other; beyond it the
pixels are copied, so they are equal, not just alike. What differs between dates and is no change comes last
(`earthgen.simulate.nuisance`), each a switch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers.utils import BaseOutput
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from tqdm.auto import tqdm

from earthgen.conditions import MAX_SIDE, UNKNOWN, Box, Conditions, Guidance, check_number, check_rgb
from earthgen.errors import ArgumentError
from earthgen.labels.base import class_key
from earthgen.pipelines.earth import EarthPipeline
from earthgen.simulate.events import Series, check_dates, stream
from earthgen.simulate.margins import MARGIN, feathered, mixed
from earthgen.simulate.nuisance import Nuisance, disturbed, unchanged_rectangles
from earthgen.world.noise import noise_field

NOISE_LEVEL = 0
"""Of the noise field: the levels of a world's cascade have fields of their own."""
CONTEXT = 64
"""Pixels around the places that are made anew which the denoiser sees; what is farther off is not computed."""
FIRST_GUIDANCE = replace(Guidance(), date=0.0)
"""Of a first image that is not given, and of what a text says a place becomes. The date has no weight, here and below:
the bundled model saw it in 23 pictures without labels, and makes grain where it is told both."""
GUIDANCE = replace(Guidance.uniform(2.0), date=0.0)
"""Of what is made anew: known pixels say much already, and strong guidance leaves hard, overdone objects in them."""
ERASE = 0.6
"""How much is made anew of a place whose surroundings were drawn into it, as the labels name nothing there."""
RETOUCH = 0.5
"""How much of a rectangle without change is made anew: enough for the model's hand, too little for a change."""

RGB = NDArray[np.uint8]
Window = tuple[slice, slice]


@dataclass
class ChangeOutput(BaseOutput):  # type: ignore[misc]
    images: list[PIL.Image.Image] | np.ndarray
    """One a date: PIL, or uint8 (dates, height, width, 3)."""
    series: Series
    """The labels, with the dates if they were given."""
    made: list[np.ndarray]
    """One a date, bool (height, width): where pixels are not those of the date before, the margin included and the
    rectangles without change; of the first date all false if its image was given, else all true."""
    nuisances: list[dict[str, Any]]
    """One a date, JSON-ready: what was done to the image that is no change, with its figures."""


class ChangePipeline(EarthPipeline):
    """Makes the images of a `Series` (`earthgen.simulate`) by the components of `EarthPipeline`.

    `from_pretrained` as there, or of a pipeline that is loaded already: `ChangePipeline(**pipe.components)`.
    """

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self,
        series: Series,
        *,
        image: RGB | PIL.Image.Image | None = None,
        conditions: Conditions | None = None,
        dates: Sequence[dt.date] | None = None,
        seed: int = 0,
        origin: tuple[int, int] = (0, 0),
        margin: int = MARGIN,
        nuisance: Nuisance | Sequence[Nuisance] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance: Guidance | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]] | None = None,
    ) -> ChangeOutput:
        """Make one image a date. The result is a function of the arguments alone.

        Args:
            series: What is where at each date: of `simulate_maps`, `simulate_boxes`, `simulate_segments`, or
                `Series.of_maps`.
            image: The first date, PIL or uint8 RGB; None makes it from its labels and `conditions`.
            conditions: What holds at all dates: text, GSD, place, cloud cover; a date too, where there are no `dates`.
                Where places become what a text says (`Series.described`), that text counts there instead.
            dates: One an image, each later than the one before; otherwise those of `series`, if it has any.
            seed: Of the noise and of what the nuisances draw; from 0 to 2⁶⁴ - 1.
            origin: Row and column, in pixels, of the image in a plane whose noise is one: neighbouring windows of a
                canvas get the noise of one canvas. Multiples of a latent's 4 px.
            margin: Pixels around a change that may differ too, from 0.
            nuisance: What differs and is no change. One for all dates but the first, or one a date.
            num_inference_steps: Denoising steps; 20 by default.
            guidance_scale: One weight for all conditions.
            guidance: A weight for each condition, in place of `guidance_scale`. Without either, a first image has those
                of `EarthPipeline`, as has what a text says a place becomes; what else is made anew has a weight of 2.
                Dates have none.
            output_type: "pil", or "np" for uint8 (dates, height, width, 3).
            return_dict: False for the tuple (images, series).
            callback_on_step_end: As `EarthPipeline` has it, for every window that is made.

        Raises:
            ArgumentError: An argument breaks a rule: sizes that differ, dates that run backwards, labels without words.
        """
        source = np.array(image.convert("RGB")) if isinstance(image, PIL.Image.Image) else image
        series, common = self._checked(series, source, conditions, dates, margin, origin, output_type)
        disturbances = _nuisances(nuisance, len(series))
        stream(seed)  # refuses what is no seed
        weights = {"guidance_scale": guidance_scale, "guidance": guidance}
        guided = {name: value for name, value in weights.items() if value is not None}
        maker = _Maker(self, series, common, seed, origin, num_inference_steps, guided, callback_on_step_end)
        bar = {"leave": False, **getattr(self, "_progress_bar_config", {})}
        clean: list[RGB] = [maker.first() if source is None else source.copy()]
        made = [np.full((series.height, series.width), source is None)]
        for number in tqdm(range(1, len(series)), desc="dates", **bar):
            picture, renewed = clean[-1], made[0] & False
            for place, text in maker.places(number):
                region, weight = feathered(place, margin)
                picture = maker.renewed(picture, number, region, weight, text)
                renewed = renewed | region
            clean.append(picture)
            made.append(renewed)

        images, records = [], []
        avoid = np.logical_or.reduce([made[0] & False, *made[1:]])  # also what changes at another date
        for number, (picture, given) in enumerate(zip(clean, disturbances, strict=True)):
            shown, record = maker.disturbed(picture, number, given, avoid, made[number], margin)
            images.append(shown)
            records.append(record)
        result: Any = np.stack(images) if output_type == "np" else [PIL.Image.fromarray(i) for i in images]
        if not return_dict:
            return result, series  # type: ignore[return-value]
        return ChangeOutput(images=result, series=series, made=made, nuisances=records)

    def _checked(
        self,
        series: Series,
        image: RGB | None,
        conditions: Conditions | None,
        dates: Sequence[dt.date] | None,
        margin: int,
        origin: tuple[int, int],
        output_type: str,
    ) -> tuple[Series, Conditions]:
        """The series with its dates and the common conditions, or an `ArgumentError`."""
        if not isinstance(series, Series):
            raise ArgumentError("series", "must be a Series of earthgen.simulate", series)
        size = series.height, series.width
        if min(size) < 8 or max(size) > MAX_SIDE:
            raise ArgumentError("series", f"must have sides from 8 to {MAX_SIDE} px", size)
        if image is not None:
            check_rgb("image", image)
            if image.shape[:2] != size:
                raise ArgumentError("image", f"must have the size of the series, {size}", image.shape[:2])
        elif (series.maps is None or series.described) and series.boxes is None and conditions is None:
            raise ArgumentError("image", "must be given for a series without classes, or `conditions` to make it", None)
        common = conditions or Conditions()
        if not isinstance(common, Conditions):
            raise ArgumentError("conditions", "must be earthgen.Conditions", conditions)
        for name in ("boxes", "mask", "known", "coarse"):
            if getattr(common, name) is not None:
                raise ArgumentError(f"conditions.{name}", "must be absent: the series says what is where", "given")
        check_number("margin", margin, "must be a number of pixels from 0 to 1000", 0, 1000)
        factor = self.vae.spatial_factor
        if len(origin) != 2 or any(int(o) != o or o % factor for o in origin):
            raise ArgumentError("origin", f"must be two multiples of {factor} px", origin)
        if output_type not in ("pil", "np"):
            raise ArgumentError("output_type", 'must be "pil" or "np"', output_type)
        if dates is not None:
            check_dates(dates, len(series))
            series = replace(series, dates=tuple(dates))
        return series, common


class _Maker:
    """A call's pipeline with all that its images share."""

    def __init__(
        self,
        pipe: ChangePipeline,
        series: Series,
        common: Conditions,
        seed: int,
        origin: tuple[int, int],
        steps: int | None,
        guided: dict[str, Any],
        callback: Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]] | None,
    ) -> None:
        self.pipe, self.series, self.common, self.callback = pipe, series, common, callback
        self.seed, self.origin, self.steps, self.guided = seed, origin, steps, guided

    def first(self) -> RGB:
        """The image of the first date, from noise."""
        whole = slice(0, self.series.height), slice(0, self.series.width)
        return self._image(self._conditions(0, whole), whole, **(self.guided or {"guidance": FIRST_GUIDANCE}))

    def places(self, number: int) -> list[tuple[NDArray[np.bool_], str | None]]:
        """What is another scene than at the date before, part by part, each with the text that says what it shows."""
        series, changed = self.series, self.series.changed(number - 1, number)
        if not series.described:
            return [(changed, None)]
        assert series.maps is not None
        shown = ((UNKNOWN, None), *enumerate(series.classes))
        parts = [(changed & (series.maps[number] == index), text) for index, text in shown]
        return [(part, text) for part, text in parts if part.any()]

    def renewed(
        self, image: RGB, number: int, region: NDArray[np.bool_], weight: NDArray[np.float32], text: str | None
    ) -> RGB:
        """The image with what its region shows at a date; `weight` says how far the new pixels count."""
        if text is not None or (self.series.maps is not None and not self.series.described):
            return self._replaced(image, number, region, weight, text=text)
        return self._replaced(image, number, region, weight, _healed(image, region), ERASE)

    def _replaced(
        self,
        image: RGB,
        number: int,
        region: NDArray[np.bool_],
        weight: NDArray[np.float32],
        start: RGB | None = None,
        strength: float = 1.0,
        text: str | None = None,
    ) -> RGB:
        """The image with a region made anew: from noise, or from `start`, of which so much is replaced."""
        result = image.copy()
        for window in windows(region, CONTEXT, self.pipe.grid):
            here = region[window]
            asked = self._conditions(number, window).replace(known=image[window], known_mask=~here)
            if text is not None:
                asked = asked.replace(text=text)
            given: dict[str, Any] = self.guided or {"guidance": GUIDANCE if text is None else FIRST_GUIDANCE}
            if start is not None:
                given = given | {"image": start[window], "strength": strength}
            new = self._image(asked, window, **given)
            result[window] = mixed(image[window], new, np.where(here, weight[window], 0))
        return result

    def disturbed(
        self,
        image: RGB,
        number: int,
        nuisance: Nuisance,
        avoid: NDArray[np.bool_],
        made: NDArray[np.bool_],
        margin: int,
    ) -> tuple[RGB, dict[str, Any]]:
        """The image with the nuisances of its date, and their record. Adds the rectangles to `made`."""
        rectangles = unchanged_rectangles(image.shape[:2], nuisance.rectangles, avoid, self.seed, number)
        for top, left, height, width in rectangles:
            place = np.zeros(image.shape[:2], np.bool_)
            place[top : top + height, left : left + width] = True
            _, weight = feathered(_shrunk(place, margin), margin)
            image = self._replaced(image, number, place, weight, image, RETOUCH)
            made |= place
        shown, record = disturbed(image, nuisance, self.seed, number, self._objects(number))
        if rectangles:
            record["rectangles"] = rectangles
        return shown, record

    def _objects(self, number: int) -> NDArray[np.bool_] | None:
        """What casts a shadow: boxes' classes, or those of a map that stand up."""
        series = self.series
        if series.maps is None:
            return None
        tall = {"building", "house", "tree", *(class_key(b.label) for layout in series.boxes or () for b in layout)}
        indices = [i for i, name in enumerate(series.classes) if class_key(name) in tall]
        return np.isin(series.maps[number], indices) if indices else None

    def _conditions(self, number: int, window: Window) -> Conditions:
        """What a date shows in a window: boxes where the series has them, else its label map."""
        series, (rows, columns) = self.series, window
        changes: dict[str, Any] = {}
        if series.dates is not None:
            changes["date"] = series.dates[number]
        if series.boxes is not None:
            size = rows.stop - rows.start, columns.stop - columns.start
            moved = (_moved(box, rows.start, columns.start) for box in series.boxes[number])
            changes["boxes"] = tuple(box for box in moved if box.overlaps(*size))
        elif series.maps is not None and not series.described and (series.maps[number][window] != UNKNOWN).any():
            mask = np.ascontiguousarray(series.maps[number][window])
            changes |= {"mask": mask, "mask_classes": series.classes}
        return self.common.replace(**changes)

    def _image(self, conditions: Conditions, window: Window, **more: Any) -> RGB:
        """An image of a window of the plane, whose noise depends on where it lies."""
        rows, columns = window
        height, width = rows.stop - rows.start, columns.stop - columns.start
        result = EarthPipeline.__call__(
            self.pipe,
            conditions=conditions,
            **({"height": height, "width": width} if "image" not in more else {}),
            latents=self._noise(rows.start, columns.start, height, width),
            num_inference_steps=self.steps,
            output_type="np",
            callback_on_step_end=self.callback,
            **more,
        )
        return np.rint(np.asarray(result.images[0]) * 255).astype(np.uint8)

    def _noise(self, top: int, left: int, height: int, width: int) -> Tensor:
        _, channels, rows, columns = self.pipe.latents_shape(1, height, width)
        factor = self.pipe.vae.spatial_factor
        y, x = (self.origin[0] + top) // factor, (self.origin[1] + left) // factor
        return noise_field(self.seed, NOISE_LEVEL, range(y, y + rows), range(x, x + columns), channels)[None]


def windows(region: NDArray[np.bool_], context: int, grid: int) -> Iterator[Window]:
    """Windows on a grid of `grid` pixels that hold all of a region with `context` pixels around its pieces.

    Pieces whose windows meet share one. They are cut at the image's border, and come in order of their first pixel.
    """
    height, width = region.shape
    near = ndimage.binary_dilation(_coarse(region, grid), np.ones((3, 3)), iterations=-(-context // grid))
    while True:  # boxes that meet are one region, which may meet others
        numbered, _ = ndimage.label(near, np.ones((3, 3)))
        found = ndimage.find_objects(numbered)
        merged = np.zeros_like(near)
        for rows, columns in found:
            merged[rows, columns] = True
        if (merged == near).all():
            break
        near = merged
    for rows, columns in found:
        yield (
            slice(rows.start * grid, min(rows.stop * grid, height)),
            slice(columns.start * grid, min(columns.stop * grid, width)),
        )


def _coarse(region: NDArray[np.bool_], grid: int) -> NDArray[np.bool_]:
    """Cells of a grid that hold any of a region."""
    height, width = (-(-side // grid) * grid for side in region.shape)
    padded = np.pad(region, ((0, height - region.shape[0]), (0, width - region.shape[1])))
    return np.asarray(padded.reshape(height // grid, grid, width // grid, grid).any((1, 3)))


def _shrunk(place: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """A rectangle less its margin, but never less than its middle."""
    depth = ndimage.distance_transform_edt(np.pad(place, 1))[1:-1, 1:-1]
    inner: NDArray[np.bool_] = depth > min(margin, float(depth.max()) - 1)
    return inner


def _healed(image: RGB, region: NDArray[np.bool_]) -> RGB:
    """The image with smooth colours of what surrounds a region drawn into it."""
    if region.all() or not region.any():
        return image
    distance, nearest = ndimage.distance_transform_edt(region, return_indices=True)
    drawn = image[tuple(nearest)].astype(np.float32)
    sigma = max(2.0, float(distance.max()) / 2)
    smooth = ndimage.gaussian_filter(drawn, (sigma, sigma, 0))
    return np.where(region[..., None], np.rint(smooth), image).astype(np.uint8)


def _moved(box: Box, top: int, left: int) -> Box:
    return Box(box.label, box.cx - left, box.cy - top, box.width, box.height, box.angle)


def _nuisances(given: Nuisance | Sequence[Nuisance] | None, dates: int) -> list[Nuisance]:
    """One a date; one alone is that of all dates but the first."""
    if given is None or isinstance(given, Nuisance):
        return [Nuisance()] + [given or Nuisance()] * (dates - 1)
    if len(given) != dates or not all(isinstance(n, Nuisance) for n in given):
        raise ArgumentError("nuisance", f"must be a Nuisance, or {dates} of them, one a date", given)
    return list(given)
