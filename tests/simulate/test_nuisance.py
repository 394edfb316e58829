"""Nuisances: off means off, each has draws of its own, and what is recorded is what was done."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.errors import ArgumentError
from earthgen.simulate.nuisance import Nuisance, disturbed, unchanged_rectangles

NAMES = [f.name for f in fields(Nuisance) if f.name != "rectangles"]


def photo() -> np.ndarray:
    y, x = np.mgrid[:48, :56]
    waves = 128 + 60 * np.sin(x / 5)[..., None] * np.cos(y / 7)[..., None]
    return np.clip(waves + np.array([0, 25, -20]), 0, 255).astype(np.uint8)


def test_off_leaves_the_image_as_it_is() -> None:
    shown, record = disturbed(photo(), Nuisance(), 3)
    assert (shown == photo()).all() and record == {}


@pytest.mark.parametrize("name", NAMES)
def test_each_alters_the_image_and_says_so(name: str) -> None:
    on = Nuisance(**{name: 1.0})
    shown, record = disturbed(photo(), on, 3)
    assert shown.shape == photo().shape and shown.dtype == np.uint8 and (shown != photo()).mean() > 0.2
    assert set(record) == {name} and json.loads(json.dumps(record)) == record
    again, _ = disturbed(photo(), on, 3)
    assert (shown == again).all()
    assert (disturbed(photo(), on, 4)[0] != shown).any() and (disturbed(photo(), on, 3, number=1)[0] != shown).any()
    weak = disturbed(photo(), Nuisance(**{name: 0.2}), 3)[0]
    assert np.abs(weak.astype(int) - photo()).mean() < np.abs(shown.astype(int) - photo()).mean()


def test_switching_one_on_leaves_the_draws_of_the_others() -> None:
    _, alone = disturbed(photo(), Nuisance(haze=1), 3)
    _, both = disturbed(photo(), Nuisance(haze=1, season=1, noise=0.5), 3)
    assert both["haze"] == alone["haze"]


def test_light_is_what_the_record_says() -> None:
    shown, record = disturbed(photo(), Nuisance(illumination=0.5), 1)
    light = record["illumination"]
    want = 255 * (photo() / 255) ** light["gamma"] * light["gain"] * np.array(light["cast"])
    assert np.abs(shown - np.clip(want, 0, 255)).max() <= 0.51


def test_misregistration_moves_by_what_the_record_says() -> None:
    shown, record = disturbed(photo(), Nuisance(misregistration=4), 5)
    moved = record["misregistration"]
    assert 1.5 <= np.hypot(moved["rows"], moved["columns"]) <= 3 and moved["warp"] == 1
    from scipy.ndimage import shift

    whole = np.stack([shift(photo()[..., c].astype(float), (-moved["rows"], -moved["columns"])) for c in range(3)], -1)
    inner = (slice(8, -8), slice(8, -8))
    assert np.abs(shown[inner] - whole[inner]).mean() < 0.5 * np.abs(shown[inner].astype(float) - photo()[inner]).mean()


def test_objects_cast_shadows_beside_themselves() -> None:
    objects = np.zeros((48, 56), bool)
    objects[20:28, 20:30] = True
    flat = np.full((48, 56, 3), 150, np.uint8)
    shown, _ = disturbed(flat, Nuisance(relief=1), 2, objects=objects)
    dark = shown[..., 0] < 140
    assert dark.any() and not (dark & objects).any() and not dark[:12].any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 8))
def test_rectangles_keep_clear_of_the_change_and_of_each_other(seed: int, count: int) -> None:
    avoid = np.zeros((96, 80), bool)
    avoid[30:60, 20:70] = True
    taken = avoid.astype(int)
    found = unchanged_rectangles((96, 80), count, avoid, seed)
    assert len(found) <= count
    for top, left, height, width in found:
        assert top >= 0 and left >= 0 and top + height <= 96 and left + width <= 80 and min(height, width) >= 16
        taken[top : top + height, left : left + width] += 1
    assert taken.max() == 1
    assert found == unchanged_rectangles((96, 80), count, avoid, seed)


@pytest.mark.parametrize("wrong", [{"haze": 1.5}, {"haze": -0.1}, {"misregistration": 11}, {"rectangles": 0.5}])
def test_wrong_strengths_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=f"nuisance.{next(iter(wrong))}"):
        Nuisance(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="image"):
        disturbed(np.zeros((4, 4), np.uint8), Nuisance(), 0)
