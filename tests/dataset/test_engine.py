"""Data sets made whole, in parts, after a kill at any moment: always the same files."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from earthgen import labels, weights
from earthgen.conditions import Conditions
from earthgen.dataset import engine, maker
from earthgen.dataset.config import Config
from earthgen.dataset.filter import Verdict
from earthgen.errors import ArgumentError, DataError, OutputError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.output.provenance import SYNTHETIC_MARK
from earthgen.output.scene import Scene

RULES = {"building": {"density": 3000, "length": [4, 12]}, "ship": {"density": 1500, "length": [6, 20]}}


class Strict:
    """Rejects three in four of the images, by their pixels."""

    def judge(self, images: Sequence[NDArray[np.uint8]], conditions: Sequence[Conditions]) -> list[Verdict]:
        verdicts = []
        for image in images:
            score = zlib.crc32(image.tobytes(), 2) % 100 / 100
            verdicts.append(
                Verdict(score >= 0.75, {"luck": score}, None if score >= 0.75 else f"luck {score} below 0.75")
            )
        return verdicts


@pytest.fixture(scope="module")
def tiny() -> Any:
    """A pipeline of real components, tiny and untrained."""
    from diffusers import FlowMatchEulerDiscreteScheduler
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from earthgen.models import EarthAutoencoder, EarthUNet
    from earthgen.pipelines import EarthPipeline
    from earthgen.text import TEXT_DIM, minilm_folder

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # forked processes cannot use the threads of this one
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bert = BertConfig(hidden_size=TEXT_DIM, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        networks = EarthUNet.preset("tiny", latent_channels=4), EarthAutoencoder(4, (8, 16), (1, 1), (1, 1))
        for network in networks:
            for parameter in network.parameters():
                if not parameter.any():  # layers that start at zero would make every image the same
                    torch.nn.init.normal_(parameter, std=0.05)
        unet, vae = (network.eval().requires_grad_(False) for network in networks)
        yield EarthPipeline(
            unet=unet,
            vae=vae,
            text_encoder=BertModel(bert).eval().requires_grad_(False),
            tokenizer=BertTokenizerFast.from_pretrained(minilm_folder()),
            scheduler=FlowMatchEulerDiscreteScheduler(),
        )
    torch.set_num_threads(before)


@pytest.fixture
def config(tiny: Any, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Configurations of data sets that the tiny pipeline makes in a moment."""
    from earthgen.pipelines import EarthPipeline

    model_folder = tmp_path_factory.mktemp("model")
    (model_folder / "model_index.json").write_text("{}")
    weights.write_sums(model_folder)
    monkeypatch.setattr(EarthPipeline, "from_pretrained", lambda *_, **__: tiny)
    base = {
        "task": "detection",
        "classes": ["building", "ship"],
        "count": 5,
        "size": 48,
        "steps": 1,
        "seed": 3,
        "model": str(model_folder),
        "layout": {"rules": RULES},
        "conditions": {"gsd": [0.3, 0.6], "regions": [[5, 45, 6, 46]], "dates": ["2020-01-01", "2021-01-01"]},
        "splits": {"train": 0.6, "val": 0.4},
        "formats": ["coco", "yolo", "imagefolder"],
        "created": "2026-11-21",
        "guidance": 1,
    }
    return lambda **changes: Config.from_dict({**base, **changes})


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "filter_of", lambda config, store: Strict())


def tree(folder: Path) -> dict[str, bytes]:
    """Every file but the lock."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


class TestWhole:
    def test_what_is_there(self, config, strict, tmp_path: Path) -> None:
        report = engine.make(config(), tmp_path)
        rows = rows_of(tmp_path)
        assert [row["id"] for row in rows] == [f"s3-{i:06d}" for i in range(5)]
        drawn = [picture for row in rows for picture in row["pictures"]]
        kept = [picture for picture in drawn if picture["kept"]]
        assert report["images"] == len(kept) > 0
        assert report["rejected"] == len(drawn) - len(kept) > 0
        assert report["rows_made"] == 5
        assert all(picture["kept"] == (picture["reason"] is None) for picture in drawn)
        for row in rows:  # draws of a layout, then another layout; what is kept comes last
            order = [(p["layout"], p["draw"]) for p in row["pictures"]]
            assert order == [(n, d) for n in range(2) for d in range(3)][: len(order)]
            assert all(not p["kept"] for p in row["pictures"][:-1])
            assert len({p["seed"] for p in row["pictures"]}) == len(order)
        assert not (tmp_path / ".work").exists()
        checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS", "--quiet"], cwd=tmp_path, check=False)
        assert checked.returncode == 0
        listed = {line.split("  ", 1)[1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines()}
        assert listed == set(tree(tmp_path)) - {"SHA256SUMS"}

    def test_images_carry_their_provenance_and_formats_are_read_back(self, config, tmp_path: Path) -> None:
        engine.make(config(), tmp_path)
        row = rows_of(tmp_path)[0]
        (picture,) = row["pictures"]
        scene = Scene.read(tmp_path / picture["image"]["file"])
        assert scene.provenance.seed == picture["seed"]
        assert scene.provenance.created.isoformat() == "2026-11-21T00:00:00+00:00"
        assert scene.provenance.conditions["lat"] == pytest.approx(picture["lat"], abs=1e-5)
        assert picture["crs"].startswith("EPSG:326")
        coco = labels.read(tmp_path / "coco")
        assert len(coco) == 5
        assert {image.split for image in coco.images} == {"train", "val"}
        (image,) = [image for image in coco.images if image.id == row["id"]]
        assert len(image.shapes) == len(picture["shapes"])
        assert image.path.samefile(tmp_path / picture["image"]["file"])  # no room is taken twice

    def test_the_page_needs_nothing_else(self, config, strict, tmp_path: Path) -> None:
        engine.make(config(), tmp_path)
        page = (tmp_path / "summary.html").read_text()
        assert SYNTHETIC_MARK in page
        assert "<script" not in page
        assert page.count("http") == page.count("digitalsourcetype") * 1  # the IPTC term alone
        assert page.count("data:image/jpeg") == len(list((tmp_path / "source").glob("[ir]*/*.png")))
        assert "<polygon" in page
        assert "luck … below …" in page
        assert "density: 3000" in page

    def test_row_by_row_it_does_not_matter_which_come_first(self, config, strict, tmp_path: Path) -> None:
        engine.make(config(count=2), tmp_path / "grown")
        engine.make(config(count=5), tmp_path / "grown")
        engine.make(config(count=5), tmp_path / "once")
        assert tree(tmp_path / "grown") == tree(tmp_path / "once")

    def test_an_export_that_was_stopped_does_not_stand_in_the_way(self, config, tmp_path: Path) -> None:
        engine.make(config(count=2), tmp_path / "a")
        (tmp_path / "a/.work/formats/coco/images").mkdir(parents=True)
        (tmp_path / "a/.work/formats/coco/images/other.png").write_bytes(b"of two images")
        engine.make(config(count=3), tmp_path / "a")
        engine.make(config(count=3), tmp_path / "b")
        assert tree(tmp_path / "a") == tree(tmp_path / "b")

    def test_again_nothing_is_made_and_resolved_yaml_makes_the_same(self, config, tmp_path: Path) -> None:
        from earthgen.dataset.checks import read_yaml

        first = tmp_path / "first"
        engine.make(config(created=None), first)
        times = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
        assert engine.make(config(created=None), first)["rows_made"] == 0
        assert {path: path.stat().st_mtime_ns for path in times} == times
        engine.make(Config.from_dict(read_yaml(first / "resolved.yaml")), tmp_path / "second")
        assert tree(first) == tree(tmp_path / "second")

    def test_what_was_altered_is_made_anew(self, config, tmp_path: Path) -> None:
        engine.make(config(), tmp_path)
        before = tree(tmp_path)
        path = tmp_path / rows_of(tmp_path)[2]["pictures"][0]["image"]["file"]
        path.unlink()
        path.write_bytes(b"other")
        assert engine.make(config(), tmp_path)["rows_made"] == 1
        assert tree(tmp_path) == before

    def test_other_formats_of_the_same_images(self, config, tmp_path: Path) -> None:
        engine.make(config(), tmp_path)
        assert engine.make(config(formats=["voc", "coco"]), tmp_path)["rows_made"] == 0
        assert (tmp_path / "voc").is_dir()
        assert not (tmp_path / "yolo").exists()

    def test_rows_that_are_given_up(self, config, tmp_path: Path, monkeypatch) -> None:
        class No:
            def judge(self, images: Any, conditions: Any) -> list[Verdict]:
                return [Verdict(False, {}, "no")] * len(images)

        monkeypatch.setattr(maker, "filter_of", lambda config, store: No())
        settings = {"draws": 2, "layouts": 2, "keep_rejected": False}
        report = engine.make(config(count=2, filter=settings), tmp_path)
        assert (report["images"], report["rejected"], report["formats"]) == (0, 8, {})
        assert not list(tmp_path.rglob("*.png"))
        assert "s3-000001" in (tmp_path / "summary.html").read_text()


class TestTasks:
    def test_segmentation_on_a_background(self, config, tmp_path: Path) -> None:
        layout = {"background": "land", "rules": {"building": RULES["building"]}}
        settings = {"task": "segmentation", "classes": ["land", "building"], "layout": layout, "formats": ["masks"]}
        engine.make(config(**settings), tmp_path)
        made = labels.read(tmp_path / "masks")
        assert made.mask_classes == ("land", "building")
        with Image.open(next(image.mask for image in made.images)) as file:
            assert set(np.unique(np.asarray(file))) == {0, 1}

    @pytest.mark.parametrize(("background", "told"), [(None, {1, 255}), ("grass", {0, 1})])
    def test_a_ground_that_is_no_class_comes_first(self, config, tmp_path, monkeypatch, background, told) -> None:
        asked = []
        conditions = maker.rows.conditions

        def noted(*args: Any) -> Conditions:
            asked.append(conditions(*args))
            return asked[-1]

        monkeypatch.setattr(maker.rows, "conditions", noted)
        layout = {"background": background, "rules": {"building": RULES["building"]}}
        settings = {"task": "segmentation", "classes": ["building"], "layout": layout, "formats": ["masks", "coco"]}
        engine.make(config(**settings), tmp_path)
        made = labels.read(tmp_path / "masks")
        assert made.mask_classes == (background or "background", "building")
        coco = labels.read(tmp_path / "coco")
        assert coco.classes == ("building",) and len(coco) == 5  # those without a building, too
        for image, one in zip(sorted(made.images, key=lambda image: image.id), asked, strict=True):
            mask = labels.read_mask(image)
            assert set(np.unique(mask)) <= {0, 1}  # what is not told is labelled all the same
            assert set(np.unique(one.mask)) <= told and ((one.mask == 1) == (mask == 1)).all()
            assert background in (one.text or "") if background and not one.boxes else True
        assert any((one.mask == 1).any() for one in asked)
        page = (tmp_path / "summary.html").read_text()
        key = page[page.index('class="key"') : page.index('class="pics"')]
        drawn = [base64.b64decode(text) for text in re.findall(r"data:image/png;base64,([^\"]+)", page)]
        seen = set().union(*(set(np.unique(np.asarray(Image.open(io.BytesIO(png))))) for png in drawn))
        assert seen == ({0, 1} if background else {1, 255})  # what is but background does not cover the picture
        assert ("</i>grass<" in key, "</i>background<" in key) == (bool(background), False)

    def test_classification_and_captions(self, config, tmp_path: Path) -> None:
        shared = {"layout": {}, "formats": []}
        engine.make(config(task="classification", classes=["forest", "river"], **shared), tmp_path / "a")
        made = labels.read(tmp_path / "a" / "classification")
        assert {image.label for image in made.images} == {"forest", "river"}
        engine.make(config(task="captions", classes=[], prompts=["a lake"], **shared), tmp_path / "b")
        made = labels.read(tmp_path / "b" / "imagefolder")
        assert {image.caption for image in made.images} == {"a lake"}

    def test_a_canvas_in_tiles(self, config, strict, tmp_path: Path) -> None:
        engine.make(config(count=1, size=120, tiles={"size": 48, "overlap": 8}), tmp_path)
        (row,) = rows_of(tmp_path)
        canvas = Scene.read(tmp_path / row["canvas"]["file"])
        assert canvas.image.shape == (120, 120, 3)
        assert len(row["pictures"]) == 9
        assert {picture["kept"] for picture in row["pictures"]} == {True, False}
        for picture in row["pictures"]:
            x, y, width, height = picture["window"]
            tile = Scene.read(tmp_path / picture["image"]["file"])
            assert (tile.image == canvas.image[y : y + height, x : x + width]).all()
            assert tile.provenance.conditions["window"]["x"] == x
            west, north = canvas.transform @ (x, y)
            assert picture["transform"][2] == pytest.approx(west)
            assert picture["transform"][5] == pytest.approx(north)
        assert len({(picture["lat"], picture["lon"]) for picture in row["pictures"]}) == 9
        asked = {(round(b["cx"], 6), round(b["cy"], 6)) for b in canvas.provenance.conditions["boxes"]}
        whole = {
            (round(s["cx"] + p["window"][0], 6), round(s["cy"] + p["window"][1], 6))
            for p in row["pictures"]
            for s in p["shapes"]
            if s["visible"] == 1
        }
        assert whole
        assert whole <= asked

    def test_layouts_are_learned_from_real_labels(self, config, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        images = []
        for i in range(4):
            path = tmp_path / f"{i}.png"
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
            boxes = [labels.base.Box("storage tank", *rng.uniform(10, 54, 2), 8, 8) for _ in range(6)]
            images.append(LabelledImage(f"{i}", path, 64, 64, shapes=tuple(Shape(box) for box in boxes)))
        labels.export(LabelledSet(images, ("storage tank", "ship")), tmp_path / "real", ["coco"])
        learned = {"real": str(tmp_path / "real" / "coco"), "layout": {}, "filter": {"enabled": False}}
        engine.make(config(classes=["storage tank"], **learned), tmp_path / "out")
        shapes = [s for row in rows_of(tmp_path / "out") for p in row["pictures"] for s in p["shapes"]]
        assert {s["label"] for s in shapes} == {"storage tank"}
        assert np.median([s["width"] for s in shapes if s["visible"] == 1]) == pytest.approx(8, abs=1.5)
        with pytest.raises(ArgumentError, match=r"`classes` must be among those of the real labels.*`storage tank`"):
            engine.make(config(classes=["storagetank"], **learned), tmp_path / "other")
        (tmp_path / "real/coco/images/train/0.png").unlink()
        Image.new("RGB", (64, 64)).save(tmp_path / "real/coco/images/train/0.png")
        with pytest.raises(ArgumentError, match=r"another made_with\.real_sha256"):
            engine.make(config(classes=["storage tank"], **learned), tmp_path / "out")


class TestOutlines:
    """Of real labels are those of the images, their labels and their masks."""

    ELL = np.array([[0, 0], [12, 0], [12, 4], [5, 4], [5, 8], [0, 8]], float)

    @pytest.fixture
    def real(self, tmp_path: Path) -> Path:
        """As COCO, which has horizontal boxes and outlines, of turned houses."""
        rng = np.random.default_rng(0)
        images = []
        for i in range(12):
            path = tmp_path / f"{i}.png"
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
            a = np.radians(20.0 + i)
            turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
            shapes = []
            for x, y in ((14, 10), (42, 10), (14, 40), (42, 40), (28, 26)):
                points = np.round(self.ELL @ turn + (x, y), 3)
                shapes.append(Shape(labels.base.Box.from_xyxy("house", *points.min(0), *points.max(0)), points))
            images.append(LabelledImage(f"{i}", path, 64, 64, shapes=tuple(shapes)))
        return labels.export(LabelledSet(images, ("house",)), tmp_path / "real", ["coco"])["coco"]

    def settings(self, real: Path, **changes: Any) -> dict[str, Any]:
        learned = {"real": str(real), "layout": {}, "filter": {"enabled": False}, "classes": []}
        return {**learned, "formats": ["coco", "yolo-seg", "dota"], **changes}

    def test_detection(self, config, real: Path, tmp_path: Path) -> None:
        engine.make(config(**self.settings(real)), tmp_path / "out")
        coco = labels.read(tmp_path / "out" / "coco")
        segments = labels.read(tmp_path / "out" / "yolo-seg")
        asked = {row["id"]: row["pictures"][0] for row in rows_of(tmp_path / "out")}
        whole = 0
        for image, other in zip(coco.images, segments.images, strict=True):
            scene = Scene.read(tmp_path / "out" / asked[image.id]["image"]["file"])
            told = [one["points"] for one in scene.provenance.conditions["polygons"]]
            for one, shape, again in zip(asked[image.id]["shapes"], image.shapes, other.shapes, strict=True):
                if one["visible"] < 1:
                    continue
                whole += 1
                assert one["polygon"] in told  # the image was asked for exactly what the labels say
                np.testing.assert_allclose(shape.polygon, one["polygon"], atol=1e-9)
                np.testing.assert_allclose(again.polygon, one["polygon"], atol=1e-3)
                x0, x1 = shape.polygon[:, 0].min(), shape.polygon[:, 0].max()
                assert (shape.box.cx, shape.box.width) == pytest.approx(((x0 + x1) / 2, x1 - x0), abs=1e-3)
                corners = labels.base.Box(*(one[n] for n in ("label", "cx", "cy", "width", "height", "angle")))
                assert labels.shapes.area(shape.polygon) / (corners.width * corners.height) == pytest.approx(
                    0.708, abs=0.01
                )
                assert one["angle"] % 90  # as in DOTA, though COCO's boxes are horizontal
        assert whole > 5

    def test_without(self, config, real: Path, tmp_path: Path) -> None:
        engine.make(config(**self.settings(real, layout={"outlines": False})), tmp_path / "out")
        shapes = [s for row in rows_of(tmp_path / "out") for p in row["pictures"] for s in p["shapes"]]
        assert shapes and all(s["polygon"] is None or s["visible"] < 1 for s in shapes)

    def test_segmentation(self, config, real: Path, tmp_path: Path) -> None:
        settings = self.settings(real, task="segmentation", formats=["masks", "coco"])
        engine.make(config(**settings), tmp_path / "out")
        masks = labels.read(tmp_path / "out" / "masks")
        assert masks.mask_classes == ("background", "house")
        coco = {image.id: image for image in labels.read(tmp_path / "out" / "coco").images}
        houses = 0
        for image in masks.images:
            if image.id in coco:  # others show no object
                asked = Conditions(
                    polygons=[labels.shapes.as_polygon(s) for s in coco[image.id].shapes if s.polygon is not None]
                )
                drawn, _ = asked.ground(48, 48)
                there = (labels.read_mask(image) == 1) & (drawn != 0)
                assert there.sum() <= 3  # what min_visible leaves out of the labels
                assert (labels.read_mask(image)[drawn == 0] == 1).all()
                houses += len(coco[image.id].shapes)
        assert houses > 10

    def test_tiles_and_what_is_judged(self, config, real: Path, tmp_path: Path, monkeypatch) -> None:
        seen: list[Conditions] = []

        class Noted:
            def judge(self, images: Any, conditions: Any) -> list[Verdict]:
                seen.extend(conditions)
                return [Verdict(True, {})]

        monkeypatch.setattr(maker, "filter_of", lambda config, store: Noted())
        engine.make(config(**self.settings(real, count=1, size=96, tiles=48)), tmp_path / "out")
        pictures = rows_of(tmp_path / "out")[0]["pictures"]
        assert len(seen) == len(pictures) == 4
        for asked, picture in zip(seen, pictures, strict=True):
            assert asked.boxes is None
            assert [[list(xy) for xy in p.points] for p in asked.polygons] == [s["polygon"] for s in picture["shapes"]]
            scene = Scene.read(tmp_path / "out" / picture["image"]["file"])
            assert "boxes" not in scene.provenance.conditions
            assert len(scene.provenance.conditions["polygons"]) == len(asked.polygons)
        assert any(s["visible"] < 1 for p in pictures for s in p["shapes"])


class TestRefused:
    def test_labels_to_learn_from_without_what_is_asked(self, config, tmp_path: Path) -> None:
        Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
        image = LabelledImage("a", tmp_path / "a.png", 64, 64, shapes=(Shape(labels.base.Box("ship", 20, 20, 9, 9)),))
        labels.export(LabelledSet([image], ("ship", "buoy")), tmp_path / "real", ["coco"])
        learned = {"real": str(tmp_path / "real" / "coco"), "layout": {}, "filter": {"enabled": False}, "count": 1}
        with pytest.warns(UserWarning, match="hold no object of 'buoy', so there is none in the data set"):
            engine.make(config(classes=[], **learned), tmp_path / "out")
        with pytest.raises(ArgumentError, match=r"`real` must hold objects of the classes, .* but got '.*coco'"):
            engine.make(config(classes=["buoy"], **learned), tmp_path / "none")
        with pytest.raises(ArgumentError, match="do without, --no-filter"):  # as there is but one image
            engine.make(config(classes=["ship"], **{**learned, "filter": {}}), tmp_path / "none")
        assert not list(tmp_path.glob("none/[!.]*"))
        assert engine.make(config(classes=["ship"], **learned), tmp_path / "none")["rows"] == 1  # mended
        (tmp_path / "empty").mkdir()
        with pytest.raises(
            ArgumentError, match=r"`real` must be labels whose format can be told, which must be one of"
        ):
            engine.make(config(classes=[], **{**learned, "real": str(tmp_path / "empty")}), tmp_path / "new")

    def test_a_ground_where_masks_tell_it(self, config, tmp_path: Path) -> None:
        Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
        image = LabelledImage("a", tmp_path / "a.png", 64, 64, mask=np.zeros((64, 64), np.uint8))
        labels.export(LabelledSet([image], (), ("land", "sea")), tmp_path / "real", ["masks"])
        learned = {"real": str(tmp_path / "real" / "masks"), "classes": [], "formats": ["masks"]}
        with pytest.raises(ArgumentError, match=r"`layout\.background` must be absent where `real` labels have masks"):
            engine.make(config(task="segmentation", layout={"background": "land"}, **learned), tmp_path / "out")

    def test_a_folder_of_another_data_set(self, config, tmp_path: Path) -> None:
        engine.make(config(count=1), tmp_path)
        before = tree(tmp_path)
        with pytest.raises(ArgumentError, match=r"another configuration \(another seed\): give another folder, delete"):
            engine.make(config(count=1, seed=4), tmp_path)
        with pytest.raises(ArgumentError, match=r"`count` must be at least"):
            engine.make(config(count=3), tmp_path) and engine.make(config(count=2), tmp_path)
        assert set(before) <= set(tree(tmp_path))

    def test_a_folder_of_something_else(self, config, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(OutputError, match="is not empty and holds no data set"):
            engine.make(config(), tmp_path)
        assert tree(tmp_path) == {"thesis.txt": b"mine"}

    def test_two_at_once(self, config, tmp_path: Path) -> None:
        from earthgen.dataset.store import Store

        with Store(tmp_path).locked(), pytest.raises(OutputError, match="another process works"):
            engine.make(config(), tmp_path)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"formats": ["cocoa"]}, r"`formats` must be among .*did you mean `coco`"),
            ({"formats": ["classification"]}, "`formats` is for classification"),
            ({"formats": ["torchgeo"], "conditions": {}}, "`formats` needs `conditions.gsd` and `conditions.regions`"),
            ({"formats": ["masks"]}, "`formats` needs `real` labels with masks"),
            ({"formats": ["dota"], "classes": ["a b", "a-b"], "layout": {}}, "`classes` must stay distinct"),
            ({"device": "nonsense"}, "`device` must be auto, cpu"),
        ],
    )
    def test_before_anything_is_made(self, config, tmp_path: Path, changes: dict, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            engine.make(config(**changes), tmp_path / "out")
        assert tree(tmp_path / "out") == {}

    def test_real_labels_that_are_not_there(self, config, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no '.*none' to read"):
            engine.make(config(real=str(tmp_path / "none")), tmp_path / "out")

    def test_a_broken_manifest(self, config, tmp_path: Path) -> None:
        engine.make(config(count=1), tmp_path)
        (tmp_path / "manifest.jsonl").write_text('{"index": "x"}\n')
        with pytest.raises(DataError, match=r"line 1 of .* is no row"):
            engine.make(config(count=1), tmp_path)


def test_a_full_disk_loses_nothing(config, strict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.make(config(), tmp_path / "whole")
    fsync, calls = os.fsync, 0

    def full(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        engine.make(config(), tmp_path / "out")
    done = len(list((tmp_path / "out/.work/records").rglob("*.json")))
    assert done >= 1
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert engine.make(config(), tmp_path / "out")["rows_made"] == 5 - done
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_ctrl_c_leaves_no_half_file(config, strict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, calls = maker.Maker.make, 0

    def stopped(self: maker.Maker, index: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return make(self, index)

    monkeypatch.setattr(maker.Maker, "make", stopped)
    with pytest.raises(KeyboardInterrupt):
        engine.make(config(), tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
    assert engine.make(config(), tmp_path)["rows_made"] == 3


class TestKilled:
    """SIGKILL, which no process can answer: in forked processes, so that none has to load anything."""

    def run(self, config: Config, folder: Path, *, seconds: float | None = None, operation: int | None = None) -> bool:
        """Make the data set in another process that is killed in time, or at its n-th file operation; True if whole."""
        engine.tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a killed child would keep for ever
        pid = os.fork()
        if pid == 0:
            try:
                if operation is not None:
                    left = operation

                    def count(event: str, arguments: tuple[Any, ...]) -> None:
                        nonlocal left
                        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"):
                            left -= str(folder) in str(arguments[0])
                            if left < 0:
                                os.kill(os.getpid(), signal.SIGKILL)

                    sys.addaudithook(count)
                engine.make(config, folder)
                os._exit(0)
            finally:
                os._exit(1)
        if seconds is not None:
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return not os.WIFSIGNALED(status)

    def until_whole(self, config: Config, folder: Path, moments: Sequence[dict[str, Any]]) -> dict[str, bytes]:
        """The files after kills at these moments and a last run to the end."""
        for moment in moments:
            self.run(config, folder, **moment)
        engine.make(config, folder)
        return tree(folder)

    @pytest.fixture
    def whole(self, config, strict, tmp_path: Path) -> tuple[Config, dict[str, bytes], float]:
        small = config(count=4)
        start = time.perf_counter()
        assert engine.make(small, tmp_path / "whole")["rejected"]
        return small, tree(tmp_path / "whole"), time.perf_counter() - start

    def test_at_some_moments(self, whole, tmp_path: Path) -> None:
        small, want, seconds = whole
        draw = random.Random(0)
        for n in range(3):
            moments = [{"seconds": draw.uniform(0, seconds)}, {"operation": draw.randrange(400)}]
            assert self.until_whole(small, tmp_path / f"{n}", moments) == want

    @pytest.mark.slow
    def test_at_fifty_random_moments(self, whole, tmp_path: Path) -> None:
        small, want, seconds = whole
        draw, killed = random.Random(1), 0
        while killed < 50:  # those that came too late do not count
            killed += not self.run(small, tmp_path / "out", seconds=draw.uniform(0, seconds))
            engine.make(small, tmp_path / "out")
            assert tree(tmp_path / "out") == want
            shutil.rmtree(tmp_path / "out")

    @pytest.mark.slow
    def test_at_file_operations_from_first_to_last(self, whole, tmp_path: Path) -> None:
        small, want, _ = whole
        for operation in range(0, 10_000, 11):
            finished = self.run(small, tmp_path / "out", operation=operation)
            engine.make(small, tmp_path / "out")
            assert tree(tmp_path / "out") == want, f"killed before operation {operation}"
            shutil.rmtree(tmp_path / "out")
            if finished:
                assert operation > 100
                return
        pytest.fail("it never ended")
