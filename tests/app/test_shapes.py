"""What is drawn, as regions on the map and as boxes and masks on an image."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from earthgen.app import shapes
from earthgen.app.shapes import Shape
from earthgen.app.worlds import parted
from earthgen.conditions import UNKNOWN, Conditions
from earthgen.world.layout import read_layout
from earthgen.world.projection import position_to_pixel
from earthgen.world.regions import regions_of

small = st.floats(1, 40)


@given(x=st.floats(60, 180), y=st.floats(60, 180), width=small, height=small, angle=st.floats(-180, 180))
def test_a_box_on_the_map_is_a_region_of_its_corners(
    x: float, y: float, width: float, height: float, angle: float
) -> None:
    shape = Shape(kind="box", label="sand", x=x, y=y, width=width, height=height, angle=angle)
    assert shape.outline().area == pytest.approx(width * height)
    collection = shapes.to_geojson([shape])
    ring = np.array(collection["features"][0]["geometry"]["coordinates"][0])
    rows, columns = position_to_pixel(0, ring[:, 1], ring[:, 0])
    assert shapely.Polygon(np.stack([columns, rows], 1)).area == pytest.approx(width * height, rel=1e-6)
    assert len(regions_of(collection, Conditions())) == 1


@given(x=st.floats(60, 180), y=st.floats(60, 180), width=small, height=small, angle=st.floats(-180, 180))
def test_a_thing_on_the_map_is_an_object_of_its_class(
    x: float, y: float, width: float, height: float, angle: float
) -> None:
    drawn = Shape(kind="box", label="ship", thing=True, x=x, y=y, width=width, height=height, angle=angle)
    stroke = Shape(kind="brush", label="water", thing=True, points=((60, 60), (90, 80)), radius=3)
    collection = shapes.to_geojson([drawn, stroke])
    ship, water = read_layout(collection).objects
    assert (ship.label, water.label, water.box) == ("ship", "water", None)
    assert ship.box is not None
    assert (ship.box.cx * 256, ship.box.cy * 256) == pytest.approx((x, y), abs=1e-4)
    assert ship.box.width * ship.box.height * 256**2 == pytest.approx(width * height, rel=1e-4)
    regions, layout = parted(collection)
    assert regions["features"] == [] and layout == collection


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=30), st.floats(0.5, 20))
@example([(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1.0, 1.0), (1.0, 0.0)], 1.0)
def test_a_stroke_covers_what_the_brush_touched(points: list[tuple[float, float]], radius: float) -> None:
    outline = Shape(kind="brush", label="x", points=tuple(points), radius=radius).outline()
    line = shapely.LineString(points) if len(points) > 1 else shapely.Point(points[0])
    assert outline.buffer(radius / 2).covers(line)
    # By distance: the buffer of a line that crosses itself may have a hole where it should have none.
    assert all(line.distance(shapely.Point(p)) <= 1.5 * radius + 1e-6 for p in outline.exterior.coords)


def test_shapes_on_an_image_become_boxes_and_a_mask() -> None:
    drawn = [
        Shape(kind="box", label="ship", x=10, y=12, width=8, height=4, angle=30),
        Shape(kind="box", label="far away", x=1000, y=0, width=8, height=4),
        Shape(kind="polygon", label="water", points=((0, 0), (32, 0), (32, 32), (0, 32))),
        Shape(kind="brush", label="sand", points=((16, 16),), radius=4),
        Shape(kind="brush", redo=True, points=((0, 0), (31, 31)), radius=2),
    ]
    (box,) = shapes.boxes(drawn, 32, 32)
    assert (box.label, box.cx, box.angle) == ("ship", 10, 30)
    painted = shapes.mask(drawn, 32, 32)
    assert painted is not None
    mask, classes = painted
    assert classes == ("water", "sand")
    assert mask[16, 16] == 1 and mask[1, 1] == 0 and (mask != UNKNOWN).all()  # the later on top
    anew = shapes.redo(drawn, 32, 32)
    assert anew is not None and anew[16, 16] and not anew[31, 0]
    assert shapes.mask(drawn[:2], 32, 32) is None and shapes.redo(drawn[:4], 32, 32) is None


def test_shapes_without_area_or_name_are_left_out() -> None:
    nothing = [
        Shape(kind="polygon", label="x", points=((0, 0), (1, 1))),
        Shape(kind="polygon", label="x", points=((0, 0), (5, 5), (9, 9))),
        Shape(kind="brush", label="x"),
        Shape(kind="box", label=" \n", x=1, y=1),
    ]
    assert shapes.to_geojson(nothing)["features"] == []


def test_a_polygon_that_crosses_itself_is_mended() -> None:
    bow = Shape(kind="polygon", label="x", points=((0, 0), (10, 10), (10, 0), (0, 10)))
    assert bow.outline().area == pytest.approx(50)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "circle"},
        {"kind": "box", "width": 0},
        {"kind": "box", "width": float("nan")},
        {"kind": "box", "x": float("inf")},
        {"kind": "brush", "points": [[0, 0]] * 2001},
        {"kind": "box", "label": "x" * 201},
    ],
)
def test_broken_shapes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Shape.model_validate(wrong)
