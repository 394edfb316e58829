"""The layout generator learns rows, counts, classes and grounds from made settlements, and draws new ones."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image
from rasterio.features import rasterize

from earthgen.conditions import Box, Conditions
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.labels.shapes import polygons
from earthgen.simulate.layout_geometry import filling, footprint, framed, gaps, row_of
from earthgen.simulate.layout_measures import fidelity, novelty
from earthgen.simulate.layouts import ClassRule, Layout, LayoutGenerator

SIDE = 200
MASK_CLASSES = ("house", "grass", "water")


def village(seed: int, masked: bool = False) -> LabelledImage:
    """A row of houses of one heading, 6 px apart, on the grass north of the water; in every other image a tank."""
    rng = np.random.default_rng(seed)
    angle = float(rng.choice([10.0, 30.0]))
    a = np.radians(angle)
    shapes = []
    for k in range(int(rng.integers(3, 6))):
        x, y = 45 + k * 26 * np.cos(a), 20 + k * 26 * np.sin(a)
        shapes.append(Shape(Box("house", float(x), float(y), 20, float(rng.uniform(10, 12)), angle)))
    if seed % 2:
        shapes.append(Shape(Box("tank", 20, 150, 8, 8, 0)))
    mask = np.full((SIDE, SIDE), 1, np.uint8)
    mask[160:] = 2
    for shape in shapes[: len(shapes) - seed % 2]:
        r, c, inner = footprint(row_of(shape.box), SIDE, SIDE)
        mask[r, c][inner] = 0
    return LabelledImage(f"v{seed}", Path("v.png"), SIDE, SIDE, shapes=tuple(shapes), mask=mask if masked else None)


def villages(count: int, masked: bool = False) -> LabelledSet:
    images = [village(k, masked) for k in range(count)]
    return LabelledSet(images, ("car", "house", "tank"), MASK_CLASSES if masked else ())


@pytest.fixture(scope="module")
def generator() -> LayoutGenerator:
    return LayoutGenerator.fit(villages(24))


@pytest.fixture(scope="module")
def masked() -> LayoutGenerator:
    return LayoutGenerator.fit(villages(24, masked=True))


def sampled(generator: LayoutGenerator, seed: int, **asked: object) -> Layout:
    return generator.sample(np.random.default_rng(seed), SIDE, SIDE, **asked)  # type: ignore[arg-type]


def worst_gap(boxes: tuple[Box, ...]) -> float:
    rows = np.array([row_of(box) for box in boxes])
    return min(float(np.delete(gaps(rows[k], rows), k).min()) for k in range(len(rows)))


def test_a_layout_is_a_function_of_the_seed(generator: LayoutGenerator) -> None:
    assert sampled(generator, 3).boxes == sampled(generator, 3).boxes
    assert sampled(generator, 3).boxes != sampled(generator, 4).boxes


def test_statistics_are_kept_and_layouts_are_new(generator: LayoutGenerator) -> None:
    drawn = [sampled(generator, k) for k in range(40)]
    real = [Layout(SIDE, SIDE, tuple(s.box for s in i.shapes or ())) for i in villages(24).images]
    assert all(box.overlaps(SIDE, SIDE) for layout in drawn for box in layout.boxes)
    found = fidelity(drawn, real)
    assert found.size < 0.1
    assert found.aspect < 0.1
    assert found.heading < 8
    assert found.count < 0.25
    assert found.gap < 0.5
    assert found.alignment < 6
    assert found.overlap < 0.03
    assert found.occurrence < 0.15
    assert novelty(drawn, real).nearest > 0.2
    scattered = [
        dataclasses.replace(
            y, boxes=tuple(dataclasses.replace(b, cx=b.cy, angle=b.angle + 7 * k) for k, b in enumerate(y.boxes))
        )
        for y in drawn
    ]
    assert fidelity(scattered, real).alignment > 2 * found.alignment


def test_neighbours_share_a_heading(generator: LayoutGenerator) -> None:
    spreads = []
    for k in range(20):
        angles = np.radians([2 * b.angle for b in sampled(generator, k).boxes if b.label == "house"])
        if len(angles) > 2:
            spreads.append(abs(np.exp(1j * angles).mean()))
    assert np.median(spreads) > 0.95  # headings of 10 and 30 degrees drawn apart would give 0.94


def test_classes_and_counts(generator: LayoutGenerator) -> None:
    assert generator.classes == ("house", "tank")  # no car was seen
    layout = sampled(generator, 1, counts={"house": 7, "tank": 2})
    assert Counter(box.label for box in layout.boxes) == {"house": 7, "tank": 2}
    assert layout.missing == ()
    for k in range(8):
        assert {box.label for box in sampled(generator, k, classes=["tank"]).boxes} == {"tank"}
    assert sampled(generator, 1, counts={}).boxes == ()


def test_what_does_not_fit_is_said(generator: LayoutGenerator) -> None:
    with pytest.warns(UserWarning, match="no room for"):
        layout = sampled(generator, 1, counts={"house": 500})
    assert layout.missing == (("house", 500 - len(layout.boxes)),)
    assert len(layout.boxes) > 60  # a house with its room takes some 26 × 17 of 200 × 200 px
    assert worst_gap(layout.boxes) > 0


def test_a_large_canvas_takes_thousands(generator: LayoutGenerator) -> None:
    layout = generator.sample(np.random.default_rng(0), 4096, 4096, counts={"house": 1200})
    assert len(layout.boxes) == 1200
    assert worst_gap(layout.boxes) > 0
    density = len(generator.sample(np.random.default_rng(0), 1000, 1000).boxes) / 25
    assert 2 < density < 8  # 3 to 6 an image of 200 px


def test_the_smallest_canvas(generator: LayoutGenerator) -> None:
    for seed in range(5):
        generator.sample(np.random.default_rng(seed), 1, 3)


def test_masks_are_respected(masked: LayoutGenerator) -> None:
    mask = np.full((SIDE, SIDE), 0, np.uint8)  # water here, in another order of classes
    mask[:, 100:] = 1
    for seed in range(10):
        layout = sampled(masked, seed, mask=mask, mask_classes=("water", "grass", "house"), counts={"house": 4})
        assert layout.mask is not None
        assert len(layout.boxes) == 4
        assert all(box.corners()[:, 0].min() > 95 for box in layout.boxes)
        painted = np.zeros((SIDE, SIDE), bool)
        for box in layout.boxes:
            r, c, inner = footprint(row_of(box), SIDE, SIDE)
            painted[r, c] |= inner
        np.testing.assert_array_equal(layout.mask == 2, painted)
        np.testing.assert_array_equal(layout.mask[~painted], mask[~painted])
    everywhere = np.zeros((SIDE, SIDE), np.uint8)
    with pytest.warns(UserWarning, match="no room for 2 of 2 house"):
        assert not sampled(masked, 0, mask=everywhere, mask_classes=("water",), counts={"house": 2}).boxes


def test_objects_that_a_mask_shows_become_boxes(masked: LayoutGenerator) -> None:
    mask = np.full((SIDE, SIDE), 1, np.uint8)
    mask[40:60, 50:90] = 0
    layout = sampled(masked, 0, mask=mask, mask_classes=MASK_CLASSES)
    (box,) = (box for box in layout.boxes if box.label == "house")
    assert (box.cx, box.cy, {box.width, box.height}) == (70, 50, {40, 20})
    layout = sampled(masked, 0, mask=mask, mask_classes=MASK_CLASSES, counts={"tank": 3})
    assert len(layout.boxes) == 4
    assert worst_gap(layout.boxes) > 0  # others keep clear of what is shown
    np.testing.assert_array_equal(layout.mask, mask)
    with pytest.raises(ArgumentError, match="counts"):
        sampled(masked, 0, mask=mask, mask_classes=MASK_CLASSES, counts={"house": 2})


@pytest.mark.parametrize("side", [120, 330])
def test_masks_come_with_layouts_and_agree(masked: LayoutGenerator, side: int) -> None:
    seen: set[int] = set()
    for seed in range(4):
        layout = masked.sample(np.random.default_rng(seed), side, side, with_mask=True)
        assert layout.mask is not None
        painted = np.zeros((side, side), bool)
        for box in layout.boxes:
            if box.label == "house":
                r, c, inner = footprint(row_of(box), side, side)
                painted[r, c] |= inner
        np.testing.assert_array_equal(layout.mask == 0, painted)
        Conditions(boxes=layout.boxes, mask=layout.mask, mask_classes=layout.mask_classes).check_size(side, side)
        seen |= set(np.unique(layout.mask).tolist())
    assert seen == {0, 1, 2}


def test_perturbed_layouts(generator: LayoutGenerator) -> None:
    rng = np.random.default_rng
    real = [Layout(SIDE, SIDE, tuple(s.box for s in i.shapes or ())) for i in villages(24).images]
    exact = generator.perturb(rng(1), SIDE, SIDE, strength=0)
    assert any(
        np.allclose(sorted((b.cx, b.cy) for b in exact.boxes), sorted((b.cx, b.cy) for b in y.boxes))
        for y in real
        if len(y.boxes) == len(exact.boxes)
    )
    moved = [generator.perturb(rng(k), SIDE, SIDE, strength=1) for k in range(20)]
    assert fidelity(moved, real).size < 0.15
    assert novelty(moved, real).nearest > novelty([exact, exact], real).nearest == 0


def test_few_labels_become_rules() -> None:
    few = LayoutGenerator.fit(villages(4, masked=True))
    assert few.rules is not None
    rule = few.rules["house"]
    assert rule.length[0] < 20 < rule.length[1]
    assert rule.aspect[0] <= 20 / 11 <= rule.aspect[1]
    assert rule.alignment > 0.9
    assert rule.own == "house"
    assert rule.mask_classes == ("grass",)
    assert few.rules["tank"].presence == 0.5
    layout = few.sample(np.random.default_rng(0), 400, 400, counts={"house": 12})
    sides = np.array([sorted((b.width, b.height)) for b in layout.boxes])
    assert sides.mean(0) == pytest.approx([11, 20], rel=0.15)
    only = LayoutGenerator.fit(LabelledSet([village(0)], ("house",)))
    assert only.sample(np.random.default_rng(0), 300, 300, classes=["house"]).boxes


def test_rules_are_followed() -> None:
    rule = ClassRule(density=400, length=(10, 20), aspect=(2, 3), heading=(30, 0), gap=4, dispersion=0.3)
    generator = LayoutGenerator.from_rules({"ship": rule, "buoy": ClassRule(50, (3, 4), (1, 1), presence=0.5)})
    layouts = [generator.sample(np.random.default_rng(k), 500, 500) for k in range(30)]
    ships = [[b for b in layout.boxes if b.label == "ship"] for layout in layouts]
    boxes = [b for group in ships for b in group]
    assert np.mean([len(s) for s in ships]) == pytest.approx(100, rel=0.3)
    assert np.var([len(s) for s in ships]) > 5 * 100  # 100 + 0.3 × 100² expected
    assert {round(b.angle, 6) for b in boxes} == {30}
    assert np.quantile([b.width for b in boxes], [0.05, 0.95]) == pytest.approx([10, 20], rel=0.1)
    assert np.quantile([b.width / b.height for b in boxes], [0.05, 0.95]) == pytest.approx([2, 3], rel=0.1)
    assert min(worst_gap(layout.boxes) for layout in layouts if len(layout.boxes) > 1) >= 4 - 0.1 * 20
    without = sum(all(b.label == "ship" for b in layout.boxes) for layout in layouts)
    assert 5 < without < 25


def test_rules_cluster_and_align_and_keep_to_the_mask() -> None:
    rule = ClassRule(100, (10, 10), cluster=8, reach=(2, 4), alignment=1.0, mask_classes=("land",), own="house")
    generator = LayoutGenerator.from_rules({"house": rule})
    mask = np.zeros((300, 300), np.uint8)
    mask[:, :150] = 1
    asked = {"mask": mask, "mask_classes": ("sea", "land", "house"), "counts": {"house": 30}}
    layout = generator.sample(np.random.default_rng(0), 300, 300, **asked)  # type: ignore[arg-type]
    assert all(box.cx < 152 for box in layout.boxes)
    assert (layout.mask == 2).any()
    rows = np.array([row_of(box) for box in layout.boxes])
    nearest = [float(np.delete(gaps(row, rows), k).min()) for k, row in enumerate(rows)]
    assert np.median(nearest) < 5


@pytest.mark.parametrize("period", [0, 90, 180, 360])
def test_boxes_are_written_as_the_labels_write_them(period: int) -> None:
    rng = np.random.default_rng(0)

    def written() -> Box:
        x, y = rng.uniform(20, 180, 2).tolist()
        if period == 0:
            return Box("a", x, y, *rng.uniform(4, 12, 2).tolist())
        sides = rng.uniform(4, 12, 2).tolist()
        if period == 180:
            sides.sort(reverse=True)
        low = {90: -45, 180: -90, 360: -180}[period]
        return Box("a", x, y, *sides, float(rng.uniform(low, low + period)))

    images = [
        LabelledImage(str(k), Path("i"), 200, 200, shapes=tuple(Shape(written()) for _ in range(9))) for k in range(12)
    ]
    generator = LayoutGenerator.fit(LabelledSet(images, ("a",)))
    angles, longer = [], []
    for k in range(10):
        for box in sampled(generator, k).boxes:
            angles.append(box.angle)
            longer.append(box.width >= box.height)
    if period == 0:
        assert set(angles) == {0.0}
    else:
        assert np.ptp(angles) > 0.8 * period
        assert np.abs(angles).max() <= period / 2
    assert all(longer) == (period == 180)


@pytest.mark.parametrize("count", [4, 24])
def test_saved_and_loaded(tmp_path: Path, count: int) -> None:
    generator = LayoutGenerator.fit(villages(count, masked=True))
    again = LayoutGenerator.load(generator.save(tmp_path / "layouts.json"))
    for asked in ({}, {"with_mask": True}):
        one, other = sampled(generator, 5, **asked), sampled(again, 5, **asked)
        assert one.boxes == other.boxes
        np.testing.assert_array_equal(one.mask, other.mask)
    rules = LayoutGenerator.from_rules({"ship": ClassRule(density=400, length=(10, 20), mask_classes=("sea",))})
    loaded = LayoutGenerator.load(rules.save(tmp_path / "rules.json"))
    assert loaded.rules == rules.rules
    assert sampled(loaded, 1).boxes == sampled(rules, 1).boxes


@pytest.mark.parametrize(
    "change",
    [
        {"format": "another"},
        {"classes": []},
        {"rules": {"house": {"density": -1, "length": [1, 2]}}},
        {"scenes": []},
        {"scenes": [{"height": 10, "width": 10, "boxes": [[7, 1, 1, 1, 1, 0]]}]},
        {"scenes": [{"height": 10, "width": 10, "boxes": [[0, 1, 1, -1, 1, 0]]}]},
        {"scenes": [{"height": 10, "width": 10, "boxes": [[0, 1, 1, 1, 1, 0]], "mask": "xx"}]},
        {"scenes": [{"height": -10, "width": 10, "boxes": []}]},
        {"scenes": 3},
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, generator: LayoutGenerator, change: dict[str, object]) -> None:
    path = generator.save(tmp_path / "layouts.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=r"layouts\.json"):
        LayoutGenerator.load(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x80\x04")
    for name in ("a", "missing"):
        with pytest.raises(DataError, match=name):
            LayoutGenerator.load(tmp_path / name)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"classes": ["car"]}, "classes"),
        ({"counts": {"car": 1}}, "counts"),
        ({"counts": {"house": -1}}, "counts"),
        ({"counts": {"house": 1.5}}, "counts"),
        ({"mask": np.zeros((3, 3), np.uint8), "mask_classes": ("a",)}, "mask"),
        ({"mask": np.zeros((SIDE, SIDE), np.uint8)}, "mask_classes"),
        ({"mask": np.full((SIDE, SIDE), 9, np.uint8), "mask_classes": ("a",)}, "mask"),
        ({"with_mask": True}, "with_mask"),
    ],
)
def test_bad_questions(generator: LayoutGenerator, asked: dict[str, object], word: str) -> None:
    with pytest.raises(ArgumentError, match=word):
        sampled(generator, 0, **asked)


def test_bad_input(tmp_path: Path, generator: LayoutGenerator) -> None:
    with pytest.raises(ArgumentError, match="height"):
        generator.sample(np.random.default_rng(0), 0, 5)
    with pytest.raises(ArgumentError, match="strength"):
        generator.perturb(np.random.default_rng(0), 9, 9, strength=2)
    with pytest.raises(ArgumentError, match="rules"):
        LayoutGenerator.from_rules({})
    with pytest.raises(ArgumentError, match="ClassRule"):
        LayoutGenerator.from_rules({"a": 3})  # type: ignore[dict-item]
    with pytest.raises(ArgumentError, match="at least one object"):
        LayoutGenerator.fit(LabelledSet([LabelledImage("a", Path("a"), 9, 9)], ("house",)))
    Image.new("L", (5, 5)).save(tmp_path / "m.png")
    image = LabelledImage("a", Path("a"), 9, 9, shapes=(Shape(Box("house", 4, 4, 2, 2)),), mask=tmp_path / "m.png")
    with pytest.raises(DataError, match="must be 9 x 9"):
        LayoutGenerator.fit(LabelledSet([image], ("house",), ("a",)))
    with pytest.raises(ArgumentError, match="indices below 1"):
        LayoutGenerator.fit(LabelledSet([image.replace(mask=np.full((9, 9), 4, np.uint8))], ("house",), ("a",)))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"density": 0}, "density"),
        ({"length": (5, 2)}, "length"),
        ({"length": 5}, "length"),
        ({"aspect": (0.5, 2)}, "aspect"),
        ({"presence": 2}, "presence"),
        ({"cluster": 0.5}, "cluster"),
        ({"heading": 30}, "heading"),
        ({"heading": (0, -1)}, "heading"),
    ],
)
def test_bad_rules(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ArgumentError, match=word):
        ClassRule(**({"density": 1, "length": (1, 2)} | changes))  # type: ignore[arg-type]


def test_an_object_larger_than_the_canvas_and_images_without_objects() -> None:
    images = [LabelledImage(str(k), Path("i"), 50, 50, shapes=()) for k in range(12)]
    images += [LabelledImage("x", Path("i"), 50, 50, shapes=tuple(Shape(Box("a", 25, 25, 40, 30)) for _ in range(60)))]
    generator = LayoutGenerator.fit(LabelledSet(images, ("a",)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = [len(generator.sample(np.random.default_rng(k), 50, 50).boxes) for k in range(60)]
        generator.sample(np.random.default_rng(0), 10, 10)
    assert 40 < counts.count(0) < 60  # twelve of thirteen images are empty


ELL = np.array([[0, 0], [20, 0], [20, 6], [8, 6], [8, 12], [0, 12]], float)
"""An L in a rectangle of 20 × 12 pixels, of which it fills 7 tenths."""


def ells(count: int, masked: bool = False, boxed: bool = True) -> LabelledSet:
    """Three rows of L-shaped houses on grass, every row of a heading of its own, as labels of outlines have them."""
    images = []
    for k in range(count):
        rng = np.random.default_rng(k)
        shapes, mask = [], np.full((SIDE, SIDE), 1, np.uint8)
        for row in range(3):
            a = np.radians(float(rng.uniform(5, 35)))
            turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
            for column in range(4):
                points = ELL * rng.uniform(0.9, 1.1) @ turn + np.array([28.0 * column, 0]) @ turn + (30, 25 + 50 * row)
                (x0, y0), (x1, y1) = points.min(0), points.max(0)
                shapes.append(Shape(Box.from_xyxy("house", x0, y0, x1, y1), points))
                rasterize([(shapely.Polygon(points), 0)], out=mask)
        if boxed:
            shapes.append(Shape(Box("tank", 180, 180, 8, 8)))
        images.append(
            LabelledImage(f"e{k}", Path("e.png"), SIDE, SIDE, shapes=tuple(shapes), mask=mask if masked else None)
        )
    return LabelledSet(images, ("house", "tank") if boxed else ("house",), ("house", "grass") if masked else ())


def is_ell(points: np.ndarray, box: Box) -> None:
    """Raise unless an outline fills its box and is an L in it, mirrored perhaps."""
    assert len(points) == 6
    own = framed(points, box.angle)
    assert (own.min(0), own.max(0)) == (pytest.approx([-1, -1]), pytest.approx([1, 1]))
    np.testing.assert_allclose(filling(row_of(box), own), points, atol=1e-6)
    assert shapely.Polygon(points).area / (box.width * box.height) == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("count", [3, 24])  # by rules estimated from few, or by exemplars
def test_outlines_are_laid_into_new_boxes(count: int) -> None:
    generator = LayoutGenerator.fit(ells(count))
    assert (generator.rules is None) == (count == 24)
    mirrored = set()
    for seed in range(6):
        layout = sampled(generator, seed)
        for shape in layout.shapes():
            if shape.label == "tank":
                assert shape.polygon is None
            else:
                is_ell(shape.polygon, shape.box)
                assert 0.4 * 240 < shape.box.width * shape.box.height < 2.2 * 240
                mirrored.add(shapely.LinearRing(shape.polygon).is_ccw)
        assert [p.label for p in layout.polygons()] == ["house"] * sum(b.label == "house" for b in layout.boxes)
    assert mirrored == {True, False}
    angles = np.array([b.angle for b in sampled(generator, 1).boxes if b.label == "house"])
    assert (angles % 90).all()  # though the labels' boxes are horizontal
    plain = LayoutGenerator.fit(ells(count), outlines=False)
    assert sampled(plain, 1).outlines == sampled(plain, 1).polygons() == ()
    assert not any(box.angle % 90 for box in sampled(plain, 1).boxes)


def test_outlines_of_perturbed_layouts_are_the_labels_own() -> None:
    labelled = ells(24)
    generator = LayoutGenerator.fit(labelled)
    layout = generator.perturb(np.random.default_rng(0), SIDE, SIDE, strength=0)
    real = [{tuple(np.round(s.outline()[0], 3)) for s in image.shapes or ()} for image in labelled.images]
    assert {tuple(s.outline()[0].round(3)) for s in layout.shapes() if s.label == "house"} < max(
        real, key=lambda corners: len(corners & {tuple(o[0]) for o in layout.outlines if o is not None})
    )
    moved = generator.perturb(np.random.default_rng(0), SIDE, SIDE, strength=1)
    for shape in moved.shapes():
        if shape.polygon is not None:
            is_ell(shape.polygon, shape.box)


def test_outlines_are_painted_on_masks() -> None:
    generator = LayoutGenerator.fit(ells(24, masked=True))
    layout = sampled(generator, 2, with_mask=True)
    asked = Conditions(polygons=layout.polygons())
    houses, classes = asked.ground(SIDE, SIDE)
    assert classes == ("house",)
    assert layout.mask_classes == ("house", "grass")
    np.testing.assert_array_equal(layout.mask == 0, houses == 0)
    assert 0 < np.mean(houses == 0) < 0.9 * sum(b.width * b.height for b in layout.boxes) / SIDE**2
    on = sampled(generator, 2).on_ground(("land", "house", "tank"), "land")
    alone = sampled(generator, 2).on_ground(("land", "house", "tank"), None)
    assert on.mask is not None and alone.mask is not None
    assert set(np.unique(on.mask)) == {0, 1, 2} and set(np.unique(alone.mask)) == {1, 2, 255}
    np.testing.assert_array_equal(on.mask == 1, Conditions(polygons=on.polygons()).ground(SIDE, SIDE)[0] == 0)


def test_outlines_end_where_labels_end() -> None:
    """Labels of a set that is cut at the border are, and so is what is drawn after them."""
    images = []
    for image in ells(24, boxed=False).images:
        shapes = []
        for shape in image.shapes or ():
            points = shape.outline() - (32, 25)  # the first of each row reaches out
            rings = polygons(points, SIDE, SIDE)
            if rings:
                (x0, y0), (x1, y1) = rings[0].min(0), rings[0].max(0)
                shapes.append(Shape(Box.from_xyxy("house", x0, y0, x1, y1), rings[0]))
        images.append(image.replace(shapes=tuple(shapes)))
    generator = LayoutGenerator.fit(LabelledSet(images, ("house",)))
    assert generator.convention.clips
    touching = 0
    for seed in range(10):
        for shape in sampled(generator, seed).shapes():
            assert shape.outline().min() >= 0 and shape.outline().max() <= SIDE
            own = framed(shape.outline(), shape.box.angle)
            np.testing.assert_allclose(filling(row_of(shape.box), own), shape.outline(), atol=1e-6)
            touching += shape.outline().min() == 0
    assert touching > 3


def test_outlines_are_saved(tmp_path: Path) -> None:
    for count in (3, 24):
        generator = LayoutGenerator.fit(ells(count))
        again = LayoutGenerator.load(generator.save(tmp_path / "layouts.json"))
        assert sampled(again, 4).polygons() == sampled(generator, 4).polygons() != ()
    record = json.loads((tmp_path / "layouts.json").read_text())
    for outlines in ([None], [[[0, 0], [1, 1], [2, 2]]] * 13, [[[0, 0], [1, None], [2, 2]]] * 13):
        record["scenes"][0]["outlines"] = outlines
        (tmp_path / "layouts.json").write_text(json.dumps(record))
        with pytest.raises(DataError, match=r"layouts\.json"):
            LayoutGenerator.load(tmp_path / "layouts.json")


def test_an_outline_that_crosses_itself_is_its_largest_part() -> None:
    bow = np.array([[0, 0], [30, 20], [30, 0], [10, 10]], float) + 50
    shapes = (Shape(Box.from_xyxy("a", 50, 50, 80, 70), bow), Shape(Box("a", 9, 9, 4, 4), bow[:2].repeat(2, 0)))
    images = [LabelledImage(str(k), Path("i"), SIDE, SIDE, shapes=shapes * 3) for k in range(12)]
    layout = sampled(LayoutGenerator.fit(LabelledSet(images, ("a",))), 0)
    assert layout.polygons()  # valid, or `Polygon` would refuse them
