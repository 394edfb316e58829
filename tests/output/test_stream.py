"""Rasters written block by block: the same files as those written whole, whatever happens on the way."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from rasterio.crs import CRS
from rio_cogeo.cogeo import cog_validate

from earthgen.conditions import Box
from earthgen.errors import ArgumentError, OutputError
from earthgen.output import geozarr, partial, raster, stream
from earthgen.output.provenance import SYNTHETIC_MARK, Provenance
from earthgen.output.scene import Scene
from earthgen.output.stream import stream_raster

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
MakeScene = Callable[..., Scene]
ALPS = {"lat": 47.15, "lon": 11.07, "gsd": 10.0, "text": "été \N{SNOWMAN} <&>"}


def pixels(row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
    """A window of an endless image that is nowhere the same."""
    rows, columns = np.arange(row, row + height)[:, None], np.arange(column, column + width)
    return np.stack(np.broadcast_arrays(rows // 5, columns // 3, rows * 7 ^ columns * 11), axis=2).astype(np.uint8)


class Asked:
    """Blocks that remember what they were asked for, and may be interrupted."""

    def __init__(self, stop: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.windows: list[tuple[int, int, int, int]] = []
        self.stop, self.error = stop, error

    def __call__(self, row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
        if len(self.windows) == self.stop:
            raise self.error("stopped")
        self.windows.append((row, column, height, width))
        return pixels(row, column, height, width)


def never(*_: int) -> NDArray[np.uint8]:
    raise AssertionError("no block is missing")


def grid_of(scene: Scene) -> tuple[Any, ...]:
    return scene.height, scene.width, scene.crs, scene.transform, scene.provenance, scene.gsd


def export(path: Path, blocks: raster.Blocks, scene: Scene, **options: Any) -> Path:
    return stream_raster(path, blocks, *grid_of(scene), **{"block_size": 512, **options})


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def image_in(path: Path) -> NDArray[np.uint8]:
    name = f'ZARR:"{path}":/0/image' if path.suffix == ".zarr" else path
    with rasterio.open(name) as dataset:
        return np.moveaxis(dataset.read(), 0, 2)


CASES: list[tuple[int, int, int, dict[str, Any]]] = [
    (1, 1, 512, ALPS),
    (700, 1300, 512, ALPS),
    (1025, 513, 1024, {"lat": -33.9, "lon": 151.2, "gsd": 5_000.0}),  # a projection without a code
    (600, 520, 512, {"boxes": [Box("ship", i % 500, i // 9, 7.25, 3.125, i % 360) for i in range(3000)]}),  # 250 kB
]


@pytest.mark.parametrize(("height", "width", "block_size", "place"), CASES)
def test_geotiff_is_the_one_written_whole(
    make_scene: MakeScene, tmp_path: Path, height: int, width: int, block_size: int, place: dict[str, Any]
) -> None:
    scene = replace(make_scene(height, width, **place), image=pixels(0, 0, height, width))
    blocks = Asked()
    path = export(tmp_path / "new" / "a.tif", blocks, scene, block_size=block_size)
    assert path.read_bytes() == scene.write(tmp_path / "whole.tif").read_bytes()
    assert names(tmp_path / "new") == ["a.tif"]  # no partial, no .aux.xml
    assert cog_validate(path, strict=True) == (True, [], [])
    assert Scene.read(path).provenance == scene.provenance
    expected = [
        (row, column, min(block_size, height - row), min(block_size, width - column))
        for row in range(0, height, block_size)
        for column in range(0, width, block_size)
    ]
    assert blocks.windows == expected


@pytest.mark.parametrize(("height", "width", "block_size", "place"), CASES)
def test_zarr(
    make_scene: MakeScene, tmp_path: Path, height: int, width: int, block_size: int, place: dict[str, Any]
) -> None:
    zarr = pytest.importorskip("zarr")
    scene = make_scene(height, width, **place)
    path = export(tmp_path / "a.zarr", pixels, scene, block_size=block_size)
    assert names(tmp_path) == ["a.zarr"]
    root = zarr.open_group(path, mode="r")
    assert root.attrs["SYNTHETIC"] == root.attrs["description"] == SYNTHETIC_MARK
    assert Provenance.from_tags(dict(root.attrs)) == scene.provenance
    image = np.moveaxis(root["0/image"][:], 0, 2)
    np.testing.assert_array_equal(image, pixels(0, 0, height, width))
    np.testing.assert_array_equal(image_in(path), image)  # GDAL's reader is another
    levels = 1 + max(0, math.ceil(math.log2(max(height, width) / 512)))
    assert sorted(root.group_keys()) == [str(level) for level in range(levels)]
    layout = root.attrs["multiscales"]["layout"]
    assert [entry["asset"] for entry in layout] == sorted(root.group_keys())
    for level, entry in enumerate(layout):
        array = root[f"{level}/image"]
        assert array.fill_value is None  # or black would be read as absent
        assert array.attrs["_ARRAY_DIMENSIONS"] == ["band", "y", "x"]
        assert list(array.shape[1:]) == entry["spatial:shape"]
        assert array.chunks == (3, 512, 512)
        with rasterio.open(f'ZARR:"{path}":/{level}/image') as dataset:
            assert dataset.nodata is None
            if scene.transform is None or scene.crs is None:
                assert dataset.crs is None
                assert "spatial:transform" not in entry
                assert "x" not in root[str(level)]
                continue
            assert dataset.crs == scene.crs
            expected = scene.transform @ Affine.scale(2**level)
            assert entry["spatial:transform"] == list(expected)[:6]
            if min(array.shape) > 1:  # one coordinate does not tell GDAL how large a pixel is
                assert dataset.transform.almost_equals(expected, 1e-6)
            assert array.attrs["grid_mapping"] == array.attrs["coordinates"] == "spatial_ref"
            grid = root[f"{level}/spatial_ref"].attrs
            assert CRS.from_wkt(grid["crs_wkt"]) == scene.crs
            assert Affine.from_gdal(*map(float, grid["GeoTransform"].split())) == expected
            xs, ys = (root[f"{level}/{name}"] for name in "xy")
            assert (xs[0], ys[-1]) == expected @ (0.5, array.shape[1] - 0.5)
            assert xs.attrs["standard_name"] == "projection_x_coordinate"
    if scene.crs is not None and scene.bounds is not None:
        assert root.attrs["spatial:bbox"] == pytest.approx(list(scene.bounds))
        epsg = scene.crs.to_epsg()
        assert root.attrs.get("proj:code") == (f"EPSG:{epsg}" if epsg else None)
        assert ("proj:wkt2" in root.attrs) == (epsg is None)


def test_overviews_of_both_formats_agree(make_scene: MakeScene, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    scene = make_scene(1024, 2048, **ALPS)
    cog = export(tmp_path / "a.tif", pixels, scene, block_size=1024)
    root = zarr.open_group(export(tmp_path / "a.zarr", pixels, scene, block_size=1024), mode="r")
    for level in (1, 2):
        with rasterio.open(cog, overview_level=level - 1) as dataset:
            np.testing.assert_array_equal(root[f"{level}/image"][:], dataset.read())


@settings(max_examples=50, deadline=None)
@given(image=hnp.arrays(np.uint8, st.tuples(st.just(3), st.integers(1, 9), st.integers(1, 9))))
def test_halved_is_the_rounded_mean_of_what_is_there(image: NDArray[np.uint8]) -> None:
    half = geozarr._halved(image)
    _, rows, columns = image.shape
    assert half.shape == (3, (rows + 1) // 2, (columns + 1) // 2)
    for row, column in np.ndindex(half.shape[1:]):
        part = image[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].astype(float)
        np.testing.assert_array_equal(half[:, row, column], np.floor(part.mean((1, 2)) + 0.5))


@pytest.mark.parametrize(("suffix", "error"), [("tif", KeyboardInterrupt), ("zarr", RuntimeError)])
def test_goes_on_after_the_last_whole_row(
    make_scene: MakeScene, tmp_path: Path, suffix: str, error: type[BaseException]
) -> None:
    scene = make_scene(1500, 700, **ALPS)
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(error, match="stopped"):
        export(path, Asked(3, error), scene)  # two blocks a row: the second row is half done
    assert names(tmp_path) == [f"a.{suffix}.partial"]
    state = json.loads((tmp_path / f"a.{suffix}.partial" / "state.json").read_text())
    assert (state["done"], state["request"]["height"]) == (1, 1500)
    later = replace(
        scene, provenance=Provenance.from_dict({**scene.provenance.to_dict(), "created": "2027-01-01T00:00Z"})
    )
    rest = Asked(2, error)
    with pytest.raises(error, match="stopped"):
        export(path, rest, later)
    assert rest.windows == [(512, 0, 512, 512), (512, 512, 512, 188)]
    rest = Asked()
    export(path, rest, scene)
    assert rest.windows == [(1024, 0, 476, 512), (1024, 512, 476, 188)]
    np.testing.assert_array_equal(image_in(path), pixels(0, 0, 1500, 700))
    assert names(tmp_path) == [f"a.{suffix}"]


def test_nothing_stays_of_what_never_began(make_scene: MakeScene, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "a.tif", Asked(0), make_scene(600, 600))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 8}, "provenance"),
        ({"width": 520}, "width"),
        ({"transform": Affine(1, 0, 0, 0, -1, 0)}, "transform"),
        ({"crs": CRS.from_epsg(3857)}, "crs"),
        ({"block_size": 1024}, "block_size"),
    ],
)
def test_another_request_starts_anew(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any], named: str
) -> None:
    scene = make_scene(1100, 500, **ALPS)
    path = tmp_path / "a.tif"
    with pytest.raises(KeyboardInterrupt):
        export(path, Asked(2), scene)
    arguments = dict(zip(("height", "width", "crs", "transform", "provenance", "gsd"), grid_of(scene), strict=True))
    arguments["block_size"] = 512
    if "seed" in change:
        change = {"provenance": replace(scene.provenance, **change)}
    anew = Asked(0)
    with pytest.raises(KeyboardInterrupt):
        stream_raster(path, anew, **{**arguments, **change})
    (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert f"starts anew: a.tif.partial was of another request ({named})" in record.message
    assert names(tmp_path) == []


def test_damaged_state_starts_anew(make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = make_scene(1100, 500, **ALPS)
    path = tmp_path / "a.tif"
    for damage in ("", "{", "[]", '{"done": 1}', '{"request": 3, "done": 1}'):
        with pytest.raises(KeyboardInterrupt):
            export(path, Asked(2), scene)
        (tmp_path / "a.tif.partial" / "state.json").write_text(damage)
        caplog.clear()
        with pytest.raises(KeyboardInterrupt):
            export(path, Asked(0), scene)
        assert "starts anew" in caplog.text


def test_files_of_others_are_left_alone(make_scene: MakeScene, tmp_path: Path) -> None:
    (tmp_path / "a.tif.partial").mkdir()
    (tmp_path / "a.tif.partial" / "diary.txt").write_text("mine")
    with pytest.raises(OutputError, match="not earthgen's"):
        export(tmp_path / "a.tif", never, make_scene(10, 10))
    assert (tmp_path / "a.tif.partial" / "diary.txt").read_text() == "mine"


def test_interrupted_while_gdal_copies(make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C does not wait for GDAL, and the blocks are all still there."""
    scene = make_scene(600, 500, **ALPS)
    children: list[subprocess.Popen[bytes]] = []
    wait = subprocess.Popen.wait

    def interrupted(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if self not in children:
            children.append(self)
            raise KeyboardInterrupt
        return wait(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "a.tif", pixels, scene)
    monkeypatch.undo()
    assert children[0].returncode == -signal.SIGKILL
    assert names(tmp_path / "a.tif.partial") == ["lock", "mosaic.vrt", "state.json", "strips"]
    assert names(tmp_path) == ["a.tif.partial"]
    export(tmp_path / "a.tif", never, scene)
    np.testing.assert_array_equal(image_in(tmp_path / "a.tif"), pixels(0, 0, 600, 500))


def test_an_existing_file_is_replaced_at_the_last_moment(make_scene: MakeScene, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("old")
    scene = make_scene(520, 10)
    with pytest.raises(KeyboardInterrupt):
        export(path, Asked(1), scene)
    assert path.read_text() == "old"
    export(path, pixels, scene)
    assert path.read_bytes()[:2] == b"II"


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_blocks_must_be_what_was_asked_for(make_scene: MakeScene, tmp_path: Path, suffix: str) -> None:
    scene = make_scene(600, 600)
    wrong: list[Any] = [
        None,
        np.zeros((512, 512), np.uint8),
        np.zeros((512, 512, 3)),
        np.zeros((512, 511, 3), np.uint8),
    ]
    for block in wrong:
        with pytest.raises(ArgumentError, match="blocks"):
            export(tmp_path / f"a.{suffix}", lambda *_, block=block: block, scene)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"height": 0}, "height"),
        ({"width": -1}, "width"),
        ({"width": 2.5}, "width"),
        ({"height": 10**7, "width": 10**7}, "height"),
        ({"crs": None}, "crs"),
        ({"transform": None}, "transform"),
        ({"transform": Affine(1, 0.1, 0, 0, -1, 0)}, "transform"),
        ({"transform": Affine.identity()}, "transform"),
        ({"gsd": 0}, "gsd"),
        ({"gsd": math.nan}, "gsd"),
        ({"block_size": 0}, "block_size"),
        ({"block_size": 256}, "block_size"),
        ({"path": "a.png"}, "path"),
        ({"path": "folder.tif"}, "path"),
        ({"path": "folder.zarr"}, "path"),
    ],
)
def test_refusals(make_scene: MakeScene, tmp_path: Path, change: dict[str, Any], argument: str) -> None:
    for name in ("folder.tif", "folder.zarr"):
        (tmp_path / name).mkdir()
    scene = make_scene(10, 10, **ALPS)
    arguments = dict(zip(("height", "width", "crs", "transform", "provenance", "gsd"), grid_of(scene), strict=True))
    arguments |= {"path": "a.tif", **change}
    path = tmp_path / arguments.pop("path")
    with pytest.raises(ArgumentError) as caught:
        stream_raster(path, never, **arguments)
    assert caught.value.argument == argument
    assert names(tmp_path) == ["folder.tif", "folder.zarr"]


def test_folder_that_cannot_be_written(make_scene: MakeScene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        export(tmp_path / "file" / "a.tif", never, make_scene(10, 10))


def test_space_is_looked_at_first(
    make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = 0
    monkeypatch.setattr(partial.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    scene = make_scene(1000, 1000)
    with pytest.raises(OutputError, match=r"a\.tif' takes about 5 MB, and .* has 0 bytes free: too little"):
        export(tmp_path / "a.tif", never, scene)
    assert names(tmp_path) == []
    free = 2_000_000
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "a.tif", Asked(2), scene)
    assert "may not suffice" in caplog.text
    free = 600_000  # half is done, and takes no more
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "a.tif", Asked(0), scene)


SCRIPT = """
import datetime, json, os, resource, sys, time
import numpy as np
from pathlib import Path
from earthgen.errors import OutputError
from earthgen.output.provenance import Provenance
from earthgen.output.stream import stream_raster

def blocks(row, column, height, width):
    print(row, column, flush=True)
    generator = np.random.default_rng((row, column))
    block = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if (row, column) == STOP:
        time.sleep(600)
    return block

STOP = None
path, height, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
created = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
arguments = (blocks, height, width, None, None, Provenance(1, {}, {}, "m", "", "0", 1, "s", created))
"""


def script(rest: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT + rest, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_killed_and_taken_over(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    run = "stream_raster(path, *arguments, block_size=512)"
    first = script(f"STOP = (512, 512)\n{run}", path, 1100, 600)
    assert first.stdout is not None
    lines = [first.stdout.readline() for _ in range(4)]
    assert lines[-1] == "512 512\n", first.communicate()
    second = script(run, path, 1100, 600)
    out, err = second.communicate(timeout=120)
    assert out == ""
    assert f"OutputError: cannot write '{path}': process {first.pid} is writing it" in err
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert names(tmp_path) == [f"a.{suffix}.partial"]
    third = script(run, path, 1100, 600)
    out, err = third.communicate(timeout=120)
    assert third.returncode == 0, err
    assert out.split("\n")[:2] == ["512 0", "512 512"]  # the first row is not asked for again
    assert names(tmp_path) == [f"a.{suffix}"]
    image = image_in(path)
    for row in (0, 512, 1024):
        for column in (0, 512):
            part = image[row : row + 512, column : column + 512]
            expected = np.random.default_rng((row, column)).integers(0, 256, part.shape, dtype=np.uint8)
            np.testing.assert_array_equal(part, expected)


ORPHAN = """
import subprocess
from earthgen.output import stream

class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        print("child", self.pid, flush=True)

stream.subprocess.Popen = Popen
stream._COPY = stream._COPY.replace("copy_as_cog(source", "__import__('time').sleep(600), copy_as_cog(source")
stream_raster(path, *arguments, block_size=512)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_while_gdal_copies(tmp_path: Path) -> None:
    """The copying process does not outlive the one it works for."""
    process = script(ORPHAN, tmp_path / "a.tif", 600, 500)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert lines[:2] == ["0 0\n", "512 0\n"]
    child = Path("/proc") / lines[2].split()[1] / "stat"
    assert child.exists()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    rest = script("stream_raster(path, *arguments, block_size=512)", tmp_path / "a.tif", 600, 500)
    out, err = rest.communicate(timeout=120)
    assert (rest.returncode, out) == (0, ""), err
    assert names(tmp_path) == ["a.tif"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_found(make_scene: MakeScene, tmp_path: Path, kept: float) -> None:
    whole = tmp_path / "whole.tif"
    if not whole.exists():
        make_scene(600, 1100, **ALPS).write(whole)
        stream.check_whole(whole)
    content = whole.read_bytes()
    cut = tmp_path / "cut.tif"
    for length in (int(kept * len(content)), len(content) - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(OutputError, match="the disk took"):
            stream.check_whole(cut)


FULL = """
import signal
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
size = int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
try:
    stream_raster(path, *arguments, block_size=512)
except OutputError as error:
    assert not path.exists()
    print("failed", error, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    stream_raster(path, *arguments, block_size=512)
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script writes where nothing is in its way."""
    path = tmp_path_factory.mktemp("written") / "a.tif"
    process = script("stream_raster(path, *arguments, block_size=512)", path, 600, 1100)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file size")
@pytest.mark.parametrize("less", [1, 1_500_000])
def test_a_disk_that_fills_up(tmp_path: Path, written: Path, less: int) -> None:
    """At the last byte of the result, or already in the first strip: an error, and then it goes on."""
    size = written.stat().st_size - less
    process = script(FULL, tmp_path / "a.tif", 600, 1100, size)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"failed cannot write '{tmp_path / 'a.tif'}" in out
    windows = [line for line in out.splitlines() if not line.startswith("failed")]
    assert windows[-6:] == ["0 0", "0 512", "0 1024", "512 0", "512 512", "512 1024"]
    assert (tmp_path / "a.tif").read_bytes() == written.read_bytes()
    assert names(tmp_path) == ["a.tif"]


MEMORY = """
def blocks(row, column, height, width):
    rows, columns = np.arange(row, row + height)[:, None], np.arange(column, column + width)
    return np.stack(np.broadcast_arrays(rows // 5, columns // 3, rows * 7 ^ columns * 11), axis=2).astype(np.uint8)

stream_raster(path, blocks, *arguments[1:], block_size=1024)
own = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps([int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_memory_does_not_grow_with_the_raster(tmp_path: Path, suffix: str) -> None:
    """Of this process, and of that which runs GDAL's copy: 16 times the pixels, 10 % more memory at most."""
    peaks = []
    for size in (2048, 8192):
        process = script(MEMORY, tmp_path / f"{size}.{suffix}", size, size)
        out, err = process.communicate(timeout=1200)
        assert process.returncode == 0, err
        peaks.append(json.loads(out.splitlines()[-1]))
    print(suffix, peaks)
    for small, large in zip(*peaks, strict=True):
        assert large <= 1.1 * small
