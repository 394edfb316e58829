"""Search of places, offline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthgen.app.places import coordinates, find


@pytest.mark.parametrize(
    ("text", "name", "country"),
    [
        ("zurich", "Zürich", "CH"),
        ("Paris", "Paris", "FR"),
        ("york, gb", "York", "GB"),
        ("york c", "New York City", "US"),
        ("sao paulo", "São Paulo", "BR"),
    ],
)
def test_names_are_found_without_accents_and_by_population(text: str, name: str, country: str) -> None:
    first = find(text)[0]
    assert (first.name, first.country) == (name, country)


def test_nothing_is_found_of_nothing() -> None:
    assert find("") == find("  ,") == find("qqqqxyz") == []
    assert len(find("a")) == 8


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_coordinates_are_read(lat: float, lon: float) -> None:
    lat, lon = round(lat, 4), round(lon, 4)
    assert coordinates(f"{lat:.4f}, {lon:.4f}") == (lat, lon)
    letters = f"{abs(lat):.4f}{'S' if lat < 0 else 'N'} {abs(lon):.4f}{'W' if lon < 0 else 'E'}"
    assert coordinates(letters) == (lat, lon)


@pytest.mark.parametrize("text", ["91, 0", "0, 181", "1", "1,2,3", "north", "1e3, 2"])
def test_what_is_no_place_on_earth_is_none(text: str) -> None:
    assert coordinates(text) is None
