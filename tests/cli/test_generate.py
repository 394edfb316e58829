"""`earthgen generate` from options to files, with a stand-in where the network's images do not matter."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.crs import CRS

from earthgen.conditions import Conditions, Guidance
from earthgen.output.provenance import SYNTHETIC_MARK
from earthgen.output.scene import Scene

PLACE = ("--lat", 45.4, "--lon", 9.2)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


class TestOneFile:
    def test_a_placed_geotiff(self, run, stand_in, tmp_path: Path) -> None:
        out = tmp_path / "new" / "river.tif"
        result = run("generate", "a river", "--gsd", 10, *PLACE, "--seed", 7, "--size", "64x48", "-o", out)
        assert result.exit_code == 0, result.output
        assert "seed 7" in result.stdout
        assert [path.name for path in out.parent.iterdir()] == ["river.tif"]
        scene = Scene.read(out)
        assert scene.image.shape == (48, 64, 3)
        assert scene.crs == CRS.from_epsg(32632)
        assert scene.provenance.seed == 7
        assert scene.provenance.conditions == Conditions(text="a river", gsd=10, lat=45.4, lon=9.2).to_dict()

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff", "a.PNG"])
    def test_other_formats(self, run, stand_in, tmp_path: Path, name: str) -> None:
        assert run("generate", "a", "--size", 16, "-o", tmp_path / name).exit_code == 0
        assert pixels(tmp_path / name).shape == (16, 16, 3)

    def test_without_a_place_no_crs_is_invented(self, run, stand_in, tmp_path: Path) -> None:
        run("generate", "a river", "--gsd", 10, "--size", 16, "-o", tmp_path / "a.tif")
        assert Scene.read(tmp_path / "a.tif").crs is None

    def test_the_printed_seed_makes_the_same_image(self, run, stand_in, tmp_path: Path) -> None:
        first = json.loads(run("generate", "a", "--size", 16, "-o", tmp_path / "1.png", "--json").stdout)
        run("generate", "a", "--size", 16, "--seed", first["seed"], "-o", tmp_path / "2.png")
        assert (pixels(tmp_path / "1.png") == pixels(tmp_path / "2.png")).all()

    def test_every_condition_arrives(self, run, stand_in, tmp_path: Path) -> None:
        options = ["--gsd", 0.5, *PLACE, "--date", "2024-06-01", "--cloud-cover", 0.3, "--box", "ship,8,8,4,2,30"]
        more = ["--steps", 3, "--guidance", "text=4,gsd=1", "--size", 16, "-o", tmp_path / "a.png"]
        assert run("generate", "a harbour", *options, *more).exit_code == 0
        (call,) = stand_in.calls
        (asked,) = call["conditions"]
        assert asked.to_dict() == {
            "text": "a harbour",
            "gsd": 0.5,
            "lat": 45.4,
            "lon": 9.2,
            "date": "2024-06-01",
            "cloud_cover": 0.3,
            "boxes": [{"label": "ship", "cx": 8, "cy": 8, "width": 4, "height": 2, "angle": 30}],
        }
        assert call["steps"] == 3
        assert call["guidance"] == Guidance(text=4, gsd=1)

    def test_a_negative_prompt_arrives_and_is_recorded(self, run, stand_in, tmp_path: Path) -> None:
        for negative, kept in (("clouds, haze", "clouds, haze"), (" ", "")):
            out = tmp_path / "a.tif"
            result = run("generate", "a river", "--negative-prompt", negative, "--size", 16, "-o", out)
            assert result.exit_code == 0, result.output
            record = Scene.read(out).provenance
            assert stand_in.calls[-1]["negative_prompt"] == record.negative_prompt == kept
            assert ("negative_prompt" in record.to_dict()) == bool(kept)
        refused = run("generate", "a river", "--negative-prompt", "haze", "--guidance", 1, "--size", 16, "-o", out)
        assert refused.exit_code == 2 and "above 1, but got 'text=1'" in refused.output
        assert len(stand_in.calls) == 2

    def test_areas_arrive_as_outlines_and_as_a_mask(self, run, stand_in, tmp_path: Path) -> None:
        Image.fromarray(np.eye(16, dtype=np.uint8)).save(tmp_path / "mask.png")
        ground = ["--mask", tmp_path / "mask.png", "--mask-class", "field", "--mask-class", "road, paved"]
        lake = ["--polygon", "lake, calm,2,2,9,2,9,9"]
        result = run("generate", *ground, *lake, "-o", tmp_path / "a.png")
        assert result.exit_code == 0, result.output
        (call,) = stand_in.calls
        (asked,) = call["conditions"]
        assert asked.mask_classes == ("field", "road, paved") and (asked.mask == np.eye(16)).all()
        assert asked.to_dict()["polygons"] == [{"label": "lake, calm", "points": [[2, 2], [9, 2], [9, 9]]}]
        assert pixels(tmp_path / "a.png").shape == (16, 16, 3)  # the mask's size, as none was given

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (["--polygon", "lake,1,1,2,2"], "polygon"),
            (["--polygon", "1,1,9,1,9,9"], "polygon"),
            (["--polygon", "lake,1,1,9,9,9,1,1,9"], "polygon.points"),
            (["--mask", "rgb.png", "--mask-class", "a"], "mask"),
            (["--mask", "mask.png"], "mask_classes"),
            (["--mask", "mask.png", "--mask-class", "a"], "mask"),
            (["--mask", "mask.png", "--mask-class", "a", "--mask-class", "b", "--size", "32"], "mask"),
        ],
    )
    def test_areas_that_cannot_be(self, run, stand_in, tmp_path: Path, monkeypatch, options, named) -> None:
        monkeypatch.chdir(tmp_path)
        Image.fromarray(np.eye(16, dtype=np.uint8)).save("mask.png")
        Image.new("RGB", (16, 16)).save("rgb.png")
        result = run("generate", *options, "-o", "a.png")
        assert result.exit_code == 2 and f"`{named}`" in result.stderr, result.stderr
        assert not stand_in.calls and not Path("a.png").exists()

    def test_southern_and_western_places(self, run, stand_in, tmp_path: Path) -> None:
        result = run("generate", "--lat", -33.9, "--lon", -70.6, "--gsd", 10, "--size", 16, "-o", tmp_path / "a.tif")
        assert result.exit_code == 0
        assert Scene.read(tmp_path / "a.tif").crs == CRS.from_epsg(32719)


class TestFolder:
    def test_sentences_times_scales(self, run, stand_in, tmp_path: Path) -> None:
        out = tmp_path / "out"
        scales = ["--gsd", 1, "--gsd", 0.3]
        result = run("generate", "A forest!", "", *scales, *PLACE, "--size", 16, "--seed", 3, "-o", out, "--json")
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        names = ["01-a-forest-1m-s3", "02-a-forest-0.3m-s3", "03-1m-s3", "04-0.3m-s3"]
        assert [row["id"] for row in report["images"]] == names
        want = {f"{name}.{suffix}" for name in names for suffix in ("tif", "png", "json")}
        assert {path.name for path in out.iterdir()} == want | {"manifest.jsonl", "contact-sheet.png"}
        rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
        assert [row["id"] for row in rows] == names
        assert [row["gsd"] for row in rows] == [1, 0.3, 1, 0.3]
        for row in report["images"]:
            assert (pixels(row["files"]["png"]) == Scene.read(row["files"]["tif"]).image).all()
            assert json.loads(Path(row["files"]["stac"]).read_text())["id"] == row["id"]
        with Image.open(report["contact_sheet"]) as sheet:
            assert sheet.info["SYNTHETIC"] == SYNTHETIC_MARK
            assert sheet.width > 2 * 256  # two scales side by side

    def test_count_gives_consecutive_seeds_whatever_the_batch(self, run, stand_in, tmp_path: Path) -> None:
        common = ["generate", "a", "--size", 16, "--seed", 5]
        run(*common, "-n", 3, "-o", tmp_path / "one")
        run(*common, "-n", 3, "--batch-size", 2, "-o", tmp_path / "two")
        run("generate", "a", "--size", 16, "--seed", 7, "-o", tmp_path / "alone.png")
        for name in ("01-a-s5.png", "02-a-s6.png", "03-a-s7.png"):
            assert (tmp_path / "one" / name).read_bytes()
            assert (pixels(tmp_path / "one" / name) == pixels(tmp_path / "two" / name)).all()
        assert (pixels(tmp_path / "one/03-a-s7.png") == pixels(tmp_path / "alone.png")).all()

    def test_no_sentence_is_one_image(self, run, stand_in, tmp_path: Path) -> None:
        assert run("generate", "--gsd", 2, "--size", 16, "--seed", 1, "-o", tmp_path).exit_code == 0
        assert (tmp_path / "01-2m-s1.tif").exists()

    def test_the_same_command_goes_on_where_it_was_stopped(self, run, stand_in, tmp_path: Path) -> None:
        command = ["generate", "a", "b", "--size", 16, "--seed", 1, "-o", tmp_path, "--json"]
        run(*command)
        (tmp_path / "02-b-s1.tif").unlink()
        stand_in.calls.clear()
        report = json.loads(run(*command).stdout)
        assert [row["made"] for row in report["images"]] == [False, True]
        assert [asked.text for call in stand_in.calls for asked in call["conditions"]] == ["b"]
        assert (tmp_path / "02-b-s1.tif").exists()

    def test_other_options_make_it_anew(self, run, stand_in, tmp_path: Path) -> None:
        command = ["generate", "a", "--seed", 1, "-o", tmp_path, "--json"]
        changes = (["--steps", 2], ["--guidance", 3], ["--negative-prompt", "fog"])
        for options in (["--size", 16], *(["--size", 24, *change] for change in ([], *changes))):
            (row,) = json.loads(run(*command, *options).stdout)["images"]
            assert row["made"]
        rows = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
        assert len({row["id"] for row in rows}) == 1

    def test_an_altered_image_is_made_anew(self, run, stand_in, tmp_path: Path) -> None:
        command = ["generate", "a", "--seed", 1, "--size", 16, "-o", tmp_path, "--json"]
        run(*command)
        path = tmp_path / "01-a-s1.tif"
        path.write_bytes(path.read_bytes()[:-10])
        assert json.loads(run(*command).stdout)["images"][0]["made"]


class TestKnown:
    @pytest.fixture
    def scene(self, tmp_path: Path) -> Path:
        """24 x 16 pixels of 10 m in UTM 32N, nodata on the right third."""
        path = tmp_path / "known.tif"
        image = np.random.default_rng(0).integers(1, 255, (3, 16, 24), np.uint8)
        image[:, :, 16:] = 0
        transform = Affine(10, 0, 500_000, 0, -10, 5_000_000)
        profile = {"driver": "GTiff", "width": 24, "height": 16, "count": 3, "dtype": "uint8", "nodata": 0}
        with rasterio.open(path, "w", crs="EPSG:32632", transform=transform, **profile) as target:
            target.write(image)
        return path

    def test_nodata_is_filled_and_the_place_is_kept(self, run, stand_in, scene: Path, tmp_path: Path) -> None:
        result = run("generate", "a lake", "--known", scene, "-o", tmp_path / "out.tif")
        assert result.exit_code == 0, result.output
        made, before = Scene.read(tmp_path / "out.tif"), rasterio.open(scene)
        assert (made.image[:, :16] == before.read().transpose(1, 2, 0)[:, :16]).all()
        assert made.image[:, 16:].any()
        assert (made.crs, made.transform) == (before.crs, before.transform)
        (asked,) = stand_in.calls[0]["conditions"]
        assert asked.gsd == pytest.approx(10, rel=1e-3)
        assert (asked.lat, asked.lon) == (pytest.approx(45.15, abs=0.01), pytest.approx(9.0, abs=0.01))

    def test_a_mask_says_what_is_kept(self, run, stand_in, scene: Path, tmp_path: Path) -> None:
        mask = np.full((16, 24), 255, np.uint8)
        mask[4:8, 4:8] = 0
        Image.fromarray(mask).save(tmp_path / "mask.png")
        run("generate", "--known", scene, "--known-mask", tmp_path / "mask.png", "-o", tmp_path / "out.tif")
        keep = stand_in.calls[0]["conditions"][0].known_mask
        assert not keep[4:8, 4:8].any()
        assert not keep[:, 16:].any()
        assert keep.sum() == 16 * 16 - 16

    def test_a_larger_size_grows_it_on_all_sides(self, run, stand_in, scene: Path, tmp_path: Path) -> None:
        run("generate", "--known", scene, "--size", "32x32", "-o", tmp_path / "out.tif")
        made = Scene.read(tmp_path / "out.tif")
        assert made.image.shape == (32, 32, 3)
        assert made.transform == Affine(10, 0, 500_000 - 40, 0, -10, 5_000_000 + 80)
        assert (made.image[8:24, 4:20] == rasterio.open(scene).read().transpose(1, 2, 0)[:, :16]).all()

    def test_what_you_say_is_told_and_pixels_stay_where_they_lie(self, run, stand_in, scene, tmp_path) -> None:
        run("generate", "--known", scene, "--gsd", 5, "--lat", 1, "--lon", 2, "-o", tmp_path / "out.tif")
        (asked,) = stand_in.calls[0]["conditions"]
        assert (asked.gsd, asked.lat, asked.lon) == (5, 1, 2)
        made = Scene.read(tmp_path / "out.tif")
        assert made.gsd == pytest.approx(10, rel=1e-3) and made.transform.a == 10

    def test_a_georeference_that_is_rotated_is_not_taken_over_unsaid(self, run, stand_in, scene, tmp_path) -> None:
        with rasterio.open(scene, "r+") as file:
            file.transform = file.transform @ Affine.rotation(20)
        result = run("generate", "--known", scene, "-o", tmp_path / "out.tif")
        assert result.exit_code == 0 and "the georeference of known.tif is not taken over" in result.stderr
        assert Scene.read(tmp_path / "out.tif").crs is None

    def test_bands_of_16_bits(self, run, stand_in, tmp_path: Path) -> None:
        values = np.zeros((4, 16, 16), np.uint16)
        values[3], values[1] = 3000, 1500
        profile = {"driver": "GTiff", "width": 16, "height": 16, "count": 4, "dtype": "uint16"}
        with rasterio.open(tmp_path / "l1c.tif", "w", **profile) as file:
            file.write(values)
        known = ["--known", tmp_path / "l1c.tif", "--size", 24, "-o", tmp_path / "out.png"]
        assert "`bands` must say which bands are red" in run("generate", *known).stderr
        assert "`scale` must say which values are black" in run("generate", *known, "--bands", "4,2,1").stderr
        assert run("generate", *known, "--bands", "4,2,1", "--scale", "0,3000").exit_code == 0
        assert stand_in.calls[0]["conditions"][0].known[12, 12].tolist() == [255, 128, 0]

    def test_a_png_without_a_place(self, run, stand_in, tmp_path: Path) -> None:
        Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
        result = run("generate", "--known", tmp_path / "red.png", "--size", 24, "-o", tmp_path / "out.tif")
        assert result.exit_code == 0, result.output
        assert Scene.read(tmp_path / "out.tif").crs is None

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--known", "whole.png"], "`known` must leave something to generate"),
            (["--known", "whole.png", "--size", "8"], "`size` must be at least the known image's, 16x16"),
            (["--known", "whole.png", "--known-mask", "small.png"], "`known-mask` must have the known image's size"),
            (["--known", "grey.png"], "`bands` must say which bands are red, green and blue"),
            (["--known-mask", "whole.png"], "`known` must be given together with `known-mask`"),
            (["--bands", "3,2,1"], "`known` must be given together with `bands`"),
            (["--backend", "tpu"], "`backend` must be one of torch, openvino, onnx"),
        ],
    )
    def test_refused(self, run, stand_in, tmp_path: Path, monkeypatch, options: list[str], message: str) -> None:
        monkeypatch.chdir(tmp_path)
        Image.new("RGB", (16, 16), "red").save("whole.png")
        Image.new("L", (8, 8)).save("small.png")
        Image.new("L", (16, 16)).save("grey.png")
        result = run("generate", *options, "-o", "out.tif")
        assert result.exit_code == 2
        assert message in result.stderr
        assert stand_in.loaded == 0

    def test_a_file_that_is_not_there(self, run, stand_in, tmp_path: Path) -> None:
        result = run("generate", "--known", tmp_path / "no.tif", "-o", tmp_path / "out.tif")
        assert result.exit_code == 1
        assert "cannot read the image" in result.stderr
