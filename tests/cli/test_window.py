"""`earthgen window` and `earthgen world` with a real, tiny model; coarse levels need none of its work."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from rio_cogeo import cog_validate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))
from conftest import tiny_published  # the same components as the pipelines' tests

from earthgen.models import EarthAutoencoder, EarthUNet
from earthgen.output.provenance import SYNTHETIC_MARK
from earthgen.output.scene import Scene
from earthgen.pipelines import EarthPipeline
from earthgen.text import load_text_encoder
from earthgen.world import Grid
from earthgen.world.base import BaseMap
from earthgen.world.projection import position_to_pixel
from earthgen.world.pyramid import Window
from earthgen.world.world import World

PLACE = ("--lat", 45.4, "--lon", 9.2, "--gsd", 5000)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real and tiny, with latents of 4 px."""
    folder = tmp_path_factory.mktemp("models") / "four"
    vae, unet = EarthAutoencoder(4, (8, 8), (1, 1), (1, 1)), EarthUNet.preset("tiny", latent_channels=4)
    EarthPipeline(unet, vae, *load_text_encoder(), FlowMatchEulerDiscreteScheduler()).save_pretrained(folder)
    return folder


@pytest.fixture
def command(run, model: Path, tmp_path: Path):
    def invoke(name: str, *arguments: object) -> Any:
        return run(name, *arguments, "--model", model, "--cache", tmp_path / "cache")

    return invoke


def test_a_window_lies_where_it_was_asked_and_says_what_it_is(command, tmp_path: Path) -> None:
    path = tmp_path / "alps.tif"
    result = command("window", *PLACE, "--size", "22x16", "--seed", 5, "-o", path, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["width"], report["height"], report["crs"], report["gsd"]) == (22, 16, "EPSG:32632", 5000)
    scene = Scene.read(path)
    grid = Grid.around(45.4, 9.2, 5000, (16, 22))
    assert scene.transform == grid.transform
    assert scene.provenance.seed == 5
    assert scene.provenance.conditions["world"]["base"].startswith("blue-marble")
    assert cog_validate(path)[0]
    with rasterio.open(path) as dataset:
        assert SYNTHETIC_MARK in str(dataset.tags())


def test_a_published_unet_makes_windows_and_tiles_but_no_images(run, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    tiny_published(tmp_path / "tokenizer").save_pretrained(folder)
    given = ["--model", folder, "--cache", tmp_path / "cache", "--device", "cpu", "--steps", 2, "--strength", 0.5]
    path = tmp_path / "sea.tif"
    place = ["--lat", -0.5, "--lon", 0.5, "--gsd", 620, "--crs", "EPSG:3857", "--size", 20, "--prompt", "sea"]
    result = run("window", *place, *given, "-o", path)
    assert result.exit_code == 0, result.output
    provenance = Scene.read(path).provenance
    assert provenance.model == "published" and provenance.steps == 2 and provenance.conditions["text"] == "sea"
    assert provenance.scheduler == "DDIM at levels of DDIMScheduler, 1 of 2 steps"
    box = ["--bbox", 0.4, -0.6, 0.6, -0.4, "--zooms", "8"]
    result = run("world", *box, *given, "--prompt", "sea", "-o", tmp_path / "tiles")
    assert result.exit_code == 0, result.output
    tile = np.asarray(Image.open(tmp_path / "tiles" / "8" / "128" / "128.png"))
    with rasterio.open(path) as dataset:
        row, column = dataset.index(55660, -55661)
        pixels = dataset.read()
    # The place by both: of level 8, whose pixels the window has.
    world_row, world_column = (int(n) for n in position_to_pixel(8, -0.5, 0.5))
    assert (tile[world_row - 128 * 256, world_column - 128 * 256] == pixels[:, row, column]).all()
    for refused in (["--cloud-cover", 0.5], ["--date", "2024-07-01"], ["--strength", 2]):
        result = run("window", *place, *given, *refused, "-o", path)
        assert result.exit_code == 2 and str(refused[0]).strip("-").replace("-", "_") in result.stderr
    result = run("generate", "sea", "--model", folder, "-o", tmp_path / "out")
    assert result.exit_code == 1 and "makes worlds alone" in result.stderr


def test_what_is_off_the_map_is_said(command, tmp_path: Path) -> None:
    north = ["--lat", 84.9, "--lon", 8, "--gsd", 3000, "--size", 40]
    said = command("window", *north, "-o", tmp_path / "pole.png").stderr
    assert re.search(r"[1-4]\d% of the window is off the map: beyond 85.05° N or S", said)
    assert "off the map" not in command("window", *PLACE, "--size", 30, "-o", tmp_path / "alps.png").stderr


def test_pictures_and_the_maps_own_pixels(command, tmp_path: Path) -> None:
    path = tmp_path / "sea.png"
    # 2,446 m is what a pixel of level 6 measures at the equator: across the antimeridian.
    result = command("window", "--lat", 0, "--lon", 180, "--gsd", 2446, "--size", 40, "--crs", "EPSG:3857", "-o", path)
    assert result.exit_code == 0, result.output
    expected = BaseMap().pixels(Window(6, 8192 - 20, 16384 - 20, 40, 40))
    assert (np.asarray(Image.open(path)) == expected).all()


def test_zarr(command, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "alps.zarr"
    assert command("window", *PLACE, "--size", 30, "-o", path).exit_code == 0
    assert zarr.open_array(path / "0" / "image").shape == (3, 30, 30)


def test_a_window_grows_around_a_known_image(command, tmp_path: Path) -> None:
    grid = Grid.around(45.4, 9.2, 1720, 20, "EPSG:3857")
    image = np.random.default_rng(0).integers(0, 255, (3, 20, 20), np.uint8)
    files = {}
    for kind, values in (("uint8", image), ("uint16", image.astype(np.uint16) * 10)):
        files[kind] = tmp_path / f"{kind}.tif"
        profile = {"height": 20, "width": 20, "count": 3, "crs": grid.crs, "transform": grid.transform}
        with rasterio.open(files[kind], "w", driver="GTiff", dtype=kind, **profile) as file:
            file.write(values)
    where = ("--lat", 45.4, "--lon", 9.2, "--gsd", 1720, "--size", 40, "--crs", "EPSG:3857")
    asked = {"uint8": (), "uint16": ("--bands", "1,2,3", "--scale", "0,2550")}
    for kind, more in asked.items():
        out = tmp_path / f"{kind}.png"
        result = command("window", *where, "--known", files[kind], *more, "-o", out)
        assert result.exit_code == 0, result.output
        assert (np.asarray(Image.open(out))[10:30, 10:30] == image.transpose(1, 2, 0)).all()
    refused = command("window", *where, "--known", files["uint16"], "-o", out)
    assert refused.exit_code == 2
    assert "`scale`" in refused.stderr


def test_tiles(command, tmp_path: Path) -> None:
    folder, database, archive = tmp_path / "tiles", tmp_path / "a.mbtiles", tmp_path / "a.pmtiles"
    area = ("--bbox", 170, -20, -170, 20, "--zooms", "1-2")
    result = command("world", *area, "-o", folder, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tiles"] == 8
    assert len([*folder.rglob("*.png")]) == 8
    tile = np.asarray(Image.open(folder / "2" / "3" / "1.png"))
    assert (tile == BaseMap().pixels(Window(2, 256, 768, 256, 256))).all()
    assert command("world", *area, "-o", database, "--format", "webp").exit_code == 0
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM tiles").fetchone() == (8,)
    assert command("world", *area, "-o", archive).exit_code == 0
    assert archive.read_bytes()[:7] == b"PMTiles"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (("--size", 0), "size"),
        (("--size", 10**9), "size"),
        (("--size", "3x"), "size"),
        (("--size", 50_000, "--gsd", 1, "-o", "x.png"), "size"),
        (("--crs", "EPSG:99999999"), "crs"),
        (("--crs", "nonsense"), "crs"),
        (("--lat", 88), "lat"),
        (("--gsd", 0.1), "gsd"),
        (("--gsd", -3), "gsd"),
        (("--lon", "nan"), "lon"),
        (("-o", "x.bmp"), "output"),
        (("--regions", "nowhere.geojson"), "regions"),
        (("--cloud-cover", 3), "cloud_cover"),
        (("--base", "moon"), "base"),
        (("--steps", 0), "steps"),
        (("--seed", -1), "seed"),
        (("--bands", "4,3,2"), "bands"),
        (("--scale", "0,3000"), "scale"),
    ],
)
def test_bad_windows_are_refused_before_any_work(
    command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: tuple[object, ...], named: str
) -> None:
    monkeypatch.setattr(World, "open", lambda *a, **k: pytest.fail("opened"))
    monkeypatch.chdir(tmp_path)
    result = command("window", *PLACE, "-o", "x.tif", "--size", 64, *asked)
    assert result.exit_code == 2, result.output
    assert f"`{named}`" in result.stderr


def layout_file(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


HARBOUR = {
    "type": "Feature",
    "id": "h",
    "properties": {"class": "harbour", "width": 90_000, "height": 60_000},
    "geometry": {"type": "Point", "coordinates": [9.2, 45.4]},
}
GONE = {"type": "Feature", "properties": {"event": "remove", "date": "2020-01-01", "id": "h"}, "geometry": None}


def test_a_labelled_window_in_tiles(command, tmp_path: Path) -> None:
    layout, out = layout_file(tmp_path / "layout.geojson", HARBOUR), tmp_path / "set"
    asked = ("--layout", layout, "--labels", "coco,yolo-obb", "--tile", 32, "--size", 40, "-o", out)
    result = command("window", *PLACE, *asked, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["windows"] == 4
    assert result.stderr == "earthgen: the set has no split 'val', so data.yaml validates on another: train\n"
    coco = json.loads((out / "coco" / "annotations" / "instances_train.json").read_text())
    assert len(coco["images"]) == 4
    assert {one["name"] for one in coco["categories"]} == {"harbour"}
    assert len(coco["annotations"]) == 4
    assert (out / "yolo-obb" / "data.yaml").exists()


def test_a_series_with_change(command, tmp_path: Path) -> None:
    layout, events = (layout_file(tmp_path / f"{n}.geojson", f) for n, f in (("layout", HARBOUR), ("events", GONE)))
    out = tmp_path / "series"
    asked = ("--layout", layout, "--events", events, "--dates", "2019-06-01,2020-06-01", "--size", 40, "-o", out)
    result = command("window", *PLACE, *asked, "--labels", "levir-cd")
    assert result.exit_code == 0, result.output
    assert "2 dates, 1 event " in result.stdout
    assert len(list((out / "images").glob("*.tif"))) == 2
    label = np.asarray(Image.open(next((out / "levir-cd" / "label").iterdir())))
    assert (label > 0).sum() == 18 * 12
    with rasterio.open(next((out / "changes").iterdir())) as file:
        assert ((file.read(1) > 0) == (label > 0)).all()


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (("--labels", "levir-cd"), "formats"),
        (("--labels", ","), "labels"),
        (("--labels", "coco", "-o", "x.tif"), "output"),
        (("--labels", "coco", "--tile", 0), "tile"),
        (("--labels", "coco", "--tile", 8, "--overlap", 8), "tile"),
        (("--labels", "coco", "--min-visible", 2), "min_visible"),
        (("--tile", 8, "-o", "x.tif"), "tile"),
        (("--dates", "2020-01-01,2019-01-01"), "dates"),
        (("--dates", "2020-01-01,soon"), "date"),
        (("--dates", ","), "dates"),
        (("--dates", "2020-01-01,2021-01-01", "--tile", 8), "tile"),
        (("--layout", "nowhere.geojson"), "layout"),
        (("--layout-mask", "nowhere.tif"), None),
        (("--mask-class", "land"), "layout_mask"),
        (("--events", "nowhere.geojson"), "events"),
    ],
)
def test_bad_layouts_are_refused_before_any_work(
    command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: tuple[object, ...], named: str | None
) -> None:
    monkeypatch.setattr(World, "open", lambda *a, **k: pytest.fail("opened"))
    monkeypatch.chdir(tmp_path)
    result = command("window", *PLACE, "-o", "out", "--size", 64, *asked)
    assert result.exit_code == (1 if named is None else 2), result.output
    assert f"`{named or 'nowhere.tif'}`" in result.stderr or "nowhere.tif" in result.stderr


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (("--zooms", "5-3"), "zooms"),
        (("--zooms", "4-19"), "zooms"),
        (("--zooms", "all"), "zooms"),
        (("--bbox", 0, 50, 10, 40), "bounds"),
        (("--bbox", 0, 86, 10, 88), "bounds"),
        (("--format", "gif"), "format"),
        (("-o", "x.tif"), "output"),
    ],
)
def test_bad_areas_are_refused_before_any_work(
    command, monkeypatch: pytest.MonkeyPatch, asked: tuple[object, ...], named: str
) -> None:
    monkeypatch.setattr(World, "open", lambda *a, **k: pytest.fail("opened"))
    result = command("world", "--bbox", 0, 0, 1, 1, "--zooms", "4", "-o", "x.pmtiles", *asked)
    assert result.exit_code == 2, result.output
    assert f"`{named}`" in result.stderr
