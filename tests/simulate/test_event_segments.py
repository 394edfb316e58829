import numpy as np
import pytest

from earthgen.errors import ArgumentError
from earthgen.simulate.event_segments import contours, segment, simulate_segments


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


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"image": np.zeros((8, 80, 3), np.uint8)}, "at least 16 px"),
        ({"image": np.zeros((80, 80), np.uint8)}, "image"),
        ({"counts": ()}, "at least"),
        ({"counts": (-1,)}, "whole"),
        ({"segments": np.zeros((3, 3), np.int32)}, "segments"),
    ],
)
def test_wrong_arguments_are_refused(options: dict, word: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ArgumentError, match=word):
        simulate_segments(**({"image": squares(), "seed": 0} | options))
    with pytest.raises(ArgumentError, match="scale"):
        segment(squares(), scale=0)
