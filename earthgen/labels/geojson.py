"""GeoJSON outlines over georeferenced images, to be read: each image gets the objects that lie in it.

Coordinates are longitude and latitude (RFC 7946), or of the CRS that an older file's `crs` names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from earthgen.errors import DataError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.labels.pictures import RASTERS
from earthgen.labels.reading import Reading, pictures_in, split_of
from earthgen.labels.shapes import Points

_PROPERTIES = ("label", "class", "class_name", "category", "type_name", "name", "type")
_MIN_PART = 0.2
"""Of its area: an object of which less lies in an image is marked as difficult there."""


class _Feature(NamedTuple):
    label: str
    ring: Points
    """Not closed, in the file's CRS."""
    place: str


def matches(source: Path) -> bool:
    """Whether a file, or the only one of its kind in a folder, is GeoJSON."""
    return _file(source) is not None


def read(source: Path, job: Reading) -> LabelledSet:
    """Read outlines over the GeoTIFF images in the same folder, or in `images`.

    The class is a property (label, class, class_name, category, name …), or else the only one of `classes`. Each part
    of a MultiPolygon is an object; holes are filled. An object across several images is in each; where less than a
    fifth of it lies in one, it is marked as difficult there.
    """
    file = _file(source)
    if file is None:
        raise DataError(f"{source} is no GeoJSON file (.geojson), nor a folder with one")
    record = job.json(file)
    features = list(_features(record, file, job))
    crs = _crs(record, file)
    folder = job.images or (source if source.is_dir() else source.parent)
    projected: dict[str, list[Points]] = {}
    images = []
    for path in pictures_in(folder):
        if path.suffix.lower() not in RASTERS:
            continue
        image = job.image(path, split_of(*path.relative_to(folder).parts[:-1]))
        if image.crs is None:
            job.notes.add("images without a place are left out", str(path))
            continue
        if image.crs not in projected:
            to_image = Transformer.from_crs(crs, CRS.from_user_input(image.crs), always_xy=True)
            projected[image.crs] = [np.column_stack(to_image.transform(*feature.ring.T)) for feature in features]
        images.append(image.replace(shapes=tuple(_shapes(features, projected[image.crs], image, job))))
    return job.finish(images)


def _file(source: Path) -> Path | None:
    if source.is_file():
        return source if source.suffix.lower() == ".geojson" else None
    files = sorted(source.glob("*.geojson"))
    return files[0] if len(files) == 1 else None


def _crs(record: Any, file: Path) -> CRS:
    named = record.get("crs")
    try:
        return CRS.from_user_input(named["properties"]["name"]) if named else CRS.from_user_input("OGC:CRS84")
    except (CRSError, KeyError, TypeError) as error:
        raise DataError(f"{file}: `crs` is none that is known: {named}") from error


def _features(record: Any, file: Path, job: Reading) -> Iterator[_Feature]:
    """Each polygon, those of a MultiPolygon one by one."""
    if not isinstance(record, dict) or not isinstance(record.get("features"), list):
        raise DataError(f"{file} must be a FeatureCollection")
    for k, feature in enumerate(record["features"]):
        place = f"{file}, feature {k}"
        geometry: Any = feature.get("geometry") if isinstance(feature, dict) else None
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if kind not in ("Polygon", "MultiPolygon") or "coordinates" not in geometry:
            job.notes.add("features that are no polygons are left out", f"{place} ({kind})")
            continue
        name = _name(feature.get("properties") or {}, place, job)
        if name is None:
            continue
        parts = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
        for rings in parts:
            if len(rings) > 1:
                job.notes.add("holes are filled", place)
            try:
                ring = np.array([point[:2] for point in rings[0]], np.float64)
            except (TypeError, ValueError, IndexError) as error:
                raise DataError(f"{place}: its coordinates are no rings of numbers") from error
            if ring.ndim != 2 or len(ring) < 4 or not np.isfinite(ring).all():
                raise DataError(f"{place}: a ring needs at least four finite positions")
            yield _Feature(name, ring[:-1], place)


def _name(properties: dict[str, Any], place: str, job: Reading) -> str | None:
    for key in _PROPERTIES:
        if isinstance(properties.get(key), str) and properties[key].strip():
            return job.classes.named(properties[key], place)
    if job.classes.wanted and len(job.classes.wanted) == 1:
        return job.classes.wanted[0]
    raise DataError(f"{place} says no class in any of {_PROPERTIES}: name the one that all are with `classes`")


def _shapes(features: list[_Feature], rings: list[Points], image: LabelledImage, job: Reading) -> Iterator[Shape]:
    """The objects in an image, from rings in its CRS."""
    assert image.transform is not None
    frame = shapely.box(0, 0, image.width, image.height)
    for feature, ring in zip(features, rings, strict=True):
        points = np.column_stack(~image.transform @ tuple(ring.T))
        low, high = points.min(0), points.max(0)
        if not np.isfinite(points).all() or (high <= 0).any() or (low >= (image.width, image.height)).any():
            continue
        whole = shapely.make_valid(shapely.Polygon(points))
        part = whole.intersection(frame).area
        if part > 0:
            hard = part < _MIN_PART * whole.area
            shape = job.outlined(feature.label, (*low, *high), points, image, feature.place, hard, told=False)
            if shape is not None:
                yield shape
