"""Regions: polygons on the world, each with what is asked of it, blended softly where they end.

GeoJSON (RFC 7946): degrees WGS 84, edges straight in longitude and latitude. A region whose ring crosses the
antimeridian may be cut there, as the standard has it, or go on beyond 180°.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from earthgen.conditions import Conditions
from earthgen.errors import ArgumentError
from earthgen.output.atomic import StrPath
from earthgen.world.projection import HALF_SIDE, MAX_LATITUDE, position_to_mercator

FIELDS = ("prompt", "date", "cloud_cover")
"""Properties of a feature that are conditions; others are ignored."""
SOFTNESS = 16
"""Latents on each side of a region's edge over which it gives way to what is around it."""
_SEGMENT = 0.5
"""Degrees: edges are cut so finely before they are drawn on the mercator map, where they are curves."""


class Region:
    """One polygon or several, and what is asked there."""

    def __init__(self, geometry: Any, conditions: Conditions) -> None:
        self.conditions = conditions
        self._shape = _on_map(geometry)
        self._edge = self._shape.boundary
        shapely.prepare(self._shape)
        shapely.prepare(self._edge)

    def mask(self, rows: NDArray[np.float64], columns: NDArray[np.float64], size: int) -> NDArray[np.float32] | None:
        """How far it rules at positions on a world of `size` latents a side: 0 to 1, (rows, columns); None for nowhere.

        1/2 on its edge, and linear across it over 2 × `SOFTNESS` latents. A function of each position alone.
        """
        x, y = columns / size, rows / size
        reach = SOFTNESS / size
        box = shapely.box(x[0] - reach, y[0] - reach, x[-1] + reach, y[-1] + reach)
        if not self._shape.intersects(box):
            return None
        points_x, points_y = (p.ravel() for p in np.meshgrid(x, y))
        inside = shapely.contains_xy(self._shape, points_x, points_y)
        if self._edge.intersects(box):
            distance = shapely.distance(self._edge, shapely.points(points_x, points_y))
        else:
            distance = np.full(inside.shape, reach)
        signed = np.where(inside, distance, -distance) / (2 * reach)
        mask = np.clip(0.5 + signed, 0, 1).astype(np.float32).reshape(len(y), len(x))
        return mask if mask.any() else None


def read_regions(source: StrPath | Mapping[str, Any]) -> dict[str, Any]:
    """A FeatureCollection as its JSON, from a file or as it is.

    Raises:
        ArgumentError: It cannot be read, or is no JSON object.
    """
    record: Any = source
    if not isinstance(source, Mapping):
        try:
            record = json.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError) as error:
            raise ArgumentError("regions", f"must be a GeoJSON file ({error})", str(source)) from error
    if not isinstance(record, Mapping) or record.get("type") != "FeatureCollection":
        kind = record.get("type") if isinstance(record, Mapping) else record
        raise ArgumentError("regions", "must be a GeoJSON FeatureCollection", kind)
    return dict(record)


def regions_of(collection: Mapping[str, Any], world: Conditions) -> list[Region]:
    """The regions of a FeatureCollection, later ones lying over earlier ones.

    A feature's properties take the place of what is asked of the whole `world`: `prompt` (a sentence), `date`
    (YYYY-MM-DD) and `cloud_cover` (0 to 1), one of them at least.

    Raises:
        ArgumentError: A feature is no polygon or breaks a rule; the message says which.
    """
    features = collection.get("features")
    if not isinstance(features, Sequence) or isinstance(features, str):
        raise ArgumentError("regions", "must have a list of `features`", features)
    return [_region(number, feature, world) for number, feature in enumerate(features)]


def shares(regions: Sequence[Region], rows: range, columns: range, size: int) -> NDArray[np.float32]:
    """How far the world and each region rule over latents of a world of `size` a side, (1 + regions, rows, columns).

    They sum to 1: what later regions leave is for those below them, and what all leave for the world.
    """
    i, j = (np.asarray(r, np.float64) + 0.5 for r in (rows, columns))
    found = np.zeros((1 + len(regions), len(i), len(j)), np.float32)
    left = np.ones(found.shape[1:], np.float32)
    for n in range(len(regions), 0, -1):
        mask = regions[n - 1].mask(i, j, size)
        if mask is not None:
            found[n] = left * mask
            left = left * (1 - mask)
    found[0] = left
    return found


def _region(number: int, feature: Any, world: Conditions) -> Region:
    name = f"regions.features[{number}]"
    properties = feature.get("properties") if isinstance(feature, Mapping) else None
    if not isinstance(properties, Mapping):
        raise ArgumentError(name, "must be a GeoJSON Feature with `properties`", feature)
    asked = {field: properties[field] for field in FIELDS if properties.get(field) is not None}
    if not asked:
        raise ArgumentError(f"{name}.properties", f"must give at least one of {', '.join(FIELDS)}", dict(properties))
    if isinstance(asked.get("date"), str):
        try:
            asked["date"] = dt.date.fromisoformat(asked["date"])
        except ValueError:
            raise ArgumentError(f"{name}.properties.date", "must be a day as YYYY-MM-DD", asked["date"]) from None
    if "prompt" in asked:
        asked["text"] = asked.pop("prompt")
    try:
        conditions = world.replace(**asked)
    except ArgumentError as error:
        raise ArgumentError(f"{name}.properties.{error.argument}", error.rule, error.value) from None
    geometry = feature.get("geometry")
    try:
        shape = shapely.from_geojson(json.dumps(geometry))
    except (shapely.GEOSException, TypeError, ValueError) as error:
        raise ArgumentError(f"{name}.geometry", f"must be a GeoJSON geometry ({error})", geometry) from error
    if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon") or shape.is_empty:
        raise ArgumentError(f"{name}.geometry", "must be a Polygon or MultiPolygon", getattr(shape, "geom_type", None))
    west, south, east, north = shape.bounds
    if not (-540 <= west and east <= 540 and -90 <= south and north <= 90):
        raise ArgumentError(f"{name}.geometry", "must be in degrees, longitude and latitude", shape.bounds)
    try:
        region = Region(shape, conditions)
    except shapely.GEOSException as error:
        raise ArgumentError(f"{name}.geometry", f"must be a valid geometry ({error})", geometry) from error
    return region


def _on_map(geometry: Any) -> Any:
    """A geometry in degrees on the mercator square, whose sides are 1, with its copies a world to the east and west."""
    geometry = shapely.make_valid(shapely.segmentize(geometry, _SEGMENT))

    def projected(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = position_to_mercator(np.clip(points[:, 1], -MAX_LATITUDE, MAX_LATITUDE), points[:, 0])
        return np.stack([(x + HALF_SIDE) / (2 * HALF_SIDE), (HALF_SIDE - y) / (2 * HALF_SIDE)], 1)

    shape = shapely.transform(geometry, projected)
    copies = [shapely.transform(shape, lambda points, n=n: points + np.array([n, 0])) for n in (-1, 0, 1)]
    return shapely.union_all([shapely.make_valid(copy) for copy in copies])
