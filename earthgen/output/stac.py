"""Scenes as STAC 1.1 items, with the extensions projection, processing and file.

STAC has no word for "synthetic", so the mark stands in `description` and `keywords`, IPTC's term and the whole
provenance in `earthgen:` properties, which every STAC reader keeps. A scene without a place has a null geometry.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension

from earthgen.output.atomic import StrPath, write_text
from earthgen.output.provenance import SYNTHETIC_MARK

if TYPE_CHECKING:
    from earthgen.output.scene import Scene

_PROCESSING_SCHEMA = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
_SHA256_MULTIHASH = "1220"
"""Multihash prefix: function 0x12 (SHA-256), 0x20 bytes of digest."""
_BANDS = [{"name": name} for name in ("red", "green", "blue")]
_ASSET_KINDS: dict[str, tuple[str, str, list[str]]] = {
    ".tif": (pystac.MediaType.COG, "Image, cloud-optimised GeoTIFF", ["data", "visual"]),
    ".tiff": (pystac.MediaType.COG, "Image, cloud-optimised GeoTIFF", ["data", "visual"]),
    ".png": (pystac.MediaType.PNG, "Image, PNG", ["overview", "visual"]),
    ".jpg": (pystac.MediaType.JPEG, "Image, JPEG", ["overview", "visual"]),
    ".jpeg": (pystac.MediaType.JPEG, "Image, JPEG", ["overview", "visual"]),
}


def sha256_of(path: StrPath) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()


def item_of(scene: Scene, item_id: str, files: Mapping[str, StrPath], folder: StrPath) -> pystac.Item:
    """The STAC item of a scene.

    `files` are the scene's written files by asset key; their links are relative to `folder`, where the item will lie.
    `datetime` is the day that was asked for, with its start and end, or else the moment of generation.
    Raises `OSError` for a file that is not there.
    """
    provenance = scene.provenance
    when, start, end = _depicted(provenance.conditions.get("date"), provenance.created)
    properties: dict[str, Any] = {
        "title": provenance.prompt or item_id,
        "description": SYNTHETIC_MARK,
        "keywords": ["synthetic", "generated", "earthgen"],
        "created": pystac.utils.datetime_to_str(provenance.created),
        "processing:software": {"earthgen": provenance.version},
        "processing:lineage": _lineage(scene),
        "earthgen:synthetic": True,
        "earthgen:digital_source_type": provenance.digital_source_type,
        "earthgen:provenance": provenance.to_dict(),
    }
    if scene.gsd is not None:
        properties["gsd"] = scene.gsd
    footprint = scene.footprint
    item = pystac.Item(
        id=item_id,
        geometry=footprint.geometry if footprint else None,
        bbox=list(footprint.bbox) if footprint else None,
        datetime=when,
        start_datetime=start,
        end_datetime=end,
        properties=properties,
        stac_extensions=[_PROCESSING_SCHEMA],
    )
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.shape = [scene.height, scene.width]
    if scene.crs is not None and scene.transform is not None and scene.bounds is not None:
        epsg = scene.crs.to_epsg()
        # The extension wants an explicit null code where only the WKT2 can say what the projection is.
        projection.apply(
            code=f"EPSG:{epsg}" if epsg else None,
            wkt2=None if epsg else scene.crs.to_wkt(version="WKT2_2019"),
            shape=[scene.height, scene.width],
            transform=list(scene.transform)[:6],
            bbox=list(scene.bounds),
        )
    for key, path in files.items():
        item.add_asset(key, _asset(Path(path), Path(folder)))
        file = FileExtension.ext(item.assets[key], add_if_missing=True)
        file.apply(checksum=_SHA256_MULTIHASH + sha256_of(path), size=Path(path).stat().st_size)
    return item


def write_item(path: StrPath, scene: Scene, files: Mapping[str, StrPath]) -> Path:
    """Write the item of a scene as JSON, named by the file's stem, its assets linked relative to it.

    Raises `OutputError` where it cannot be written.
    """
    path = Path(path)
    item = item_of(scene, path.stem, files, path.parent)
    record = item.to_dict(include_self_link=False, transform_hrefs=False)
    return write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def _asset(path: Path, folder: Path) -> pystac.Asset:
    media_type, title, roles = _ASSET_KINDS[path.suffix.lower()]
    relative = Path(os.path.relpath(path, folder)).as_posix()
    href = relative if relative.startswith("../") else f"./{relative}"
    fields: dict[str, Any] = {"data_type": "uint8", "bands": _BANDS} if "data" in roles else {}
    return pystac.Asset(href=href, title=title, media_type=media_type, roles=roles, extra_fields=fields)


def _depicted(date: str | None, created: dt.datetime) -> tuple[dt.datetime, dt.datetime | None, dt.datetime | None]:
    """The item's datetime, start and end: the day asked for in UTC, or when the image was made."""
    if date is None:
        return created, None, None
    start = dt.datetime.combine(dt.date.fromisoformat(date[:10]), dt.time(), dt.timezone.utc)
    return start, start, start + dt.timedelta(hours=23, minutes=59, seconds=59)


def _lineage(scene: Scene) -> str:
    p = scene.provenance
    weights = f", weights SHA-256 {p.model_sha256}" if p.model_sha256 else ""
    return f"{SYNTHETIC_MARK}. Model {p.model}{weights}; scheduler {p.scheduler}, {p.steps} steps, seed {p.seed}."
