"""Captions, and the tables and the elevation they draw on."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.conditions import Box
from earthgen.data import elevation, places
from earthgen.data.augment import TEXTURES
from earthgen.data.base import Facts, Sample
from earthgen.data.captions import CLASS_WORDS, MASK_CLASSES, caption, class_prompt
from earthgen.errors import ArgumentError, DataError


def blank(**known: object) -> Sample:
    empty = {"image": np.zeros((64, 64, 3), np.uint8), "source": "test", "id": "1"}
    unknown = {"gsd": None, "lat": None, "lon": None, "date": None}
    return Sample(**{**empty, **unknown, **known})  # type: ignore[arg-type]


def captions(sample: Sample, count: int = 300) -> set[str]:
    rng = np.random.default_rng(0)
    return {caption(sample, rng) for _ in range(count)}


def test_every_class_has_words() -> None:
    labels = [label for label in CLASS_WORDS if label not in MASK_CLASSES]
    assert len([label for label in labels if label[0].isupper()]) == 10
    assert len([label for label in labels if label[0].islower()]) == 21
    assert all(len(set(words)) >= 3 for label, words in CLASS_WORDS.items() if label in labels)
    assert set(CLASS_WORDS) >= TEXTURES
    assert len({class_prompt(label) for label in labels if label[0].isupper()}) == 10


@pytest.mark.parametrize("label", ["SeaLake", "storagetanks", "Forest"])
def test_captions_name_the_class_and_hold_the_prompt(label: str) -> None:
    said = captions(blank(facts=Facts(label=label, sensor="aerial" if label[0].islower() else "satellite")))
    assert class_prompt(label) in said
    assert set(CLASS_WORDS[label]) <= said
    assert all(any(words in sentence for words in CLASS_WORDS[label]) for sentence in said)


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert captions(blank()) == {"a satellite image", "a satellite photo", "an overhead view"}
    said = " ".join(captions(blank(facts=Facts(label="River"))))
    for word in ("resolution", "pixel", " in ", "cloud", "clear", "climate", "summer", "mountain", "coast"):
        assert word not in said


def test_everything_known_is_said_now_and_then() -> None:
    facts = Facts(label="Forest", sensor="satellite", elevation=900.0, relief=500.0, land_fraction=1.0)
    said = captions(blank(facts=facts, gsd=11.0, lat=46.8, lon=8.0, date=dt.date(2020, 7, 1), cloud_cover=0.3), 1000)
    text = " ".join(said)
    words = ("10 m", "in Switzerland", "in the Alps", "in Europe", "temperate", "in summer", "in July", "mountain")
    for word in (*words, "scattered clouds"):
        assert word in text
    assert len(said) < 700
    assert max(len(sentence) for sentence in said) < 120
    assert captions(blank(facts=facts)) == captions(blank(facts=facts))


def test_seasons_south_of_the_equator_and_in_the_tropics() -> None:
    facts, date = Facts(label="River"), dt.date(2020, 7, 1)
    assert "in winter" in " ".join(captions(blank(facts=facts, lat=-40.0, lon=8.0, date=date)))
    tropics = " ".join(captions(blank(facts=facts, lat=-10.0, lon=8.0, date=date)))
    assert "in July" in tropics
    assert not re.search("summer|winter", tropics)


def test_scenes_and_masks_name_what_they_hold() -> None:
    regions = (Box.from_xyxy("Forest", 0, 0, 64, 40), Box.from_xyxy("River", 0, 40, 64, 64))
    assert "forest and a river" in captions(blank(facts=Facts(regions=regions)))
    said = captions(blank(facts=Facts(regions=regions, subjects=("a city",), place="Nantes, France")))
    assert {"forest and a river", "a city", "a satellite image of a city in Nantes, France"} <= set(said)
    shares = (("building", 0.5), ("road", 0.3), ("vegetation", 0.15 - 1e-3), ("water", 0.01))
    assert "buildings, roads and some vegetation" in captions(blank(facts=Facts(mask_fractions=shares)))


def test_under_a_closed_cover_only_clouds_are_seen() -> None:
    said = captions(blank(facts=Facts(label="River"), cloud_cover=1.0))
    assert not any("river" in sentence for sentence in said)
    assert "clouds" in said


@settings(deadline=None)
@given(
    st.floats(-90, 90), st.floats(-180, 179.9), st.floats(0.1, 150_000), st.floats(-8000, 6000), st.floats(0, 2000),
    st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1)), st.integers(0, 999),
)  # fmt: skip
def test_captions_are_tidy(
    lat: float, lon: float, gsd: float, height: float, relief: float, land: float, cover: float | None, seed: int
) -> None:
    facts = Facts(sensor="satellite", elevation=height, relief=relief, land_fraction=land)
    said = caption(blank(facts=facts, lat=lat, lon=lon, gsd=gsd, cloud_cover=cover), np.random.default_rng(seed))
    assert said == said.strip()
    assert said
    assert "  " not in said
    assert "None" not in said


# --- places

CITIES = {
    "Berlin": (52.52, 13.40, "Germany"), "Paris": (48.86, 2.35, "France"), "Madrid": (40.42, -3.70, "Spain"),
    "Rome": (41.90, 12.50, "Italy"), "Athens": (37.98, 23.73, "Greece"), "Vienna": (48.21, 16.37, "Austria"),
    "Prague": (50.08, 14.44, "Czechia"), "Bratislava": (48.15, 17.11, "Slovakia"),
    "Bern": (46.95, 7.45, "Switzerland"), "Geneva": (46.20, 6.14, "Switzerland"),
    "Strasbourg": (48.57, 7.75, "France"), "Lille": (50.63, 3.06, "France"), "Aachen": (50.78, 6.08, "Germany"),
    "Maastricht": (50.85, 5.69, "the Netherlands"), "Trento": (46.07, 11.12, "Italy"),
    "Innsbruck": (47.27, 11.40, "Austria"), "Salzburg": (47.80, 13.04, "Austria"), "Gdansk": (54.35, 18.65, "Poland"),
    "Kaliningrad": (54.71, 20.51, "Russia"), "Vilnius": (54.69, 25.28, "Lithuania"), "Oslo": (59.91, 10.75, "Norway"),
    "Malmo": (55.60, 13.00, "Sweden"), "Lisbon": (38.72, -9.14, "Portugal"), "Badajoz": (38.88, -6.97, "Spain"),
    "Vigo": (42.24, -8.72, "Spain"), "Belfast": (54.60, -5.93, "Northern Ireland"),
    "Cardiff": (51.48, -3.18, "Wales"), "Edinburgh": (55.95, -3.19, "Scotland"),
    "Seattle": (47.61, -122.33, "the United States"), "Toronto": (43.65, -79.38, "Canada"),
    "Detroit": (42.33, -83.05, "the United States"), "Lima": (-12.05, -77.04, "Peru"),
    "Asuncion": (-25.26, -57.58, "Paraguay"), "Kathmandu": (27.72, 85.32, "Nepal"),
    "Lahore": (31.55, 74.34, "Pakistan"), "Dhaka": (23.81, 90.41, "Bangladesh"), "Hanoi": (21.03, 105.85, "Vietnam"),
    "Cairo": (30.04, 31.24, "Egypt"), "Ulaanbaatar": (47.89, 106.91, "Mongolia"), "Zagreb": (45.81, 15.98, "Croatia"),
    "Skopje": (42.0, 21.43, "Macedonia"), "Chisinau": (47.01, 28.86, "Moldova"), "Szeged": (46.25, 20.15, "Hungary"),
    "Timisoara": (45.75, 21.21, "Romania"), "San Marino": (43.94, 12.46, "San Marino"),
    "Luxembourg": (49.61, 6.13, "Luxembourg"), "Brno": (49.2, 16.61, "Czechia"), "Andorra": (42.51, 1.52, "Andorra"),
    "Tijuana": (32.51, -117.04, "Mexico"), "La Paz": (-16.5, -68.15, "Bolivia"),
}  # fmt: skip


@pytest.mark.parametrize("city", CITIES)
def test_no_city_is_put_into_the_wrong_country(city: str) -> None:
    lat, lon, country = CITIES[city]
    assert set(places.names_at(lat, lon, 0.01, (places.COUNTRIES,))) <= {country}


@pytest.mark.parametrize("city", ["Berlin", "Kathmandu", "Cairo", "Lima", "Seattle", "Toronto", "Edinburgh"])
def test_continents(city: str) -> None:
    lat, lon, _ = CITIES[city]
    right = {"Kathmandu": "Asia", "Cairo": "Africa", "Lima": "South America", "Seattle": "North America"}
    expected = right.get(city, "North America" if city == "Toronto" else "Europe")
    assert places.names_at(lat, lon, 0.01, (places.CONTINENTS,)) == [expected]


def test_rectangles_are_in_order() -> None:
    for table in (places.CONTINENTS, places.COUNTRIES, places.DESERTS, places.RANGES, places.OCEANS):
        for rectangles in table.values():
            for south, west, north, east in rectangles:
                assert -90 <= south < north <= 90
                assert -180 <= west < east <= 180


def test_a_picture_larger_than_a_place_is_not_in_it() -> None:
    assert places.names_at(47, 14, 0.5, (places.COUNTRIES,)) == []
    assert places.names_at(47.6, 14.5, 0.5, (places.COUNTRIES,)) == ["Austria"]
    assert places.names_at(47.6, 14.5, 5.0, (places.COUNTRIES,)) == []


# --- elevation


def test_elevation(elevation_root: Path) -> None:
    grid = elevation.Elevation(elevation_root)
    assert grid.at(45, 45) == 1000
    assert grid.at(-45, 45) == -100
    assert grid.at(0, 45) == pytest.approx(450)
    assert grid.at(45, 0) == pytest.approx(450)  # across the seam of the grid's longitudes
    assert grid.at(45, 360) == pytest.approx(450)
    assert grid.at(90, -170) == -100
    inland = grid.around(45, 45)
    assert (inland.elevation, inland.relief, inland.land_fraction) == (1000, 0, 1)
    coast = grid.around(0, 45, 20.0)
    assert coast.land_fraction == pytest.approx(0.5, abs=0.06)
    assert coast.relief > 500
    with pytest.raises(ArgumentError):
        grid.at(91, 0)


def test_terrain_of_a_sample(elevation_root: Path) -> None:
    grid = elevation.load(elevation_root)
    facts = elevation.with_terrain(blank(lat=45.0, lon=45.0, gsd=10.0), grid).facts
    assert (facts.elevation, facts.land_fraction) == (1000.0, 1.0)
    assert elevation.with_terrain(blank(), grid).facts.elevation is None
    with pytest.raises(DataError, match="etopo"):
        elevation.Elevation(elevation_root / "none")


def test_real_elevation(real_root: Path) -> None:
    grid = elevation.load(real_root)
    assert grid.at(27.98, 86.9) > 4500
    assert grid.at(0, -30) < -2000
    assert grid.around(52.5, 5.0).land_fraction < 0.7
