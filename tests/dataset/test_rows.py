"""A row is a function of the configuration and its number alone, and what is drawn has the distribution asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthgen.conditions import Box, Polygon
from earthgen.dataset import rows
from earthgen.dataset.config import Config
from earthgen.simulate.layouts import Layout

CONFIG = Config.from_dict(
    {
        "task": "detection",
        "classes": ["building", "storage tank"],
        "conditions": {
            "gsd": [0.3, 10],
            "regions": [[170, -10, -170, 0], [0, 60, 20, 80]],
            "dates": ["2020-01-01", "2020-01-10"],
            "cloud": [0.2, 0.4],
        },
        "splits": {"train": 0.7, "val": 0.2, "test": 0.1},
        "seed": 5,
    }
)


def layout(*boxes: Box) -> Layout:
    return Layout(64, 64, boxes)


@given(st.integers(0, 10**9))
def test_a_row_lies_in_the_ranges(index: int) -> None:
    row = rows.row(CONFIG, index)
    assert row == rows.row(CONFIG, index)
    assert 0.3 <= row.gsd <= 10
    assert 0.2 <= row.cloud_cover <= 0.4
    assert CONFIG.conditions.dates[0] <= row.date <= CONFIG.conditions.dates[1]
    across = -10 <= row.lat <= 0 and (row.lon >= 170 or row.lon <= -170)
    assert across or (60 <= row.lat <= 80 and 0 <= row.lon <= 20)
    rows.conditions(CONFIG, row, None, 0)  # valid


def test_distributions() -> None:
    drawn = [rows.row(CONFIG, i) for i in range(2000)]
    assert np.median([np.log(row.gsd) for row in drawn]) == pytest.approx(np.log(3**0.5), abs=0.15)
    areas = [20 * (np.sin(np.radians(b)) - np.sin(np.radians(a))) for a, b in ((-10, 0), (60, 80))]
    share = np.mean([row.lat < 0 for row in drawn])
    assert share == pytest.approx(areas[0] / sum(areas), abs=0.04)
    assert len({row.date for row in drawn}) == 10
    splits = Counter(row.split for row in drawn)
    for name, share in CONFIG.splits.items():
        assert splits[name] == pytest.approx(2000 * share, abs=3)


def test_one_range_does_not_shift_another() -> None:
    without = Config.from_dict({**CONFIG.to_dict(), "conditions": {"gsd": [0.3, 10], "regions": []}})
    for i in range(10):
        assert rows.row(without, i).gsd == rows.row(CONFIG, i).gsd
        assert rows.row(without, i).lat is None


def test_more_rows_leave_the_first_as_they_were() -> None:
    more = Config.from_dict({**CONFIG.to_dict(), "count": 10_000})
    assert [rows.row(more, i) for i in range(20)] == [rows.row(CONFIG, i) for i in range(20)]


def test_seeds_are_distinct_and_fit_into_json() -> None:
    seeds = {rows.noise_seed(CONFIG, i, layout, draw) for i in range(50) for layout in range(3) for draw in range(3)}
    assert len(seeds) == 450
    assert max(seeds) < 2**53
    assert len({rows.layout_rng(CONFIG, i, n).random() for i in range(20) for n in range(3)}) == 60


class TestSentence:
    def text(self, layout: Layout | None, **settings: object) -> str | None:
        config = Config.from_dict({"task": "detection", "classes": ["building", "storage tank"], **settings})
        return rows.conditions(config, rows.row(config, 0), layout, 0).text

    def test_what_is_shown_is_named_the_most_frequent_first(self) -> None:
        both = layout(Box("storage tank", 9, 9, 2, 2), Box("building", 9, 9, 2, 2), Box("building", 20, 9, 2, 2))
        assert self.text(both) == "a satellite image of buildings and storage tank"
        assert self.text(both, conditions={"gsd": 0.5}) == "an aerial photo of buildings and storage tank"

    def test_nothing_shown_nothing_said(self) -> None:
        assert self.text(layout()) is None

    def test_prompts_of_the_class_or_of_any(self) -> None:
        prompts = {"building": ["{classes} in a town"], "any": ["a plain"]}
        assert self.text(layout(Box("building", 9, 9, 2, 2)), prompts=prompts) == "buildings in a town"
        assert self.text(layout(Box("storage tank", 9, 9, 2, 2)), prompts=prompts) == "a plain"
        assert self.text(layout(), prompts=prompts) == "a plain"

    def test_variants_are_all_used(self) -> None:
        config = Config.from_dict({"task": "captions", "prompts": ["a lake", "a dam", "a weir"]})
        found = {rows.conditions(config, rows.row(config, i), None, 0).text for i in range(40)}
        assert found == {"a lake", "a dam", "a weir"}

    def test_captions_name_their_classes_in_turn(self) -> None:
        def said(**changes: object) -> list[str | None]:
            config = Config.from_dict({"task": "captions", **changes})
            return [rows.conditions(config, rows.row(config, i), None, 0).text for i in range(4)]

        both = ["forest", "lake"]
        assert said(classes=both, prompts="{classes} in fog") == ["forest in fog", "lake in fog"] * 2
        assert said(prompts={"forest": "a wood", "lake": "{classes} at noon"}) == ["a wood", "lake at noon"] * 2
        assert said(classes=both, prompts={"lake": "a mere"})[1] == "a mere"
        assert said(classes=both) == ["an aerial photo of forest", "a satellite image of lake"] * 2

    def test_sentences_of_what_is_shown_are_not_for_images_that_show_nothing(self) -> None:
        prompts = ["{classes} in a town", "a plain"]
        for index in range(9):
            row = rows.row(CONFIG, index)
            config = CONFIG.from_dict({**CONFIG.to_dict(), "prompts": prompts})
            assert rows.conditions(config, row, layout(), 0).text == "a plain"
        config = CONFIG.from_dict({**CONFIG.to_dict(), "prompts": prompts[:1]})
        assert rows.conditions(config, row, layout(), 0).text is None

    def test_classes_of_whole_images_take_turns(self) -> None:
        config = Config.from_dict({"task": "classification", "classes": ["forest", "river", "Highway"]})
        drawn = [rows.row(config, i) for i in range(9)]
        assert Counter(row.label for row in drawn) == {"forest": 3, "river": 3, "Highway": 3}
        assert rows.conditions(config, drawn[0], None, 0).text == "an aerial photo of forest"


def test_no_boxes_is_said_in_detection_and_left_open_in_segmentation() -> None:
    assert rows.conditions(CONFIG, rows.row(CONFIG, 0), layout(), 0).boxes == ()
    config = Config.from_dict({"task": "segmentation", "classes": ["a", "b"], "layout": {"background": "a"}})
    assert rows.conditions(config, rows.row(config, 0), layout(), 0).boxes is None


def test_of_a_ground_that_nothing_is_said_of_it_is_said_that_it_bears_no_more() -> None:
    config = Config.from_dict({"task": "segmentation", "classes": ["a"], "layout": {"background": "background"}})
    asked = rows.conditions(config, rows.row(config, 0), layout().on_ground(config.mask_classes, None), 0)
    assert asked.boxes == () and asked.text is None and asked.mask is not None and (asked.mask == 255).all()


def test_an_outline_is_asked_for_in_place_of_its_box() -> None:
    ell = np.array([[10, 10], [30, 10], [30, 16], [18, 16], [18, 22], [10, 22]], float)
    shown = layout(Box("building", 20, 16, 20, 12), Box("building", 50, 50, 8, 8))
    asked = rows.conditions(CONFIG, rows.row(CONFIG, 0), replace(shown, outlines=(ell, None)), 0)
    assert asked.boxes == shown.boxes[1:]
    assert asked.polygons == (Polygon("building", tuple(map(tuple, ell))),)
    assert asked.text == "an aerial photo of buildings"
    alone = replace(shown, boxes=shown.boxes[:1], outlines=(ell,))
    assert rows.conditions(CONFIG, rows.row(CONFIG, 0), alone, 0).boxes is None  # () would say that there is nothing
    assert rows.conditions(CONFIG, rows.row(CONFIG, 0), shown, 0).polygons is None
