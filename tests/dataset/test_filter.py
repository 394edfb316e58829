"""The filter learns what real images show, keeps those that show it, and says why it rejects others."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from earthgen.conditions import Box, Conditions, Polygon
from earthgen.dataset.filter import (
    AgreementFilter,
    FilterConfig,
    _parts,
    asked_class,
    false_alarm,
    mask_agreement,
    object_agreements,
)
from earthgen.dataset.filter_evaluator import EvaluatorConfig
from earthgen.dataset.verify_data import box_map
from earthgen.errors import ArgumentError, WeightsError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.metrics.network import FitConfig

FIT = FitConfig(steps=60, batch_size=8, learning_rate=5e-3, average=0.9)
EVALUATOR = EvaluatorConfig(widths=(8, 16, 16, 16), channels=8, window=64, fit=FIT)
CONFIG = FilterConfig(evaluator=EVALUATOR, window=64, side=32, classifier=FIT)
MASK_CLASSES = ("ground", "roof")


def scene(seed, label="town"):
    """Dark ground with two bright roofs, or without any where it is no town: pixels, boxes, mask."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(20, 60, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    boxes = []
    for left in (4, 36) if label == "town" else ():
        x, y = left + generator.integers(0, 6), generator.integers(4, 40)
        pixels[y : y + 16, x : x + 16] = 220
        mask[y : y + 16, x : x + 16] = 1
        boxes.append(Box.from_xyxy("flat roof", x, y, x + 16, y + 16))
    return pixels, tuple(boxes), mask


def labelled(folder, number=12):
    images = []
    for k in range(number):
        label = "town" if k % 2 else "open_land"
        pixels, boxes, mask = scene(k, label)
        path = folder / f"{k}.png"
        Image.fromarray(pixels).save(path)
        shapes = tuple(Shape(box) for box in boxes)
        images.append(LabelledImage(str(k), path, 64, 64, shapes=shapes, mask=mask, label=label))
    return LabelledSet(images, ("flat roof",), MASK_CLASSES)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return labelled(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def fitted(real):
    return AgreementFilter.fit(real, CONFIG)


def asked(boxes, mask, text=None):
    return Conditions(text=text, boxes=boxes, mask=mask, mask_classes=MASK_CLASSES)


def test_what_shows_what_was_asked_is_kept(fitted):
    pixels, boxes, mask = scene(100)
    # The thresholds are what the least clear of three images reached, so another image may miss one by a little.
    limits = {name: limit + (0.05 if name == "false_alarm" else -0.05) for name, limit in fitted.thresholds.items()}
    lenient = AgreementFilter(fitted.evaluator, fitted.classifier, limits)
    [verdict] = lenient.judge([pixels], [asked(boxes, mask, "an aerial photo of a town")])
    assert verdict.kept and verdict.reason is None
    assert set(verdict.scores) == {"class", "objects", "false_alarm", "mask"}
    assert verdict.scores["objects"] > 0.6 and verdict.scores["false_alarm"] < 0.2


def test_what_does_not_is_rejected_with_words_and_numbers(fitted):
    pixels, _, mask = scene(100)
    empty, boxes = scene(101, "open_land")[0], scene(101)[1]
    missing, unasked = fitted.judge(
        [empty, pixels], [asked(boxes, None), Conditions(boxes=(), text="open land seen from above")]
    )
    assert not missing.kept and not unasked.kept
    assert "the objects asked are seen with a probability of" in missing.reason
    assert f"flat roof at ({boxes[0].cx:.0f}, {boxes[0].cy:.0f})" in missing.reason
    assert "where none were asked, objects are seen" in unasked.reason
    assert "the class asked is seen with a probability of" in unasked.reason
    [other] = fitted.judge([pixels], [Conditions(mask=1 - mask, mask_classes=MASK_CLASSES)])
    assert "the mask asked is seen" in other.reason
    json.dumps([missing.scores, missing.reason])


def test_what_is_not_asked_or_not_known_is_not_judged(fitted):
    pixels = scene(100)[0]
    nothing, unknown = fitted.judge(
        [pixels, pixels], [Conditions(text="a lake"), Conditions(boxes=(Box("ship", 50, 55, 8, 8),))]
    )
    assert nothing.kept and nothing.scores == {}
    assert "objects" not in unknown.scores


def test_a_verdict_does_not_depend_on_the_others(fitted):
    pixels, boxes, mask = scene(100)
    other = scene(101)[0]
    together = fitted.judge([other, pixels], [asked((), None), asked(boxes, mask)])[1]
    assert together == fitted.judge([pixels], [asked(boxes, mask)])[0]


def test_thresholds_are_what_real_images_pass(fitted, real):
    assert set(fitted.thresholds) == {"class", "objects", "false_alarm", "mask"}
    held = fitted.about["held_out"]
    assert held["images"] == 4  # a quarter of six, rounded, of each class
    assert held["kept"] > held["kept_against_the_labels_of_another"]
    strict = AgreementFilter(fitted.evaluator, fitted.classifier, {})
    strict._set_thresholds(real.images, MASK_CLASSES, replace(CONFIG, passing=0.05))
    assert strict.thresholds["objects"] > fitted.thresholds["objects"]
    assert strict.about["held_out"]["kept"] < 0.5


def test_the_same_arguments_give_the_same_filter(fitted, real):
    again = AgreementFilter.fit(real, CONFIG)
    assert (again.thresholds, again.about) == (fitted.thresholds, fitted.about)


def test_it_is_saved_and_loaded_whole(fitted, tmp_path):
    fitted.save(tmp_path / "filter")
    assert not [
        p for p in (tmp_path / "filter").rglob("*") if p.is_file() and p.suffix not in (".json", ".safetensors")
    ]
    loaded = AgreementFilter.load(tmp_path / "filter")
    pixels, boxes, mask = scene(100)
    conditions = asked(boxes, mask, "town")
    assert loaded.judge([pixels], [conditions]) == fitted.judge([pixels], [conditions])
    assert (loaded.thresholds, json.dumps(loaded.about)) == (fitted.thresholds, json.dumps(fitted.about))
    lenient = AgreementFilter.load(tmp_path / "filter", objects=0.0)
    assert lenient.thresholds == {**fitted.thresholds, "objects": 0.0}
    with pytest.raises(ArgumentError, match="thresholds"):
        AgreementFilter.load(tmp_path / "filter", sharpness=0.5)


@pytest.mark.parametrize("harm", ["missing", "no JSON", "other kind", "no weights", "cut weights"])
def test_damaged_files_are_refused(fitted, tmp_path, harm):
    fitted.save(tmp_path)
    record, weights = tmp_path / "filter.json", tmp_path / "layout" / "evaluator.safetensors"
    if harm == "missing":
        record.unlink()
    elif harm == "no JSON":
        record.write_text("[]")
    elif harm == "other kind":
        record.write_text(record.read_text().replace("agreement filter", "classifier"))
    elif harm == "no weights":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(WeightsError):
        AgreementFilter.load(tmp_path)


def test_labels_of_one_kind_suffice(real):
    quick = replace(CONFIG, evaluator=replace(EVALUATOR, fit=replace(FIT, steps=1)), classifier=replace(FIT, steps=1))
    boxes = LabelledSet([i.replace(mask=None, label=None) for i in real.images], real.classes)
    assert set(AgreementFilter.fit(boxes, quick).thresholds) == {"objects", "false_alarm"}
    classes = LabelledSet([i.replace(mask=None, shapes=None) for i in real.images])
    judge = AgreementFilter.fit(classes, quick)
    assert judge.evaluator is None and set(judge.thresholds) == {"class"}


def test_sets_that_teach_nothing_are_refused(real):
    with pytest.raises(ArgumentError, match="hold out"):
        AgreementFilter.fit(LabelledSet(real.images[:1], real.classes, MASK_CLASSES), CONFIG)
    bare = LabelledSet([i.replace(mask=None, shapes=None, label=None) for i in real.images])
    with pytest.raises(ArgumentError, match="objects, masks, or images of at least two classes"):
        AgreementFilter.fit(bare, CONFIG)
    with pytest.raises(ArgumentError, match="passing"):
        FilterConfig(passing=1.0)


def test_conditions_must_fit_their_images(fitted):
    pixels, _, mask = scene(100)
    with pytest.raises(ArgumentError, match="one for each"):
        fitted.judge([pixels], [])
    with pytest.raises(ArgumentError, match="mask"):
        fitted.judge([pixels[:32]], [asked(None, mask)])


def test_agreement_is_the_mean_probability_where_it_was_asked():
    seen = np.zeros((2, 8, 8), np.float32)
    seen[0], seen[1, :, :4] = 0.9, 0.5
    [(box, agreement)] = object_agreements(
        seen, [Box.from_xyxy("Big_Roof", 2, 0, 6, 8), Box("tree", 4, 4, 2, 2)], ["big roof"]
    )
    assert box.label == "Big_Roof" and agreement == pytest.approx(0.25)
    assert object_agreements(seen, [Box("big roof", 100, 100, 4, 4)], ["big roof"]) == []
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 1
    mask[0] = 255
    assert mask_agreement(seen, mask, ("b", "other"), ("a", "b")) == pytest.approx(0.5)
    assert mask_agreement(seen, mask, ("c", "d"), ("a", "b")) is None


def test_an_outline_is_judged_by_itself_alone():
    seen = np.zeros((2, 16, 16), np.float32)
    seen[0], seen[1] = 1.0, 0.0
    ell = Polygon("roof", ((0, 0), (16, 0), (16, 4), (4, 4), (4, 16), (0, 16)))
    inside = box_map([ell], 16, 16)
    seen[0][inside], seen[1][inside] = 0.0, 0.8
    assert inside.sum() == 16 * 4 + 12 * 4
    [(_, agreement)] = object_agreements(seen, [ell], ["roof"])
    assert agreement == pytest.approx(0.8)
    seen[0, 8:, 8:] = 0.5  # farther than 4 pixels from the outline, though inside of its box
    assert false_alarm(seen, [ell]) == pytest.approx(0.5)
    assert false_alarm(seen, [Box("roof", 8, 8, 16, 16)]) is None


def test_real_outlines_are_judged_as_those_that_are_asked(tmp_path):
    image = labelled(tmp_path, 2).images[1]
    ell = np.array([[8, 8], [56, 8], [56, 16], [16, 16], [16, 24], [8, 24]], float)
    shapes = (*image.shapes[:1], Shape(Box.from_xyxy("flat roof", 8, 8, 56, 24), ell))
    parts = list(_parts([image.replace(shapes=shapes, mask=None, label=None)], (), 32))
    assert [len(asked.boxes) for _, asked in parts] == [1, 0, 0, 0]
    assert [len(asked.polygons) for _, asked in parts] == [1, 1, 0, 0]
    assert parts[1][1].polygons[0].points == tuple((x - 32, y) for x, y in ell)


def test_false_alarms_leave_a_margin_around_boxes():
    nothing = np.ones((1, 32, 32), np.float32)
    box = Box("roof", 16, 16, 8, 8)
    nothing[0, 8:24, 8:24] = 0.0  # the box and a margin of 4 pixels
    assert false_alarm(nothing, [box]) == 0.0
    assert false_alarm(nothing, []) == pytest.approx(0.25)
    assert false_alarm(nothing, [Box("roof", 16, 16, 64, 64)]) is None


@pytest.mark.parametrize(
    ("text", "classes", "named"),
    [
        ("an aerial photo of a forest", ("forest", "beach"), "forest"),
        ("a sea_lake from above", ("SeaLake", "River"), "SeaLake"),
        ("a satellite image of annual crops", ("AnnualCrop", "Forest"), "AnnualCrop"),
        ("an image of a dense residential area", ("denseresidential", "Residential"), "denseresidential"),
        ("a beach and a forest", ("forest", "beaches"), "forest"),
        ("forests", ("forest",), None),
        ("a river by a tower", ("river", "tower"), None),
        (None, ("forest",), None),
        ("", ("forest",), None),
        ("forest", (), None),
    ],
)
def test_a_text_names_the_class_of_its_longest_words(text, classes, named):
    assert asked_class(text, classes) == named


@given(st.text(max_size=30), st.lists(st.text("abc _-", min_size=1, max_size=6), max_size=4, unique=True))
def test_any_text_names_one_of_the_classes_or_none(text, classes):
    assert asked_class(text, classes) in (None, *classes)
