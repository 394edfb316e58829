"""Change events: what an event records is what the maps show, from a seed alone, at places where things may lie."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from earthgen import Box
from earthgen.conditions import UNKNOWN
from earthgen.errors import ArgumentError
from earthgen.simulate.event_boxes import box_mask, simulate_boxes
from earthgen.simulate.event_editor import places_for
from earthgen.simulate.event_maps import draw_map, simulate_maps
from earthgen.simulate.event_rules import EventRules
from earthgen.simulate.events import KINDS, Event, Series, stream

CLASSES = ("land", "building", "road", "vegetation", "water")
RULES = EventRules(smallest=16)


def town(side: int = 72) -> np.ndarray:
    labels = np.zeros((side, side), np.uint8)
    labels[:, 48:] = 4
    labels[30:34, :48] = 2
    labels[50:, :20] = 3
    for top, left in ((6, 6), (6, 22), (16, 34), (40, 30)):
        labels[top : top + 6, left : left + 8] = 1
    labels[60:64, 40:44] = UNKNOWN
    return labels


def raster(shape: object, side: int = 72) -> np.ndarray:
    return rasterize([shape], (side, side)).astype(bool) if shape is not None else np.zeros((side, side), bool)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**64 - 1), st.sampled_from([dict.fromkeys(KINDS, 2), {"add": 3}, 4]))
def test_events_record_what_the_maps_show(seed: int, plan: object) -> None:
    labels = town()
    series = simulate_maps(labels, CLASSES, seed, [plan, plan], RULES)  # type: ignore[list-item]
    assert (series.maps[0] == town()).all() and (labels == town()).all()
    for k, step in enumerate(series.events):
        old, new = series.maps[k], series.maps[k + 1]
        assert (series.changed(k, k + 1) == (old != new)).all()
        assert not (series.changed(k, k + 1) & (old == UNKNOWN)).any()
        told = np.zeros(old.shape, int)
        for event in step:
            before, after = raster(event.before), raster(event.after)
            place = after if event.kind == "transition" else before ^ after
            told += place
            assert place.sum() == event.area > 0
            assert (old[before] == CLASSES.index(event.label)).all()
            assert (new[after] == CLASSES.index(event.became or event.label)).all()
            if event.ground:
                assert (new[before & ~after] == CLASSES.index(event.ground)).all()
        assert (told == series.changed(k, k + 1)).all()  # each pixel by one event


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_no_building_stands_in_the_sea_or_on_a_road(seed: int) -> None:
    series = simulate_maps(town(), CLASSES, seed, [{"add": 3, "move": 2, "grow": 2}], RULES)
    before, after = series.maps
    assert set(before[(after == 1) & (before != 1)]) <= {0, 3}


def test_a_series_follows_from_labels_and_seed() -> None:
    plans = [{"add": 2, "transition": 1}, 3, {"move": 1}]
    first, again = (simulate_maps(town(), CLASSES, 9, plans, RULES) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first.maps, again.maps, strict=True))
    assert [e.to_dict() for e in first.between(0, 3)] == [e.to_dict() for e in again.between(0, 3)]
    short = simulate_maps(town(), CLASSES, 9, plans[:2], RULES)
    assert (short.maps[2] == first.maps[2]).all()
    assert (simulate_maps(town(), CLASSES, 10, plans, RULES).maps[3] != first.maps[3]).any()


def test_golden_draws() -> None:
    assert stream(7, 1).randint(1000, size=4).tolist() == [518, 240, 716, 196]


def test_more_than_fit_are_as_many_as_fit() -> None:
    series = simulate_maps(town(), CLASSES, 1, [{"add": 500}], RULES)
    added = len(series.events[0])
    assert 3 < added < 500 and series.missing[0] == {"add": 500 - added}
    free = simulate_maps(series.maps[1], CLASSES, 2, [{"add": 1}], RULES)
    assert free.missing[0] == {"add": 1}  # indeed none more


def test_case_and_separators_of_class_names_make_no_difference() -> None:
    words = ("Bare_Land", "BUILDING", "Road", "Low-Vegetation", "Water")
    plain = ("bare land", "building", "road", "low vegetation", "water")
    series, same = (simulate_maps(town(), names, 5, [dict.fromkeys(KINDS, 1), 3], RULES) for names in (words, plain))
    assert (series.maps[2] == same.maps[2]).all() and series.changed().any()
    assert {e.label for e in series.between(0, 2)} <= set(words)
    assert (draw_map(96, 80, words, 4, RULES) == draw_map(96, 80, plain, 4, RULES)).all()
    boxes = [Box("SHIP", 60, 20, 14, 6)]
    ground = {"ground": np.where(town() == 1, 0, town()), "ground_classes": words}
    at_sea = simulate_boxes(boxes, 72, 72, 0, [{"add": 2}], RULES, **ground)
    assert {e.ground for e in at_sea.events[0]} == {"Water"}


def test_no_event_asked_for_is_none_and_no_error() -> None:
    series = simulate_maps(town(), ("a", "b", "c", "d", "e"), 0, [0, {"add": 0}])
    assert not series.changed().any()


def test_classes_that_events_may_change() -> None:
    assert RULES.changing(CLASSES, ["add"]) == {"building", "land", "vegetation"}
    assert RULES.changing(CLASSES, ["any"]) == {"building", "land", "vegetation", "water"}
    assert RULES.changing(CLASSES, []) == RULES.changing(("road", "igloo"), ["any"]) == set()


def test_what_has_no_object_is_said_to_lack_it() -> None:
    empty = np.zeros((40, 40), np.uint8)
    series = simulate_maps(empty, CLASSES, 1, [{"remove": 2, "add": 1}], RULES)
    assert series.missing[0] == {"remove": 2} and [e.kind for e in series.events[0]] == ["add"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 5))
def test_places_are_all_at_which_a_shape_fits(seed: int, rows: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    allowed, shape = random.random((12, 9)) < 0.8, random.random((rows, columns)) < 0.7
    want = [
        y * (9 - columns + 1) + x
        for y in range(12 - rows + 1)
        for x in range(9 - columns + 1)
        if allowed[y : y + rows, x : x + columns][shape].all()
    ]
    assert places_for(shape, allowed).tolist() == want


def test_scenes_tell_a_rebuilt_house_from_the_old_one() -> None:
    rules = EventRules(smallest=16, objects={"building": ("land",)}, transitions={})
    labels = np.zeros((12, 12), np.uint8)
    labels[3:9, 3:9] = 1
    rules = EventRules(smallest=16, largest=0.5, objects={"building": ("land",)}, transitions={}, gap=0)
    series = simulate_maps(labels, ("land", "building"), 3, [{"remove": 1}, {"add": 1}], rules)
    again = series.maps[2] == 1
    assert again.any() and series.changed(0, 2)[again].all() and series.changed(1, 2)[again].all()


def test_every_event_in_words() -> None:
    series = simulate_maps(town(), CLASSES, 3, [dict.fromkeys(KINDS, 1)], RULES)
    words = dict(zip((e.kind for e in series.events[0]), series.sentences(), strict=True))
    assert words["add"].startswith("a new building appears at the") and ", on " in words["add"]
    assert "is gone, leaving" in words["remove"] and " to the " in words["move"] and "becomes" in words["transition"]
    assert Series.of_maps([town(), town()], CLASSES).sentences() == ["nothing changes"]
    here = Event("remove", "object", before=raster_free(4, 4)).sentence(72, 72)
    assert here == "an object at the top left is gone"


def raster_free(x: float, y: float):  # type: ignore[no-untyped-def]
    import shapely

    return shapely.box(x, y, x + 4, y + 4)


def test_events_survive_json() -> None:
    series = simulate_maps(town(), CLASSES, 3, [dict.fromkeys(KINDS, 1)], RULES)
    for event in series.events[0]:
        back = Event.from_dict(json.loads(json.dumps(event.to_dict())))
        assert back.to_dict() == event.to_dict() and back.sentence(72, 72) == event.sentence(72, 72)
    for wrong in ({}, series.events[0][0].to_dict() | {"kind": "explode"}):
        with pytest.raises(ArgumentError, match="event"):
            Event.from_dict(wrong)


def test_reversed_undoes_each_event() -> None:
    series = simulate_maps(town(), CLASSES, 3, [dict.fromkeys(KINDS, 1), 2], RULES)
    back = series.reversed()
    assert (back.maps[0] == series.maps[2]).all() and (back.changed(0, 2) == series.changed(0, 2)).all()
    kinds = [[e.kind for e in step] for step in series.events]
    swap = {"add": "remove", "remove": "add", "grow": "shrink", "shrink": "grow"}
    assert [[e.kind for e in step] for step in back.events] == [[swap.get(k, k) for k in s[::-1]] for s in kinds[::-1]]
    assert [e.to_dict() for e in back.reversed().between(0, 2)] == [e.to_dict() for e in series.between(0, 2)]


def test_given_maps_become_a_series_of_transitions() -> None:
    before, after = town(), town()
    after[6:12, 6:14] = 3
    after[60:64, 40:44] = 0  # was unknown
    series = Series.of_maps([before, after], CLASSES)
    assert series.changed().sum() == 48
    (event,) = series.events[0]
    assert (event.label, event.became, event.area) == ("building", "vegetation", 48)
    assert event.before is not None and event.before.bounds == (6, 6, 14, 12)


BOXES = (Box("building", 14, 12, 10, 6, 20), Box("building", 30, 40, 8, 8), Box("building", 33, 42, 8, 8, 45))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_layouts_and_their_maps_agree(seed: int, grounded: bool) -> None:
    ground = {"ground": np.where(town() == 1, 0, town()), "ground_classes": CLASSES} if grounded else {}
    series = simulate_boxes(BOXES, 72, 72, seed, [3, {"add": 2, "grow": 1}], RULES, **ground)  # type: ignore[arg-type]
    assert series.boxes is not None and series.maps is not None
    for k in range(2):
        assert (series.changed(k, k + 1) == (series.maps[k] != series.maps[k + 1])).all()
        old, new = set(series.boxes[k]), set(series.boxes[k + 1])
        net = sum({"add": 1, "remove": -1}.get(e.kind, 0) for e in series.events[k])
        assert len(series.boxes[k + 1]) - len(series.boxes[k]) == net
        assert len(old - new) == sum(e.kind != "add" for e in series.events[k])
    for labels, boxes in zip(series.maps, series.boxes, strict=True):
        painted = np.logical_or.reduce([box_mask(b, 72, 72) for b in boxes])
        assert (painted == (labels == series.classes.index("building"))).all()
        if grounded:
            assert not (painted & (town() == 4)).any()
    assert BOXES[1] in series.boxes[2] and BOXES[2] in series.boxes[2]  # they overlap, so nobody touches them


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: simulate_maps(np.full((40, 40), 7, np.uint8), CLASSES, 0), "labels.*7"),
        (lambda: simulate_maps(np.zeros((40, 40), int), CLASSES, 0), "uint8"),
        (lambda: simulate_maps(np.zeros((10, 40), np.uint8), CLASSES, 0), "at least 16 px"),
        (lambda: simulate_maps(town(), CLASSES, 0, [{"explode": 1}]), "kinds"),  # type: ignore[dict-item]
        (lambda: simulate_maps(town(), CLASSES, 0, [{"add": -1}]), "whole numbers"),
        (lambda: simulate_maps(town(), CLASSES, 0, []), "plans"),
        (lambda: simulate_maps(town(), CLASSES, -1), "seed"),
        (lambda: simulate_maps(town(), ("a", "b", "c", "d", "e"), 0, [{"transition": 1}]), "transitions"),
        (lambda: simulate_maps(town(), ("a", "b", "c", "d", "e"), 0, [{"add": 1}]), "objects"),
        (
            lambda: simulate_maps(town(), ("a", "b", "c", "d", "e"), 0, [3]),
            "classes.*rules: .*'a'",
        ),
        (lambda: simulate_maps(town(), ("water", "building", "a", "b", "c"), 0, [{"add": 1}]), "may lie on"),
        (lambda: simulate_boxes([Box("road", 9, 9, 9, 9)], 72, 72, 0, [{"transition": 1}]), "transitions"),
        (lambda: EventRules(largest=0), "largest"),
        (lambda: EventRules(transitions={"a": {"a": 1}}), "another class"),
        (lambda: EventRules(transitions={"a": {"b": 0}}), "> 0"),
        (lambda: simulate_boxes([Box("a", 999, 9, 3, 3)], 72, 72, 0), "overlap"),
        (lambda: simulate_boxes([], 72, 70, 0, ground=town(), ground_classes=CLASSES), "ground"),
        (lambda: Series.of_maps([town(), town(64)], CLASSES), "size of the first"),
        (lambda: Series((np.zeros((4, 4), np.uint16),) * 2, dates=(dt.date(2021, 1, 1), dt.date(2020, 1, 1))), "later"),
        (lambda: Series((np.zeros((4, 4), np.uint16),) * 2, events=((), ())), "events"),
    ],
)
def test_wrong_arguments_are_refused(call, word: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=word):
        call()


def test_maps_from_nothing_hold_all_classes_at_places_where_they_may_lie() -> None:
    labels = draw_map(96, 80, CLASSES, 4, RULES)
    assert labels.shape == (96, 80) and set(np.unique(labels)) == {0, 1, 2, 3, 4}
    assert (draw_map(96, 80, CLASSES, 4, RULES) == labels).all() and (
        draw_map(96, 80, CLASSES, 5, RULES) != labels
    ).any()
    assert (draw_map(96, 80, ("land", "water"), 4, RULES) < 2).all()
    with pytest.raises(ArgumentError, match="ground"):
        draw_map(96, 80, ("building", "house"), 4)
