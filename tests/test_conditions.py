"""What may be asked for: `Conditions`, `Box`, `Guidance`. Every rule, and what the message says when one is broken."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen import Box, Conditions, Guidance, Polygon
from earthgen.conditions import CONDITION_NAMES, GSD_RANGE, MAX_TEXT_LENGTH
from earthgen.errors import ArgumentError

SIDE = 40
PIXELS = st.floats(-1e4, 1e4)
LENGTHS = st.floats(0.01, 1e4)
BOXES = st.builds(Box, st.text(min_size=1).filter(str.strip), PIXELS, PIXELS, LENGTHS, LENGTHS, st.floats(-720, 720))
OPTIONAL = {
    "text": st.text(max_size=MAX_TEXT_LENGTH),
    "gsd": st.floats(*GSD_RANGE) | st.integers(1, 10_000),
    "date": st.dates() | st.datetimes(),
    "cloud_cover": st.floats(0, 1),
    "boxes": st.lists(BOXES, max_size=3),
    "polygons": st.lists(st.builds(Polygon, st.just("lake"), st.just([(0, 0), (9, 1), (4, 7.5)])), max_size=2),
}
SCALARS = st.fixed_dictionaries({}, optional=OPTIONAL)
PLACED = st.fixed_dictionaries({"lat": st.floats(-90, 90), "lon": st.floats(-180, 180)})
PLACES: st.SearchStrategy[dict[str, float]] = st.just({}) | PLACED


def rasters() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "mask": rng.choice(np.array([0, 1, 255], np.uint8), (SIDE, SIDE)),
        "mask_classes": ["water", "forest"],
        "known": rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8),
        "known_mask": rng.random((SIDE, SIDE)) < 0.5,
        "coarse": rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8),
    }


# Conditions


@given(scalars=SCALARS, place=PLACES, some=st.booleans())
@settings(deadline=None)
def test_what_keeps_the_rules_is_kept_and_its_record_is_json(
    scalars: dict[str, Any], place: dict[str, float], some: bool
) -> None:
    arguments = scalars | place | (rasters() if some else {})
    conditions = Conditions(**arguments)
    record = conditions.to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert set(record) == set(arguments) | ({"coarse_degradation"} if some else set())
    present = conditions.present()
    assert tuple(present) == CONDITION_NAMES
    names = {"lat": "position", "cloud_cover": "cloud", "polygons": "mask"}
    given_names = {names.get(n, n) for n in arguments if n != "polygons" or arguments[n]}
    given_names -= {"lon", "mask_classes", "known_mask"}
    if not arguments.get("text", "").strip():
        given_names -= {"text"}
    assert {n for n, here in present.items() if here} == given_names


def test_the_record_says_what_was_asked() -> None:
    box = Box("ship", np.float32(1.5), 2, np.int64(3), 4)  # type: ignore[arg-type]
    arrays = rasters()
    conditions = Conditions(
        text="a harbour",
        gsd=np.float32(0.5),  # type: ignore[arg-type]
        date=dt.datetime(2024, 6, 15, 12, 30),
        boxes=(box,),
        **arrays,
    )
    record = json.loads(json.dumps(conditions.to_dict()))
    assert record["gsd"] == 0.5 and record["date"] == "2024-06-15"
    assert record["boxes"] == [{"label": "ship", "cx": 1.5, "cy": 2, "width": 3, "height": 4, "angle": 0}]
    assert record["mask_classes"] == ["water", "forest"] and record["coarse_degradation"] == 0
    assert record["known"]["shape"] == [SIDE, SIDE, 3] and len(record["known"]["sha256"]) == 64
    other = conditions.replace(known=255 - arrays["known"]).to_dict()
    assert {n for n in other if other[n] != conditions.to_dict()[n]} == {"known"}
    assert Conditions().to_dict() == {}
    assert Conditions(boxes=()).to_dict() == {"boxes": []}


def test_nothing_can_be_changed_afterwards() -> None:
    arrays = rasters()
    conditions = Conditions(text="a river", boxes=[Box("ship", 1, 1, 2, 2)], **arrays)  # type: ignore[arg-type]
    for name in (f.name for f in fields(Conditions)):
        with pytest.raises(FrozenInstanceError):
            setattr(conditions, name, None)
    with pytest.raises((AttributeError, TypeError)):
        conditions.other = 1  # type: ignore[attr-defined]
    for name in ("mask", "known", "known_mask", "coarse"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(conditions, name)[0, 0] = 1
        arrays[name][0, 0] = 1  # the caller's own array stays writable
    assert isinstance(conditions.boxes, tuple) and isinstance(conditions.mask_classes, tuple)
    with pytest.raises(FrozenInstanceError):
        Box("ship", 1, 1, 2, 2).angle = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Guidance().text = 3  # type: ignore[misc]


def test_polygons_lie_on_the_mask_the_later_ones_on_top() -> None:
    lake = Polygon("lake", ((4, 4), (20, 4), (20, 12), (4, 12)))
    pier = Polygon("pier", np.array([[10, 6], [14, 6], [14, 40], [10, 40]]))  # type: ignore[arg-type]
    mask, classes = Conditions(polygons=[lake, pier]).ground(24, 32)  # type: ignore[arg-type]
    assert mask is not None and classes == ("lake", "pier")
    want = np.full((24, 32), 255, np.uint8)
    want[4:12, 4:20] = 0
    want[6:, 10:14] = 1  # what sticks out of the image is cut
    np.testing.assert_array_equal(mask, want)
    field = np.zeros((24, 32), np.uint8)
    asked = Conditions(mask=field, mask_classes=("field", "lake"), polygons=(lake,))
    mask, classes = asked.ground(24, 32)
    assert mask is not None and classes == ("field", "lake") and (mask == 1).sum() == 8 * 16 and not field.any()
    assert Conditions(mask=field, mask_classes=("field",)).ground(24, 32)[0] is not None
    assert Conditions().ground(24, 32) == (None, ())
    small, _ = asked.coarser(24, 32).ground(6, 8)
    assert small is not None and (small == 1).sum() == 2 * 4
    with pytest.raises(ArgumentError, match="`polygons` must overlap the image of 3 x 3"):
        Conditions(polygons=(lake,)).check_size(3, 3)


@pytest.mark.parametrize(
    ("label", "points", "rule"),
    [
        (" ", ((0, 0), (1, 0), (1, 1)), "non-empty string"),
        ("lake", ((0, 0), (1, 0)), "at least three corners"),
        ("lake", ((0, 0), (1, 0), (math.nan, 1)), "finite"),
        ("lake", "abc", "at least three corners"),
        ("lake", 5, "at least three corners"),
        ("lake", ((0, 0), (4, 4), (4, 0), (0, 4)), "not cross"),
        ("lake", ((0, 0), (2, 2), (4, 4)), "enclose an area"),
    ],
)
def test_a_polygon_that_is_none(label: str, points: Any, rule: str) -> None:
    with pytest.raises(ArgumentError, match=rule):
        Polygon(label, points)


def test_replace_keeps_the_rest_and_the_rules() -> None:
    conditions = Conditions(text="a river", gsd=10)
    assert conditions.replace(gsd=20).to_dict() == {"text": "a river", "gsd": 20}
    with pytest.raises(ArgumentError, match="`lat`"):
        conditions.replace(lat=91, lon=0)


ARRAYS = rasters()
NUMBERS = [math.nan, math.inf, "5", True, 1j, np.ones(2)]
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"text": 5}, "text", "must be a string or None, but got 5"),
    ({"text": "x" * (MAX_TEXT_LENGTH + 1)}, "text", r"at most 2000 characters long \(it has 2001\), but got 'xxx"),
    *(({"gsd": x}, "gsd", "must be a number of metres") for x in (0, -1, 0.049, 2e5 + 1, *NUMBERS)),
    *(({"lat": x, "lon": 0}, "lat", "must be degrees north") for x in (91, -90.001, *NUMBERS)),
    *(({"lat": 0, "lon": x}, "lon", "must be degrees east") for x in (181, -180.001, *NUMBERS)),
    ({"lat": 0}, "lon", "must be given together with `lat`, but got None"),
    ({"lon": 0}, "lat", "must be given together with `lon`, but got None"),
    ({"date": "2024-06-15"}, "date", "must be a datetime.date, but got '2024-06-15'"),
    *(({"cloud_cover": x}, "cloud_cover", "must be a fraction") for x in (-0.01, 1.01, *NUMBERS)),
    *(({"coarse_degradation": x}, "coarse_degradation", "must be from 0 to 1") for x in (-0.01, 2, *NUMBERS)),
    ({"boxes": Box("ship", 1, 1, 2, 2)}, "boxes", "must be a sequence of earthgen.Box"),
    ({"boxes": [(1, 1, 2, 2)]}, "boxes", r"must hold earthgen.Box objects, but got \(1, 1, 2, 2\)"),
    ({"polygons": Polygon("lake", ((0, 0), (9, 0), (9, 9)))}, "polygons", "must be a sequence of earthgen.Polygon"),
    ({"polygons": [((0, 0), (9, 0), (9, 9))]}, "polygons", "must hold earthgen.Polygon objects"),
    ({"mask": ARRAYS["mask"].tolist(), "mask_classes": ["a"]}, "mask", r"shape \(height, width\), but got \[\["),
    ({"mask": ARRAYS["known"], "mask_classes": ["a"]}, "mask", r"but got \(dtype\('uint8'\), \(40, 40, 3\)\)"),
    ({"mask": ARRAYS["mask"].astype(int), "mask_classes": ["a"]}, "mask", "uint8 array.*int64"),
    ({"mask": ARRAYS["mask"], "mask_classes": ["a"]}, "mask", r"indices below 1 .*255 for unknown, but got \[1\]"),
    ({"mask": ARRAYS["mask"]}, "mask_classes", r"must name the mask's classes in words, but got \(\)"),
    ({"mask": ARRAYS["mask"], "mask_classes": ["a", " "]}, "mask_classes", "in words"),
    ({"mask": ARRAYS["mask"], "mask_classes": "water"}, "mask_classes", "a sequence of names, but got 'water'"),
    ({"mask": ARRAYS["mask"], "mask_classes": 5}, "mask_classes", "a sequence of names, but got 5"),
    ({"known": ARRAYS["known"]}, "known_mask", "together with its pair"),
    ({"known_mask": ARRAYS["known_mask"]}, "known", "together with its pair"),
    ({"known": ARRAYS["known"][..., 0], "known_mask": ARRAYS["known_mask"]}, "known", "uint8 array of shape"),
    ({"known": ARRAYS["known"] / 255, "known_mask": ARRAYS["known_mask"]}, "known", "uint8 array of shape.*float64"),
    ({"known": ARRAYS["known"], "known_mask": ARRAYS["mask"]}, "known_mask", r"boolean array of shape \(40, 40\)"),
    ({"known": ARRAYS["known"], "known_mask": ARRAYS["known_mask"][1:]}, "known_mask", r"but got .*\(39, 40\)"),
    ({"known": ARRAYS["known"], "known_mask": [[True]]}, "known_mask", r"but got \[\[True\]\]"),
    ({"coarse": ARRAYS["coarse"][:0]}, "coarse", r"but got .*\(0, 10, 3\)"),
]


@pytest.mark.parametrize(("arguments", "name", "message"), BROKEN)
def test_a_broken_rule_names_argument_rule_and_value(arguments: dict[str, Any], name: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^`{name}` .*{message}") as caught:
        Conditions(**arguments)
    assert caught.value.argument == name and isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("height", "width"), [(SIDE, SIDE), (SIDE - 1, SIDE - 3)])
def test_rasters_fit_their_image(height: int, width: int) -> None:
    arrays = {n: a if n in ("mask_classes", "coarse") else a[:height, :width] for n, a in rasters().items()}
    conditions = Conditions(**arrays)
    conditions.check_size(height, width)
    for name in ("mask", "known"):
        with pytest.raises(ArgumentError, match=rf"`{name}` must have the image's size, \(16, 32\)"):
            Conditions(**{n: a for n, a in arrays.items() if n.startswith(name)}).check_size(16, 32)
    with pytest.raises(ArgumentError, match=r"`coarse` must be 1/4 of the image's size, rounded up: \(5, 8\), but got"):
        Conditions(coarse=arrays["coarse"]).check_size(17, 32)


# Boxes


@given(box=BOXES)
@settings(deadline=None)
def test_corners_are_a_rectangle_of_the_boxs_size_around_its_centre(box: Box) -> None:
    corners = box.corners()
    scale = 1e-9 * (1e4 + box.width + box.height)
    assert np.allclose(corners.mean(0), (box.cx, box.cy), atol=scale)
    sides = np.roll(corners, -1, 0) - corners
    assert np.allclose(np.hypot(*sides.T), [box.width, box.height] * 2, atol=scale)
    heading = np.array([math.cos(math.radians(box.angle)), math.sin(math.radians(box.angle))])
    assert np.allclose(sides[0], box.width * heading, atol=scale)
    assert np.allclose(sides[1], box.height * np.array([-heading[1], heading[0]]), atol=scale)  # clockwise, y down


@given(box=BOXES, height=st.integers(8, 200), width=st.integers(8, 200))
@settings(deadline=None)
def test_a_box_overlaps_an_image_where_they_share_a_point(box: Box, height: int, width: int) -> None:
    grid = np.linspace(-0.999, 0.999, 41)
    u, v = np.meshgrid(grid * box.width / 2, grid * box.height / 2)
    c, s = math.cos(math.radians(box.angle)), math.sin(math.radians(box.angle))
    x, y = box.cx + c * u - s * v, box.cy + s * u + c * v
    if ((x > 0) & (x < width) & (y > 0) & (y < height)).any():
        assert box.overlaps(height, width)
    elif box.overlaps(height, width):
        # The grid may miss a small image or a corner's tip; a slightly larger box must then show the shared point.
        corners = box.corners()
        assert corners.min(0)[0] < width and corners.min(0)[1] < height and (corners.max(0) > 0).all()


@pytest.mark.parametrize(
    ("box", "overlaps"),
    [
        (Box("ship", 10, 10, 4, 4), True),
        (Box("ship", -1, 10, 4, 4), True),
        (Box("ship", -2, 10, 4, 4), False),  # they touch
        (Box("ship", 500, 500, 2000, 2000), True),  # the image lies within
        (Box("ship", -6, -6, 30, 2, 45), True),  # points into the image
        (Box("ship", -6, -6, 30, 2, -45), False),  # passes its corner, though the box around it overlaps
    ],
)
def test_overlap(box: Box, overlaps: bool) -> None:
    assert box.overlaps(32, 32) is overlaps
    if overlaps:
        Conditions(boxes=(box,)).check_size(32, 32)
    else:
        with pytest.raises(ArgumentError, match="`boxes` must overlap the image of 32 x 32 pixels, but got Box"):
            Conditions(boxes=(box,)).check_size(32, 32)


@given(x0=st.floats(0, 100), y0=st.floats(0, 100), width=st.floats(1, 100), height=st.floats(1, 100))
@settings(deadline=None)
def test_edges(x0: float, y0: float, width: float, height: float) -> None:
    corners = Box.from_xyxy("ship", x0, y0, x0 + width, y0 + height).corners()
    assert np.allclose([*corners.min(0), *corners.max(0)], [x0, y0, x0 + width, y0 + height])


@pytest.mark.parametrize("name", ["cx", "cy", "width", "height", "angle"])
@pytest.mark.parametrize("value", [*NUMBERS, -math.inf])
def test_numbers_of_a_box_are_finite(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"`box.{name}` must be a finite number"):
        Box("ship", **({"cx": 1, "cy": 1, "width": 2, "height": 2} | {name: value}))


@pytest.mark.parametrize("size", [0, -1])
def test_a_box_has_an_area_and_a_name(size: float) -> None:
    for sides in ((size, 2), (2, size)):
        with pytest.raises(ArgumentError, match=f"must be a finite number > 0, but got {size}"):
            Box("ship", 1, 1, *sides)
    with pytest.raises(ArgumentError, match=r"`box\.width`"):
        Box.from_xyxy("ship", 5, 5, 5 + size, 9)
    for label in ("", "  ", None, 5):
        with pytest.raises(ArgumentError, match=r"`box\.label` must be a non-empty string"):
            Box(label, 1, 1, 2, 2)  # type: ignore[arg-type]


# Guidance


@given(weight=st.floats(0, 50))
@settings(deadline=None)
def test_uniform_guidance_leaves_the_coarser_image_alone(weight: float) -> None:
    guidance = Guidance.uniform(weight)
    weights = {f.name: getattr(guidance, f.name) for f in fields(guidance)}
    assert weights.pop("coarse") == 1 and set(weights.values()) == {weight}
    assert set(weights) == set(CONDITION_NAMES) - {"known", "coarse"}


@pytest.mark.parametrize("name", [f.name for f in fields(Guidance)])
@pytest.mark.parametrize("value", [-0.1, 50.1, *NUMBERS])
def test_guidance_weights_have_a_range(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"`guidance\.{name}` must be a number from 0 to 50"):
        Guidance(**{name: value})


def test_coarser_conditions_show_the_same_ground() -> None:
    mask = np.zeros((10, 9), np.uint8)
    mask[:, 5:] = 1
    known = np.full((10, 9, 3), 40, np.uint8)
    keep = np.ones((10, 9), bool)
    keep[5, 1] = False
    box = Box("house", 4, 4, 4, 2, 45)
    fine = Conditions(gsd=2.5, boxes=(box,), mask=mask, mask_classes=("a", "b"), known=known, known_mask=keep)
    coarse = fine.replace(coarse=np.zeros((3, 3, 3), np.uint8)).coarser(10, 9)
    coarse.check_size(3, 3)
    assert coarse.gsd == 10 and coarse.coarse is None and coarse.boxes == (Box("house", 1, 1, 1, 0.5, 45),)
    assert coarse.mask is not None and coarse.mask.tolist() == [[0, 1, 1]] * 3
    assert coarse.known is not None and (coarse.known == 40).all()
    assert coarse.known_mask is not None and np.argwhere(~coarse.known_mask).tolist() == [[1, 0]]
    assert Conditions(text="a").coarser(8, 8).to_dict() == Conditions(text="a").to_dict()


def test_refinements_take_no_weight_above_one_but_of_the_layout() -> None:
    weights = Guidance(text=7, gsd=0.5, boxes=5, mask=0, date=0).of_refinement()
    assert (weights.text, weights.gsd, weights.boxes, weights.mask, weights.date) == (1, 0.5, 5, 0, 0)
