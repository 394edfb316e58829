"""Places by name, offline: towns of at least 40,000 people, from GeoNames (CC BY 4.0, https://www.geonames.org)."""

from __future__ import annotations

import gzip
import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

CREDIT = "Place names: GeoNames (CC BY 4.0)"
_FILE = Path(__file__).resolve().parent / "static" / "places.tsv.gz"
_COORDINATES = re.compile(
    r"\s*([+-]?\d{1,2}(?:\.\d+)?)\s*°?\s*([NSns])?\s*[,;\s]\s*([+-]?\d{1,3}(?:\.\d+)?)\s*°?\s*([EWew])?\s*"
)


class Place(NamedTuple):
    """Somewhere."""

    name: str
    country: str
    """Two letters of ISO 3166."""
    lat: float
    lon: float


def coordinates(text: str) -> tuple[float, float] | None:
    """(lat, lon) of `46.5, 8.0`, `46.5N 8E` and the like; None for anything else."""
    match = _COORDINATES.fullmatch(text)
    if not match:
        return None
    lat, lon = float(match[1]), float(match[3])
    lat, lon = (-n if letter and letter in "SsWw" else n for n, letter in ((lat, match[2]), (lon, match[4])))
    return (lat, lon) if abs(lat) <= 90 and abs(lon) <= 180 else None


def find(text: str, count: int = 8) -> list[Place]:
    """Places whose name begins with `text`, then those where another word of it does, the most populous first."""
    if (at := coordinates(text)) is not None:
        return [Place(f"{at[0]:g}, {at[1]:g}", "", *at)]
    name, _, country = text.partition(",")
    wanted, country = _folded(name), country.strip().upper()
    if not wanted:
        return []
    first, second = [], []
    for folded, place in _places():
        if country and not place.country.startswith(country):
            continue
        if folded.startswith(wanted):
            first.append(place)
        elif f" {wanted}" in folded:
            second.append(place)
        if len(first) >= count:
            break
    return (first + second)[:count]


def _folded(text: str) -> str:
    """Without accents, case and signs."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    return re.sub(r"[^\w]+", " ", "".join(c for c in letters if not unicodedata.combining(c))).strip()


@lru_cache(maxsize=1)
def _places() -> list[tuple[str, Place]]:
    """The most populous first, as the file has them."""
    rows = (line.split("\t") for line in gzip.decompress(_FILE.read_bytes()).decode().splitlines())
    return [(_folded(name), Place(name, country, float(lat), float(lon))) for name, country, lat, lon in rows]
