"""What is drawn on a canvas, boxes, polygons and strokes of a brush with their classes, as what the model takes.

Coordinates are *canvas units*: on the world's map those of web mercator's level 0 (0 to 256, from the north-west), on
an image its pixels. x to the right, y down, angles in degrees clockwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from rasterio.features import rasterize

from earthgen.conditions import UNKNOWN, Box
from earthgen.errors import ArgumentError
from earthgen.world.projection import pixel_to_position

MAX_SHAPES = 200
_BRUSH_CORNERS = 4
"""Segments a quarter of a brush's round end."""

Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Length = Annotated[float, Field(gt=0, le=1e6)]
Point = tuple[Number, Number]


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).strip()


Class = Annotated[str, Field(max_length=200), AfterValidator(_printable), Field(min_length=1)]
"""A class, or a sentence."""


class Shape(BaseModel):
    """One thing drawn. A box has `x`, `y` (its centre), `width`, `height`, `angle`; the others `points`."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: Literal["box", "polygon", "brush"]
    label: Annotated[str, Field(max_length=200), AfterValidator(_printable)] = ""
    """A class, or a sentence. Empty where `redo` says it all."""
    thing: bool = False
    """On the world's map: an object of the class `label`, rather than a region of which that sentence is asked."""
    redo: bool = False
    """Paint anew what lies here (inpainting)."""
    x: Number = 0
    y: Number = 0
    width: Length = 1
    height: Length = 1
    angle: Number = 0
    points: Annotated[tuple[Point, ...], Field(max_length=2000)] = ()
    radius: Length = 1

    def outline(self) -> Any:
        """As a shapely polygon in canvas units; None for too few points."""
        if self.kind == "box":
            return shapely.Polygon(Box("box", self.x, self.y, self.width, self.height, self.angle).corners())
        if self.kind == "polygon":
            shape = shapely.make_valid(shapely.Polygon(self.points)) if len(self.points) > 2 else None
        elif len(self.points) == 1:
            shape = shapely.Point(self.points[0]).buffer(self.radius, quad_segs=_BRUSH_CORNERS)
        else:
            line = shapely.LineString(self.points).simplify(self.radius / 4) if self.points else None
            shape = None if line is None else line.buffer(self.radius, quad_segs=_BRUSH_CORNERS)
        if shape is None:
            return None
        areas = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and part.area > 0]
        return shapely.union_all(areas) if areas else None


Shapes = Annotated[tuple[Shape, ...], Field(max_length=MAX_SHAPES)]


def to_geojson(shapes: Sequence[Shape]) -> dict[str, Any]:
    """Shapes on the world's map as a FeatureCollection: regions with their labels as prompts, things with a class."""
    features = []
    for shape in shapes:
        outline = shape.outline()
        if outline is None or not shape.label:
            continue

        def projected(points: NDArray[np.float64]) -> NDArray[np.float64]:
            lat, _ = pixel_to_position(0, points[:, 1], 0)
            return np.stack([points[:, 0] / 256 * 360 - 180, lat], 1)

        if not (shape.thing and shape.kind == "box"):  # four corners alone say that it is one
            outline = shapely.segmentize(outline, 0.5)
        feature = {
            "type": "Feature",
            "properties": {"class" if shape.thing else "prompt": shape.label},
            "geometry": shapely.geometry.mapping(shapely.transform(outline, projected)),
        }
        features.append(feature)
    return {"type": "FeatureCollection", "features": features}


def boxes(shapes: Sequence[Shape], height: int, width: int) -> tuple[Box, ...]:
    """The boxes among shapes on an image, as objects; those that lie beside it are left out."""
    drawn = [
        Box(s.label, s.x, s.y, s.width, s.height, s.angle) for s in shapes if s.kind == "box" and s.label and not s.redo
    ]
    return tuple(box for box in drawn if box.overlaps(height, width))


def mask(shapes: Sequence[Shape], height: int, width: int) -> tuple[NDArray[np.uint8], tuple[str, ...]] | None:
    """The polygons and strokes on an image as a semantic mask and its classes, later ones on top; None without any."""
    drawn = [(s.outline(), s.label) for s in shapes if s.kind != "box" and s.label and not s.redo]
    drawn = [(outline, label) for outline, label in drawn if outline is not None]
    classes = tuple(dict.fromkeys(label for _, label in drawn))
    if len(classes) > UNKNOWN:
        raise ArgumentError("shapes", f"must be of at most {UNKNOWN} classes", len(classes))
    if not drawn:
        return None
    values = [(outline, classes.index(label)) for outline, label in drawn]
    return rasterize(values, (height, width), fill=UNKNOWN, dtype="uint8"), classes


def redo(shapes: Sequence[Shape], height: int, width: int) -> NDArray[np.bool_] | None:
    """Where an image is to be painted anew; None for nowhere."""
    drawn = [s.outline() for s in shapes if s.redo]
    drawn = [outline for outline in drawn if outline is not None]
    if not drawn:
        return None
    return rasterize([(outline, 1) for outline in drawn], (height, width), fill=0, dtype="uint8").astype(bool)
