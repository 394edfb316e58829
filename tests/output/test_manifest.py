"""A batch can be stopped anywhere and taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from earthgen.errors import ArgumentError, DataError, OutputError
from earthgen.output.manifest import Manifest, Row
from earthgen.output.scene import Scene

MakeScene = Callable[..., Scene]


def add(manifest: Manifest, scene: Scene, row_id: str) -> Row:
    file = scene.write(manifest.path.parent / "images" / f"{row_id}.png")
    row = Row.of(scene, row_id, file, manifest.path.parent)
    manifest.add(row)
    return row


def test_resume(make_scene: MakeScene, tmp_path: Path) -> None:
    path = tmp_path / "out" / "manifest.jsonl"
    manifest = Manifest.open(path)
    assert not manifest.done("a")
    first = add(manifest, make_scene(lat=47, lon=11, gsd=10, text="snow"), "a")
    assert manifest.done("a")
    again = Manifest.open(path)
    assert again.done("a", verify=True)
    assert not again.done("b")
    assert list(again) == [first] == [again["a"]]
    add(again, make_scene(), "b")
    assert len(Manifest.open(path)) == 2


def test_row_says_what_and_where(scene: Scene, tmp_path: Path) -> None:
    row = add(Manifest.open(tmp_path / "m.jsonl"), scene, "x")
    record = json.loads((tmp_path / "m.jsonl").read_text())
    assert Row.from_dict(record) == row
    assert record["file"] == "images/x.png"
    assert (record["seed"], record["height"], record["width"], record["gsd"]) == (7, 60, 90, scene.gsd)
    assert record["conditions"] == scene.provenance.conditions
    if scene.crs is None:
        assert record["crs"] is record["transform"] is record["bbox"] is None
    else:
        assert CRS.from_string(record["crs"]) == scene.crs
        assert record["transform"] == list(scene.transform or ())[:6]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 2_000))
def test_cut_anywhere_loses_at_most_the_last_row(make_scene: MakeScene, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.jsonl"
    path.unlink(missing_ok=True)
    manifest = Manifest.open(path)
    for row_id in "abc":
        add(manifest, make_scene(8, 8, text="\N{SNOWMAN}\nlines"), row_id)
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    again = Manifest.open(path)
    assert [row.id for row in again] == list("abc"[:whole])
    add(again, make_scene(8, 8), "d")
    assert [row.id for row in Manifest.open(path)] == [*"abc"[:whole], "d"]


def test_done_asks_for_the_file(make_scene: MakeScene, tmp_path: Path) -> None:
    manifest = Manifest.open(tmp_path / "m.jsonl")
    row = add(manifest, make_scene(), "a")
    (tmp_path / row.file).write_bytes(b"altered")
    assert manifest.done("a")
    assert not manifest.done("a", verify=True)
    (tmp_path / row.file).unlink()
    assert not manifest.done("a")
    add(manifest, make_scene(), "a")  # made anew: the later row counts
    assert Manifest.open(manifest.path).done("a", verify=True)
    assert len(Manifest.open(manifest.path)) == 1


@pytest.mark.parametrize("line", ["{}", "[]", "nonsense", '{"id": "a"}'])
def test_damage_elsewhere_is_reported(make_scene: MakeScene, tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.jsonl"
    add(Manifest.open(path), make_scene(), "a")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"line 2 of .* is no row"):
        Manifest.open(path)


def test_refusals(make_scene: MakeScene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Manifest.open(tmp_path / "file" / "m.jsonl")
    manifest = Manifest.open(tmp_path / "m.jsonl")
    row = add(manifest, make_scene(), "a")
    before = manifest.path.read_bytes()
    with pytest.raises(ArgumentError, match="row"):
        manifest.add(replace(row, id="b", gsd=float("nan")))
    assert manifest.path.read_bytes() == before
    assert not manifest.done("b")
    manifest.path.unlink()
    manifest.path.mkdir()
    with pytest.raises(OutputError, match="cannot add to"):
        manifest.add(replace(row, id="b"))


def test_blank_lines_and_later_columns_do_not_matter(make_scene: MakeScene, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    add(Manifest.open(path), make_scene(), "a")
    record = json.loads(path.read_text())
    path.write_text("\n" + json.dumps({**record, "later": 1}) + "\n")
    assert Manifest.open(path).done("a")
