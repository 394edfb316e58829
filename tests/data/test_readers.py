"""Each reader on a tiny data set in its true layout."""

from __future__ import annotations

import datetime as dt
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from earthgen.data.base import MERCATOR_GSD
from earthgen.data.bluemarble import BlueMarble, place_of, split_of_tile
from earthgen.data.dubai import CLASSES, Dubai
from earthgen.data.mixture import READERS, readers
from earthgen.data.naip import NAIP
from earthgen.data.oam import OAM
from earthgen.data.oscd import GROUND, KINDS, OSCD
from earthgen.data.ucmerced import UCMerced
from earthgen.errors import ArgumentError, DataError

Pixels = NDArray[np.uint8]


# --- Blue Marble


def test_bluemarble_window_straddles_tiles_and_the_antimeridian(bluemarble_root: Path) -> None:
    reader = BlueMarble(bluemarble_root, zooms=(2,))
    world = reader.window(2, 0, 0, 1024, 1024).image
    for x, y, width, height in ((200, 300, 256, 300), (-100, 0, 256, 256), (900, 700, 500, 50), (5, 5, 1, 1)):
        window = reader.window(2, x, y, width, height)
        columns = np.arange(x, x + width) % 1024
        np.testing.assert_array_equal(window.image, world[y : y + height][:, columns])


def test_bluemarble_position_and_gsd(bluemarble_root: Path) -> None:
    sample = BlueMarble(bluemarble_root, zooms=(2,)).window(2, 512 - 128, 0, 256, 256)
    assert sample.lon == 0.0
    assert sample.lat is not None
    assert sample.lat == pytest.approx(79.171335, abs=1e-5)  # centre of the tiles of row 0 at zoom 2
    assert sample.gsd == pytest.approx(MERCATOR_GSD / 4 * math.cos(math.radians(sample.lat)))
    assert sample.projection == "mercator"


def test_bluemarble_items(bluemarble_root: Path) -> None:
    reader = BlueMarble(bluemarble_root, zooms=(0, 1, 2))
    assert len(reader) == 1 + 4 + 16
    sizes = [reader[k].image.shape[0] for k in range(len(reader))]
    assert sizes[0] == 256
    assert sizes.count(512) == 2 + 12  # all but the southernmost row
    assert len(BlueMarble(bluemarble_root, "test", zooms=(0, 1, 2))) == 0


def test_bluemarble_black_line_is_filled(bluemarble_root: Path) -> None:
    reader = BlueMarble(bluemarble_root, "all", zooms=(5,))
    image = reader.window(5, 31 * 256, 12 * 256, 512, 256).image
    assert image[:, 255].min() > 0
    np.testing.assert_array_equal(image[:, 255], image[:, 254])


def test_bluemarble_descendants_share_the_split() -> None:
    for x, y in ((0, 0), (3, 9), (15, 15)):
        split = split_of_tile(4, x, y)
        assert {split_of_tile(7, 8 * x + i, 8 * y + j) for i in range(8) for j in range(8)} == {split}
    assert {split_of_tile(3, x, y) for x in range(8) for y in range(8)} == {"train"}
    assert {split_of_tile(4, x, y) for x in range(16) for y in range(16)} == {"train", "test"}


def test_bluemarble_refuses_what_is_not_there(bluemarble_root: Path) -> None:
    reader = BlueMarble(bluemarble_root)
    with pytest.raises(ArgumentError, match="window"):
        reader.window(2, 0, 1000, 10, 100)
    with pytest.raises(DataError, match="3"):
        BlueMarble(bluemarble_root, zooms=(3,))
    with pytest.raises(IndexError):
        reader[len(reader)]


def test_places_of_pixels() -> None:
    assert place_of(0, 128, 128) == (0.0, 0.0)
    assert place_of(3, 0, 0) == pytest.approx((85.0511288, -180.0))


# --- UC Merced


def test_ucmerced(tmp_path: Path, picture: Callable[[int, int, Path], None]) -> None:
    for number in range(100):
        size = (242, 256) if number == 37 else (256, 256)
        picture(*size, tmp_path / f"ucmerced/river/river{number:02}.jpg")
    train, test, whole = (UCMerced(tmp_path, split) for split in ("train", "test", "all"))
    assert len(train) + len(test) == len(whole) == 100
    assert 0 < len(test) < 50
    tens = [{sample.id[-2] for sample in reader} for reader in (train, test)]
    assert not tens[0] & tens[1]
    assert all(s.image.shape == (256, 256, 3) and s.facts.label == "river" and s.lat is None for s in whole)
    assert whole[37].gsd == pytest.approx(0.3048 * math.sqrt(242 / 256))
    assert whole[-1].id == "river/river99"
    assert [s.id for s in whole[2:4]] == ["river/river02", "river/river03"]


@pytest.fixture
def picture() -> Callable[[int, int, Path], None]:
    from PIL import Image

    def save(height: int, width: int, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), (90, 120, 60)).save(path)

    return save


# --- OSCD


def test_oscd_pixels_become_square_on_the_ground(oscd_root: Path) -> None:
    (first, second) = OSCD(oscd_root, "train")
    assert first.image.shape == (100, 50, 3)  # cos 60 degrees = 1/2
    assert first.gsd == pytest.approx(0.0001 * 111_319.49)
    assert second.image.shape == (98, 49, 3)
    assert (first.date, second.date) == (dt.date(2016, 1, 5), dt.date(2017, 11, 7))
    assert first.lat == pytest.approx(60.0)
    assert first.lon == pytest.approx(2.005)
    assert first.facts.place == "Paris, France"


def test_oscd_says_what_lies_where(oscd_root: Path) -> None:
    for name in ("paris", "bercy"):
        if name != "paris":
            (oscd_root / "oscd/paris").rename(oscd_root / f"oscd/{name}")
        facts = OSCD(oscd_root, "train")[0].facts
        assert sum(box.width * box.height for box in facts.regions) == 100 * 50  # as much as there is of it
    assert [box.label for box in facts.regions] == ["Residential", "Residential"]
    for name, rows in GROUND.items():
        assert set("".join(rows.split())) <= set(KINDS), name
        assert len({len(row) for row in rows.split()}) == 1, name
    assert OSCD(oscd_root, "test")[0].facts.regions == ()


def test_oscd_split_and_labels(oscd_root: Path) -> None:
    train, test = OSCD(oscd_root, "train"), OSCD(oscd_root, "test")
    assert (train.cities, test.cities) == (("paris",), ("rio",))
    label = train.change_label("paris")
    assert label is not None
    assert label.shape == train[0].image.shape[:2]
    assert label[:50].all()
    assert not label[50:].any()
    assert test.change_label("rio") is None
    assert all(sample.mask is None for sample in train)
    with pytest.raises(ArgumentError, match="city"):
        train.picture("rio", "t1")
    (oscd_root / "oscd/paris/dates.txt").write_text("once upon a time")
    with pytest.raises(DataError, match=r"dates\.txt"):
        train.dates("paris")


# --- NAIP


def test_naip_west_trains_and_east_tests(naip_root: Path) -> None:
    train, test, whole = (NAIP(naip_root, split)[0] for split in ("train", "test", "all"))
    assert (train.width, test.width, whole.width) == (400 - 256 - 64, 256, 400)
    np.testing.assert_array_equal(whole.image[:, :80], train.image)
    np.testing.assert_array_equal(whole.image[:, -256:], test.image)
    assert whole.gsd == 5.0
    assert whole.date == dt.date(2010, 6, 29)
    assert whole.lat == pytest.approx(47.01, abs=0.01)
    assert whole.lon == pytest.approx(-99.17, abs=0.01)
    assert train.lon is not None
    assert test.lon is not None
    metres = (test.lon - train.lon) * 111_319.49 * math.cos(math.radians(whole.lat or 0))
    assert metres == pytest.approx((400 - 128 - 40) * 5, rel=0.01)


# --- Dubai


@pytest.mark.parametrize("split", ["train", "test"])
def test_dubai_mask_and_boxes(dubai_root: Path, split: str) -> None:
    (sample,) = Dubai(dubai_root, split)  # type: ignore[arg-type]
    assert sample.mask is not None
    assert sample.mask_classes == CLASSES
    assert sample.id.startswith("tile1" if split == "train" else "tile6")
    assert sample.mask[0, 0] == 255  # black
    assert sample.mask[110, 5] == 255  # unlabelled
    assert (sample.mask[30:60, 40:100] == CLASSES.index("building")).all()
    assert sample.mask[80, 80] == CLASSES.index("water")
    assert sample.boxes is not None
    (box,) = sample.boxes
    assert (box.cx, box.cy, box.width, box.height, box.angle) == pytest.approx((70, 45, 60, 30, 0))
    assert [name for name, _ in sample.facts.mask_fractions] == ["water", "building"]
    assert sample.gsd is None


# --- OpenAerialMap


def test_oam(oam_root: Path) -> None:
    assert len(OAM(oam_root, "train")) == 0
    (sample,) = OAM(oam_root)
    assert sample.boxes is not None
    (box,) = sample.boxes
    assert (box.cx, box.cy, box.width, box.height) == pytest.approx((128, 128, 64, 32), abs=1e-3)
    assert box.angle == pytest.approx(0, abs=1e-3)
    assert sample.gsd == pytest.approx(0.2986, abs=1e-4)
    assert not OAM.may_ship_weights


# --- all


def test_mixture(dubai_root: Path, naip_root: Path) -> None:
    chosen = readers(dubai_root, "train", ["dubai", "naip"])
    assert {name: len(reader) for name, reader in chosen.items()} == {"dubai": 1, "naip": 1}
    assert all(reader.name == name and reader.may_ship_weights for name, reader in READERS.items())
    with pytest.raises(ArgumentError, match="names"):
        readers(dubai_root, "train", ["sentinel"])
    shutil.rmtree(naip_root / "naip")
    with pytest.raises(DataError, match="naip"):
        readers(naip_root, "train", ["naip"])


def test_real_data(real_root: Path) -> None:
    sizes = {split: {n: len(r) for n, r in readers(real_root, split).items()} for split in ("train", "test")}
    assert all(count > 0 for split in sizes.values() for count in split.values())
    for reader in readers(real_root, "test").values():
        sample = reader[0]
        assert sample.source == reader.name
        assert sample.image.std() > 1
