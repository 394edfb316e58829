import numpy as np
import pytest

from earthgen.errors import ArgumentError
from earthgen.simulate.event_segments import contours, segment, simulate_segments
from earthgen.simulate.events import Plan


def squares() -> np.ndarray:
    image = np.full((80, 80, 3), 70, np.uint8)
    image[10:26, 12:30] = (180, 170, 160)
    image[45:65, 40:70] = (30, 120, 40)
    return image + np.random.default_rng(0).integers(0, 6, image.shape, np.uint8)


def test_segments_follow_what_is_there() -> None:
    found = segment(squares())
    for place in ((slice(13, 23), slice(15, 27)), (slice(48, 62), slice(43, 67)), (slice(30, 42), slice(0, 80))):
        assert np.bincount(found[place].ravel()).max() >= 0.9 * found[place].size
    assert len({found[18, 20], found[55, 55], found[35, 5]}) == 3
    assert (np.unique(found) == np.arange(found.max() + 1)).all()
    assert np.bincount(found.ravel()).min() >= 64
    assert (segment(squares()) == found).all()


def test_a_flat_image_is_one_segment() -> None:
    assert segment(np.full((30, 30, 3), 9, np.uint8)).max() == 0


def test_contours_are_erased_where_asked() -> None:
    found = np.zeros((6, 6), np.int32)
    found[2:4, 2:4] = 1
    lines = contours(found)
    assert lines[1, 2] and lines[2, 1] and lines[3, 3] and not lines[2, 2] and not lines[0].any()
    assert not contours(found, np.ones((6, 6), bool)).any()


def test_segments_that_stand_out_go_and_are_counted() -> None:
    series = simulate_segments(squares(), 3, (1, 5), largest=0.2)
    assert [len(step) for step in series.events] == [1, 1] and series.missing == ({}, {"remove": 4})
    changed = series.changed()
    assert changed[11:25, 13:29].all() and changed[46:64, 41:69].all() and not changed[:, :8].any()
    areas = [event.area for event in series.between(0, 2)]
    assert sum(areas) == changed.sum() and series.sentences()[0].startswith("an object at the")
    again = simulate_segments(squares(), 3, (1, 5), largest=0.2)
    assert all((a == b).all() for a, b in zip(series.scenes, again.scenes, strict=True))


def test_what_does_not_stand_out_stays() -> None:
    assert simulate_segments(squares(), 3, (2,), contrast=250.0).missing == ({"remove": 2},)


TEXTS = ("an industrial area", "a lake")


def test_places_become_what_a_text_says_beside_what_goes() -> None:
    plans: list[Plan] = [{"transition": 2, "remove": 1}, {"remove": 1}]
    series = simulate_segments(squares(), 3, plans, become=TEXTS, largest=0.2)
    assert series.described and series.classes == TEXTS and series.maps is not None and series.missing == ({}, {})
    assert (series.maps[0] == 255).all() and (series.maps[1] == series.maps[2]).all()
    told = series.maps[1] != 255
    turned = [event for event in series.events[0] if event.kind == "transition"]
    assert len(turned) == 2 and {event.label for event in turned} == {"object"}
    assert told.sum() == sum(event.area for event in turned) and (series.changed(0, 1) & told == told).all()
    for event in turned:
        assert event.became in TEXTS and 64 <= event.area <= 0.2 * 6400 and event.before == event.after
        x, y = (int(v) for v in event.after.representative_point().coords[0])  # type: ignore[union-attr]
        assert TEXTS[series.maps[1][y, x]] == event.became
        assert event.sentence(80, 80).startswith("what is at the") and event.sentence(80, 80).endswith(event.became)
    again = simulate_segments(squares(), 3, plans, become=TEXTS, largest=0.2)
    assert all((a == b).all() for a, b in zip(series.scenes, again.scenes, strict=True))
    backwards = series.reversed()
    assert backwards.maps is not None and (backwards.maps[-1] == 255).all()
    assert any(text.endswith("becomes something else") for text in backwards.sentences())


def test_a_number_is_of_transitions_where_places_become_something() -> None:
    series = simulate_segments(np.full((80, 80, 3), 90, np.uint8), 0, (3,), become=TEXTS)
    assert [event.kind for event in series.events[0]] == ["transition"] * 3


def test_a_place_is_a_union_of_small_segments_or_a_part_of_a_large_one() -> None:
    plots = np.arange(400).reshape(20, 20).repeat(4, 0).repeat(4, 1).astype(np.int32)
    series = simulate_segments(squares(), 0, (4,), become=TEXTS, segments=plots, largest=0.2)
    held = np.bincount(plots.ravel(), series.changed().ravel()) / 16
    partly = (held > 0) & (held < 0.9)  # corners may be off
    assert len(series.events[0]) == 4 and partly.sum() <= 4 and (held >= 0.9).sum() > 40  # only a middle may be cut
    series = simulate_segments(squares(), 0, (4,), become=TEXTS, segments=np.zeros_like(plots), largest=0.2)
    assert len(series.events[0]) == 4 and all(64 <= event.area <= 1280 for event in series.events[0])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"image": np.zeros((8, 80, 3), np.uint8)}, "at least 16 px"),
        ({"image": np.zeros((80, 80), np.uint8)}, "image"),
        ({"plans": ()}, "at least"),
        ({"plans": (-1,)}, "whole"),
        ({"plans": ({"add": 1},)}, "no class is known"),
        ({"plans": ({"transition": 1},)}, "`become` must say"),
        ({"become": "a lake"}, "texts"),
        ({"become": ("",)}, "not empty"),
        ({"become": ("a lake", "a lake")}, "each once"),
        ({"segments": np.zeros((3, 3), np.int32)}, "segments"),
    ],
)
def test_wrong_arguments_are_refused(options: dict, word: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ArgumentError, match=word):
        simulate_segments(**({"image": squares(), "seed": 0} | options))
    with pytest.raises(ArgumentError, match="scale"):
        segment(squares(), scale=0)
