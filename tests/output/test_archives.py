"""Archives of tiles, read back with other readers than the code that wrote them."""

from __future__ import annotations

import json
import math
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import morecantile
import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pmtiles.reader import MmapSource, Reader, all_tiles

from earthgen.errors import ArgumentError, OutputError
from earthgen.output import archives, partial
from earthgen.output.archives import write_mbtiles, write_pmtiles, write_xyz
from earthgen.output.provenance import SYNTHETIC_MARK, Provenance
from earthgen.output.scene import Scene
from earthgen.output.tiles import FORMATS, TileRequest

MakeScene = Callable[..., Scene]
Place = tuple[int, int, int]
PYRAMID = morecantile.tms.get("WebMercatorQuad")
INN = (11.1, 47.1, 11.9, 47.4)
KINDS = ("xyz", "mbtiles", "pmtiles")


@pytest.fixture
def provenance(make_scene: MakeScene) -> Provenance:
    return make_scene(8, 8, text="snow \N{SNOWMAN}").provenance


def pixels(zoom: int, x: int, y: int) -> NDArray[np.uint8]:
    """A tile that says which it is, and where its top left is."""
    image = np.full((256, 256, 3), (zoom, x % 251, y % 251), np.uint8)
    image[:8, :8] = 255
    return image


class Asked:
    """A source of tiles that remembers what it was asked for, and may be interrupted."""

    def __init__(self, stop: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.places: list[Place] = []
        self.stop, self.error = stop, error

    def __call__(self, zoom: int, x: int, y: int) -> NDArray[np.uint8]:
        if len(self.places) == self.stop:
            raise self.error("stopped")
        self.places.append((zoom, x, y))
        return pixels(zoom, x, y)


def never(*_: int) -> NDArray[np.uint8]:
    raise AssertionError("no tile is missing")


def write(kind: str, path: Path, tile: archives.Tile, request: TileRequest) -> Path:
    writers = {"xyz": write_xyz, "mbtiles": write_mbtiles, "pmtiles": write_pmtiles}
    return writers[kind](path, tile, request)


def tiles_in(path: Path) -> dict[Place, bytes]:
    """All tiles of an archive by zoom, column and row from the north."""
    if path.is_dir():
        files = [p.relative_to(path) for p in path.rglob("*") if p.is_file() and p.name != "tilejson.json"]
        return {(int(p.parts[0]), int(p.parts[1]), int(p.stem)): (path / p).read_bytes() for p in files}
    if path.read_bytes()[:7] == b"PMTiles":
        with path.open("rb") as file:
            return {tuple(place): content for place, content in all_tiles(MmapSource(file))}  # type: ignore[misc]
    database = sqlite3.connect(path)
    rows = database.execute("SELECT zoom_level, tile_column, tile_row, tile_data FROM tiles").fetchall()
    database.close()
    return {(z, x, 2**z - 1 - row): content for z, x, row, content in rows}


def opened(content: bytes, folder: Path) -> Image.Image:
    (folder / "one").write_bytes(content)
    picture = Image.open(folder / "one")
    picture.load()
    return picture


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_every_tile_is_where_it_belongs(tmp_path: Path, provenance: Provenance, kind: str) -> None:
    request = TileRequest(INN, 0, 10, provenance, name="Inn valley")
    path = write(kind, tmp_path / "new" / "a", pixels, request)
    assert names(tmp_path / "new") == ["a"]
    tiles = tiles_in(path)
    assert set(tiles) == {tuple(tile)[::-1][:1] + tuple(tile)[:2] for tile in PYRAMID.tiles(*INN, zooms=range(11))}
    for (zoom, x, y), content in tiles.items():
        picture = opened(content, tmp_path)
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (256, 256))
        np.testing.assert_array_equal(np.array(picture), pixels(zoom, x, y))
        assert picture.getexif()[270] == SYNTHETIC_MARK


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_formats(tmp_path: Path, provenance: Provenance, kind: str, form: str) -> None:
    request = TileRequest((0, 0, 10, 10), 1, 1, provenance, format=form, quality=95)
    ((place, content),) = tiles_in(write(kind, tmp_path / "a", pixels, request)).items()
    picture = opened(content, tmp_path)
    assert picture.format == FORMATS[form].pillow
    difference = np.abs(np.array(picture).astype(int) - pixels(*place))
    assert difference.max() <= (0 if form == "png" else 12)
    assert picture.getexif()[270] == SYNTHETIC_MARK
    coarser = len(replace(request, quality=5).encode(pixels(1, 1, 0)))
    assert (coarser == len(content)) == (form == "png")


def test_mbtiles_is_of_the_standard(tmp_path: Path, provenance: Provenance) -> None:
    path = write_mbtiles(tmp_path / "a.mbtiles", pixels, TileRequest(INN, 5, 9, provenance, name="Inn", format="jpg"))
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA application_id").fetchone() == (0x4D504258,)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    about = dict(database.execute("SELECT name, value FROM metadata"))
    assert (about["name"], about["format"], about["type"]) == ("Inn", "jpg", "baselayer")
    assert (about["minzoom"], about["maxzoom"], about["bounds"]) == ("5", "9", "11.1,47.1,11.9,47.4")
    assert about["center"] == "11.5,47.25,5"
    assert about["attribution"] == SYNTHETIC_MARK
    assert about["description"] == f"{SYNTHETIC_MARK}. snow \N{SNOWMAN}"
    assert Provenance.from_tags(about) == provenance
    # By the standard's own rule, the northernmost row of a zoom has the highest number.
    for zoom in range(5, 10):
        top = PYRAMID.tile(INN[0], INN[3], zoom)
        query = "SELECT max(tile_row), min(tile_column) FROM tiles WHERE zoom_level = ?"
        assert database.execute(query, (zoom,)).fetchone() == (2**zoom - 1 - top.y, top.x)
    database.close()


def test_gdal_sees_the_same_mosaic(tmp_path: Path, provenance: Provenance) -> None:
    """North is up for a reader that knows nothing of this code."""
    bounds = PYRAMID.bounds(morecantile.Tile(136, 89, 8))
    wide = (bounds.left, bounds.bottom, bounds.right + 1, bounds.top + 0.5)  # and its neighbours to the east and north
    path = write_mbtiles(tmp_path / "a.mbtiles", pixels, TileRequest(wide, 8, 8, provenance))
    with rasterio.open(path) as dataset:
        edges = PYRAMID.xy_bounds(morecantile.Tile(136, 89, 8))
        column, row = map(round, ~dataset.transform @ (edges.left, edges.top))
        part = dataset.read((1, 2, 3), window=((row, row + 256), (column, column + 256)))
        np.testing.assert_array_equal(np.moveaxis(part, 0, 2), pixels(8, 136, 89))
        above = dataset.read((1, 2, 3), window=((row - 4, row), (column, column + 4)))
        assert above[:, 0, 0].tolist() == [8, 136, 88]


def test_pmtiles_header_and_metadata(tmp_path: Path, provenance: Provenance) -> None:
    path = write_pmtiles(tmp_path / "a.pmtiles", pixels, TileRequest(INN, 5, 9, provenance, format="webp"))
    with path.open("rb") as file:
        reader = Reader(MmapSource(file))
        header, about = reader.header(), reader.metadata()
        assert reader.get(9, 0, 0) is None
    assert header["tile_type"] == FORMATS["webp"].pmtiles
    assert header["tile_compression"].name == "NONE"
    assert header["clustered"]
    assert (header["min_zoom"], header["max_zoom"], header["center_zoom"]) == (5, 9, 5)
    bounds = [header[f"{end}_{axis}_e7"] / 1e7 for end in ("min", "max") for axis in ("lon", "lat")]  # type: ignore[literal-required]
    assert bounds == list(INN)
    assert (header["center_lon_e7"], header["center_lat_e7"]) == (115_000_000, 472_500_000)
    assert (about["attribution"], about["name"], about["type"]) == (SYNTHETIC_MARK, "earthgen", "baselayer")
    assert Provenance.from_tags(about) == provenance


def test_pmtiles_keeps_equal_tiles_once(tmp_path: Path, provenance: Provenance) -> None:
    sea = np.zeros((256, 256, 3), np.uint8)
    request = TileRequest((-180, -85, 180, 85), 0, 3, provenance)
    path = write_pmtiles(tmp_path / "a.pmtiles", lambda *_: sea, request)
    with path.open("rb") as file:
        header = Reader(MmapSource(file)).header()
    assert (header["addressed_tiles_count"], header["tile_contents_count"]) == (request.count, 1)
    assert len(tiles_in(path)) == request.count == 85


def test_tilejson(tmp_path: Path, provenance: Provenance) -> None:
    folder = write_xyz(tmp_path / "a", pixels, TileRequest(INN, 3, 4, provenance, format="jpg"))
    record = json.loads((folder / "tilejson.json").read_text())
    assert (record["tilejson"], record["scheme"], record["tiles"]) == ("3.0.0", "xyz", ["{z}/{x}/{y}.jpg"])
    assert (record["minzoom"], record["maxzoom"], record["bounds"]) == (3, 4, list(INN))
    assert record["attribution"] == SYNTHETIC_MARK
    assert Provenance.from_tags(record) == provenance
    for zoom, x, y in TileRequest(INN, 3, 4, provenance):
        assert (folder / record["tiles"][0].format(z=zoom, x=x, y=y)).is_file()


DEGREES = st.floats(-180, 180), st.floats(-90, 90)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lons=st.tuples(DEGREES[0], DEGREES[0]),
    lats=st.tuples(DEGREES[1], DEGREES[1]),
    zooms=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_tiles_are_those_that_the_bounds_touch(
    provenance: Provenance, lons: tuple[float, float], lats: tuple[float, float], zooms: tuple[int, int]
) -> None:
    (west, east), (south, north) = lons, sorted(lats)
    assume(abs(west - east) > 1e-3 and abs(abs(west - east) - 360) > 1e-3 and north - south > 1e-3)
    assume(south < 85 and north > -85)
    minzoom, maxzoom = sorted(zooms)
    request = TileRequest((west, south, east, north), minzoom, maxzoom, provenance)
    tiles = list(request)
    assert len(tiles) == len(set(tiles)) == request.count
    order = {tile: number for number, tile in enumerate(tiles)}
    for zoom, x, y in tiles:
        parent = (zoom - 1, x // 2, y // 2)
        assert zoom == minzoom or order[parent] < order[zoom, x, y]
    expected = set()
    for zoom in range(minzoom, maxzoom + 1):
        for x, y in np.ndindex(2**zoom, 2**zoom):
            tile = PYRAMID.bounds(morecantile.Tile(int(x), int(y), zoom))
            parts = [(west, east)] if west < east else [(west, 180), (-180, east)]
            if tile.bottom < north and tile.top > south and any(tile.left < e and tile.right > w for w, e in parts):
                expected.add((zoom, int(x), int(y)))
    # Rounding decides where bounds lie within 1e-6 of a tile of an edge, on either side.
    margin = 360 / 2**maxzoom * 1e-5
    for zoom, x, y in set(tiles) ^ expected:
        tile = PYRAMID.bounds(morecantile.Tile(x, y, zoom))
        gaps = [abs(a - b) for a in (tile.left, tile.right) for b in (west, east)]
        gaps += [abs(a - b) for a in (tile.bottom, tile.top) for b in (south, north)]
        assert min(gaps) < margin


@pytest.mark.parametrize("zoom", [0, 1, 7, 14, 22, 30])
def test_bounds_of_a_tile_are_that_tile(provenance: Provenance, zoom: int) -> None:
    for lon, lat in ((11.0, 47.0), (-179.9, -85.0), (179.9, 85.0), (0.001, -0.001)):
        tile = PYRAMID.tile(lon, lat, min(zoom, 24))
        bounds = tuple(PYRAMID.bounds(tile))
        request = TileRequest(bounds, tile.z, tile.z, provenance)
        assert list(request) == [(tile.z, tile.x, tile.y)]


def test_across_the_antimeridian(tmp_path: Path, provenance: Provenance) -> None:
    fiji = TileRequest((177, -19, -178, -16), 0, 6, provenance)
    east = TileRequest((177, -19, 180, -16), 0, 6, provenance)
    west = TileRequest((-180, -19, -178, -16), 0, 6, provenance)
    assert set(fiji) == set(east) | set(west)
    assert fiji.count == len(set(fiji)) < east.count + west.count
    assert TileRequest((180, -19, -178, -16), 0, 6, provenance).bounds[0] == -180
    record = json.loads((write_xyz(tmp_path / "a", pixels, fiji) / "tilejson.json").read_text())
    assert record["bounds"] == [-180, -19, 180, -16]  # readers know no other


def test_whole_world(provenance: Provenance) -> None:
    request = TileRequest((-180, -90, 180, 90), 0, 3, provenance)
    assert set(request) == {(z, x, y) for z in range(4) for x in range(2**z) for y in range(2**z)}
    assert request.bounds[3] == -request.bounds[1] == pytest.approx(85.0511287798066)


@pytest.mark.parametrize("kind", KINDS)
def test_resume(tmp_path: Path, provenance: Provenance, kind: str) -> None:
    request = TileRequest(INN, 4, 10, provenance)
    whole, path = tmp_path / "whole", tmp_path / "a"
    everything = Asked()
    write(kind, whole, everything, request)
    assert len(everything.places) == request.count > 10
    with pytest.raises(KeyboardInterrupt):
        write(kind, path, Asked(3), request)
    assert names(tmp_path) == ["a.partial", "whole"]
    later = replace(request, provenance=replace(provenance, created=provenance.created.replace(year=2030)))
    again = Asked(4, RuntimeError)
    with pytest.raises(RuntimeError, match="stopped"):
        write(kind, path, again, later)
    rest = Asked()
    write(kind, path, rest, request)
    assert again.places + rest.places == everything.places[3:]
    assert names(tmp_path) == ["a", "whole"]
    assert tiles_in(path) == tiles_in(whole)
    if kind == "pmtiles":
        assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_at_the_end(
    tmp_path: Path, provenance: Provenance, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = TileRequest(INN, 4, 6, provenance)
    store = {"xyz": archives._Folder, "mbtiles": archives._MBTiles, "pmtiles": archives._PMTiles}[kind]
    finish = store.finish

    def interrupted(self: Any, progress: bool) -> Path:
        finish(self, progress)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(kind, tmp_path / "a", pixels, request)
    monkeypatch.undo()
    assert len(tiles_in(write(kind, tmp_path / "a", never, request))) == request.count
    assert names(tmp_path) == ["a"]


def test_another_request_starts_anew(tmp_path: Path, provenance: Provenance, caplog: pytest.LogCaptureFixture) -> None:
    request = TileRequest(INN, 4, 10, provenance)
    changes: Iterator[dict[str, Any]] = iter(
        [{"provenance": replace(provenance, seed=8)}, {"maxzoom": 9}, {"format": "jpg"}, {"bounds": (11, 47, 12, 48)}]
    )
    for change in changes:
        with pytest.raises(KeyboardInterrupt):
            write_mbtiles(tmp_path / "a", Asked(3), request)
        caplog.clear()
        anew = Asked(1)
        with pytest.raises(KeyboardInterrupt):
            write_mbtiles(tmp_path / "a", anew, replace(request, **change))
        assert anew.places == [next(iter(replace(request, **change)))]
        assert f"was of another request ({next(iter(change))})" in caplog.text
    with pytest.raises(KeyboardInterrupt):
        write_xyz(tmp_path / "a", Asked(0), request)  # another kind of archive
    assert "(bounds, kind)" in caplog.text


def test_one_process_at_a_time(tmp_path: Path, provenance: Provenance) -> None:
    request = TileRequest(INN, 4, 4, provenance)

    def tile(zoom: int, x: int, y: int) -> NDArray[np.uint8]:
        with pytest.raises(OutputError, match=r"process \d+ is writing it"):
            write_pmtiles(tmp_path / "a.pmtiles", pixels, request)
        return pixels(zoom, x, y)

    assert len(tiles_in(write_pmtiles(tmp_path / "a.pmtiles", tile, request))) == 1


def test_existing_outputs(tmp_path: Path, provenance: Provenance) -> None:
    request = TileRequest(INN, 4, 4, provenance)
    for kind in ("mbtiles", "pmtiles"):
        path = tmp_path / f"a.{kind}"
        path.write_text("old")
        with pytest.raises(KeyboardInterrupt):
            write(kind, path, Asked(0), request)
        assert path.read_text() == "old"
        assert len(tiles_in(write(kind, path, pixels, request))) == 1
    folder = tmp_path / "folder"
    folder.mkdir()
    assert len(tiles_in(write_xyz(folder, pixels, request))) == 1
    for taken in (folder, tmp_path / "a.mbtiles"):
        with pytest.raises(ArgumentError, match="`folder` must be absent or empty"):
            write_xyz(taken, never, request)
    for writer in (write_mbtiles, write_pmtiles):
        with pytest.raises(ArgumentError, match="`path` must not be a folder"):
            writer(folder, never, request)


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"minzoom": -1}, "minzoom"),
        ({"maxzoom": 31}, "maxzoom"),
        ({"minzoom": 2.0}, "minzoom"),
        ({"minzoom": 9, "maxzoom": 8}, "minzoom"),
        ({"bounds": (0, 0, 1)}, "bounds"),
        ({"bounds": "here"}, "bounds"),
        ({"bounds": None}, "bounds"),
        ({"bounds": (0, 0, 0, 1)}, "bounds"),
        ({"bounds": (0, 1, 1, 1)}, "bounds"),
        ({"bounds": (0, 2, 1, 1)}, "bounds"),
        ({"bounds": (180, 0, -180, 1)}, "bounds"),
        ({"bounds": (0, 86, 1, 89)}, "bounds"),
        ({"bounds": (0, -90, 1, -85.06)}, "bounds"),
        ({"bounds": (0, math.nan, 1, 1)}, "bounds.south"),
        ({"bounds": (0, 0, 181, 1)}, "bounds.east"),
        ({"bounds": (0, 0, 1, 91)}, "bounds.north"),
        ({"bounds": (-180, -85, 180, 85), "maxzoom": 14}, "maxzoom"),
        ({"bounds": (-180, -85, 180, 85), "maxzoom": 30}, "maxzoom"),
        ({"name": " "}, "name"),
        ({"format": "gif"}, "format"),
        ({"quality": 0}, "quality"),
        ({"quality": 101}, "quality"),
    ],
)
def test_refusals(provenance: Provenance, change: dict[str, Any], argument: str) -> None:
    started = time.perf_counter()
    with pytest.raises(ArgumentError) as caught:
        TileRequest(**{"bounds": INN, "minzoom": 3, "maxzoom": 5, "provenance": provenance, **change})
    assert caught.value.argument == argument
    assert time.perf_counter() - started < 1  # tiles are counted, not listed


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_tile_is_refused(tmp_path: Path, provenance: Provenance, kind: str) -> None:
    wrong: list[Any] = [
        None,
        np.zeros((256, 256), np.uint8),
        np.zeros((256, 256, 3)),
        np.zeros((512, 512, 3), np.uint8),
    ]
    for image in wrong:
        with pytest.raises(ArgumentError, match="`tile` must give a uint8 array of shape"):
            write(kind, tmp_path / "a", lambda *_, image=image: image, TileRequest(INN, 3, 5, provenance))
    assert names(tmp_path) == []


def test_a_disk_that_fills_up(tmp_path: Path, provenance: Provenance, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite says so in its own way."""
    request = TileRequest(INN, 4, 10, provenance)
    connect = archives._database

    def small(path: Path) -> sqlite3.Connection:
        database = connect(path)
        database.execute("PRAGMA max_page_count = 1")  # no larger than it is
        return database

    for kind in ("mbtiles", "pmtiles"):
        with pytest.raises(KeyboardInterrupt):
            write(kind, tmp_path / kind, Asked(2), request)
        monkeypatch.setattr(archives, "_database", small)
        with pytest.raises(
            OutputError, match=rf"cannot write '.*{kind}': database or disk is full; what is done is kept"
        ):
            write(kind, tmp_path / kind, pixels, request)
        monkeypatch.undo()
        rest = Asked()
        assert len(tiles_in(write(kind, tmp_path / kind, rest, request))) == request.count
        assert len(rest.places) <= request.count - 2


def test_space_is_looked_at_first(tmp_path: Path, provenance: Provenance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    request = TileRequest((-180, -85, 180, 85), 0, 5, provenance)
    with pytest.raises(OutputError, match=r"takes about 164 MB, and .* has 1 MB free: too little"):
        write_mbtiles(tmp_path / "a", never, request)
    assert names(tmp_path) == []


SCRIPT = """
import sys, time
import numpy as np
from earthgen.output import archives
from earthgen.output.provenance import Provenance
from earthgen.output.tiles import TileRequest
def tile(zoom, x, y):
    print(zoom, x, y, flush=True)
    if zoom == 3:
        time.sleep(float(sys.argv[3]))
    return np.full((256, 256, 3), (zoom, x, y), np.uint8)
archives._CHECKPOINT = 0
request = TileRequest((5, 40, 60, 60), 0, 4, Provenance(1, {}, {}, "m", "", "0", 1, "s"))
getattr(archives, "write_" + sys.argv[1])(sys.argv[2], tile, request)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("kind", KINDS)
def test_killed(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-c", SCRIPT, kind, str(tmp_path / "a")]
    process = subprocess.Popen([*command, "600"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert names(tmp_path) == ["a.partial"]
    rest = subprocess.run([*command, "0"], capture_output=True, text=True, check=True, timeout=120).stdout
    places = rest.splitlines()
    assert places[0] == first[-1].strip()  # what was under way is made again, and nothing before it
    tiles = tiles_in(tmp_path / "a")
    assert len(tiles) == 3 + len(places)
    for place, content in tiles.items():
        np.testing.assert_array_equal(np.array(opened(content, tmp_path))[0, 0], place)
