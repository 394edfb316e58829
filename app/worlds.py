"""Which world a view shows: from the words of a URL to an open `World`, and what of it is there without any work."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from earthgen.app.uploads import Uploads
from earthgen.cli import parse
from earthgen.conditions import Conditions
from earthgen.errors import ArgumentError
from earthgen.output.atomic import write_text
from earthgen.output.picture import Picture as KnownPicture
from earthgen.output.provenance import Provenance
from earthgen.world.base import BaseMap
from earthgen.world.cache import TileCache
from earthgen.world.layout import read_layout
from earthgen.world.projection import TILE
from earthgen.world.pyramid import CASCADE_STEP, Tile
from earthgen.world.regions import read_regions, regions_of

if TYPE_CHECKING:  # what needs torch is loaded behind the page, not before it
    from earthgen.cli.models import Model
    from earthgen.world.world import World

Image = NDArray[np.uint8]

MAX_SEED = 2**53 - 1
"""What JavaScript's numbers hold."""
MAX_FEATURES = 200
MAX_REGION_BYTES = 1 << 20
_FIRST_DAY, _LAST_DAY = dt.date(1900, 1, 1), dt.date(2200, 1, 1)


def _check_guidance(text: str | None) -> str | None:
    parse.guidance(text or None)
    return text or None


def _plain(text: str | None) -> str | None:
    """Without control characters and lone surrogates, which no file's tags can hold."""
    return "".join(c for c in text if c.isprintable()).strip() or None if text else None


Prompt = Annotated[str | None, Field(max_length=500, description="What there is to see."), AfterValidator(_plain)]
Day = Annotated[dt.date | None, Field(ge=_FIRST_DAY, le=_LAST_DAY, description="Day that is shown, YYYY-MM-DD.")]
Clouds = Annotated[float | None, Field(ge=0, le=1, description="Fraction under cloud.")]
Weights = Annotated[
    str | None,
    Field(max_length=200, description="A number, or name=number pairs as text=3,date=2."),
    AfterValidator(_check_guidance),
]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
RegionsId = Annotated[str | None, Field(pattern="^[0-9a-f]{32}$", description="As POST /regions gives it.")]


class View(BaseModel):
    """Which world."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    seed: Seed = 0
    prompt: Prompt = None
    date: Day = None
    clouds: Clouds = None
    steps: Annotated[
        int | None, Field(ge=1, le=50, description="Denoising steps of each level. None: the model's usual.")
    ] = None
    guidance: Weights = None
    base: Annotated[Literal["earth", "imagined"], Field(description="Blue Marble above, or a planet from noise.")] = (
        "earth"
    )
    regions: RegionsId = None
    known: Annotated[
        str | None, Field(pattern="^[0-9a-f]{32}$", description="An uploaded GeoTIFF that the world grows around.")
    ] = None

    def world(self) -> View:
        """The fields that say which world, of a view that may say more."""
        return View(**{name: getattr(self, name) for name in View.model_fields})

    def query(self) -> str:
        """As the query of a URL, without what is left at its default."""
        return urlencode(json.loads(self.world().model_dump_json(exclude_defaults=True)))


class Preview(NamedTuple):
    """What can be shown of a tile at once."""

    level: int
    """Of the pyramid; the tile's own where this is the tile itself."""
    image: Image


class Regions:
    """FeatureCollections by the hash of their content, each in a file.

    A feature with a `class` is an object of a layout (`earthgen.world.layout`), any other a region with what is asked
    there (`earthgen.world.regions`).
    """

    def __init__(self, folder: Path, kept: int = 2000) -> None:
        self.folder, self.kept = folder, kept

    def put(self, collection: Any) -> str:
        """Check and keep a FeatureCollection. Raises `ArgumentError` for one that is broken or too large."""
        record = read_regions(collection if isinstance(collection, dict) else {})
        features = record.get("features")
        if isinstance(features, list) and len(features) > MAX_FEATURES:
            raise ArgumentError("regions.features", f"must be at most {MAX_FEATURES}", len(features))
        try:
            text = json.dumps({"type": "FeatureCollection", "features": features}, sort_keys=True, allow_nan=False)
        except (ValueError, RecursionError) as error:
            raise ArgumentError("regions", "must hold finite numbers", "NaN or Infinity") from error
        if len(text) > MAX_REGION_BYTES:
            raise ArgumentError("regions", f"must be at most {MAX_REGION_BYTES} bytes", len(text))
        regions, layout = parted(record)
        regions_of(regions, Conditions())
        read_layout(layout)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        path = self._path(name)
        if not path.exists():
            for old in sorted(self.folder.glob("*.json"), key=lambda p: p.stat().st_mtime)[: -self.kept]:
                old.unlink(missing_ok=True)
            write_text(path, text)
        return name

    def get(self, name: str) -> dict[str, Any]:
        """What was kept under a name. Raises `ArgumentError` where nothing was."""
        if not re.fullmatch("[0-9a-f]{32}", name) or not self._path(name).exists():
            raise ArgumentError("regions", "must be an id that POST /regions gave here", name)
        record: dict[str, Any] = json.loads(self._path(name).read_text(encoding="utf-8"))
        return record

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def parted(collection: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A FeatureCollection as that of its regions and that of its objects."""
    features = collection.get("features")
    if not isinstance(features, list):
        return collection, {**collection, "features": []}

    def classed(feature: Any) -> bool:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        return isinstance(properties, dict) and "class" in properties

    regions, objects = ([f for f in features if classed(f) == wanted] for wanted in (False, True))
    return {**collection, "features": regions}, {**collection, "features": objects}


class Worlds:
    """The worlds that are open, over one model and one cache. May be used from several threads."""

    def __init__(
        self, loading: Future[Model], regions: Regions, uploads: Uploads, cache: TileCache, limit: int = 3
    ) -> None:
        self.regions, self.uploads, self.cache, self.limit = regions, uploads, cache, limit
        self._loading = loading
        self._ground = BaseMap()
        self._open: OrderedDict[View, World] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, view: View) -> None:
        """Raise `ArgumentError` where a view names what is not kept here, or what cannot be laid into a world."""
        if view.regions is not None:
            self.regions.get(view.regions)
        self._known(view)

    def open(self, view: View) -> World:
        """The world of a view; waits for the model. Raises `ArgumentError` as `check` does."""
        from earthgen.world.world import World

        key = view.world()
        with self._lock:
            if (world := self._open.get(key)) is not None:
                self._open.move_to_end(key)
                return world
            given = {"text": key.prompt, "date": key.date, "cloud_cover": key.clouds}
            drawn = (None, None) if key.regions is None else parted(self.regions.get(key.regions))
            world = World.open(
                key.seed,
                self._pipe,
                base=self._ground if key.base == "earth" else key.base,
                conditions=Conditions(**given),  # type: ignore[arg-type]
                regions=drawn[0],
                layout=drawn[1] if drawn[1] and drawn[1]["features"] else None,
                known=self._known(key),
                steps=key.steps,
                guidance=parse.guidance(key.guidance),
                cache=self.cache,
            )
            self._open[key] = world
            while len(self._open) > self.limit:
                self._open.popitem(last=False)
            return world

    def provenance(self, world: World) -> Provenance:
        """A world's own, with the model's name, which a model that lies in memory does not tell."""
        model = self._loading.result()
        return dataclasses.replace(world.provenance(), model=model.name, model_sha256=model.sha256)

    def preview(self, world: World, z: int, x: int, y: int) -> Preview | None:
        """The finest that is there of a tile without asking the network: it, or an enlarged part of a coarser one."""
        return _finest({z, *levels(world)}, world.kept, z, x, y)

    def ground(self, view: View, z: int, x: int, y: int) -> Preview | None:
        """What the coarse map alone shows of a tile, before the model is there; None where a view has another base."""
        if view.base != "earth" or view.known is not None:
            return None
        return _finest(self._ground.levels, lambda *tile: self._ground.pixels(Tile(*tile).window), z, x, y)

    def _known(self, view: View) -> list[KnownPicture]:
        if view.known is None:
            return []
        picture = KnownPicture.open(self.uploads.path(view.known), None, None)
        if picture.crs is None or picture.transform is None:
            raise ArgumentError("known", "must say where it lies: a GeoTIFF with a CRS and a transform", view.known)
        return [picture]

    @cached_property
    def _pipe(self) -> Any:
        """The model's, with a scheduler of its own: opening a world sets its steps, while jobs use theirs."""
        pipe = self._loading.result().pipe
        scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        return type(pipe)(**(pipe.components | {"scheduler": scheduler}))


def _finest(
    among: Iterable[int], kept: Callable[[int, int, int], Image | None], z: int, x: int, y: int
) -> Preview | None:
    """The finest that is kept of a tile on some levels: it, or an enlarged part of a coarser one."""
    for level in sorted((level for level in among if level <= z), reverse=True):
        shift = z - level
        if (tile := kept(level, x >> shift, y >> shift)) is None:
            continue
        if not shift:
            return Preview(z, tile)
        side = TILE / 2**shift
        left, top = (n % 2**shift * side for n in (x, y))
        box = (left, top, left + side, top + side)
        part = Picture.fromarray(tile).resize((TILE, TILE), Picture.Resampling.BICUBIC, box=box)
        return Preview(level, np.asarray(part))
    return None


def levels(world: World) -> list[int]:
    """Those that are made one from the other, and before them those of the coarse map."""
    made = range(world.base_level, world.deepest + 1, CASCADE_STEP)
    return sorted({*made, *(world.base.levels if world.base is not None else ())})


def chain(world: World, z: int, x: int, y: int) -> list[Tile]:
    """The tiles to make, one after the other, for this one: those above it, and those that a level between averages.

    Each is a work of a second or a few, where the last alone might be one of a minute.
    """
    above = [Tile(level, x >> (z - level), y >> (z - level)) for level in levels(world) if world.base_level < level < z]
    below = [Tile(z + 1, 2 * x + i, 2 * y + j) for i in (0, 1) for j in (0, 1)]
    between = z > world.base_level and (z - world.base_level) % CASCADE_STEP
    return [*above, *(below if between else []), Tile(z, x, y)]
