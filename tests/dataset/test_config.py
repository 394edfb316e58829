"""What a configuration says, what it refuses, and that it is written so that it can be read back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import yaml

from earthgen.conditions import Guidance
from earthgen.dataset.checks import read_yaml
from earthgen.dataset.config import Config
from earthgen.errors import ArgumentError, DataError
from earthgen.simulate.layouts import ClassRule

BASE = {"task": "detection", "classes": ["building", "storage tank"]}
FULL = """
task: detection
classes: [building, storage tank]
count: 20
size: 320x256
prompts:
  building: [houses in a suburb, "an aerial photo of {classes}"]
  any: a town
conditions:
  gsd: [0.3, 0.6]
  regions: [[54.9, 24.8, 55.5, 25.3], [170, -20, -170, -10]]
  dates: [2020-01-01, 2021-12-31]
  cloud: 0.1
layout:
  rules:
    building: {density: 200, length: [10, 40], heading: [0, 5]}
filter: {draws: 4, thresholds: {objects: 0.5}}
tiles: 128
guidance: {boxes: 6}
splits: {train: 0.5, val: 0.25, test: 0.25}
created: 2026-11-21
"""


def test_everything_a_file_says(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode())  # as an editor on Windows writes it
    config = Config.from_dict(read_yaml(path))
    assert config.size == (256, 320)
    assert config.prompts["any"] == ("a town",)
    assert config.conditions.gsd == (0.3, 0.6)
    assert config.conditions.cloud == (0.1, 0.1)
    assert config.conditions.dates == (dt.date(2020, 1, 1), dt.date(2021, 12, 31))
    assert config.conditions.regions[1] == (170, -20, -170, -10)
    assert config.layout.rules["building"] == ClassRule(200, (10, 40), heading=(0, 5))
    assert (config.filter.draws, config.filter.layouts) == (4, 2)
    assert (config.tiles.size, config.tiles.overlap) == (128, 0)
    assert config.guidance == Guidance(boxes=6)


def test_a_resolved_configuration_reads_back_the_same() -> None:
    config = Config.from_dict(yaml.safe_load(FULL)).resolved(made_with={"version": "1"}, steps=5)
    text = yaml.safe_dump(config.to_dict(), sort_keys=False)
    again = Config.from_dict(yaml.safe_load(text))
    assert again.to_dict() == config.to_dict()
    assert config.differences(again) == []
    assert again.formats == ("coco", "yolo")


def test_in_what_two_configurations_differ() -> None:
    one = Config.from_dict(BASE).resolved(made_with={"version": "1"})
    other = Config.from_dict({**BASE, "seed": 1, "count": 7, "filter": {"draws": 9}, "formats": ["voc"]})
    assert one.differences(other.resolved(made_with={"version": "2"})) == ["seed", "filter.draws", "made_with.version"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "detektion"}, r"`task` must be one of .*did you mean `detection`"),
        ({"clases": ["a"]}, r"`clases` is no setting \(did you mean `classes`\?\)"),
        ({"zzz": 1}, r"`zzz` is no setting \(settings are task, classes"),
        ({"conditions": {"gds": 1}}, r"`conditions.gds` is no setting \(did you mean `gsd`"),
        ({"filter": {"draw": 1}}, r"`filter.draw` is no setting \(did you mean `draws`"),
        (
            {"layout": {"rules": {"building": {"densty": 1}}}},
            r"`layout.rules.building.densty` is no setting.*`density`",
        ),
        (
            {"layout": {"rules": {"bilding": {"density": 1, "length": [1, 2]}}}},
            r"is for no class \(did you mean `building`",
        ),
        ({"layout": {"rules": {"building": {"density": 1}}}}, r"`layout.rules.building` is incomplete.*'length'"),
        ({"prompts": {"bulding": "x"}}, r"`prompts.bulding` is no class \(did you mean `building`"),
        ({"prompts": {"any": ["  "]}}, r"`prompts.any` must hold sentences"),
        ({"classes": []}, r"`classes` must name what is shown"),
        ({"task": "captions", "classes": [], "prompts": []}, r"`classes` must name what is shown"),
        ({"classes": ["a", "a"]}, r"`classes` must be a list of distinct names"),
        ({"classes": ["a", " "]}, r"`classes` must be a list of distinct names"),
        ({"classes": {"a": 1}}, r"`classes` must be a list"),
        ({"count": 0}, r"`count` must be a whole number from 1"),
        ({"count": "ten"}, r"`count` must be a whole number from 1"),
        ({"seed": -1}, r"`seed` must be a whole number from 0"),
        ({"size": "7"}, r"`size` must be SIDE or WIDTHxHEIGHT"),
        ({"size": "99999x8"}, r"`size` must be SIDE or WIDTHxHEIGHT"),
        ({"conditions": {"gsd": [0.6, 0.3]}}, r"`conditions.gsd` must be a pair \[low, high\], low first"),
        ({"conditions": {"gsd": 0}}, r"`conditions.gsd` must lie from 0.05"),
        ({"conditions": {"gsd": [1, 2, 3]}}, r"`conditions.gsd` must be one value or a pair"),
        ({"conditions": {"regions": [[0, 91, 1, 92]]}}, r"`conditions.regions` must be boxes"),
        ({"conditions": {"regions": [[0, 5, 1, 2]]}}, r"south below north"),
        ({"conditions": {"dates": "soon"}}, r"`conditions.dates` must be a day as YYYY-MM-DD"),
        ({"conditions": {"cloud": [0, 2]}}, r"`conditions.cloud` must lie from 0 to 1"),
        ({"conditions": [1]}, r"`conditions` must be a mapping"),
        ({"splits": {"train": 0.5}}, r"`splits` must add up to 1"),
        ({"splits": {"trian": 1}}, r"`splits.trian` must be one of.*did you mean `train`"),
        ({"guidance": {"box": 1}}, r"`guidance.box` is no setting \(did you mean `boxes`"),
        ({"guidance": 99}, r"`guidance` must be a number from 0 to 50"),
        ({"filter": {"enabled": "yes"}}, r"`filter.enabled` must be true or false"),
        ({"filter": {"thresholds": {"objects": "high"}}}, r"`filter.thresholds.objects` must be a number"),
        ({"tiles": {"size": 64, "overlap": 64}}, r"`tiles.overlap` must be a whole number from 0 to 63"),
        ({"task": "captions", "tiles": 64}, r"`tiles` must be absent"),
        (
            {"task": "segmentation", "classes": ["sea"], "layout": {"background": "sea"}},
            r"`classes` must name more than `layout.background`",
        ),
        ({"task": "segmentation", "layout": {"background": " "}}, r"`layout.background` must be the name of a class"),
        ({"task": "captions", "classes": [], "prompts": "{classes} by a road"}, r"`prompts` must do without {classes}"),
        ({"task": "captions", "classes": [], "real": "mine"}, r"`prompts` must hold sentences"),
        ({"layout": {"outlines": 1}}, r"`layout.outlines` must be true or false"),
        ({"layout": {"background": "building"}}, r"`layout.background` must be absent but for segmentation"),
        ({"layout": {"perturb": 0.5}}, r"`layout.perturb` must be 0 but for detection with `real`"),
        ({"min_visible": 2}, r"`min_visible` must be a fraction"),
        ({"model": 5}, r"`model` must be a string"),
    ],
)
def test_refused(changes: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Config.from_dict({**BASE, **changes})


class TestFile:
    def test_a_key_that_is_there_twice(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text("task: detection\nseed: 1\nseed: 2\n")
        with pytest.raises(ArgumentError, match="`seed` must stand only once"):
            read_yaml(tmp_path / "c.yaml")

    @pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "a: [1", "a: !!python/object/apply:os.getcwd []"])
    def test_no_mapping_in_plain_yaml(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ArgumentError, match="`config` must be"):
            read_yaml(tmp_path / "c.yaml")

    def test_missing_or_too_large(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot read the configuration"):
            read_yaml(tmp_path / "none.yaml")
        (tmp_path / "c.yaml").write_text("#" * (1 << 20) + "\n")
        with pytest.raises(DataError, match="larger than 1 MiB"):
            read_yaml(tmp_path / "c.yaml")
