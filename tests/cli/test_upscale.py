"""`earthgen upscale` with a real, tiny pipeline: georeference, nodata, bands and depth; and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rio_cogeo import cog_validate

from earthgen import weights
from earthgen.cli import models, refining
from earthgen.conditions import Guidance
from earthgen.data.augment import coarser
from earthgen.output.geotiff import quiet_without_place
from earthgen.output.picture import Scale
from earthgen.output.provenance import SYNTHETIC_MARK
from earthgen.output.scene import Scene
from earthgen.steps import MANY

RNG = np.random.default_rng(0)
# A smooth picture with some detail, far from black and white.
PHOTO = (np.asarray(Image.fromarray(RNG.integers(60, 200, (5, 7, 3), np.uint8)).resize((28, 20))) // 1).astype(np.uint8)
RGBA = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
UTM = CRS.from_epsg(32632)
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_000_000)
ROTATED = Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(10, -10)


@pytest.fixture(scope="session")
def loaded(tiny_model: Path) -> models.Model:
    return models.load(str(tiny_model), tiny_model, "cpu", 2, Guidance.uniform(1), steps_bar=False)


@pytest.fixture
def upscale(run, loaded: models.Model, tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    """The command with two steps of a model that is loaded but once."""

    def load(_name: str, _folder: Path, _device: str, steps: int | None, guidance: Guidance, **_: Any) -> Any:
        return replace(loaded, steps=steps or 2, guidance=guidance)

    monkeypatch.setattr(models, "load", load)
    return lambda *arguments: run("upscale", *arguments, "--model", tiny_model)


def write(path: Path, bands: np.ndarray, names: tuple[ColorInterp, ...] = (), mask: Any = None, **profile: Any) -> Path:
    """A GeoTIFF of bands (count, height, width)."""
    count, height, width = bands.shape
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with (
        quiet_without_place(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", **shape, **profile) as file,
    ):
        file.write(bands)
        if names:
            file.colorinterp = names
        if mask is not None:
            file.write_mask(mask)
    return path


def rgb(path: Path, **profile: Any) -> Path:
    return write(path, PHOTO.transpose(2, 0, 1), **profile)


def read(path: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    """Pixels (height, width, 3), which of them count, and the open file's profile."""
    with quiet_without_place(), rasterio.open(path) as file:
        return file.read().transpose(1, 2, 0), file.dataset_mask() > 0, file.profile


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9)))


def test_a_placed_geotiff_keeps_its_place(upscale, tmp_path: Path, tiny_model: Path) -> None:
    source, out = rgb(tmp_path / "in.tif", crs=UTM, transform=NORTH_UP), tmp_path / "new" / "out.tif"
    result = upscale(source, "-o", out, "--seed", 7, "--prompt", "a river", "--date", "2024-06-01", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    scene = Scene.read(out)
    assert scene.crs == UTM and scene.transform == NORTH_UP @ Affine.scale(1 / 4)
    assert scene.image.shape == (80, 112, 3) and scene.gsd == pytest.approx(2.5, rel=2e-3)
    assert decibels(coarser(scene.image), PHOTO) > 50
    assert report["consistency_db"][0] == pytest.approx(min(decibels(coarser(scene.image), PHOTO), 88.1), abs=0.1)
    assert (report["height"], report["width"], report["crs"], report["seed"]) == (80, 112, "EPSG:32632", 7)

    made_by = scene.provenance
    assert made_by.model_sha256 == weights.model_sha256(tiny_model)
    assert made_by.steps == MANY.refining and made_by.seed == 7
    asked = made_by.conditions
    assert asked["text"] == "a river" and asked["date"] == "2024-06-01" and asked["gsd"] == scene.gsd
    assert asked["lat"] == pytest.approx(45.15, abs=0.01) and asked["lon"] == pytest.approx(9.0, abs=0.01)
    assert asked["coarse"]["name"] == "in.tif" and asked["coarse"]["shape"] == [20, 28, 3]
    assert str(tmp_path) not in json.dumps(made_by.to_dict())
    assert cog_validate(out, quiet=True)[0]
    with rasterio.open(out) as file:
        assert file.tags()["TIFFTAG_IMAGEDESCRIPTION"] == SYNTHETIC_MARK
        assert "trainedAlgorithmicMedia" in "".join(file.tags(ns="xml:XMP").values())
        assert file.nodata is None
    assert [p.name for p in out.parent.iterdir()] == ["out.tif"]


def test_a_seed_is_an_image(upscale, tmp_path: Path) -> None:
    source = rgb(tmp_path / "in.tif", crs=UTM, transform=NORTH_UP)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert upscale(source, "-o", tmp_path / f"{name}.tif", "--seed", seed).exit_code == 0
    a, b, c = (read(tmp_path / f"{name}.tif")[0] for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("crs", "transform"), [(UTM, ROTATED), (None, None), (None, NORTH_UP), (CRS.from_epsg(4326), None)]
)
def test_any_georeference_is_kept_and_none_is_invented(upscale, tmp_path: Path, crs: Any, transform: Any) -> None:
    profile = {k: v for k, v in {"crs": crs, "transform": transform}.items() if v is not None}
    source = rgb(tmp_path / "in.tif", **profile)
    result = upscale(source, "-o", tmp_path / "out.tif", *([] if crs and transform else ["--gsd", 10]), "--json")
    assert result.exit_code == 0, result.output
    _, _, after = read(tmp_path / "out.tif")
    assert after["crs"] == crs
    assert after["transform"].almost_equals(transform @ Affine.scale(0.25) if transform else Affine.identity())
    assert json.loads(result.stdout)["gsd"] == pytest.approx(2.5, rel=2e-3)


def test_ground_control_points_are_kept(upscale, tmp_path: Path) -> None:
    corners = [(0, 0), (0, 28), (20, 0), (20, 28)]
    points = [GroundControlPoint(r, c, 9 + c * 1e-4, 45 - r * 1e-4, id=str(r + c)) for r, c in corners]
    source = rgb(tmp_path / "in.tif", gcps=points, crs=CRS.from_epsg(4326))
    result = upscale(source, "-o", tmp_path / "out.tif", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["gsd"] == pytest.approx(9.36 / 4, rel=0.02)
    with quiet_without_place(), rasterio.open(tmp_path / "out.tif") as file:
        found, crs = file.gcps
    assert crs == CRS.from_epsg(4326)
    assert [(p.row, p.col, p.x, p.y) for p in found] == [(4 * p.row, 4 * p.col, p.x, p.y) for p in points]


def test_two_stages(upscale, tmp_path: Path) -> None:
    source = rgb(tmp_path / "in.tif", crs=UTM, transform=NORTH_UP)
    result = upscale(source, "-o", tmp_path / "out.tif", "--stages", 2, "--consistency", 1, "--json")
    assert result.exit_code == 0, result.output
    image, _, profile = read(tmp_path / "out.tif")
    assert image.shape == (320, 448, 3)
    assert profile["transform"] == NORTH_UP @ Affine.scale(1 / 16)
    assert decibels(coarser(image, 16), PHOTO) > 45
    report = json.loads(result.stdout)
    assert len(report["consistency_db"]) == 2 and report["gsd"] == pytest.approx(10 / 16, rel=2e-3)
    assert Scene.read(tmp_path / "out.tif").provenance.conditions["coarse"]["degradation"] == [0, 0]


@pytest.mark.parametrize("nodata", [0, 255, 100])
def test_nodata_is_kept_and_stands_for_nothing_else(upscale, tmp_path: Path, nodata: int) -> None:
    image = PHOTO.copy()
    image[:, :, 0] = np.where(image[:, :, 0] == nodata, nodata ^ 1, image[:, :, 0])
    image[5, 5, 0] = nodata  # one band alone: still a colour
    image[:7, 12:] = nodata
    source = write(tmp_path / "in.tif", image.transpose(2, 0, 1), crs=UTM, transform=NORTH_UP, nodata=nodata)
    assert upscale(source, "-o", tmp_path / "out.tif").exit_code == 0
    made, valid, profile = read(tmp_path / "out.tif")
    left_out = np.zeros((80, 112), bool)
    left_out[:28, 48:] = True
    assert profile["nodata"] == nodata and np.array_equal(valid, ~left_out)
    assert (made[left_out] == nodata).all() and (made[~left_out] != nodata).all()
    assert np.abs(coarser(made)[8:].astype(int) - image[8:]).max() <= 3


def test_all_left_out_needs_no_network(upscale, tmp_path: Path) -> None:
    source = write(tmp_path / "in.tif", np.zeros((3, 8, 9), np.uint8), crs=UTM, transform=NORTH_UP, nodata=0)
    result = upscale(source, "-o", tmp_path / "out.tif", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["windows"] == 0
    assert not read(tmp_path / "out.tif")[0].any()


def test_alpha_and_masks_are_kept(upscale, tmp_path: Path) -> None:
    valid = np.ones((20, 28), bool)
    valid[:4, :6] = False
    alpha = np.where(valid, 200, 0).astype(np.uint8)
    Image.fromarray(np.dstack([PHOTO, alpha])).save(tmp_path / "in.png")
    masked = rgb(tmp_path / "masked.tif", crs=UTM, transform=NORTH_UP, mask=valid)
    rgba = write(tmp_path / "rgba.tif", np.dstack([PHOTO, alpha]).transpose(2, 0, 1), RGBA, crs=UTM)
    finer = valid.repeat(4, 0).repeat(4, 1)
    for source, name in ((tmp_path / "in.png", "a.png"), (masked, "b.tif"), (rgba, "c.tif"), (masked, "d.png")):
        result = upscale(source, "-o", tmp_path / name, "--gsd", 10)
        assert result.exit_code == 0, result.output
        pixels, mask, _ = read(tmp_path / name)
        assert np.array_equal(mask, finer), name
        assert pixels.shape[2] == (4 if name.endswith("png") else 3)
        assert decibels(coarser(np.ascontiguousarray(pixels[16:, :, :3])), PHOTO[4:]) > 40
    result = upscale(masked, "-o", tmp_path / "e.jpg")
    assert result.exit_code == 2 and "`output` must be .tif or .png, as the image leaves pixels out" in result.stderr


def test_pictures_without_georeference(upscale, tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "in.jpg", quality=95)
    for suffix in ("png", "jpg", "tif"):
        result = upscale(tmp_path / "in.jpg", "-o", tmp_path / f"out.{suffix}", "--gsd", 2.4, "--lat", 45, "--lon", 9)
        assert result.exit_code == 0, result.output
        scene = Scene.read(tmp_path / f"out.{suffix}")
        assert scene.crs is None and scene.gsd == 0.6 and scene.image.shape == (80, 112, 3)
        assert scene.provenance.conditions["lat"] == 45
    # What earthgen made says of itself at which GSD.
    for suffix in ("png", "jpg"):
        assert upscale(tmp_path / f"out.{suffix}", "-o", tmp_path / "again.png").exit_code == 0
        assert Scene.read(tmp_path / "again.png").gsd == pytest.approx(0.15)


def test_a_gsd_finer_than_any_learned_from_is_served_with_a_warning(upscale, tmp_path: Path) -> None:
    source = rgb(tmp_path / "in.tif")
    result = upscale(source, "-o", tmp_path / "out.tif", "--gsd", 1)
    assert result.exit_code == 0
    assert "no model has learned from images of 0.25 m a pixel" in result.stderr
    assert "no model" not in upscale(source, "-o", tmp_path / "out.tif", "--gsd", 10).stderr


# Bands and depth


def test_bands_and_values_are_chosen(upscale, tmp_path: Path) -> None:
    bands = RNG.integers(0, 4000, (13, 20, 28)).astype(np.uint16)
    bands[[3, 2, 1]] = PHOTO.transpose(2, 0, 1).astype(np.uint16) * 12 + 500
    source = write(tmp_path / "l1c.tif", bands, crs=UTM, transform=NORTH_UP)
    options = ["-o", tmp_path / "out.tif", "--bands", "4,3,2", "--scale", "500,3560"]
    assert upscale(source, *options).exit_code == 0
    made, _, profile = read(tmp_path / "out.tif")
    assert profile["dtype"] == "uint8" and profile["count"] == 3
    assert decibels(coarser(made), PHOTO) > 45
    coarse = Scene.read(tmp_path / "out.tif").provenance.conditions["coarse"]
    assert coarse["bands"] == [4, 3, 2] and coarse["black_white"] == [500, 3560]


def test_percentiles_nodata_and_not_a_number(upscale, tmp_path: Path) -> None:
    bands = (PHOTO.transpose(2, 0, 1) / 255).astype(np.float32)
    bands[:, :3, :3] = np.nan
    bands[:, 10:12, 10:12] = -9999
    source = write(tmp_path / "in.tif", bands, crs=UTM, transform=NORTH_UP, nodata=-9999)
    assert upscale(source, "-o", tmp_path / "out.tif", "--scale", "2%,98%").exit_code == 0
    made, valid, profile = read(tmp_path / "out.tif")
    assert profile["nodata"] == 0
    assert not valid[:12, :12].any() and not valid[40:48, 40:48].any() and valid.mean() > 0.95
    low, high = np.percentile(PHOTO[np.isfinite(bands[0]) & (bands[0] >= 0)], [2, 98])
    wanted = np.clip((PHOTO - low) / (high - low) * 255, 0, 255)[13:]
    assert np.abs(coarser(made)[13:] - wanted).mean() < 3


def test_one_band_is_grey_where_that_is_said(upscale, tmp_path: Path) -> None:
    source = write(tmp_path / "in.tif", PHOTO[None, :, :, 1], crs=UTM, transform=NORTH_UP)
    assert upscale(source, "-o", tmp_path / "out.tif", "--bands", "1").exit_code == 0
    made, _, profile = read(tmp_path / "out.tif")
    assert profile["count"] == 3 and np.array_equal(made[..., 0], made[..., 2])
    assert decibels(coarser(made)[..., 0], PHOTO[..., 1]) > 45


def test_bands_that_are_named_are_found(upscale, tmp_path: Path) -> None:
    four = np.concatenate([RNG.integers(0, 255, (1, 20, 28), np.uint8), PHOTO.transpose(2, 0, 1)[::-1]])
    names = (ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red)
    source = write(tmp_path / "in.tif", four, names, crs=UTM, transform=NORTH_UP)
    assert upscale(source, "-o", tmp_path / "out.tif").exit_code == 0
    assert decibels(coarser(read(tmp_path / "out.tif")[0]), PHOTO) > 45


# Larger than a window


def test_windows_equal_the_whole(upscale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = RNG.integers(90, 160, (3, 6, 420), np.uint8)
    source = write(tmp_path / "in.tif", wide, crs=UTM, transform=NORTH_UP)
    options = ["--seed", 1, "--steps", 1, "--json"]
    monkeypatch.setattr(refining, "WINDOW", 1000)
    whole = upscale(source, "-o", tmp_path / "whole.tif", *options)
    assert json.loads(whole.stdout)["windows"] == 1
    # As wide as one step of this network looks, with coding and decoding around it.
    monkeypatch.setattr(refining, "MARGIN", 112)
    monkeypatch.setattr(refining, "WINDOW", 256)
    parts = upscale(source, "-o", tmp_path / "parts.tif", *options)
    assert json.loads(parts.stdout)["windows"] > 5
    a, b = read(tmp_path / "whole.tif")[0], read(tmp_path / "parts.tif")[0]
    assert np.abs(a.astype(int) - b).max() <= 1


def test_windows_cover_the_image_on_the_networks_grid() -> None:
    for height, width in ((10, 384), (385, 700), (1000, 2)):
        seen = np.zeros((height, width), int)
        for read_, kept, inside in refining._windows(height, width, 8):
            assert max(read_.width, read_.height) <= refining.WINDOW
            assert read_.col_off % 8 == read_.row_off % 8 == 0
            rows, columns = kept.toslices()
            seen[rows, columns] += 1
            assert (inside[0].stop - inside[0].start, inside[1].stop - inside[1].start) == (kept.height, kept.width)
            assert read_.row_off + inside[0].start == kept.row_off and read_.col_off + inside[1].start == kept.col_off
        assert (seen == 1).all()


# What is refused

NO_MODEL = "work was done before the arguments were found wrong"


@pytest.fixture
def refused(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def load(*_: object, **__: object) -> None:
        raise AssertionError(NO_MODEL)

    monkeypatch.setattr(models, "load", load)
    monkeypatch.chdir(tmp_path)
    rgb(Path("in.tif"), crs=UTM, transform=NORTH_UP)
    Image.fromarray(PHOTO).save("in.png")

    def invoke(*arguments: object, code: int = 2) -> str:
        result = run("upscale", *arguments)
        assert result.exit_code == code, result.output
        assert not list(Path().glob(".earthgen*")) and not Path("out.tif").exists()
        return str(result.stderr)

    return invoke


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["in.tif", "-o", "out.gif"], "`output` must be a file that ends in .tif, .png or .jpg"),
        (["in.tif", "-o", "folder"], "`output` must be a file that ends"),
        (["in.tif", "-o", "in.tif"], "`output` must be another file than the input"),
        (["in.png", "-o", "out.tif"], "`gsd` must be given, as the image does not say where"),
        (["in.png", "-o", "out.tif", "--gsd", 0], "`gsd` must be a number of metres"),
        (["in.tif", "-o", "out.tif", "--gsd", 0.1], "`gsd` must be a number of metres a pixel from 0.05"),
        (["in.tif", "-o", "out.tif", "--stages", 0], "`stages` must be from 1 to 4"),
        (["in.tif", "-o", "out.tif", "--stages", 5], "`stages` must be from 1 to 4"),
        (["in.tif", "-o", "out.tif", "--degradation", 2], "`degradation` must be a number from 0 to 1"),
        (["in.tif", "-o", "out.tif", "--consistency", -1], "`consistency` must be a number from 0 to 1"),
        (["in.tif", "-o", "out.tif", "--lat", 95, "--lon", 0], "`lat` must be degrees north"),
        (["in.tif", "-o", "out.tif", "--lat", 45], "`lon` must be given together with `lat`"),
        (["in.tif", "-o", "out.tif", "--date", "today"], "`date` must be a day"),
        (["in.tif", "-o", "out.tif", "--cloud-cover", 3], "`cloud_cover` must be a fraction"),
        (["in.tif", "-o", "out.tif", "--steps", 0], "`steps` must be"),
        (["in.tif", "-o", "out.tif", "--seed", -1], "`seed` must be"),
        (["in.tif", "-o", "out.tif", "--guidance", "x"], "`guidance` must be"),
        (["in.tif", "-o", "out.tif", "--bands", "1,2"], "`bands` must be the numbers of three bands"),
        (["in.tif", "-o", "out.tif", "--bands", "0"], "`bands` must be the numbers"),
        (["in.tif", "-o", "out.tif", "--bands", "1,2,9"], "`bands` must be among the 3 of in.tif"),
        (["in.tif", "-o", "out.tif", "--scale", "9"], "`scale` must be LOW,HIGH"),
        (["in.tif", "-o", "out.tif", "--scale", "5,5"], "`scale` must be LOW,HIGH"),
        (["in.tif", "-o", "out.tif", "--scale", "2%,200%"], "`scale` must be LOW,HIGH"),
        (["in.tif", "-o", "out.tif", "--scale", "2%,200"], "`scale` must be LOW,HIGH"),
        (["in.tif", "-o", "out.tif", "--device", "abacus"], "`device` must be auto, cpu"),
    ],
)  # fmt: skip
def test_arguments_are_refused_before_any_work(refused, options: list[object], message: str) -> None:
    assert message in refused(*options)


def test_rasters_that_need_a_word_more(refused) -> None:
    place = {"crs": UTM, "transform": NORTH_UP}
    write(Path("deep.tif"), PHOTO.transpose(2, 0, 1).astype(np.uint16), **place)
    assert "`scale` must say which values are black and white" in refused("deep.tif", "-o", "out.tif")
    write(Path("many.tif"), np.ones((13, 8, 8), np.uint8), **place)
    message = "`bands` must say which bands are red, green and blue, as in 4,3,2, or which one is grey"
    assert message in refused("many.tif", "-o", "out.tif")
    write(Path("one.tif"), np.ones((1, 8, 8), np.uint8), **place)
    assert message in refused("one.tif", "-o", "out.tif")
    write(Path("two.tif"), np.ones((2, 8, 8), np.complex64), **place)
    assert "`input` must hold whole or real numbers" in refused("two.tif", "-o", "out.tif", "--bands", "1")
    Image.fromarray(PHOTO).convert("P").save("palette.png")
    assert "not indices into a palette" in refused("palette.png", "-o", "out.tif", "--bands", "1")
    write(Path("thin.tif"), np.ones((3, 1, 8), np.uint8), **place)
    assert "`input` must be an image of at least 2 x 2 pixels" in refused("thin.tif", "-o", "out.tif")
    write(Path("flat.tif"), np.ones((3, 8, 8), np.uint16), **place)
    assert "`scale` must span different values" in refused("flat.tif", "-o", "out.tif", "--scale", "2%,98%")
    write(Path("empty.tif"), np.zeros((3, 8, 8), np.uint16), nodata=0, **place)
    assert "`input` must have pixels" in refused("empty.tif", "-o", "out.tif", "--scale", "2%,98%")
    write(Path("long.tif"), np.ones((3, 4, 5000), np.uint8), **place)
    assert "at most 16384 pixels a side, or the output .tif" in refused("long.tif", "-o", "out.png")
    assert "at most 1048576 pixels a side" in refused("long.tif", "-o", "out.tif", "--stages", 4, "--gsd", 100)


def test_files_that_cannot_be_read_or_written(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot read the image" in refused("missing.tif", "-o", "out.tif", code=1)
    Path("text.tif").write_text("not an image")
    assert "cannot read the image" in refused("text.tif", "-o", "out.tif", code=1)
    whole = Path("in.tif").read_bytes()
    Path("cut.tif").write_bytes(whole[: len(whole) // 2])
    assert "cannot read the image" in refused("cut.tif", "-o", "out.tif", code=1)
    Path("in-the-way").write_text("a file where a folder should be")
    assert "cannot write into the folder" in refused("in.tif", "-o", "in-the-way/out.tif", code=1)
    assert "nothing" in refused("in.tif", "-o", "out.tif", "--model", "nothing", code=1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    assert "it takes about 0.0 GB" in refused("in.tif", "-o", "out.tif", code=1)


def test_a_failure_leaves_nothing_behind(upscale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = rgb(tmp_path / "in.tif", crs=UTM, transform=NORTH_UP), tmp_path / "out.tif"
    out.write_bytes(b"what was there before")

    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(refining.Refiner, "_one", broken)
    assert upscale(source, "-o", out).exit_code == 130
    assert out.read_bytes() == b"what was there before"
    assert {p.name for p in tmp_path.iterdir()} == {"in.tif", "out.tif"}


def test_scales_as_they_are_written() -> None:
    assert Scale.parse("0, 3000") == Scale(0, 3000) and Scale.parse("-1e3,2.5") == Scale(-1000, 2.5)
    assert Scale.parse("2%,98%") == Scale(2, 98, True) and Scale.parse(None) is None


def test_the_command_explains_itself(run) -> None:
    text = run("upscale", "--help").stdout
    assert "earthgen upscale scene.tif" in text
    for option in ("--gsd", "--prompt", "--stages", "--bands", "--scale", "--degradation", "--seed", "--json"):
        assert option in text
