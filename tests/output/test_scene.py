"""Scenes written and opened with what users open them with: rasterio, rio-cogeo, PIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform as warp
from rio_cogeo.cogeo import cog_validate

from earthgen.conditions import Box
from earthgen.errors import ArgumentError, OutputError
from earthgen.output.provenance import GENERATED, SYNTHETIC_MARK, Provenance
from earthgen.output.scene import Scene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
MakeScene = Callable[..., Scene]


def test_geotiff_holds_all(scene: Scene, tmp_path: Path) -> None:
    path = scene.write(tmp_path / "a.tif")
    with rasterio.open(path) as dataset:
        assert dataset.crs == scene.crs
        if scene.transform is None:
            assert dataset.crs is None
            assert dataset.transform == Affine.identity()
        else:
            assert dataset.transform == scene.transform
            assert dataset.bounds == scene.bounds
        assert dataset.nodata is None
        assert dataset.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        np.testing.assert_array_equal(np.moveaxis(dataset.read(), 0, 2), scene.image)
        tags = dataset.tags()
        assert tags["SYNTHETIC"] == tags["TIFFTAG_IMAGEDESCRIPTION"] == SYNTHETIC_MARK
        assert tags["DIGITAL_SOURCE_TYPE"] == GENERATED
        assert tags["TIFFTAG_DATETIME"] == "2026:01:02 03:04:05"
        assert Provenance.from_tags(tags) == scene.provenance
        assert tags.get("EARTHGEN_GSD") == (None if scene.gsd is None else str(scene.gsd))
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]  # no .aux.xml, nothing temporary


@pytest.mark.parametrize("place", [{"lat": 47.15, "lon": 11.07, "gsd": 10}, {}])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (60, 90), (512, 512), (1100, 700)])
def test_geotiff_is_a_cog(
    make_scene: MakeScene, tmp_path: Path, height: int, width: int, place: dict[str, float]
) -> None:
    path = make_scene(height, width, **place).write(tmp_path / "a.tif")
    valid, errors, warnings = cog_validate(path, strict=True)
    assert valid, (errors, warnings)
    with rasterio.open(path) as dataset:
        assert dataset.block_shapes == [(512, 512)] * 3
        assert dataset.compression == rasterio.enums.Compression.deflate
        assert dataset.overviews(1) == ([2, 4] if height > 1024 else [])
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"


def test_geotiff_of_a_local_projection_lies_where_it_should(make_scene: MakeScene, tmp_path: Path) -> None:
    path = make_scene(100, 100, lat=-33.9, lon=151.2, gsd=10_000).write(tmp_path / "a.tif")
    with rasterio.open(path) as dataset:
        lons, lats = warp(dataset.crs, CRS.from_epsg(4326), *([v] for v in dataset.xy(50, 50, offset="ul")))
    assert (lons[0], lats[0]) == pytest.approx((151.2, -33.9))


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_photo_tools_find_the_xmp(make_scene: MakeScene, tmp_path: Path, suffix: str) -> None:
    path = make_scene(text="été \N{SNOWMAN} <&>").write(tmp_path / f"a.{suffix}")
    content = path.read_bytes()
    start = content.index(b"<?xpacket begin")
    packet = content[start : content.index(b"<?xpacket end", start)].decode()
    assert f"<Iptc4xmpExt:DigitalSourceType>{GENERATED}<" in packet
    assert "été \N{SNOWMAN} &lt;&amp;&gt;" in packet
    with Image.open(path) as picture:
        carried = {"TIFF": lambda: picture.getexif()[700], "PNG": lambda: picture.info["XML:com.adobe.xmp"].encode()}
        xmp = carried.get(picture.format or "", lambda: picture.info["xmp"])()
    assert xmp.decode().startswith(packet[:200])


@pytest.mark.parametrize("suffix", ["tif", "TIFF", "png"])
def test_read_back_exactly(scene: Scene, tmp_path: Path, suffix: str) -> None:
    back = Scene.read(scene.write(tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(back.image, scene.image)
    assert (back.provenance, back.gsd) == (scene.provenance, scene.gsd)
    if suffix != "png":
        assert (back.crs, back.transform) == (scene.crs, scene.transform)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_jpeg_keeps_the_record_and_the_colours(make_scene: MakeScene, tmp_path: Path, suffix: str) -> None:
    scene = make_scene(gsd=10, text="ice")
    scene.image[:] = (200, 100, 30)
    back = Scene.read(scene.write(tmp_path / f"a.{suffix}"))
    assert (back.provenance, back.gsd) == (scene.provenance, 10)
    assert abs(back.image.astype(int) - scene.image).max() <= 3


def test_jpeg_refuses_a_record_that_does_not_fit(make_scene: MakeScene, tmp_path: Path) -> None:
    scene = make_scene(boxes=[Box("building", i % 90, 30, 5, 5) for i in range(1000)])
    with pytest.raises(ArgumentError, match=r"must be \.png or \.tif"):
        scene.write(tmp_path / "a.jpg")
    assert Scene.read(scene.write(tmp_path / "a.png")).provenance == scene.provenance
    assert Scene.read(scene.write(tmp_path / "a.tif")).provenance == scene.provenance


def test_png_opens_as_any_png(make_scene: MakeScene, tmp_path: Path) -> None:
    scene = make_scene(text="a river")
    with Image.open(scene.write(tmp_path / "a.png")) as picture:
        picture.load()
        assert (picture.mode, picture.size) == ("RGB", (90, 60))
        assert picture.info["Description"] == SYNTHETIC_MARK
        assert picture.info["Software"] == "earthgen 0.1.0"


def test_place_needs_position_and_gsd(make_scene: MakeScene) -> None:
    assert make_scene(lat=1, lon=2).crs is None
    assert make_scene(gsd=3).crs is None
    placed = make_scene(lat=1, lon=2, gsd=3)
    assert placed.crs == CRS.from_epsg(32631)
    assert placed.bounds is not None
    assert placed.bounds.top - placed.bounds.bottom == pytest.approx(60 * 3, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"image": np.zeros((4, 4, 3))}, "image"),
        ({"image": np.zeros((4, 4), np.uint8)}, "image"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "image"),
        ({"image": None}, "image"),
        ({"crs": None}, "crs"),
        ({"transform": None}, "transform"),
        ({"transform": Affine.identity()}, "transform"),
        ({"transform": Affine(1, 0.1, 0, 0, -1, 0)}, "transform"),
        ({"gsd": 0}, "gsd"),
    ],
)
def test_refusals(make_scene: MakeScene, change: dict[str, object], argument: str) -> None:
    scene = make_scene(lat=1, lon=2, gsd=3)
    parts = {name: getattr(scene, name) for name in ("image", "crs", "transform", "gsd", "provenance")}
    with pytest.raises(ArgumentError) as caught:
        Scene(**{**parts, **change})
    assert caught.value.argument == argument


def test_unknown_suffix(make_scene: MakeScene, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"`path` must end in one of \.tif, .*but got '.*a\.gif'"):
        make_scene().write(tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_save_all(scene: Scene, tmp_path: Path) -> None:
    files = scene.save_all(tmp_path / "out", "scene-1")
    assert {k: p.name for k, p in files.items()} == {"tif": "scene-1.tif", "png": "scene-1.png", "stac": "scene-1.json"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["scene-1.json", "scene-1.png", "scene-1.tif"]
    for stem in ("", "a/b", "..", "/a"):
        with pytest.raises(ArgumentError, match="stem"):
            scene.save_all(tmp_path, stem)


def test_save_all_checks_the_folder_first(make_scene: MakeScene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write into the folder"):
        make_scene().save_all(tmp_path / "file", "a")


def test_interrupted_writing_leaves_nothing(
    make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    scene = make_scene(lat=1, lon=2, gsd=3)
    monkeypatch.setattr(os, "fsync", interrupt)
    for name in ("a.tif", "a.png", "a.jpg"):
        with pytest.raises(KeyboardInterrupt):
            scene.write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_writing_without_place_does_not_warn(
    make_scene: MakeScene, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    Scene.read(make_scene().write(tmp_path / "a.tif"))
    assert not [w for w in recwarn if issubclass(w.category, NotGeoreferencedWarning)]


def test_foreign_files_have_no_provenance(make_scene: MakeScene, tmp_path: Path) -> None:
    picture = Image.fromarray(make_scene().image)
    for name in ("a.tif", "a.png", "a.jpg"):
        picture.save(tmp_path / name)
        with pytest.raises(ArgumentError, match="EARTHGEN_PROVENANCE"):
            Scene.read(tmp_path / name)
    picture.save(tmp_path / "b.jpg", comment=b"hello")
    with pytest.raises(ArgumentError, match="EARTHGEN_PROVENANCE"):
        Scene.read(tmp_path / "b.jpg")
