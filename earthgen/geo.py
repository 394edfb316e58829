"""Where an image lies on the Earth: its CRS, its north-up transform, its outline, and the zoom of a GSD.

Which CRS an image gets depends on its longer side on the ground (`crs_for`):

- up to 150 km, the UTM zone of its centre, or UPS near the poles. Pixels measure the GSD asked for at the centre and
  stay within 0.1 % of it out to the corners, which is why the limit is 150 km and not more.
- above that, a Lambert azimuthal equal-area projection about the centre. Every pixel covers gsd x gsd of ground; its
  shape stretches with the distance from the centre, by 1 % at 1,800 km.
- beyond a hemisphere nothing flat is faithful, and `ArgumentError` is raised. Whole-Earth images are mercator's.

Longitudes and latitudes are degrees WGS 84; lengths are metres.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import antimeridian
import numpy as np
from affine import Affine
from pyproj import CRS as ProjCRS
from pyproj import Proj, Transformer
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import LambertAzimuthalEqualAreaConversion
from rasterio.crs import CRS
from rasterio.transform import array_bounds, xy

from earthgen.errors import ArgumentError

UTM_MAX_EXTENT = 150_000.0
"""Longest side, metres, of an image that gets a UTM or UPS zone."""

MAX_HALF_DIAGONAL = 9_000_000.0
"""Farthest corner from the centre, metres in the local projection: just short of a hemisphere's rim (9,010 km)."""

EARTH_RADIUS = 6_378_137.0
"""Semi-major axis of WGS 84, which web mercator takes for the radius of a sphere."""

WGS84 = ProjCRS.from_epsg(4326)
_POINTS_PER_SIDE = 16
_LONG_SIDE = 1_000_000  # metres
"""A footprint has that many points for each part of a side of this length: near a pole, degrees bend fast."""
_DEGREE_DECIMALS = 7
"""Of a footprint, 1 cm on the ground."""


class Footprint(NamedTuple):
    """The outline of an image in WGS 84."""

    geometry: dict[str, Any]
    """GeoJSON Polygon, or MultiPolygon where the image crosses the antimeridian."""
    bbox: tuple[float, float, float, float]
    """West, south, east, north; west > east where the image crosses the antimeridian (RFC 7946, 5.2)."""


def wrap_longitude(lon: float) -> float:
    """The same meridian in [-180, 180)."""
    if not math.isfinite(lon):
        raise ArgumentError("lon", "must be a finite number of degrees", lon)
    wrapped = (lon + 180.0) % 360.0 - 180.0
    return -180.0 if wrapped >= 180.0 else wrapped  # rounding may reach 180 from just below -180


def utm_crs(lat: float, lon: float) -> CRS:
    """The WGS 84 UTM zone of a place, or UPS north of 84 N and south of 80 S.

    Zones are the grid's own, with the wide 32V over south-west Norway and 31X to 37X over Svalbard. They are set by
    rule because EPSG's areas of use, which pyproj can query, leave these exceptions out.

    Raises `ArgumentError` for a latitude outside -90 to 90 or numbers that are not finite.
    """
    lat, lon = _position(lat, lon)
    if lat > 84:
        return CRS.from_epsg(32661)
    if lat < -80:
        return CRS.from_epsg(32761)
    zone = int((lon + 180) // 6) + 1
    if 56 <= lat < 64 and 3 <= lon < 12:
        zone = 32
    elif lat >= 72 and 0 <= lon < 42:
        zone = 31 + 2 * int((lon + 3) // 12)
    return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)


def crs_for(lat: float, lon: float, extent: float) -> CRS:
    """The CRS in which to draw an image centred on a place.

    `extent` is the image's longer side on the ground, metres. The rule is at the head of this module.
    """
    if not (math.isfinite(extent) and extent > 0):
        raise ArgumentError("extent", "must be a finite number of metres > 0", extent)
    if extent <= UTM_MAX_EXTENT:
        return utm_crs(lat, lon)
    lat, lon = _position(lat, lon)
    name = f"WGS 84 / Lambert azimuthal equal-area about {lat:.6f} {lon:.6f}"
    projection = LambertAzimuthalEqualAreaConversion(latitude_natural_origin=lat, longitude_natural_origin=lon)
    return CRS.from_wkt(ProjectedCRS(projection, name=name, geodetic_crs=WGS84).to_wkt())


def transform_for(lat: float, lon: float, gsd: float, height: int, width: int) -> tuple[CRS, Affine]:
    """The CRS and the north-up pixel-to-CRS transform of an image of `height` x `width` pixels centred on a place.

    `gsd` is metres on the ground, not in the projection: UTM draws the ground 0.9996 to 1.001 times its size, so a
    pixel's side in the CRS is `gsd` times the projection's scale at the centre. "Up" is the grid's north, which near
    the poles is that of UPS (the Greenwich or the 180th meridian).

    Raises `ArgumentError` for numbers out of range and for an image larger than a hemisphere.
    """
    if not (math.isfinite(gsd) and gsd > 0):
        raise ArgumentError("gsd", "must be a finite number of metres a pixel > 0", gsd)
    for name, value in (("height", height), ("width", width)):
        if value != int(value) or value < 1:
            raise ArgumentError(name, "must be a whole number of pixels > 0", value)
    if gsd * math.hypot(height, width) / 2 > MAX_HALF_DIAGONAL:
        most = 2 * MAX_HALF_DIAGONAL / math.hypot(height, width)
        rule = f"must be at most {most:.0f} m for {width} x {height} pixels to fit on a hemisphere, or have no place"
        raise ArgumentError("gsd", rule, gsd)
    extent = gsd * max(height, width)
    crs = crs_for(lat, lon, extent)
    projected = ProjCRS.from_wkt(crs.to_wkt())
    x, y = Transformer.from_crs(WGS84, projected, always_xy=True).transform(lon, lat)
    pixel = gsd  # the local projection is true to scale at its centre
    if extent <= UTM_MAX_EXTENT:  # UTM and UPS are true to shape: the root of the areal scale is that of length
        pixel *= math.sqrt(Proj(projected).get_factors(lon, lat).areal_scale)
    return crs, Affine(pixel, 0, x - pixel * width / 2, 0, -pixel, y + pixel * height / 2)


def footprint(crs: CRS, transform: Affine, height: int, width: int) -> Footprint:
    """The outline of an image in WGS 84, cut at the antimeridian and closed over a pole that it holds.

    Edges are densified before they are projected, as straight edges of the image are curves on the globe.
    """
    left, bottom, right, top = array_bounds(height, width, transform)
    more = 1 if crs.is_geographic else math.ceil(max(right - left, top - bottom) / _LONG_SIDE)
    side = np.linspace(0, 1, more * _POINTS_PER_SIDE, endpoint=False)
    low, high = np.zeros_like(side), np.ones_like(side)
    # Down the left edge and on: counterclockwise as seen on a north-up image, so the inside is always on the left.
    cols = width * np.concatenate([low, side, high, 1 - side, [0]])
    rows = height * np.concatenate([side, high, 1 - side, low, [0]])
    xs, ys = xy(transform, rows, cols, offset="ul")
    from_wgs84 = Transformer.from_crs(WGS84, ProjCRS.from_wkt(crs.to_wkt()), always_xy=True)
    lons, lats = np.round(from_wgs84.transform(xs, ys, direction="INVERSE"), _DEGREE_DECIMALS).tolist()
    # A ring in degrees leaves open which pole it goes around, if any; the image tells.
    poles = [from_wgs84.transform(0, lat) for lat in (90, -90)]
    holds_north, holds_south = (left < px < right and bottom < py < top for px, py in poles)
    polygon = {"type": "Polygon", "coordinates": [[*zip(lons, lats, strict=True)]]}
    geometry = antimeridian.fix_geojson(
        polygon, fix_winding=False, force_north_pole=holds_north, force_south_pole=holds_south
    )
    west, south, east, north = antimeridian.bbox(geometry)
    geometry = json.loads(json.dumps(geometry))  # lists for tuples, as in any GeoJSON that was read
    return Footprint(geometry, (west, south, east, north))


def mercator_gsd(zoom: float, lat: float, tile_size: int = 256) -> float:
    """Metres on the ground of a web mercator pixel at a zoom and latitude: the pyramid's resolution x cos(latitude).

    This is the spherical figure that everyone uses; on the ellipsoid it is off by at most 0.7 %.
    """
    return 2 * math.pi * EARTH_RADIUS / (tile_size * 2.0**zoom) * _mercator_cosine(lat)


def mercator_zoom(gsd: float, lat: float, tile_size: int = 256) -> float:
    """The zoom, not rounded, at which a web mercator pixel measures `gsd` metres on the ground."""
    if not (math.isfinite(gsd) and gsd > 0):
        raise ArgumentError("gsd", "must be a finite number of metres a pixel > 0", gsd)
    return math.log2(2 * math.pi * EARTH_RADIUS * _mercator_cosine(lat) / (tile_size * gsd))


def _mercator_cosine(lat: float) -> float:
    if not -90 < lat < 90:
        raise ArgumentError("lat", "must lie between the poles, which web mercator cannot show", lat)
    return math.cos(math.radians(lat))


def _position(lat: float, lon: float) -> tuple[float, float]:
    if not -90 <= lat <= 90:
        raise ArgumentError("lat", "must be degrees north from -90 to 90", lat)
    return float(lat), wrap_longitude(lon)


def check_georeference(crs: object, transform: Affine | None, gsd: float | None) -> None:
    """Raise `ArgumentError` unless a raster's CRS and transform are both given or both None, and it is north-up."""
    if (crs is None) != (transform is None):
        missing, given = ("crs", "transform") if crs is None else ("transform", "crs")
        raise ArgumentError(missing, f"must be given together with `{given}`", None)
    t = transform
    if t is not None and not (t.a > 0 and t.e < 0 and t.b == t.d == 0):
        raise ArgumentError("transform", "must be north-up: a > 0, e < 0, b = d = 0", t)
    if gsd is not None and not (math.isfinite(gsd) and gsd > 0):
        raise ArgumentError("gsd", "must be a finite number of metres a pixel > 0, or None", gsd)
