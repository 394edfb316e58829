"""A region of the world as map tiles: an XYZ folder, MBTiles or PMTiles.

Tiles are those of the web mercator pyramid, 256 px a side, and come from a function of (zoom, column, row), rows from
the north. A tile is asked for after the coarser one that holds it and near its neighbours, which is the order in which
a cascade has most of what it needs at hand. Work that was interrupted, even killed, goes on: see
`earthgen.output.partial`.
"""

from __future__ import annotations

import io
import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer
from tqdm.auto import tqdm

from earthgen.conditions import check_number
from earthgen.errors import ArgumentError, OutputError
from earthgen.output.atomic import StrPath, write_text
from earthgen.output.partial import Partial, check_space, identity_of, resumable
from earthgen.output.provenance import SYNTHETIC_MARK, Provenance

TILE_SIZE = 256
MAX_ZOOM = 30
MAX_TILES = 10**8
"""Of a request; more is a mistake in its bounds or zooms."""
MAX_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))
"""Degrees, 85.0511: where the square of web mercator ends."""

Tile = Callable[[int, int, int], NDArray[np.uint8]]
"""(zoom, column, row) → uint8 RGB (256, 256, 3)."""

_EDGE = 1e-6
"""Share of a tile by which bounds may miss its edge: rounding, not a wish for the tile beyond."""
_CHECKPOINT = 1.0
"""Seconds of work that a kill may cost."""
_MBTILES_ID = 0x4D504258
"""SQLite's application id of MBTiles 1.3."""


class _Format(NamedTuple):
    pillow: str
    pmtiles: TileType
    media_type: str
    least: float
    """Bytes of a tile without detail, and of one with: Blue Marble, and NAIP and OpenAerialMap."""
    typical: float


FORMATS = {
    "png": _Format("PNG", TileType.PNG, "image/png", 15e3, 120e3),
    "jpg": _Format("JPEG", TileType.JPEG, "image/jpeg", 2e3, 20e3),
    "webp": _Format("WEBP", TileType.WEBP, "image/webp", 1e3, 15e3),
}


@dataclass(frozen=True)
class TileRequest:
    """Which tiles, how they are encoded, and what the archive says of itself.

    Raises `ArgumentError` where an argument is out of range, no tile is asked for, or more than `MAX_TILES`.
    """

    bounds: tuple[float, float, float, float]
    """West, south, east, north, degrees WGS 84; west > east across the antimeridian. Cut at 85.05°, where tiles end."""
    minzoom: int
    maxzoom: int
    provenance: Provenance
    name: str = "earthgen"
    format: str = "png"
    """`png` (exact), `jpg` or `webp`."""
    quality: int = 85
    """Of `jpg` and `webp`, 1 to 100."""

    def __post_init__(self) -> None:
        for name in ("minzoom", "maxzoom"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ZOOM:
                raise ArgumentError(name, f"must be a whole number from 0 to {MAX_ZOOM}", value)
        if self.minzoom > self.maxzoom:
            raise ArgumentError(
                "minzoom", f"must be at most `maxzoom` ({self.maxzoom}), or there are no tiles", self.minzoom
            )
        self._check_bounds()
        if not isinstance(self.name, str) or not self.name.strip():
            raise ArgumentError("name", "must be a non-empty string", self.name)
        if self.format not in FORMATS:
            raise ArgumentError("format", f"must be one of {tuple(FORMATS)}", self.format)
        if not isinstance(self.quality, int) or not 1 <= self.quality <= 100:
            raise ArgumentError("quality", "must be a whole number from 1 to 100", self.quality)
        if self.count > MAX_TILES:
            rule = f"must leave at most {MAX_TILES:,} tiles in the bounds ({self.count:,} are asked for)"
            raise ArgumentError("maxzoom", rule, self.maxzoom)

    def _check_bounds(self) -> None:
        try:
            west, south, east, north = map(float, self.bounds)
        except (TypeError, ValueError):
            raise ArgumentError("bounds", "must be four numbers: west, south, east, north", self.bounds) from None
        for name, value, most in (("west", west, 180), ("south", south, 90), ("east", east, 180), ("north", north, 90)):
            check_number(f"bounds.{name}", value, f"must be degrees from -{most} to {most}", -most, most)
        if south >= north or west == east or (west, east) == (180, -180):
            raise ArgumentError("bounds", "must hold an area: south < north, and west other than east", self.bounds)
        if south >= MAX_LATITUDE or north <= -MAX_LATITUDE:
            rule = f"must reach into latitudes of web mercator, {MAX_LATITUDE:.2f} S to {MAX_LATITUDE:.2f} N"
            raise ArgumentError("bounds", rule, self.bounds)
        south, north = max(south, -MAX_LATITUDE), min(north, MAX_LATITUDE)
        object.__setattr__(self, "bounds", (-180.0 if west == 180 else west, south, east, north))

    def columns(self, zoom: int) -> tuple[range, ...]:
        """The columns at a zoom up to `maxzoom`; across the antimeridian two ranges, which may overlap."""
        west, _, east, _ = self.bounds
        parts = ((west, east),) if west < east else ((west, 180.0), (-180.0, east))
        return tuple(self._indices((low + 180) / 360, (high + 180) / 360, zoom) for low, high in parts)

    def rows(self, zoom: int) -> range:
        """The rows at a zoom up to `maxzoom`, from the north."""
        _, south, _, north = self.bounds
        return self._indices(_from_top(north), _from_top(south), zoom)

    def _indices(self, low: float, high: float, zoom: int) -> range:
        """Tiles between two shares of the pyramid's side. Found at the finest zoom, so that coarser ones hold them."""
        side = 1 << self.maxzoom
        first = min(max(math.floor(low * side + _EDGE), 0), side - 1)
        last = min(max(math.ceil(high * side - _EDGE) - 1, first), side - 1)
        shift = self.maxzoom - zoom
        return range(first >> shift, (last >> shift) + 1)

    @property
    def count(self) -> int:
        """The number of tiles."""
        zooms = range(self.minzoom, self.maxzoom + 1)
        return sum(min(sum(map(len, self.columns(z))), 1 << z) * len(self.rows(z)) for z in zooms)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Zoom, column and row of each tile: down the quadtree, each tile before those that refine it."""
        places = [(self.columns(zoom), self.rows(zoom)) for zoom in range(self.maxzoom + 1)]
        ahead = [(0, 0, 0)]
        while ahead:
            zoom, x, y = ahead.pop()
            columns, rows = places[zoom]
            if y not in rows or not any(x in part for part in columns):
                continue
            if zoom >= self.minzoom:
                yield zoom, x, y
            if zoom < self.maxzoom:
                ahead += [(zoom + 1, 2 * x + dx, 2 * y + dy) for dy, dx in ((1, 1), (1, 0), (0, 1), (0, 0))]

    def encode(self, image: NDArray[np.uint8]) -> bytes:
        """A tile as a file, with the mark as its description (EXIF).

        Raises `ArgumentError` for anything but uint8 RGB (256, 256, 3).
        """
        shape = (TILE_SIZE, TILE_SIZE, 3)
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != shape:
            shown = (image.dtype, image.shape) if isinstance(image, np.ndarray) else image
            raise ArgumentError("tile", f"must give a uint8 array of shape {shape}", shown)
        exif = Image.Exif()
        exif[ExifTags.Base.ImageDescription] = SYNTHETIC_MARK
        buffer = io.BytesIO()
        options = {} if self.format == "png" else {"quality": self.quality}
        Image.fromarray(image).save(buffer, format=FORMATS[self.format].pillow, exif=exif, **options)
        return buffer.getvalue()

    def about(self) -> dict[str, Any]:
        """What all archives say: TileJSON's words, and the tags of the provenance."""
        west, south, east, north = self.bounds
        if west > east:  # readers of archives do not know bounds across the antimeridian
            west, east = -180.0, 180.0
        return {
            "name": self.name,
            "description": ". ".join(filter(None, (SYNTHETIC_MARK, self.provenance.prompt))),
            "attribution": SYNTHETIC_MARK,
            "version": "1.0.0",
            "bounds": [west, south, east, north],
            "center": [(west + east) / 2, (south + north) / 2, self.minzoom],
            "minzoom": self.minzoom,
            "maxzoom": self.maxzoom,
            **self.provenance.to_tags(),
        }

    def identity(self) -> dict[str, Any]:
        """All that decides about the archive, JSON-ready."""
        names = ("bounds", "minzoom", "maxzoom", "name", "format", "quality")
        return {**{name: getattr(self, name) for name in names}, "provenance": identity_of(self.provenance)}


def write_xyz(folder: StrPath, tile: Tile, request: TileRequest, progress: bool = False) -> Path:
    """Write tiles as `<folder>/<zoom>/<column>/<row>.<format>` with a `tilejson.json` (TileJSON 3.0) beside them.

    Args:
        folder: Must be absent or empty; it appears when all tiles are there.
        tile: Must give the same pixels whenever it is asked, as the work may be split over several runs.
        request: A later run goes on with the work of an earlier one if this is equal but for the time of the
            provenance; otherwise the work starts anew, with a warning.
        progress: Whether to show progress and the time left.

    Raises:
        ArgumentError: the folder is not empty, or `tile` gives something else than a tile.
        OutputError: the tiles cannot be written, the disk is too small, or another process is writing them.
    """
    path = Path(folder)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise ArgumentError("folder", "must be absent or empty, as what is there is not replaced", str(path))
    return _write(path, _Folder, tile, request, progress)


def write_mbtiles(path: StrPath, tile: Tile, request: TileRequest, progress: bool = False) -> Path:
    """Write tiles as MBTiles 1.3, an SQLite file whose rows count from the south. An existing file is replaced.

    Arguments and errors are those of `write_xyz`.
    """
    return _write(_file(path), _MBTiles, tile, request, progress)


def write_pmtiles(path: StrPath, tile: Tile, request: TileRequest, progress: bool = False) -> Path:
    """Write tiles as PMTiles 3, one file to be served as it is, equal tiles once. An existing file is replaced.

    Arguments and errors are those of `write_xyz`. The work takes three times the space of the result, and at its end
    some 250 bytes of memory a tile.
    """
    return _write(_file(path), _PMTiles, tile, request, progress)


class _Store(Protocol):
    """Where tiles wait until all are there."""

    copies: int
    """How often each tile lies on the disk at most."""

    def __init__(self, folder: Path, request: TileRequest) -> None: ...

    def holds(self, zoom: int, x: int, y: int) -> bool: ...

    def add(self, zoom: int, x: int, y: int, content: bytes) -> None: ...

    def commit(self) -> None: ...

    def finish(self, progress: bool) -> Path: ...


def _write(path: Path, kind: type[_Store], tile: Tile, request: TileRequest, progress: bool) -> Path:
    total, form = request.count, FORMATS[request.format]
    with resumable(path, {"kind": kind.__name__, **request.identity()}) as partial:
        copies = kind.copies * (total - partial.done)
        check_space(path, copies * form.least, copies * form.typical)
        with partial.writing():
            store = kind(partial.folder, request)
        with tqdm(total=total, initial=partial.done, desc=path.name, unit="tile", disable=not progress) as bar:
            _fill(store, partial, tile, request, bar)
        with partial.writing():
            finished = store.finish(progress)
        partial.publish(finished)
    return path


def _fill(store: _Store, partial: Partial, tile: Tile, request: TileRequest, bar: tqdm[Any]) -> None:
    """Make the tiles that are not there yet, noting now and then how far the work is."""
    done, noted = partial.done, time.monotonic()

    def note() -> None:
        nonlocal noted
        with partial.writing():
            store.commit()
        partial.advance(done)
        noted = time.monotonic()

    try:
        for zoom, x, y in islice(request, done, None):
            if not store.holds(zoom, x, y):
                content = request.encode(tile(zoom, x, y))
                with partial.writing():
                    store.add(zoom, x, y, content)
            done += 1
            bar.update()
            if time.monotonic() - noted > _CHECKPOINT:
                note()
    except OutputError:
        raise  # a database that is refused room drops what it has not yet committed
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            note()
        raise
    note()


class _Folder:
    copies = 1

    def __init__(self, folder: Path, request: TileRequest) -> None:
        self.folder, self.request = folder / "tiles", request
        self.folder.mkdir(exist_ok=True)

    def _path(self, zoom: int, x: int, y: int) -> Path:
        return self.folder / str(zoom) / str(x) / f"{y}.{self.request.format}"

    def holds(self, zoom: int, x: int, y: int) -> bool:
        return self._path(zoom, x, y).exists()

    def add(self, zoom: int, x: int, y: int, content: bytes) -> None:
        path = self._path(zoom, x, y)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.folder.parent / "tile.tmp"  # not beside the tiles, where a kill would leave it for good
        temporary.write_bytes(content)
        temporary.replace(path)

    def commit(self) -> None:
        pass

    def finish(self, progress: bool) -> Path:
        tiles = [f"{{z}}/{{x}}/{{y}}.{self.request.format}"]
        record = {"tilejson": "3.0.0", "scheme": "xyz", "tiles": tiles, **self.request.about()}
        write_text(self.folder / "tilejson.json", json.dumps(record, indent=2) + "\n")
        return self.folder


class _MBTiles:
    copies = 1

    def __init__(self, folder: Path, request: TileRequest) -> None:
        self.path, self.request = folder / "tiles.mbtiles", request
        self.database = _database(self.path)
        with self.database:
            self.database.execute(f"PRAGMA application_id = {_MBTILES_ID}")
            self.database.execute("CREATE TABLE IF NOT EXISTS metadata (name TEXT, value TEXT)")
            columns = "zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB"
            self.database.execute(f"CREATE TABLE IF NOT EXISTS tiles ({columns})")
            index = "CREATE UNIQUE INDEX IF NOT EXISTS tile_index ON tiles (zoom_level, tile_column, tile_row)"
            self.database.execute(index)

    def holds(self, zoom: int, x: int, y: int) -> bool:
        query = "SELECT 1 FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
        return self.database.execute(query, (zoom, x, _flipped(zoom, y))).fetchone() is not None

    def add(self, zoom: int, x: int, y: int, content: bytes) -> None:
        self.database.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", (zoom, x, _flipped(zoom, y), content))

    def commit(self) -> None:
        self.database.commit()

    def finish(self, progress: bool) -> Path:
        about = {**self.request.about(), "version": 1, "format": self.request.format, "type": "baselayer"}
        rows = [(k, ",".join(map(str, v)) if isinstance(v, list) else str(v)) for k, v in about.items()]
        with closing(self.database) as database, database:
            database.execute("DELETE FROM metadata")
            database.executemany("INSERT INTO metadata VALUES (?, ?)", rows)
        return self.path


class _PMTiles:
    """A PMTiles file is written in one go and in its own order: until then tiles wait in a database by that order."""

    copies = 3

    def __init__(self, folder: Path, request: TileRequest) -> None:
        self.folder, self.request = folder, request
        self.database = _database(folder / "tiles.sqlite")
        with self.database:
            self.database.execute("CREATE TABLE IF NOT EXISTS tiles (id INTEGER PRIMARY KEY, content BLOB)")

    def holds(self, zoom: int, x: int, y: int) -> bool:
        query = "SELECT 1 FROM tiles WHERE id = ?"
        return self.database.execute(query, (zxy_to_tileid(zoom, x, y),)).fetchone() is not None

    def add(self, zoom: int, x: int, y: int, content: bytes) -> None:
        self.database.execute("INSERT INTO tiles VALUES (?, ?)", (zxy_to_tileid(zoom, x, y), content))

    def commit(self) -> None:
        self.database.commit()

    def finish(self, progress: bool) -> Path:
        about, path = self.request.about(), self.folder / "tiles.pmtiles"
        west, south, east, north = (round(degrees * 1e7) for degrees in about.pop("bounds"))
        lon, lat, zoom = about.pop("center")
        header = {
            "tile_type": FORMATS[self.request.format].pmtiles,
            "tile_compression": Compression.NONE,
            "min_lon_e7": west,
            "min_lat_e7": south,
            "max_lon_e7": east,
            "max_lat_e7": north,
            "center_zoom": zoom,
            "center_lon_e7": round(lon * 1e7),
            "center_lat_e7": round(lat * 1e7),
        }
        with closing(self.database) as database, path.open("wb") as file:
            writer = Writer(file)
            writer.tile_f.close()  # in the system's folder for such files, which may be small
            writer.tile_f = (self.folder / "contents").open("w+b")
            query = database.execute("SELECT id, content FROM tiles ORDER BY id")
            bar = tqdm(query, total=self.request.count, desc="archive", unit="tile", disable=not progress)
            for tile_id, content in bar:
                writer.write_tile(tile_id, content)
            writer.finalize(header, {**about, "type": "baselayer"})
        return path


def _database(path: Path) -> sqlite3.Connection:
    """An SQLite file that survives a kill, though not a power failure: the system may still hold the last commits."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous = OFF")
    return database


def _file(path: StrPath) -> Path:
    if Path(path).is_dir():
        raise ArgumentError("path", "must not be a folder", str(path))
    return Path(path)


def _flipped(zoom: int, row: int) -> int:
    """The row as MBTiles counts, from the south (TMS)."""
    return (1 << zoom) - 1 - row


def _from_top(lat: float) -> float:
    """Share of the mercator square that lies north of a latitude."""
    return 0.5 - math.asinh(math.tan(math.radians(lat))) / (2 * math.pi)
