"""The record survives every way it is carried."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthgen.errors import ArgumentError
from earthgen.output.provenance import COMPOSITE, GENERATED, PROVENANCE_TAG, SYNTHETIC_MARK, Provenance
from earthgen.output.scene import Scene
from earthgen.output.xmp import xmp_packet

EXT = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
texts = st.text(st.characters(), max_size=30)  # control characters, surrogates and all
finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | texts, lambda v: st.lists(v, max_size=3)
)
times = st.datetimes(timezones=st.sampled_from([dt.timezone.utc, dt.timezone(dt.timedelta(hours=5, minutes=30))]))
provenances = st.builds(
    Provenance,
    seed=st.integers(),
    conditions=st.dictionaries(texts, json_values, max_size=4),
    guidance=st.dictionaries(texts, finite, max_size=3),
    model=texts,
    model_sha256=st.sampled_from(["", "ab" * 32]),
    version=texts,
    steps=st.integers(1, 1000),
    scheduler=texts,
    created=times.filter(lambda t: 1 < t.year < 9999),
    negative_prompt=texts,
)


@given(provenances)
def test_tags_and_back(provenance: Provenance) -> None:
    tags = provenance.to_tags()
    assert all(value.isascii() and value.isprintable() for value in tags.values())
    assert Provenance.from_tags({**tags, "AREA_OR_POINT": "Area"}) == provenance
    assert Provenance.from_dict(json.loads(json.dumps(provenance.to_dict()))) == provenance


@given(provenances)
def test_xmp_is_well_formed_whatever_is_asked(provenance: Provenance) -> None:
    body = xmp_packet(provenance).encode()  # not even lone surrogates are left
    root = ET.fromstring(body)
    assert root.find(f".//{EXT}DigitalSourceType").text == provenance.digital_source_type  # type: ignore[union-attr]


def test_xmp_says_who_and_what(make_scene: Callable[..., Scene]) -> None:
    packet = xmp_packet(make_scene(text="boats & <quays>").provenance)
    root = ET.fromstring(packet)
    found = {name: root.findtext(f".//{EXT}{name}") for name in ("AISystemUsed", "AIPromptInformation")}
    assert found == {"AISystemUsed": "earthgen (mini)", "AIPromptInformation": "boats & <quays>"}
    assert SYNTHETIC_MARK in packet
    assert "<Iptc4xmpExt:DigitalSourceType>" in packet  # the customary prefix


def test_source_type_tells_generated_from_completed(make_scene: Callable[..., Scene]) -> None:
    assert make_scene(text="fields").provenance.digital_source_type == GENERATED
    known, mask = np.zeros((60, 90, 3), np.uint8), np.zeros((60, 90), bool)
    assert make_scene(known=known, known_mask=mask).provenance.digital_source_type == COMPOSITE


def test_times_are_kept_in_utc() -> None:
    local = dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    kept = Provenance(1, {}, {}, "m", "", "0", 1, "s", local).created
    assert kept.isoformat() == "2025-12-31T23:00:00+00:00"
    made = Provenance(1, {}, {}, "m", "", "0", 1, "s").created
    assert dt.timedelta(0) <= dt.datetime.now(dt.timezone.utc) - made < dt.timedelta(minutes=1)


def test_is_frozen_and_its_own(make_scene: Callable[..., Scene]) -> None:
    conditions = {"boxes": [{"label": "ship"}]}
    provenance = Provenance(1, conditions, {}, "m", "", "0", 1, "s")
    conditions["boxes"][0]["label"] = "car"
    assert provenance.conditions == {"boxes": [{"label": "ship"}]}
    with pytest.raises(FrozenInstanceError):
        provenance.seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"seed": 1.5}, "seed"),
        ({"seed": True}, "seed"),
        ({"steps": 0}, "steps"),
        ({"model": None}, "model"),
        ({"negative_prompt": None}, "negative_prompt"),
        ({"model_sha256": "abc"}, "model_sha256"),
        ({"conditions": {"gsd": float("nan")}}, "conditions"),
        ({"conditions": {"mask": object()}}, "conditions"),
        ({"guidance": None}, "guidance"),
        ({"created": dt.datetime(2026, 1, 1)}, "created"),
    ],
)
def test_refusals(make_scene: Callable[..., Scene], change: dict[str, object], argument: str) -> None:
    with pytest.raises(ArgumentError, match=f"provenance.{argument}"):
        replace(make_scene().provenance, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("tags", [{}, {PROVENANCE_TAG: "{"}, {PROVENANCE_TAG: "[]"}, {PROVENANCE_TAG: "{}"}])
def test_tags_without_a_record(tags: dict[str, str]) -> None:
    with pytest.raises(ArgumentError):
        Provenance.from_tags(tags)


def test_fields_of_later_versions_are_ignored(make_scene: Callable[..., Scene]) -> None:
    provenance = make_scene().provenance
    assert Provenance.from_dict({**provenance.to_dict(), "mood": "calm"}) == provenance
