"""STAC: a catalogue with a catalogue a split and an item an image, its picture, labels and mask as assets.

`labels.geojson` has an object a feature: its outline in WGS 84, null for an image without a place, its class, and
its corners in pixels. Fields of STAC's label and projection extensions say what there is.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pystac
from pyproj import CRS as ProjCRS
from pyproj import Transformer
from pystac.extensions.projection import ProjectionExtension
from rasterio.crs import CRS

from earthgen.geo import footprint
from earthgen.labels.base import LabelledImage, LabelledSet
from earthgen.labels.masks import checked_mask, write_classes
from earthgen.labels.pictures import encoded_mask
from earthgen.labels.shapes import Points
from earthgen.labels.writing import Writing, splits_of, write_json

_LABEL_SCHEMA = "https://stac-extensions.github.io/label/v1.0.1/schema.json"
_MEDIA = {
    ".png": pystac.MediaType.PNG,
    ".jpg": pystac.MediaType.JPEG,
    ".jpeg": pystac.MediaType.JPEG,
    ".tif": pystac.MediaType.GEOTIFF,
    ".tiff": pystac.MediaType.GEOTIFF,
}
_ALWAYS = (dt.datetime(1, 1, 1, tzinfo=dt.timezone.utc), dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.timezone.utc))
"""Of an image whose date is not known: STAC wants an interval, and none is invented."""
_DEGREE_DECIMALS = 7


def write(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write all images."""
    splits = splits_of(images.images)
    items: dict[str, list[str]] = {split: [] for split in splits}
    for image in job.each(images.images, "stac"):
        item = _item(image, images, folder, job)
        _link(item, root="../../catalog.json", parent="../catalog.json")
        write_json(folder / image.split / item.id / f"{item.id}.json", _record(item))
        items[image.split].append(f"./{item.id}/{item.id}.json")
    for split, names in items.items():
        catalog = pystac.Catalog(split, f"Images of the split {split!r}")
        _link(catalog, root="../catalog.json", parent="../catalog.json", item=names)
        write_json(folder / split / "catalog.json", _record(catalog))
    root = pystac.Catalog("labelled-images", "Labelled images")
    _link(root, root="./catalog.json", child=[f"./{split}/catalog.json" for split in splits])
    write_json(folder / "catalog.json", _record(root))
    if images.mask_classes:
        write_classes(images.mask_classes, folder)


def _link(node: pystac.STACObject, **targets: str | list[str]) -> None:
    """Relative links, which no move of the folder breaks."""
    node.clear_links()
    for rel, hrefs in targets.items():
        media_type = pystac.MediaType.GEOJSON if rel == "item" else pystac.MediaType.JSON
        node.add_links([pystac.Link(rel, href, media_type) for href in ([hrefs] if isinstance(hrefs, str) else hrefs)])


def _record(node: pystac.STACObject) -> dict[str, Any]:
    return node.to_dict(include_self_link=False, transform_hrefs=False)


def _item(image: LabelledImage, images: LabelledSet, folder: Path, job: Writing) -> pystac.Item:
    name = job.names[image.id]
    place = folder / image.split / name
    picture = job.picture(image, place, (".png", ".jpg", ".jpeg", ".tif", ".tiff"))
    crs = None if image.crs is None else CRS.from_user_input(image.crs)
    outline = footprint(crs, image.transform, image.height, image.width) if crs and image.transform else None
    start, end = _dates(image)
    item = pystac.Item(
        id=name,
        geometry=outline.geometry if outline else None,
        bbox=list(outline.bbox) if outline else None,
        datetime=start if end is None else None,
        start_datetime=start if end else None,
        end_datetime=end,
        properties={
            **({"description": image.caption} if image.caption else {}),
            **({"gsd": float(image.gsd)} if image.gsd else {}),
            "earthgen:split": image.split,
            **({"earthgen:class": image.label} if image.label else {}),
            **{key if ":" in key else f"earthgen:{key}": value for key, value in image.extra.items()},
        },
    )
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.shape = [image.height, image.width]
    if crs is not None and image.transform is not None:
        epsg = crs.to_epsg()
        projection.code = f"EPSG:{epsg}" if epsg else None
        projection.wkt2 = None if epsg else crs.to_wkt(version="WKT2_2019")
        projection.transform = [float(v) for v in image.transform[:6]]
    _add(item, "image", picture, _MEDIA[Path(picture).suffix], ["data", "visual"])
    if image.shapes is not None:
        write_json(place / "labels.geojson", _features(image, job))
        _add(item, "labels", "labels.geojson", pystac.MediaType.GEOJSON, ["labels", "labels-vector"])
        _describe(item, "vector", "detection", images.classes)
    if image.mask is not None:
        (place / "mask.png").write_bytes(encoded_mask(checked_mask(image, images.mask_classes)))
        _add(item, "mask", "mask.png", pystac.MediaType.PNG, ["labels", "labels-raster"])
        if image.shapes is None:
            _describe(item, "raster", "segmentation", images.mask_classes)
    return item


def _dates(image: LabelledImage) -> tuple[dt.datetime, dt.datetime | None]:
    """The moment, or the start and end of the day or of all time, that an item is of."""
    text = str(image.extra.get("date") or image.extra.get("datetime") or "")
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return _ALWAYS
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    if len(text) > 10:
        return moment, None
    return moment, moment + dt.timedelta(hours=23, minutes=59, seconds=59)


def _add(item: pystac.Item, key: str, name: str, media_type: str, roles: list[str]) -> None:
    item.add_asset(key, pystac.Asset(href=f"./{name}", media_type=media_type, roles=roles))


def _describe(item: pystac.Item, kind: str, task: str, classes: tuple[str, ...]) -> None:
    item.stac_extensions.append(_LABEL_SCHEMA)
    item.properties |= {
        "label:type": kind,
        "label:tasks": [task],
        "label:properties": ["label"] if kind == "vector" else None,
        "label:classes": [{"name": "label" if kind == "vector" else None, "classes": list(classes)}],
        "label:description": "Objects by class" if kind == "vector" else "Class of each pixel, 255 unknown",
    }


def _features(image: LabelledImage, job: Writing) -> dict[str, Any]:
    to_wgs84 = None
    if image.crs is not None:
        to_wgs84 = Transformer.from_crs(ProjCRS.from_user_input(image.crs), "OGC:CRS84", always_xy=True)
    features = []
    for shape, rings in job.visible(image):
        properties = {
            "label": shape.label,
            "corners": np.round(shape.box.corners(), 3).tolist(),
            "difficult": bool(shape.difficult),
        }
        geometry = None
        if to_wgs84 is not None:
            parts = [[_ring(ring, image, to_wgs84)] for ring in rings]
            kind, coordinates = ("Polygon", parts[0]) if len(parts) == 1 else ("MultiPolygon", parts)
            geometry = {"type": kind, "coordinates": coordinates}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def _ring(ring: Points, image: LabelledImage, to_wgs84: Transformer) -> list[list[float]]:
    """A closed ring in degrees, counterclockwise as RFC 7946 has it where the image is north-up."""
    assert image.transform is not None
    x, y = ring.T
    clockwise = x @ np.roll(y, -1) > y @ np.roll(x, -1)  # as seen, y down
    ring = ring[::-1] if clockwise else ring
    lon, lat = to_wgs84.transform(*(image.transform @ tuple(np.concatenate([ring, ring[:1]]).T)))
    return np.round(np.column_stack([lon, lat]), _DEGREE_DECIMALS).tolist()
