"""`World`: an Earth that can be looked at anywhere, at any resolution, in any order, always the same.

Levels of the web-mercator pyramid, each made from the one two levels up (four times coarser) by the denoiser on a
canvas; on top a real coarse map of the Earth, or an imagined planet. What is asked for in another CRS is warped. Every
pixel is a pure function of seed, conditions, place and resolution: what is kept of it saves work and changes nothing.
"""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from earthgen import __version__, weights
from earthgen.conditions import Conditions, Guidance, check_number
from earthgen.errors import ArgumentError
from earthgen.geo import mercator_gsd
from earthgen.output.atomic import StrPath
from earthgen.output.picture import Picture
from earthgen.output.provenance import Provenance
from earthgen.output.scene import Scene
from earthgen.world.base import Base, BaseMap
from earthgen.world.cache import TileCache
from earthgen.world.epoch import Epochs
from earthgen.world.given import (
    by_level,
    check_gsd,
    constant_conditions,
    first_level,
    laid_out,
    last_level,
    several,
)
from earthgen.world.known import KnownImagery, Raster
from earthgen.world.labels import Labels, labels_of
from earthgen.world.layout import Layout
from earthgen.world.makers import maker_of
from earthgen.world.noise import whole_number
from earthgen.world.painting import Words
from earthgen.world.projection import TILE, WEB_MERCATOR, resolution
from earthgen.world.pyramid import CASCADE_STEP, Tile, Window
from earthgen.world.regions import read_regions, regions_of
from earthgen.world.stage import Request
from earthgen.world.store import LatentStore
from earthgen.world.warp import MAX_PIXELS, Grid, filled, sources

Image = NDArray[np.uint8]

_FORMAT = 7
"""Goes up where the same request is to give other pixels than before, so that no cache serves the old ones."""


class World:
    """See the module. Made by `World.open`. May be asked from several threads, which take turns at the network."""

    def __init__(self, epochs: Epochs, made: Provenance) -> None:
        self._epochs, self._made = epochs, made
        self.request, self.base, self.cache, self.layout = epochs.request, epochs.base, epochs.cache, epochs.layout
        """What is asked, the coarse map, where tiles are kept, and the layout; None for none."""
        self.base_level, self.deepest = epochs.base_level, epochs.deepest
        """The level that all others are made from, and the finest that there is."""
        self.date: dt.date | None = None
        """The day that is shown; None for that before all events."""
        self._epoch = epochs[0]

    @classmethod
    def open(
        cls,
        seed: int = 0,
        model: Any = weights.BUNDLED,
        *,
        base: str | Base = "earth",
        conditions: Conditions | None = None,
        regions: StrPath | Mapping[str, Any] | None = None,
        known: Sequence[StrPath | Scene | Picture] = (),
        layout: StrPath | Mapping[str, Any] | Layout | None = None,
        layout_mask: StrPath | None = None,
        mask_classes: Sequence[str] | None = None,
        events: StrPath | Mapping[str, Any] | None = None,
        steps: int | Mapping[int, int] | None = None,
        guidance: Guidance | Mapping[int, Guidance] | None = None,
        consistent: bool = True,
        tile: int | None = None,
        halo: int = 0,
        strength: float | None = None,
        cache: TileCache | StrPath | None = None,
        device: str | None = None,
        backend: str = "torch",
    ) -> World:
        """Open a world; nothing is computed yet.

        Args:
            seed: Another seed, another Earth below the same coarse map, or another planet.
            model: "earthgen/mini" (bundled), a model folder, or an `EarthPipeline`. Or a published UNet: a folder or
                pipeline of the kind of diffusers' `StableDiffusionPipeline`, which is told of `text` alone, and of the
                GSD where its network takes one (`earthgen.world.blended`).
            base: "earth" for NASA's Blue Marble at level 6 (credit: `earthgen.world.base.CREDIT`), "imagined" for a
                planet whose level 4 is made from noise and of which no place is told, or any other `Base`.
            conditions: What holds everywhere: `text`, `date`, `cloud_cover`, `coarse_degradation`. The date is also the
                day of the `events` that is shown; `at` gives others, of the same season.
            regions: A GeoJSON FeatureCollection, or its file, whose features carry `prompt`, `date` or `cloud_cover`
                of their polygon (`earthgen.world.regions`). Later features lie over earlier ones.
            known: Imagery that is there as it is, down to its own resolution, and that the world grows around: files
                with CRS, of 8-bit RGB with or without nodata or alpha, of any size; or scenes; or, of a file
                with other bands, what `earthgen.output.picture.Picture.open` makes. Later ones lie over earlier ones.
            layout: Objects of which class lies where: a GeoJSON FeatureCollection, its file, or a `Layout`
                (`earthgen.world.layout`). A tile that none of them reaches is that of the world without a layout.
            layout_mask: A semantic mask with CRS as a part of the layout (`earthgen.world.masks`), of any size.
            mask_classes: Names of its indices, where the file does not list them.
            events: What becomes of the layout, and when (`earthgen.world.events`): a FeatureCollection or its file.
            steps: Denoising steps of each level, or of some levels by number. None, and for the others: what is usual
                for the model (`earthgen.steps`; of a published UNet 25 in all, of which it takes a share, `strength`).
            guidance: A weight for each condition, or that of some levels by number. None, and for the others: 1 where
                there is a coarser level, which says most, and `Guidance()` for the first level of an imagined planet,
                and of published UNets everywhere.
                That of a layout is 2 unless given: `boxes` for objects that are boxes, `mask` for all others.
            consistent: Whether each level, averaged over 4 × 4 pixels, gives the level it was made from. Not where an
                object is that measures less than 16 px a side there: its colours are its own.
            tile: Latents a side of the canvas's tiles, a power of two from 64, which is usual. Larger ones cost less a
                pixel of a large window and more for a single tile. Of a published UNet, a side of its windows, by
                default its `sample_size`: what it learned from is best.
            halo: Latents that the network sees for each step around a tile and what it is decoded from
                (`earthgen.world.rules.Exact`): up to its receptive radius, more is more exact.
            strength: Of a published UNet: the share of the `steps` that is taken at each level, above 0 to 1. More
                makes more anew, less keeps more of the coarser image, enlarged. None: 0.6.
            cache: A `TileCache`, or its folder; None for the user's own.
            device: Where to compute; None for a GPU where there is one.
            backend: What computes a model that is given by name: "torch", "openvino", "onnx".

        Raises:
            ArgumentError: An argument breaks a rule, or is of no use to the model.
            WeightsError: The model is missing or damaged.
            DataError: A file of `known` cannot be read.
        """
        whole_number("seed", seed, -(2**63), 2**64 - 1)
        asked = constant_conditions(conditions)
        collection = {"features": []} if regions is None else read_regions(regions)
        found = regions_of(collection, asked)
        if isinstance(base, str) and base not in ("earth", "imagined"):
            raise ArgumentError("base", 'must be "earth", "imagined" or a Base', base)
        ground: Base | None = base if not isinstance(base, str) else BaseMap() if base == "earth" else None
        first, last = first_level(ground), last_level(ground)
        levels = range(first if ground is None else first + CASCADE_STEP, last + 1, CASCADE_STEP)
        for count in by_level("steps", steps, levels, {}).values():
            whole_number("steps", count, 1, 1000)
        for weight in by_level("guidance", guidance, levels, {}).values():
            if not isinstance(weight, Guidance):
                raise ArgumentError("guidance", "must be an earthgen.Guidance, some by level, or None", weight)
        if strength is not None:
            check_number("strength", strength, "must be a number above 0, up to 1", 0, 1, low_open=True)
        rasters = [Raster(one, first, last) for one in several(known)]
        laid = laid_out(layout, layout_mask, mask_classes, events)
        if not isinstance(cache, TileCache):
            cache = TileCache(cache)

        maker = maker_of(model, device, backend)
        given = {"known": rasters, "layout": laid, "tile": tile, "halo": halo, "strength": strength}
        maker.check(asked, [region.conditions for region in found], given)
        sampling = maker.sampling(levels, first if ground is None else None, steps, guidance, given)
        counts = {level: how.steps for level, how in sampling.items()}

        about: dict[str, Any] = {"base": "imagined" if ground is None else ground.key, "consistent": consistent}
        about |= {} if regions is None else {"regions": collection["features"]}
        about |= {"known": [{"name": r.name, "sha256": r.digest} for r in rasters]} if rasters else {}
        about |= {"steps": {str(level): n for level, n in counts.items()}} if len(set(counts.values())) > 1 else {}
        what = asked.to_dict() | {"world": about}
        key = {"format": _FORMAT, "seed": seed % 2**64, "asked": what, "degradation": asked.coarse_degradation}
        key |= maker.key(sampling)
        request = Request(
            pipe=maker.pipe,
            seed=seed,
            asked=maker.told(asked),
            regions=tuple((region, maker.told(region.conditions)) for region in found),
            known=KnownImagery(rasters, cache),
            consistent=consistent,
            placed=ground is not None,
            key=hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32],
            store=LatentStore(maker.kept),
        )
        words, weights_of_layout = None, None
        if laid is not None:
            words = Words(maker.pipe.text_encoder, maker.pipe.tokenizer)
            words.check({one.text for one in laid.objects}.union(() if laid.mask is None else laid.mask.classes))
            weights_of_layout = [[how.guidance.boxes, how.guidance.mask] for how in sampling.values()]
            about |= {"layout": {"sha256": laid.digest, "objects": len(laid.objects), "events": len(laid.events)}}
        made = Provenance(
            seed=seed,
            conditions=what,
            guidance=maker.guidance(sampling[last]),
            model=maker.name,
            model_sha256=maker.sha256,
            version=__version__,
            steps=max(counts.values()),
            scheduler=maker.solver(sampling[last]),
        )
        epochs = Epochs(request, ground, first, last, maker, sampling, cache, laid, words, weights_of_layout)
        return cls(epochs, made).at(asked.date)

    def at(self, date: dt.date | None) -> World:
        """The same world on another day: all events until then have happened. Its season stays that of `conditions`.

        Pixels farther from anything that has changed between two days than a margin (12 px of a level, and 2 more by
        warping) are equal. Raises `ArgumentError` for what is no date.
        """
        if date is not None and not isinstance(date, dt.date):
            raise ArgumentError("date", "must be a datetime.date, or None", date)
        other = copy.copy(self)
        other.date = date
        other._epoch = self._epochs[0 if self.layout is None else self.layout.epoch(date)]
        return other

    def tile(self, z: int, x: int, y: int) -> Image:
        """Pixels of an XYZ tile, uint8 (256, 256, 3), read-only. `x` goes around the world.

        Raises:
            ArgumentError: There is no such tile.
        """
        z = whole_number("z", z, 0, self.deepest)
        y = whole_number("y", y, 0, 2**z - 1)
        return self._epoch.tile(Tile(z, whole_number("x", x, -(2**40), 2**40), y).wrapped)

    def kept(self, z: int, x: int, y: int) -> Image | None:
        """A tile if it is there without any work, else None. For those whom `tile` would keep waiting."""
        if self.base is not None and z in self.base.levels:
            return self._epoch.tile(Tile(z, x, y).wrapped)
        return self._epoch.kept(Tile(z, x, y).wrapped)

    def pixels(self, window: Window) -> Image:
        """Pixels of any window of a level, uint8 (height, width, 3).

        Columns go around the world. Beyond 85.0511° N and S the map's outermost row goes on.

        Raises:
            ArgumentError: The level is deeper than the world.
        """
        if window.level > self.deepest:
            raise ArgumentError("window.level", f"must be at most {self.deepest}", window.level)
        return self._epoch.pixels(window)

    def window(
        self,
        lat: float,
        lon: float,
        gsd: float,
        size: int | tuple[int, int] = 512,
        crs: Any = None,
        date: dt.date | None = None,
    ) -> Scene:
        """A georeferenced image around a place.

        Args:
            lat: Degrees north of the centre, from -85.0511 to 85.0511.
            lon: Degrees east of the centre.
            gsd: Metres on the ground a pixel: at least 0.3, and the GSD of level 18 there (0.6 m × cos(latitude)).
            size: (height, width) in pixels, or one number for both; at most 2²⁸ pixels in all (`earthgen window` writes
                larger ones to a file block by block).
            crs: As `Grid.around` has it. By default the place's UTM zone, warped from the next finer level of the
                pyramid; "EPSG:3857" gives the pyramid's own pixels, at the next finer level's GSD.
            date: The day that is shown (`at`); None for the world's own.

        Returns:
            A scene. Its pixels beyond 85.0511° N and S, where there is no map, continue the map's outermost row;
            `valid` tells them.

        Raises:
            ArgumentError: An argument breaks a rule; the message names it.
        """
        if date is not None:
            return self.at(date).window(lat, lon, gsd, size, crs)
        grid = self.grid(lat, lon, gsd, size, crs)
        image = self.read(grid.crs, grid.transform, grid.height, grid.width)
        return Scene(image, grid.crs, grid.transform, self.gsd(grid, gsd, lat), self.provenance())

    def grid(self, lat: float, lon: float, gsd: float, size: int | tuple[int, int] = 512, crs: Any = None) -> Grid:
        """Where the pixels of `window` lie. Raises `ArgumentError` as it does, but for windows too large for memory."""
        grid = Grid.around(lat, lon, gsd, size, crs)  # type: ignore[arg-type]
        check_gsd(gsd, lat, self.deepest)
        return grid

    def gsd(self, grid: Grid, gsd: float, lat: float) -> float:
        """What to say of the GSD of a window of the pyramid's own pixels: their own; of others what was asked."""
        if grid.crs != WEB_MERCATOR:
            return float(gsd)
        return mercator_gsd(0, lat) * grid.transform.a / resolution(0)

    def read(self, crs: Any, transform: Affine, height: int, width: int) -> Image:
        """Pixels of any grid, uint8 (height, width, 3).

        Each pixel is interpolated (bicubic) from the coarsest level whose pixels are no larger than it, or from the
        deepest. Where there is no map see `valid`.

        Args:
            crs: Anything that names a CRS.
            transform: (column, row) of pixel corners to `crs`; may be rotated.
            height: Pixels.
            width: Pixels.

        Raises:
            ArgumentError: An argument breaks a rule, or the pixel in the middle is finer than level 18.
        """
        grid = Grid(crs, transform, height, width)
        if height * width > MAX_PIXELS:
            raise ArgumentError("height", f"must give at most {MAX_PIXELS} pixels with `width` ({width})", height)
        self._check_depth(grid)
        return self.block(grid, 0, 0, height, width)

    def block(self, grid: Grid, row: int, column: int, height: int, width: int) -> Image:
        """A part of what `read` gives of a grid, the same bytes, for grids larger than memory."""
        image = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, TILE):  # few coordinates at a time
            rows = range(row + top, row + min(top + TILE, height))
            part, _ = filled(grid, rows, range(column, column + width), self.pixels, self.deepest)
            image[top : top + len(rows)] = part
        return image

    def valid(self, crs: Any, transform: Affine, height: int, width: int) -> NDArray[np.bool_]:
        """Which pixels of a grid lie on the map, bool (height, width); nothing is computed for it.

        The others are False: beyond 85.0511° N and S, where `read` continues the map's outermost row, and where the
        CRS shows no place, where it gives black.
        """
        grid = Grid(crs, transform, height, width)
        row, _, _ = sources(grid, range(height), range(width))
        return np.isfinite(row) & (row >= 0) & (row < TILE)

    def labels(self, grid: Grid, min_visible: float = 0.0) -> Labels:
        """What the layout says of a window: its objects as far as they lie in it, and the class of each of its pixels.

        An object is labelled where its area measures at least `earthgen.world.layout.SEEN` pixels of the window, as
        smaller ones are not drawn. Those that known imagery covers are labelled, too.

        Args:
            grid: The window, as `grid` gives it. Its pixels are `read(grid.crs, grid.transform, ...)`.
            min_visible: Share of an object that must lie in the window, 0 to 1.

        Raises:
            ArgumentError: The window is larger than memory, or `min_visible` no share.
        """
        return labels_of(self.layout or Layout(()), self._epoch.number, grid, min_visible)

    def provenance(self) -> Provenance:
        """What a file made of this world says of where it comes from."""
        conditions = self._made.conditions
        if self.layout is not None and self.layout.events:
            conditions = conditions | {"shown": None if self.date is None else self.date.isoformat()}
        return replace(self._made, conditions=conditions, created=dt.datetime.now(dt.timezone.utc))

    def _check_depth(self, grid: Grid) -> None:
        middle = range(grid.height // 2, grid.height // 2 + 1), range(grid.width // 2, grid.width // 2 + 1)
        row, _, levels = sources(grid, *middle)
        if np.isfinite(row).all() and levels[0, 0] > self.deepest:
            finest = f"level {self.deepest}, {resolution(self.deepest):.3g} m x cos(latitude)"
            rule = f"must not have pixels finer than {finest}"
            raise ArgumentError("transform", rule, tuple(grid.transform)[:6])
