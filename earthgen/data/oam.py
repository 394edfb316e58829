"""OpenAerialMap tiles of Kampala with building outlines, for tests of objects in oriented boxes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthgen.data import rectangles
from earthgen.data.base import MERCATOR_GSD, Facts, Reader, Sample, Split, read_rgb
from earthgen.data.bluemarble import TILE, place_of
from earthgen.errors import DataError

SMALLEST = 12.0
"""Square pixels below which an outline is left out."""
VISIBLE = 0.1


class OAM(Reader):
    """OpenAerialMap, `oam/OAM-x-y-z.png` and `oam/labels.geojson`, Web Mercator tiles of 0.15 m and 0.3 m.

    All of it is the test split: neither licence is stated by its source, so nothing is trained on it.
    Boxes are the rectangles of least area around the outlines, clipped to those of which a tenth is in the tile.
    """

    name = "oam"
    folder = "oam"
    licence = "imagery normally CC BY 4.0, outlines OpenStreetMap ODbL; not stated by the source: for tests only"
    homepage = "https://map.openaerialmap.org/"
    may_ship_weights = False

    def __init__(self, root: Path | str | None = None, split: Split = "test") -> None:
        super().__init__(root, split)
        labels = self.path / "labels.geojson"
        self.require(labels)
        self.files = sorted(self.path.glob("OAM-*.png")) if self.wanted("test") else []
        try:
            features = json.loads(labels.read_text())["features"]
            self.outlines = tuple(ring for feature in features for ring in _outer_rings(feature["geometry"]))
        except (KeyError, ValueError) as error:
            raise DataError(f"{labels} must be GeoJSON with polygons; trouble with {error}") from error

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int) -> Sample:
        """Image, GSD, position and boxes of the buildings."""
        path = self.files[index]
        x, y, zoom = (int(part) for part in path.stem.split("-")[1:])
        image = read_rgb(path)
        lat, lon = place_of(zoom, (x + 0.5) * TILE, (y + 0.5) * TILE)
        boxes = []
        for ring in self.outlines:
            points = _pixels(ring, zoom) - (x * TILE, y * TILE)
            if (points.max(0) <= 0).any() or (points.min(0) >= TILE).any():
                continue
            box = rectangles.around("building", points)
            if box.width * box.height >= SMALLEST and rectangles.visible_fraction(box, TILE, TILE) >= VISIBLE:
                boxes.append(box)
        return Sample(
            image=image,
            gsd=MERCATOR_GSD * math.cos(math.radians(lat)) / 2**zoom,
            lat=lat,
            lon=lon,
            date=None,
            source=self.name,
            id=path.stem,
            facts=Facts(sensor="aerial", place="Kampala, Uganda", subjects=("a city neighbourhood",)),
            boxes=tuple(boxes),
            cloud_cover=0.0,
            projection="mercator",
        )


def _outer_rings(geometry: dict[str, list[list[list[float]]]]) -> list[NDArray[np.float64]]:
    """Outlines of a GeoJSON polygon or several, each (n, 2) as (longitude, latitude) in degrees."""
    polygons = geometry["coordinates"] if str(geometry["type"]) == "MultiPolygon" else [geometry["coordinates"]]
    return [np.array(polygon[0], float)[:, :2] for polygon in polygons]


def _pixels(ring: NDArray[np.float64], zoom: int) -> NDArray[np.float64]:
    """Points in degrees as pixels of the world picture of `zoom`; the inverse of `place_of`."""
    world = TILE * 2.0**zoom
    x = (ring[:, 0] + 180) / 360 * world
    y = (1 - np.arcsinh(np.tan(np.radians(ring[:, 1]))) / np.pi) / 2 * world
    return np.stack([x, y], axis=1)
