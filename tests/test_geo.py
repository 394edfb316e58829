"""Places: zones, transforms, outlines. Ground truth is the geodesic on WGS 84 and rasterio's own transformations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pyproj import Geod
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info
from rasterio.crs import CRS
from rasterio.transform import array_bounds
from rasterio.warp import transform as warp
from shapely import intersects_xy, is_valid_reason
from shapely.geometry import shape

from earthgen import geo
from earthgen.errors import ArgumentError

GEOD = Geod(ellps="WGS84")
WGS84 = CRS.from_epsg(4326)
latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)
utm_gsds = st.floats(0.05, geo.UTM_MAX_EXTENT / 256)
gsds = st.floats(0.05, 50_000)
sides = st.integers(1, 256)


def to_lonlat(crs: CRS, transform: Affine, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    xs = transform.c + transform.a * np.asarray(cols, float)
    ys = transform.f + transform.e * np.asarray(rows, float)
    lons, lats = warp(crs, WGS84, xs.tolist(), ys.tolist())
    return np.array(lons), np.array(lats)


@pytest.mark.parametrize(
    ("place", "lat", "lon", "epsg"),
    [
        ("Garmisch", 47.5, 11.1, 32632),
        ("Quito", -0.18, -78.47, 32717),
        ("equator counts as north", 0, 0.1, 32631),
        ("Bergen, in the widened 32V", 60.39, 5.32, 32632),
        ("just south of 32V", 55.99, 5.32, 32631),
        ("32V ends at 64 N", 64, 5.32, 32631),
        ("Longyearbyen, 33X", 78.22, 15.65, 32633),
        ("31X reaches to 9 E", 78, 8.99, 32631),
        ("33X begins at 9 E", 78, 9, 32633),
        ("35X begins at 21 E", 80, 21, 32635),
        ("37X begins at 33 E", 72, 33, 32637),
        ("37X ends at 42 E", 72, 42, 32638),
        ("below 72 N no exception", 71.99, 7, 32632),
        ("84 N is still UTM", 84, 10, 32633),
        ("80 S is still UTM", -80, 10, 32732),
        ("north pole", 90, 0, 32661),
        ("Arctic", 84.01, 100, 32661),
        ("south pole", -90, 0, 32761),
        ("Antarctica", -80.01, 100, 32761),
        ("antimeridian from the east", 10, 180, 32601),
        ("antimeridian from the west", 10, -180, 32601),
        ("zone 60", 10, 179.99, 32660),
        ("wrapped", 47.5, 371.1, 32632),
    ],
)
def test_utm_zones(place: str, lat: float, lon: float, epsg: int) -> None:
    assert geo.utm_crs(lat, lon).to_epsg() == epsg


@settings(max_examples=30, deadline=None)
@given(st.floats(-79.9, 55.9), longitudes)
def test_zone_agrees_with_the_epsg_database(lat: float, lon: float) -> None:
    assume(abs(lat) > 1e-6 and abs(lon / 6 - round(lon / 6)) > 1e-6)  # borders belong to two areas of use
    area = AreaOfInterest(lon, lat, lon, lat)
    found = {int(info.code) for info in query_utm_crs_info(datum_name="WGS 84", area_of_interest=area)}
    assert geo.utm_crs(lat, lon).to_epsg() in found


@settings(max_examples=60, deadline=None)
@given(latitudes, longitudes, gsds, sides, sides)
@example(90, 0, 10, 256, 256)
@example(-90, 77, 10_000, 256, 200)
@example(0, 180, 10_000, 255, 256)
@example(0, -180, 10, 3, 256)
def test_centre_returns_to_its_place(lat: float, lon: float, gsd: float, height: int, width: int) -> None:
    assume(gsd * math.hypot(height, width) / 2 < geo.MAX_HALF_DIAGONAL)
    crs, transform = geo.transform_for(lat, lon, gsd, height, width)
    lons, lats = to_lonlat(crs, transform, np.array([width / 2]), np.array([height / 2]))
    assert GEOD.inv(lon, lat, lons[0], lats[0])[2] < 0.001  # metres
    assert transform.a == -transform.e > 0
    assert transform.b == transform.d == 0


def ground_size(crs: CRS, transform: Affine, col: float, row: float) -> tuple[float, float]:
    """Metres on the ground of a pixel at (col, row), across and down, measured over a short geodesic."""
    h = min(0.5, 100 / transform.a)
    lons, lats = to_lonlat(crs, transform, col + np.array([-h, h, 0, 0]), row + np.array([0, 0, -h, h]))
    across = GEOD.inv(lons[0], lats[0], lons[1], lats[1])[2]
    down = GEOD.inv(lons[2], lats[2], lons[3], lats[3])[2]
    return across / (2 * h), down / (2 * h)


@settings(max_examples=80, deadline=None)
@given(latitudes, longitudes, utm_gsds, st.floats(0, 1), st.floats(0, 1))
@example(56, 3, geo.UTM_MAX_EXTENT / 256, 0, 1)  # the far west of 32V, where UTM's scale changes fastest
@example(84.01, 45, geo.UTM_MAX_EXTENT / 256, 0, 1)  # the rim of UPS
@example(-80.01, 45, geo.UTM_MAX_EXTENT / 256, 1, 1)
def test_every_pixel_of_a_utm_image_measures_its_gsd(lat: float, lon: float, gsd: float, u: float, v: float) -> None:
    crs, transform = geo.transform_for(lat, lon, gsd, 256, 256)
    assert ground_size(crs, transform, 256 * u, 256 * v) == pytest.approx((gsd, gsd), rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(latitudes, longitudes, st.floats(geo.UTM_MAX_EXTENT / 256 * 1.01, 48_000))
def test_pixels_of_a_wide_image(lat: float, lon: float, gsd: float) -> None:
    """True at the centre; away from it, stretched but of the area asked for."""
    crs, transform = geo.transform_for(lat, lon, gsd, 256, 256)
    assert crs.to_epsg() is None
    assert ground_size(crs, transform, 128, 128) == pytest.approx((gsd, gsd), rel=1e-4)
    corner = [(10.0, 10.0), (11.0, 10.0), (11.0, 11.0), (10.0, 11.0)]
    lons, lats = to_lonlat(crs, transform, *np.array(corner).T)
    area = abs(GEOD.polygon_area_perimeter(lons, lats)[0])
    assert area == pytest.approx(gsd**2, rel=1e-3)


def test_the_crs_changes_at_the_documented_extent() -> None:
    assert geo.crs_for(47, 11, geo.UTM_MAX_EXTENT).to_epsg() == 32632
    local = geo.crs_for(47, 11, geo.UTM_MAX_EXTENT + 1)
    assert local.to_dict()["proj"] == "laea"
    assert (local.to_dict()["lat_0"], local.to_dict()["lon_0"]) == (47, 11)


def test_larger_than_a_hemisphere_has_no_place() -> None:
    geo.transform_for(0, 0, 49_000, 256, 256)
    with pytest.raises(ArgumentError, match=r"`gsd` must be at most 49718 m for 256 x 256 pixels.*got 50000"):
        geo.transform_for(0, 0, 50_000, 256, 256)


@settings(max_examples=80, deadline=None)
@given(latitudes, longitudes, gsds, st.integers(16, 256), st.integers(16, 256))
@example(90, 0, 10, 64, 64)  # the pole in the middle
@example(-89.99, 30, 10, 256, 256)  # the pole near an edge
@example(-17, 180, 30, 256, 256)  # Fiji, over the antimeridian
@example(70, -179, 20_000, 256, 256)  # over pole and antimeridian
@example(35, 0, 42_300, 253, 46)  # to within 6 degrees of a pole
def test_footprint_holds_the_image_and_nothing_else(
    lat: float, lon: float, gsd: float, height: int, width: int
) -> None:
    assume(gsd * math.hypot(height, width) / 2 < geo.MAX_HALF_DIAGONAL)
    crs, transform = geo.transform_for(lat, lon, gsd, height, width)
    geometry, (west, south, east, north) = geo.footprint(crs, transform, height, width)
    outline = shape(geometry)
    assert outline.is_valid, is_valid_reason(outline)
    assert outline.bounds[0] >= -180
    assert outline.bounds[2] <= 180
    assert -90 <= south <= north <= 90
    across, down = [-0.3, -0.03, 0.03, 0.2, 0.5, 0.8, 0.97, 1.03, 1.3], [-0.1, -0.03, 0.03, 0.5, 0.97, 1.03]
    u, v = np.array([(u, v) for u in across for v in down]).T
    lons, lats = to_lonlat(crs, transform, u * width, v * height)
    on_earth = np.isfinite(lons) & np.isfinite(lats)
    inside = (abs(u - 0.5) < 0.5) & (abs(v - 0.5) < 0.5)
    lons = (lons + 180) % 360 - 180
    assert (intersects_xy(outline, lons, lats) == inside)[on_earth].all()
    in_box = ((lons >= west) & (lons <= east)) if west <= east else ((lons >= west) | (lons <= east))
    assert (in_box & (lats >= south) & (lats <= north))[inside].all()


def test_footprint_over_the_antimeridian_is_cut() -> None:
    crs, transform = geo.transform_for(-17, 180, 30, 100, 100)
    geometry, (west, _, east, _) = geo.footprint(crs, transform, 100, 100)
    assert geometry["type"] == "MultiPolygon"
    assert west > 179
    assert east < -179


def test_footprint_of_the_whole_mercator_world() -> None:
    half = math.pi * geo.EARTH_RADIUS
    world = Affine(half / 128, 0, -half, 0, -half / 128, half)
    assert geo.footprint(CRS.from_epsg(3857), world, 256, 256).bbox == pytest.approx((-180, -85.0511, 180, 85.0511))


def test_bounds_agree_with_rasterio() -> None:
    _, transform = geo.transform_for(47.15, 11.07, 10, 300, 200)
    west, south, east, north = array_bounds(300, 200, transform)
    assert (east - west) / 200 == pytest.approx(transform.a)
    assert (north - south) / 300 == pytest.approx(transform.a)


@pytest.mark.parametrize(("zoom", "metres"), [(0, 156_543.03), (10, 152.874), (18, 0.597_164)])
def test_mercator_gsd_at_the_equator(zoom: int, metres: float) -> None:
    """Figures of the OpenStreetMap wiki's table of zoom levels."""
    assert geo.mercator_gsd(zoom, 0) == pytest.approx(metres, rel=1e-5)
    assert geo.mercator_gsd(zoom, 60) == pytest.approx(metres / 2, rel=1e-5)
    assert geo.mercator_gsd(zoom, 0, tile_size=512) == pytest.approx(metres / 2, rel=1e-5)


@given(st.floats(0.05, 200_000), st.floats(-85, 85), st.sampled_from([256, 512]))
def test_zoom_and_gsd_are_inverse(gsd: float, lat: float, tile_size: int) -> None:
    assert geo.mercator_gsd(geo.mercator_zoom(gsd, lat, tile_size), lat, tile_size) == pytest.approx(gsd)


@settings(deadline=None)
@given(st.floats(0, 20), st.floats(-80, 80))
def test_mercator_gsd_is_the_ground_within_a_percent(zoom: float, lat: float) -> None:
    pixel = 2 * math.pi * geo.EARTH_RADIUS / (256 * 2**zoom)
    step = Affine(pixel, 0, 0, 0, -pixel, 0)
    _, ys = warp(WGS84, CRS.from_epsg(3857), [0], [lat])
    row = -ys[0] / pixel
    assert ground_size(CRS.from_epsg(3857), step, 0, row) == pytest.approx(
        (geo.mercator_gsd(zoom, lat),) * 2, rel=0.008
    )


@given(st.floats(-1e6, 1e6))
@example(180)
@example(-180)
@example(-180 - 1e-14)
@example(math.nextafter(-180, -181))
def test_wrapped_longitude(lon: float) -> None:
    wrapped = geo.wrap_longitude(lon)
    assert -180 <= wrapped < 180
    turns = (lon - wrapped) / 360
    assert turns == pytest.approx(round(turns), abs=1e-9)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: geo.utm_crs(91, 0), "lat"),
        (lambda: geo.utm_crs(math.nan, 0), "lat"),
        (lambda: geo.utm_crs(0, math.inf), "lon"),
        (lambda: geo.crs_for(0, 0, 0), "extent"),
        (lambda: geo.transform_for(0, 0, 0, 10, 10), "gsd"),
        (lambda: geo.transform_for(0, 0, math.nan, 10, 10), "gsd"),
        (lambda: geo.transform_for(0, 0, 1, 0, 10), "height"),
        (lambda: geo.transform_for(0, 0, 1, 10, 1.5), "width"),  # type: ignore[arg-type]
        (lambda: geo.transform_for(-90.1, 0, 1e4, 10, 100), "lat"),
        (lambda: geo.mercator_gsd(0, 90), "lat"),
        (lambda: geo.mercator_zoom(-1, 0), "gsd"),
    ],
)
def test_refusals_name_the_argument(call, argument: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
