"""A region of the world as map tiles: an XYZ folder, MBTiles or PMTiles.

Tiles are those of the web mercator pyramid, 256 px a side, and come from a function of (zoom, column, row), rows from
the north. A tile is asked for after the coarser one that holds it and near its neighbours, which is the order in which
a cascade has most of what it needs at hand. Work that was interrupted, even killed, goes on: see
`earthgen.output.partial`.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pmtiles.tile import Compression, zxy_to_tileid
from pmtiles.writer import Writer
from tqdm.auto import tqdm

from earthgen.errors import ArgumentError, OutputError
from earthgen.output.atomic import StrPath, write_text
from earthgen.output.partial import Partial, check_space, resumable
from earthgen.output.tiles import FORMATS, TileRequest

Tile = Callable[[int, int, int], NDArray[np.uint8]]
"""(zoom, column, row) → uint8 RGB (256, 256, 3)."""

_CHECKPOINT = 1.0
"""Seconds of work that a kill may cost."""
_MBTILES_ID = 0x4D504258
"""SQLite's application id of MBTiles 1.3."""


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
