"""`World`: an Earth that can be looked at anywhere, at any resolution, in any order, always the same.

Levels of the web-mercator pyramid, each made from the one two levels up (four times coarser) by the denoiser on a
canvas; on top a real coarse map of the Earth, or an imagined planet. What is asked for in another CRS is warped. Every
pixel is a pure function of seed, conditions, place and resolution: what is kept of it saves work and changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from torch import get_num_threads

from earthgen import __version__, weights
from earthgen.conditions import Conditions, Guidance
from earthgen.errors import ArgumentError
from earthgen.geo import mercator_gsd
from earthgen.models.inputs import conditioning_of
from earthgen.output.atomic import StrPath
from earthgen.output.picture import Picture
from earthgen.output.provenance import Provenance
from earthgen.output.scene import Scene
from earthgen.world.base import Base, BaseMap, averaged, surrounding
from earthgen.world.cache import TileCache, tile_key
from earthgen.world.given import by_level, constant_conditions, fingerprint, loaded
from earthgen.world.known import KnownImagery, Raster
from earthgen.world.noise import whole_number
from earthgen.world.projection import TILE, WEB_MERCATOR, resolution, world_size
from earthgen.world.pyramid import CASCADE_STEP, DEEPEST, IMAGINED_LEVEL, LATENT, Tile, Window
from earthgen.world.regions import read_regions, regions_of
from earthgen.world.stage import CELL, ORDER, Request, Sampling, Stage
from earthgen.world.store import LatentStore
from earthgen.world.warp import MAX_PIXELS, Grid, filled, sources

Image = NDArray[np.uint8]

FINEST_GSD = 0.3
"""Metres a pixel of the finest images that the bundled model learned from."""
DEFAULT_STEPS = 5
"""Of second order. On level 8 they are 1.5 grey levels (rms) from 40 of first order and have 88 % of their detail; 8 of
first order are 2.2 and have 80 %, and 6 and 8 of second order are 0.9 and 0.5 and have 94 and 100 %."""
FIRST_STEPS = 20
"""Where there is no coarser level that says most."""
DEFAULT_TILE = CELL
"""Latents."""
_LATENT_BYTES = 2**24
"""Of tiles of the canvas, each of which serves a tile of the map: little of them is asked for again."""
_FORMAT = 3
"""Goes up where the same request is to give other pixels than before, so that no cache serves the old ones."""


@dataclass(frozen=True)
class _Made:
    """What provenance says of a world."""

    model: str
    model_sha256: str
    scheduler: str
    steps: int
    guidance: Guidance
    conditions: dict[str, Any]


class World:
    """See the module. Made by `World.open`. May be asked from several threads, which take turns at the network."""

    def __init__(
        self, request: Request, base: Base | None, sampling: Mapping[int, Sampling], made: _Made, cache: TileCache
    ) -> None:
        self.request, self.base, self.cache, self._made = request, base, cache, made
        self.base_level = _first_level(base)
        self.deepest = _last_level(base)
        """The finest level there is."""
        self._lock = threading.RLock()
        self._stages = {
            level: Stage(request, level, how, None if level == self.base_level else self.pixels)
            for level, how in sampling.items()
        }

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
        steps: int | Mapping[int, int] | None = None,
        guidance: Guidance | Mapping[int, Guidance] | None = None,
        consistent: bool = True,
        tile: int = DEFAULT_TILE,
        halo: int = 0,
        cache: TileCache | StrPath | None = None,
        device: str | None = None,
    ) -> World:
        """Open a world; nothing is computed yet.

        Args:
            seed: Another seed, another Earth below the same coarse map, or another planet.
            model: "earthgen/mini" (bundled), a model folder, or an `EarthPipeline`.
            base: "earth" for NASA's Blue Marble at level 6 (credit: `earthgen.world.base.CREDIT`), "imagined" for a
                planet whose level 4 is made from noise and of which no place is told, or any other `Base`.
            conditions: What holds everywhere: `text`, `date`, `cloud_cover`, `coarse_degradation`.
            regions: A GeoJSON FeatureCollection, or its file, whose features carry `prompt`, `date` or `cloud_cover`
                of their polygon (`earthgen.world.regions`). Later features lie over earlier ones.
            known: Imagery that is there as it is, down to its own resolution, and that the world grows around: files
                with CRS, of 8-bit RGB with or without nodata or alpha, of any size; or scenes; or, of a file
                with other bands, what `earthgen.output.picture.Picture.open` makes. Later ones lie over earlier ones.
            steps: Denoising steps of each level, or of some levels by number. None, and for the others:
                `DEFAULT_STEPS`, and `FIRST_STEPS` for the first level of an imagined planet.
            guidance: A weight for each condition, or that of some levels by number. None, and for the others: 1 where
                there is a coarser level, which says most, and `Guidance()` for the first level of an imagined planet.
            consistent: Whether each level, averaged over 4 × 4 pixels, gives the level it was made from.
            tile: Latents a side of the canvas's tiles, a power of two from 64. Larger ones cost less a pixel of a large
                window and more for a single tile.
            halo: Latents that the network sees for each step around a tile and what it is decoded from
                (`earthgen.world.rules.Exact`): up to its receptive radius, more is more exact.
            cache: A `TileCache`, or its folder; None for the user's own.
            device: Where to compute; None for a GPU where there is one.

        Raises:
            ArgumentError: An argument breaks a rule, or the model's latents are not of 4 px.
            WeightsError: The model is missing or damaged.
            DataError: A file of `known` cannot be read.
        """
        whole_number("seed", seed, -(2**63), 2**64 - 1)
        whole_number("tile", tile, CELL, world_size(IMAGINED_LEVEL) // LATENT)
        if tile & (tile - 1):
            raise ArgumentError("tile", "must be a power of two", tile)
        asked = constant_conditions(conditions)
        collection = {"features": []} if regions is None else read_regions(regions)
        found = regions_of(collection, asked)
        if isinstance(base, str) and base not in ("earth", "imagined"):
            raise ArgumentError("base", 'must be "earth", "imagined" or a Base', base)
        ground: Base | None = base if not isinstance(base, str) else BaseMap() if base == "earth" else None
        first, last = _first_level(ground), _last_level(ground)
        levels = range(first if ground is None else first + CASCADE_STEP, last + 1, CASCADE_STEP)
        counts = by_level("steps", steps, levels, dict.fromkeys(levels, DEFAULT_STEPS) | _alone(ground, FIRST_STEPS))
        for count in counts.values():
            whole_number("steps", count, 1, 1000)
        plain = {level: Guidance.uniform(1.0) for level in levels} | _alone(ground, Guidance())
        weighing = by_level("guidance", guidance, levels, plain)
        for weight in weighing.values():
            if not isinstance(weight, Guidance):
                raise ArgumentError("guidance", "must be an earthgen.Guidance, some by level, or None", weight)
        rasters = [Raster(one, first, last) for one in _several(known)]
        if not isinstance(cache, TileCache):
            cache = TileCache(cache)

        pipe, name, sha = loaded(model, device)
        if pipe.vae.spatial_factor != LATENT:
            raise ArgumentError("model", f"must have latents of {LATENT} px a side", pipe.vae.spatial_factor)
        sampling = {}
        for level in levels:
            sigmas = tuple(sorted(set(pipe.set_noise_levels(counts[level], "cpu")), reverse=True))
            sampling[level] = Sampling(sigmas, weighing[level])

        def told(what: Conditions) -> Any:
            side = pipe.grid
            tensors = conditioning_of([what], side, side, side, pipe.vae, pipe.text_encoder, pipe.tokenizer)
            return tensors.to(pipe._execution_device, pipe.unet.dtype)

        about: dict[str, Any] = {"base": "imagined" if ground is None else ground.key, "consistent": consistent}
        about |= {} if regions is None else {"regions": collection["features"]}
        about |= {"known": [{"name": r.name, "sha256": r.digest} for r in rasters]} if rasters else {}
        about |= {"steps": {str(level): n for level, n in counts.items()}} if len(set(counts.values())) > 1 else {}
        what = asked.to_dict() | {"world": about}
        key = {
            "format": _FORMAT,
            "model": sha or fingerprint(pipe),
            # How sums are split between threads decides about their last bit, and so about a pixel now and then.
            "computed": [str(pipe.unet.dtype), str(pipe.vae.dtype), pipe._execution_device.type, get_num_threads()],
            "seed": seed % 2**64,
            "asked": what,
            "degradation": asked.coarse_degradation,
            "sampling": {level: asdict(how) for level, how in sampling.items()},
            "canvas": [tile, halo, ORDER],
        }
        request = Request(
            pipe=pipe,
            seed=seed,
            asked=told(asked),
            regions=tuple((region, told(region.conditions)) for region in found),
            tile=tile,
            halo=halo,
            known=KnownImagery(rasters, cache),
            consistent=consistent,
            placed=ground is not None,
            key=hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32],
            store=LatentStore(_LATENT_BYTES),
        )
        scheduler = f"{type(pipe.scheduler).__name__}, order {ORDER}"
        made = _Made(name, sha, scheduler, max(counts.values()), weighing[last], what)
        return cls(request, ground, sampling, made, cache)

    def tile(self, z: int, x: int, y: int) -> Image:
        """Pixels of an XYZ tile, uint8 (256, 256, 3), read-only. `x` goes around the world.

        Raises:
            ArgumentError: There is no such tile.
        """
        z = whole_number("z", z, 0, self.deepest)
        y = whole_number("y", y, 0, 2**z - 1)
        return self._tile(Tile(z, whole_number("x", x, -(2**40), 2**40), y).wrapped)

    def pixels(self, window: Window) -> Image:
        """Pixels of any window of a level, uint8 (height, width, 3).

        Columns go around the world. Beyond 85.0511° N and S the map's outermost row goes on.

        Raises:
            ArgumentError: The level is deeper than the world.
        """
        if window.level > self.deepest:
            raise ArgumentError("window.level", f"must be at most {self.deepest}", window.level)
        if self.base is not None and window.level in self.base.levels:
            return self.request.known.laid(self.base.pixels, window)

        def read(rows: range, columns: range) -> Image:
            part = Window(window.level, rows.start, columns.start, len(rows), len(columns))
            image = np.empty((part.height, part.width, 3), np.uint8)
            for tile in part.tiles():
                there = tile.window
                top, left = there.top - part.top, there.left - part.left
                target = image[max(top, 0) : top + TILE, max(left, 0) : left + TILE]
                source = self._tile(tile.wrapped)[max(-top, 0) :, max(-left, 0) :]
                target[:] = source[: target.shape[0], : target.shape[1]]
            return image

        return surrounding(window, read)

    def window(self, lat: float, lon: float, gsd: float, size: int | tuple[int, int] = 512, crs: Any = None) -> Scene:
        """A georeferenced image around a place.

        Args:
            lat: Degrees north of the centre, from -85.0511 to 85.0511.
            lon: Degrees east of the centre.
            gsd: Metres on the ground a pixel: at least 0.3, and the GSD of level 18 there (0.6 m × cos(latitude)).
            size: (height, width) in pixels, or one number for both; at most 2²⁸ pixels in all (`earthgen window` writes
                larger ones to a file block by block).
            crs: As `Grid.around` has it. By default the place's UTM zone, warped from the next finer level of the
                pyramid; "EPSG:3857" gives the pyramid's own pixels, at the next finer level's GSD.

        Returns:
            A scene. Its pixels beyond 85.0511° N and S, where there is no map, continue the map's outermost row;
            `valid` tells them.

        Raises:
            ArgumentError: An argument breaks a rule; the message names it.
        """
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

    def provenance(self) -> Provenance:
        """What a file made of this world says of where it comes from."""
        made = self._made
        return Provenance(
            seed=self.request.seed,
            conditions=made.conditions,
            guidance=asdict(made.guidance),
            model=made.model,
            model_sha256=made.model_sha256,
            version=__version__,
            steps=made.steps,
            scheduler=made.scheduler,
        )

    def _check_depth(self, grid: Grid) -> None:
        middle = range(grid.height // 2, grid.height // 2 + 1), range(grid.width // 2, grid.width // 2 + 1)
        row, _, levels = sources(grid, *middle)
        if np.isfinite(row).all() and levels[0, 0] > self.deepest:
            finest = f"level {self.deepest}, {resolution(self.deepest):.3g} m x cos(latitude)"
            rule = f"must not have pixels finer than {finest}"
            raise ArgumentError("transform", rule, tuple(grid.transform)[:6])

    def _tile(self, tile: Tile) -> Image:
        """A tile by its name, from the cache or computed. The lock comes first, so that no two wait for each other."""
        z, x, y = tile
        if self.base is not None and z in self.base.levels:
            return self.pixels(tile.window)
        key = tile_key(self.request.key, z, y, x)
        if (found := self.cache.get(key)) is not None and found.shape == (TILE, TILE, 3):
            return found
        with self._lock:
            if (found := self.cache.get(key)) is None or found.shape != (TILE, TILE, 3):
                found = self._computed(z, x, y)
                found.flags.writeable = False
                self.cache.put(key, found)
            return found

    def _computed(self, z: int, x: int, y: int) -> Image:
        if z in self._stages:
            return self._stages[z].tile(y, x)
        return averaged(self.pixels(Window(z + 1, 2 * TILE * y, 2 * TILE * x, 2 * TILE, 2 * TILE)))


def check_gsd(gsd: float, lat: float, deepest: int = DEEPEST) -> None:
    """Raise `ArgumentError` for a GSD in metres that the world does not reach at a latitude."""
    least = max(FINEST_GSD, mercator_gsd(deepest, lat))
    if gsd < least * (1 - 1e-6):
        rule = f"must be at least {least:.4g} m at {lat:g} N: the world ends at level {deepest}"
        raise ArgumentError("gsd", f"{rule}, and no model learned from images finer than {FINEST_GSD} m", gsd)


def _first_level(base: Base | None) -> int:
    """The level that all others are made from."""
    return IMAGINED_LEVEL if base is None else base.levels[0]


def _last_level(base: Base | None) -> int:
    return DEEPEST - (DEEPEST - _first_level(base)) % CASCADE_STEP


def _alone(base: Base | None, value: Any) -> dict[int, Any]:
    """What holds for a level that is made from noise alone."""
    return {} if base is not None else {IMAGINED_LEVEL: value}


def _several(known: Any) -> list[Any]:
    if isinstance(known, (str, os.PathLike)) or not isinstance(known, Sequence):
        raise ArgumentError("known", "must be a list of files or scenes", known)
    return list(known)
