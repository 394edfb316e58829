"""Regions: polygons with holes, in several parts, across the antimeridian; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.features import rasterize

from earthgen.conditions import Conditions
from earthgen.errors import ArgumentError
from earthgen.world.projection import position_to_pixel
from earthgen.world.regions import SOFTNESS, Region, read_regions, regions_of

LEVEL, SIZE = 4, 1024
"""A world of 1024 latents a side is one of 4096 px."""


def ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
    properties = properties or {"prompt": "a forest"}
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}}


def regions(*features: dict[str, Any]) -> list[Region]:
    return regions_of({"type": "FeatureCollection", "features": list(features)}, Conditions(text="sea"))


STRIDE = 8


def whole(region: Region) -> NDArray[np.float32]:
    """Of every eighth latent of the world."""
    places = np.arange(0, SIZE, STRIDE) + 0.5
    mask = region.mask(places, places, SIZE)
    assert mask is not None
    return mask


def at(region: Region, lat: float, lon: float) -> float:
    row, column = position_to_pixel(LEVEL, lat, lon)
    mask = region.mask(np.array([row / 4]), np.array([column / 4 % SIZE]), SIZE)
    return 0.0 if mask is None else float(mask[0, 0])


HOLED = [ring(150, -30, 210, 40), ring(170, -10, 195, 20)]
"""Across the antimeridian, as is its hole."""
CUT = [
    [[[150, -30], [180, -30], [180, -10], [170, -10], [170, 20], [180, 20], [180, 40], [150, 40], [150, -30]]],
    [[[-180, -30], [-150, -30], [-150, 40], [-180, 40], [-180, 20], [-165, 20], [-165, -10], [-180, -10], [-180, -30]]],
]
"""The same, cut as RFC 7946 asks."""


def moved(rings: list[list[list[float]]], degrees: float) -> list[list[list[float]]]:
    return [[[lon + degrees, lat] for lon, lat in one] for one in rings]


def test_a_hole_across_the_antimeridian_is_no_part_of_the_region() -> None:
    (mask,) = regions(feature("Polygon", HOLED))
    for lon in (158, 161, -157, -158):
        assert at(mask, 5, lon) == 1, lon
    for lon in (180, 178, -172, -175, 176):
        assert at(mask, 5, lon) == 0, lon
        assert at(mask, 32, lon) == 1, lon
    assert at(mask, 5, 0) == at(mask, 5, 140) == at(mask, 60, 180) == 0
    assert at(mask, 20, 182.5) == pytest.approx(0.5, abs=1 / SOFTNESS), "half on the edge of the hole"


@pytest.mark.parametrize(
    "other",
    [
        feature("Polygon", moved(HOLED, -360)),
        feature("MultiPolygon", CUT),
        feature("Polygon", [one[::-1] for one in HOLED]),
    ],
    ids=["other copy", "cut", "other winding"],
)
def test_one_region_written_in_several_ways(other: dict[str, Any]) -> None:
    expected, found = whole(regions(feature("Polygon", HOLED))[0]), whole(regions(other)[0])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, SIZE - 9), st.integers(-SIZE // 2, SIZE + SIZE // 2 - 9), st.integers(1, 9), st.integers(1, 9))
def test_a_mask_is_a_function_of_the_place(top: int, left: int, h: int, w: int) -> None:
    (region,) = regions(feature("Polygon", HOLED))
    rows, columns = np.arange(top, top + h) + 0.5, np.arange(left, left + w) + 0.5
    part = region.mask(rows, columns, SIZE)
    alone = region.mask(rows[-1:], columns[-1:] % SIZE, SIZE)
    one, other = (0 if mask is None else mask[-1, -1] for mask in (part, alone))
    assert one == pytest.approx(other, abs=1e-6)


def test_inside_is_what_gdal_burns() -> None:
    """A star with a hole of two parts, against rasterio, but for the soft edges."""
    angle, reach = np.linspace(0, 2 * np.pi, 15)[:-1], np.tile([28.0, 12.0], 7)
    outer = [[20 + r * np.cos(a), r * np.sin(a)] for a, r in zip(angle, reach, strict=True)]
    star = [[*outer, outer[0]], ring(16, -4, 24, 4)]
    mask = whole(regions(feature("Polygon", star))[0])
    mercator = [
        [(float(c), float(r)) for r, c in (position_to_pixel(LEVEL, lat, lon) for lon, lat in one)] for one in star
    ]
    burnt = rasterize([({"type": "Polygon", "coordinates": mercator}, 1)], (4 * SIZE, 4 * SIZE))[
        2 :: 4 * STRIDE, 2 :: 4 * STRIDE
    ]
    sharp = mask > 0.5
    assert (sharp != burnt).mean() < 2e-3
    assert sharp.sum() > 100


def test_later_features_take_what_the_world_and_they_say() -> None:
    given = regions(
        feature("Polygon", HOLED, prompt="a forest", cloud_cover=0.2), feature("Polygon", HOLED, date="2020-05-01")
    )
    assert [r.conditions.text for r in given] == ["a forest", "sea"]
    assert given[0].conditions.cloud_cover == 0.2
    assert str(given[1].conditions.date) == "2020-05-01"


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("regions.features[0].geometry", feature("Point", [1, 2])),
        ("regions.features[0].geometry", feature("Polygon", [])),
        ("regions.features[0].geometry", feature("Polygon", [ring(0, 0, 900, 10)])),
        ("regions.features[0].geometry", feature("Polygon", [ring(0, -100, 10, 10)])),
        ("regions.features[0].geometry", feature("Polygon", [[[0, 0], [1, 1]]])),
        ("regions.features[0].properties", feature("Polygon", HOLED, colour="red")),
        ("regions.features[0].properties.date", feature("Polygon", HOLED, date="May")),
        ("regions.features[0].properties.cloud_cover", feature("Polygon", HOLED, cloud_cover=2)),
        ("regions.features[0]", {"type": "Feature"}),
    ],
)
def test_features_that_are_refused(name: str, made: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError) as caught:
        regions(made)
    assert caught.value.argument == name


def test_files(tmp_path: Path) -> None:
    collection = {"type": "FeatureCollection", "features": [feature("Polygon", HOLED)]}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(collection))
    assert read_regions(path) == read_regions(collection) == collection
    path.write_text("{")
    with pytest.raises(ArgumentError, match="GeoJSON"):
        read_regions(path)
