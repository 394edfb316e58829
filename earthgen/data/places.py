"""Names of where a place is, from small tables of rectangles in degrees: continent, country, ocean, climate.

The rectangles are drawn inside what they name, not around it: a place in none of them gets no name, because a
caption may leave out what it does not know but must not say what is not so. They were checked against the towns of
GeoNames: none lies in a rectangle of another country.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

Rectangle = tuple[float, float, float, float]
"""South, west, north, east."""

CONTINENTS: dict[str, tuple[Rectangle, ...]] = {
    "Europe": (
        (38, -9.6, 44, 3), (44, -6, 51, 25), (51, -11, 60, 30), (60, 5, 71, 30), (38, 12.5, 44, 26), (50, 30, 66, 55),
        (63.2, -25, 66.8, -13), (39, 8, 44, 12.5), (44, 25, 50, 38), (43, 3, 44, 8),
    ),
    "Africa": (
        (-35, 10, -5, 42), (-5, 8, 4, 42), (4, -18, 12, 43), (12, -18, 27, 34), (27, -9, 31, 34), (31, -9, 35.5, 11),
    ),
    "Asia": (
        (8, 70, 36, 89), (36, 56, 60, 120), (21, 89, 36, 121), (8, 98, 21, 109), (60, 65, 76, 180), (36, 120, 60, 142),
        (15, 43, 30, 57), (30, 37, 36, 62), (36, 30, 41, 45), (31, 130, 45, 146),
    ),
    "North America": (
        (25, -125, 49, -66), (49, -130, 70, -55), (55, -165, 71, -130), (15, -106, 25, -97), (14, -95, 18, -87),
    ),
    "South America": ((-55, -76, -20, -53), (-34, -58, -5, -35), (-20, -77, 11, -50), (-17, -82, 2, -76)),
    "Australia": ((-39, 113, -11.2, 154),),
    "Antarctica": ((-90, -180, -76, 180), (-76, 0, -70, 165)),
    "Greenland": ((60, -50, 83, -25),),
}  # fmt: skip

COUNTRIES: dict[str, tuple[Rectangle, ...]] = {
    "Portugal": ((37.6, -8.8, 41.8, -7.6),),
    "Spain": ((37, -5.8, 42.3, -0.6), (39.6, -6.6, 41.5, 0.4), (42.3, -8, 43.4, -2)),
    "France": ((43.4, 0.2, 48.9, 4.8), (45, -0.8, 49, 5.8), (47.6, -4, 48.6, 2)),
    "Belgium": ((50.6, 3.8, 51.2, 5.6),),
    "the Netherlands": ((51.8, 4.2, 53.1, 5.9),),
    "Germany": (
        (48, 8.5, 50, 12), (50.4, 6.6, 51.6, 11.6), (51.6, 7.4, 53.5, 11.6), (51.2, 10, 54, 13.9), (49.2, 7, 50.4, 8.5),
    ),
    "Switzerland": ((46.6, 7, 47.3, 8.8),),
    "Austria": ((47, 13.2, 48.3, 15.8),),
    "Italy": (
        (44.6, 8, 45.7, 12), (42.5, 11.4, 43.8, 13.4), (40.4, 14.8, 41.5, 16.6), (37, 13, 38, 15), (39, 8.5, 41, 9.6),
    ),
    "England": ((51, -2.6, 53.6, -0.2), (52, -0.2, 52.8, 1.4)),
    "Scotland": ((55.8, -5, 58, -3),),
    "Ireland": ((52, -9.4, 54, -6.6),),
    "Norway": ((59, 6.5, 62, 11.2), (62, 8, 63.2, 11.6)),
    "Sweden": ((56.5, 13, 59, 16), (59.5, 13, 64, 16.6), (64, 16, 66.5, 20.5)),
    "Finland": ((60.6, 22.5, 63, 28), (63, 24.5, 67, 28.5)),
    "Denmark": ((55, 8.7, 57, 10),),
    "Poland": ((50.4, 16.5, 53.8, 23), (52.5, 15, 53.5, 17)),
    "Czechia": ((49, 13.8, 50.1, 16.5),),
    "Slovakia": ((48.5, 18.6, 49.2, 21.5),),
    "Hungary": ((46.3, 17.2, 47.6, 20.4),),
    "Romania": ((44.3, 23.4, 47.2, 27.2),),
    "Bulgaria": ((42.1, 23.2, 43.4, 27.2),),
    "Serbia": ((43.2, 20.8, 44.6, 22),),
    "Bosnia and Herzegovina": ((43.8, 17, 44.8, 18.7),),
    "Greece": ((38.3, 21.4, 40.8, 22.9), (37, 21.6, 37.9, 22.6)),
    "Lithuania": ((54.8, 22.9, 56, 25.4),),
    "Latvia": ((56.6, 22, 57.2, 26.8),),
    "Estonia": ((58.2, 25, 59.3, 26.8),),
    "Belarus": ((52.3, 24.5, 53.8, 30.4),),
    "Ukraine": ((48.6, 25, 51, 34), (47, 32, 49.6, 37.5)),
    "Iceland": ((63.8, -22, 66, -14.5),),
    "Turkey": ((37.2, 29, 41, 41),),
    "Algeria": ((22, 2, 36, 7.5),),
    "Egypt": ((22.2, 25.4, 30.8, 33.5),),
    "Libya": ((24, 12, 31, 24.5),),
    "Ethiopia": ((5.5, 36.5, 12, 41.5),),
    "Kenya": ((-1, 35.5, 3.5, 40.5),),
    "the Democratic Republic of the Congo": ((-5, 19, 3, 28),),
    "South Africa": ((-33, 21, -29.5, 27),),
    "Madagascar": ((-24, 44.5, -17, 48),),
    "Saudi Arabia": ((20, 42, 28.5, 48),),
    "Iran": ((29.5, 50.5, 36, 60),),
    "India": ((12, 75, 24, 80), (20, 73, 27, 84)),
    "China": ((29, 92, 41, 115), (24, 104, 38, 118)),
    "Mongolia": ((44, 96, 49.5, 110),),
    "Kazakhstan": ((45, 56, 50, 79),),
    "Siberia": ((57, 65, 70, 130),),
    "Japan": ((35.2, 136, 37, 140),),
    "the United States": ((33, -116, 48.8, -96), (32, -110, 33, -84), (30.6, -99, 32, -84), (33, -96, 41, -80)),
    "Canada": ((49.5, -122, 68, -96), (50, -96, 56, -80)),
    "Alaska": ((61, -160, 69, -142),),
    "Mexico": ((20, -104, 28, -100.5),),
    "Brazil": ((-19, -57, -2, -41),),
    "Bolivia": ((-20, -67, -13, -63),),
    "Argentina": ((-45, -70, -28, -63.5),),
    "Peru": ((-13, -76.5, -6, -74),),
    "Australia": ((-31, 118, -20, 145),),
    "New Zealand": ((-44, 169, -42.5, 172),),
}  # fmt: skip

DESERTS: dict[str, tuple[Rectangle, ...]] = {
    "the Sahara": ((18, -12, 30, 30),),
    "the Arabian Desert": ((18, 45, 27, 52),),
    "the Gobi": ((41, 98, 45, 110),),
    "the Taklamakan": ((37.5, 78, 40.5, 87),),
    "the Australian outback": ((-30, 121, -20, 138),),
    "the Kalahari": ((-26, 20, -21, 25),),
}

RANGES: dict[str, tuple[Rectangle, ...]] = {
    "the Alps": ((45.6, 6.4, 47.2, 13.4),),
    "the Pyrenees": ((42.4, -0.8, 42.9, 1.8),),
    "the Himalaya": ((27.3, 84, 29, 95), (30, 77, 32.5, 80)),
    "the Tibetan Plateau": ((30, 82, 35.5, 97),),
    "the Andes": ((-33, -70.3, -28, -69), (-22, -69, -14, -67)),
    "the Rocky Mountains": ((38, -108, 41, -105.6), (43, -115, 48, -110)),
    "the Amazon basin": ((-9, -72, -1, -54),),
    "the Congo basin": ((-4, 17, 3, 26),),
}

OCEANS: dict[str, tuple[Rectangle, ...]] = {
    "the Pacific Ocean": ((-55, -180, 50, -130), (-55, 160, -10, 180), (0, 145, 45, 180), (-55, -130, 5, -85)),
    "the Atlantic Ocean": ((-50, -35, 0, 8), (0, -50, 8, -15), (8, -58, 45, -20), (45, -45, 60, -15)),
    "the Indian Ocean": ((-50, 58, -8, 95), (-8, 55, 8, 72), (-50, 95, -32, 112)),
    "the Southern Ocean": ((-68, -180, -60, 180),),
    "the Arctic Ocean": ((82, -180, 90, 180), (74, -170, 82, -130)),
    "the Mediterranean Sea": ((32.5, 18, 36, 33), (38, 4, 42, 8), (37, 17, 39.8, 20)),
    "the Black Sea": ((42, 30, 44, 37),),
    "the North Sea": ((54, 1, 58, 6),),
    "the Baltic Sea": ((55.5, 18.5, 59, 20.5),),
}


def names_at(lat: float, lon: float, span: float, tables: Iterable[dict[str, tuple[Rectangle, ...]]]) -> list[str]:
    """Names of the tables whose rectangle holds a picture `span` degrees of latitude high, centred on a place."""
    half_y = span / 2
    half_x = half_y / math.cos(math.radians(min(abs(lat) + half_y, 88.0)))
    return [
        name
        for table in tables
        for name, rectangles in table.items()
        if any(
            south <= lat - half_y and lat + half_y <= north and west <= lon - half_x and lon + half_x <= east
            for south, west, north, east in rectangles
        )
    ]


def climate_at(lat: float, elevation: float | None, span: float) -> str | None:
    """A word for the climate by latitude and height, or None where a picture spans several zones."""
    if span > 8.0:
        return None
    if elevation is not None and elevation > 3_500 and abs(lat) < 60:
        return "high-altitude"
    if elevation is not None and elevation > 1_800 and abs(lat) > 35:
        return "alpine"
    for limit, word in ((23.4, "tropical"), (35.0, "subtropical"), (54.0, "temperate"), (66.5, "boreal")):
        if abs(lat) < limit:
            return word
    return "arctic" if lat > 0 else "antarctic"
