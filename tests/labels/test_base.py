from pathlib import Path

import numpy as np
import pytest

from earthgen import Box
from earthgen.errors import ArgumentError
from earthgen.labels import LabelledImage, LabelledSet, Shape


def image(name: str = "a", **fields: object) -> LabelledImage:
    return LabelledImage(name, Path(f"{name}.png"), 8, 8, **fields)  # type: ignore[arg-type]


def test_the_outline_of_an_object_without_polygon_is_its_box() -> None:
    box = Box("house", 4, 4, 4, 2)
    assert np.allclose(Shape(box).outline(), [[2, 3], [6, 3], [6, 5], [2, 5]])
    triangle = np.array([[0, 0], [4, 0], [0, 4]], float)
    assert Shape(box, triangle).outline() is triangle


def test_of_split_keeps_the_classes() -> None:
    both = LabelledSet([image("a"), image("b", split="val")], ("house",))
    assert [i.id for i in both.of_split("val").images] == ["b"]
    assert both.of_split("val").classes == ("house",)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda: image("folder/a"), "id"),
        (lambda: image(split="training"), "split"),
        (lambda: image(mask=np.zeros((4, 4), np.uint8)), "mask"),
        (lambda: image(crs="EPSG:32632"), "crs"),
        (lambda: Shape(Box("house", 4, 4, 4, 2), np.zeros((2, 2))), "polygon"),
        (lambda: LabelledSet([image(), image()]), "distinct ids"),
        (lambda: LabelledSet([], ("house", "house")), "classes"),
        (lambda: LabelledSet([image(shapes=(Shape(Box("tree", 4, 4, 4, 2)),))], ("house",)), "tree"),
    ],
)
def test_wrong_records_are_refused(wrong, word) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=word):
        wrong()
