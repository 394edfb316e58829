"""A layout that was drawn: objects as boxes, some with an outline of their own, and what they stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import UNKNOWN, Box, Polygon
from earthgen.labels.base import Shape
from earthgen.labels.shapes import as_polygon
from earthgen.simulate.layout_geometry import Floats, row_of
from earthgen.simulate.layout_masks import painted


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What an image of a size is to show."""

    height: int
    width: int
    boxes: tuple[Box, ...]
    mask: NDArray[np.uint8] | None = None
    """(height, width), indices into `mask_classes`, 255 where unknown."""
    mask_classes: tuple[str, ...] = ()
    missing: tuple[tuple[str, int], ...] = ()
    """Class and number of the objects that were asked for and found no room."""
    outlines: tuple[Floats | None, ...] = ()
    """Of each box the outline that fills it, (n, 2) as (x, y) in pixels, None where the object is its box; or empty."""

    def shapes(self) -> list[Shape]:
        """The objects as labels have them."""
        outlines = self.outlines or (None,) * len(self.boxes)
        return [Shape(box, outline) for box, outline in zip(self.boxes, outlines, strict=True)]

    def polygons(self) -> tuple[Polygon, ...]:
        """The objects that have an outline."""
        return tuple(one for shape in self.shapes() if (one := as_polygon(shape)) is not None)

    def on_ground(self, classes: Sequence[str], ground: str | None) -> Layout:
        """The same with a mask of `classes`, where objects are painted in their own class on `ground`, or on unknown.

        Of objects on the same place the smaller lies on top.
        """
        mask = np.full((self.height, self.width), UNKNOWN if ground is None else classes.index(ground), np.uint8)
        shapes = sorted(self.shapes(), key=lambda shape: -shape.box.width * shape.box.height)
        rows, outlines = [row_of(shape.box) for shape in shapes], [shape.polygon for shape in shapes]
        mask = painted(mask, rows, [classes.index(shape.label) for shape in shapes], outlines)
        return replace(self, mask=mask, mask_classes=tuple(classes))
