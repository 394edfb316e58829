"""A layout as fields: the same wherever the window ends, exact coverage, and how far it reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.layout import BOX_CHANNELS, CELL, CLASS_DIM, MASK_CHANNELS
from earthgen.world.layout import Layout, read_layout
from earthgen.world.painting import REACH, Painted, painted
from earthgen.world.projection import WEB_MERCATOR, transform, world_size
from earthgen.world.pyramid import Window

LEVEL = 8
SIZE = world_size(LEVEL)


class Words:
    """A vector for each name, as good as the model's own."""

    def __getitem__(self, name: str) -> Any:
        return np.random.RandomState(sum(name.encode())).standard_normal(CLASS_DIM).astype(np.float32)


def degrees(row: float, column: float) -> list[float]:
    from earthgen.world.projection import pixel_to_position

    lat, lon = pixel_to_position(LEVEL, row, column)
    return [float(lon), float(lat)]


def feature(label: str, points: list[tuple[float, float]], **more: Any) -> dict[str, Any]:
    """A polygon by (column, row) of the level."""
    ring = [degrees(row, column) for column, row in [*points, points[0]]]
    ring = [[lon + 360 if lon < 0 else lon, lat] for lon, lat in ring]  # in one piece across the antimeridian
    return {
        "type": "Feature",
        "properties": {"class": label, **more},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def square(left: float, top: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]


def layout(*features: dict[str, Any], **more: Any) -> Layout:
    return read_layout({"type": "FeatureCollection", "features": list(features)}, **more)


def paint(what: Layout, window: Window, first: bool = False) -> Painted | None:
    return painted(what, 0, window, Words(), first)  # type: ignore[arg-type]


EDGE = SIZE - 60
MIXED = layout(
    feature("house", square(EDGE + 20, 30000, 31, 17)),
    feature("ship", [(EDGE + 90, 30040), (EDGE + 120, 30060), (EDGE + 112, 30072), (EDGE + 82, 30052)]),
    feature("lake", [(EDGE - 50.3, 30020.2), (EDGE + 40, 30033), (EDGE + 70, 30110), (EDGE - 20, 30090)]),
    feature("wood", square(EDGE - 30, 30060, 60, 60), kind="polygon", text="a dark wood"),
)
WHOLE = Window(LEVEL, 29952, EDGE - 120, 320, 320)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_window_is_the_part_of_any_other(data: st.DataObject) -> None:
    whole = paint(MIXED, WHOLE)
    assert whole is not None
    top, left = (4 * data.draw(st.integers(0, 60)) for _ in range(2))
    height, width = (4 * data.draw(st.integers(1, 80 - n // 4)) for n in (top, left))
    turn = data.draw(st.sampled_from([0, -SIZE, SIZE]))
    part = Window(LEVEL, WHOLE.top + top, WHOLE.left + left + turn, height, width)
    found = paint(MIXED, part)
    rows, columns = slice(top // 4, (top + height) // 4), slice(left // 4, (left + width) // 4)
    for name, value in whole._asdict().items():
        expected = value[..., rows, columns]
        if found is None:
            assert not whole.share[rows, columns].any()
        else:
            assert (getattr(found, name) == expected).all(), name


def test_golden() -> None:
    field = paint(layout(feature("house", square(1000, 2000, 8, 6))), Window(LEVEL, 1984, 984, 32, 32))
    assert field is not None
    cover = field.layout[BOX_CHANNELS.start]
    assert cover[4:6, 4:6].tolist() == [[1, 1], [0.5, 0.5]]
    assert cover.sum() == 3
    assert field.layout[BOX_CHANNELS][-2:, 4, 4].tolist() == [0, 1]  # sine and cosine of its heading
    assert not field.layout[MASK_CHANNELS].any()
    assert field.share[4, 4] == 1
    assert field.share[4, 3] == pytest.approx(1 - 1 / REACH)
    assert (field.free == cover).all()  # no coarser level has heard of a thing of 48 px


def test_an_area_goes_to_the_mask_and_says_its_text() -> None:
    field = paint(
        layout(feature("wood", square(1000, 2000, 8, 8), kind="polygon", text="pines")), Window(LEVEL, 2000, 1000, 8, 8)
    )
    assert field is not None
    assert not field.layout[BOX_CHANNELS].any()
    assert (field.layout[1 : 1 + CLASS_DIM] == Words()["pines"][:, None, None]).all()


@pytest.mark.parametrize(("side", "seen"), [(3.9, False), (4.0, True)])
def test_what_is_smaller_than_a_cell_does_not_count(side: float, seen: bool) -> None:
    what = layout(feature("house", square(1000, 2000, side, side)))
    assert (paint(what, Window(LEVEL, 1984, 984, 32, 32)) is not None) == seen
    assert what.objects[0].level == LEVEL + (not seen)


def test_only_what_is_new_at_a_level_has_colours_of_its_own() -> None:
    large = layout(feature("house", square(1000, 2000, 64, 64)))  # 4 px a side, two levels up
    window = Window(LEVEL, 2000, 1000, 64, 64)
    found, first = paint(large, window), paint(large, window, first=True)
    assert found is not None
    assert first is not None
    assert not found.free.any()
    assert first.free.all()


def test_it_ends_at_its_reach() -> None:
    what = layout(feature("house", square(1000, 2000, 8, 8)))
    near = paint(what, Window(LEVEL, 2000, 1008 + CELL * (REACH - 2), 8, 8))
    assert near is not None
    assert near.share[0].tolist() == pytest.approx([1 / REACH, 0], abs=1e-6)
    assert paint(what, Window(LEVEL, 2000, 1008 + CELL * (REACH - 1), 8, 8)) is None


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.tif"
    values = np.full((64, 64), 255, np.uint8)
    values[:32] = 0
    values[32:, :40] = 1
    profile = {"height": 64, "width": 64, "count": 1, "dtype": "uint8", "crs": WEB_MERCATOR}
    with rasterio.open(path, "w", transform=transform(LEVEL, 2000, 1000), driver="GTiff", **profile) as file:
        file.write(values, 1)
    return path


def test_a_mask_with_an_area_on_it(mask: Path) -> None:
    classes = ["land", "water"]
    what = layout(feature("wood", square(1008, 2016, 16, 32), kind="polygon"), mask=mask, mask_classes=classes)
    whole = Window(LEVEL, 1936, 936, 192, 192)
    found = paint(what, whole)
    assert found is not None
    inner = found.layout[MASK_CHANNELS, 16:32, 16:32]
    vectors = {name: Words()[name] for name in ("land", "water", "wood")}
    assert (inner[1:, 0, 0] == vectors["land"]).all()
    assert (inner[1:, 6, 3] == vectors["wood"]).all()
    assert (inner[1:, 12, 0] == vectors["water"]).all()
    assert inner[0].mean() == pytest.approx((32 * 64 + 32 * 40) / 64**2)
    part = paint(what, Window(LEVEL, 2016, 1020, 40, 24))
    assert part is not None
    assert (part.layout == found.layout[:, 20:30, 21:27]).all()
    assert (part.share == found.share[20:30, 21:27]).all()
    # Four levels up 16 of its pixels make one, and a level above that it does not count.
    assert paint(what, Window(4, 96, 32, 64, 64)) is not None
    assert paint(what, Window(3, 32, 0, 64, 64)) is None
