"""Labelled images of one's own, as samples to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from earthgen import Box
from earthgen.data.captions import caption
from earthgen.data.labelled import LabelledSamples
from earthgen.errors import ArgumentError
from earthgen.labels import LabelledImage, LabelledSet, Shape

PLACE = Affine(2.0, 0, 500_000, 0, -2.0, 5_000_000)  # 9° E, near 45.15° N


def picture(path: Path, side: int) -> Path:
    pixels = np.random.default_rng(side).integers(0, 255, (side, side, 3), np.uint8)
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", crs="EPSG:32632", transform=PLACE, **profile) as file:
            file.write(np.moveaxis(pixels, 2, 0))
    return path


@pytest.fixture
def own(tmp_path: Path) -> LabelledSet:
    boxes = (Box("storage_tank", 20, 20, 10, 8, 15.0), Box("ship", 40, 40, 9, 9), Box("ship", 50, 12, 9, 9))
    mask = np.zeros((64, 64), np.uint8)
    mask[:16] = 1
    images = [
        LabelledImage("a", picture(tmp_path / "a.png", 64), 64, 64, shapes=tuple(Shape(b) for b in boxes)),
        LabelledImage("b", picture(tmp_path / "b.png", 64), 64, 64, split="test", shapes=()),
        LabelledImage("c", picture(tmp_path / "c.tif", 96), 96, 96, gsd=2.0, crs="EPSG:32632", transform=PLACE),
        LabelledImage("d", picture(tmp_path / "d.png", 64), 64, 64, mask=mask, gsd=30.0),
        LabelledImage("e", picture(tmp_path / "e.png", 64), 64, 64, label="solar_farm", split="val"),
        LabelledImage("f", picture(tmp_path / "f.png", 64), 64, 64, caption="two ships at a pier"),
    ]
    return LabelledSet(images, ("storage_tank", "ship"), ("field", "river"))


def test_all_that_is_known_is_kept_and_test_images_stay_out(own: LabelledSet) -> None:
    samples = LabelledSamples(own, 0.5)
    assert len(samples) == 5 and list(samples.sides) == [64, 96, 64, 64, 64]
    a, c, d, e, f = samples[:]
    assert a.gsd == 0.5 and c.gsd == 2.0 and d.gsd == 30.0
    assert a.boxes is not None and [b.label for b in a.boxes] == ["storage_tank", "ship", "ship"] and c.boxes is None
    assert c.lat == pytest.approx(45.15, abs=0.01) and c.lon == pytest.approx(9.0, abs=0.01) and a.lat is None
    assert d.mask is not None and d.mask_classes == ("field", "river") and not e.mask_classes
    np.testing.assert_array_equal(np.asarray(Image.open(own.images[0].path)), a.image)
    said = [{caption(sample, np.random.default_rng(k)) for k in range(60)} for sample in (a, d, e, f)]
    subjects = "ship and storage tank", "field and a", "solar farm", "two ships"
    for sentences, words in zip(said, subjects, strict=True):
        assert any(words in s for s in sentences), words
    assert "an aerial photo of solar farm" not in said[2] | {"a satellite image of solar farm"}
    assert any(s.startswith("an aerial photo") for s in said[0]) and not any("aerial" in s for s in said[1])


def test_without_images_to_train_on_or_with_a_gsd_that_is_none(own: LabelledSet) -> None:
    with pytest.raises(ArgumentError, match="real"):
        LabelledSamples(own.of_split("test"))
    for gsd in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="gsd"):
            LabelledSamples(own, gsd)
