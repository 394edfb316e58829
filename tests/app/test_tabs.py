"""The tabs of change and of data sets in a real browser: by click and by key, a reload, a cancel, a phone."""

from __future__ import annotations

import io
import json
import os
import re
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

pytestmark = pytest.mark.slow
SHOTS = os.environ.get("EARTHGEN_SHOTS")
"""Folder for screenshots, for a person to look at."""


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def panel_of(page: Any, name: str) -> Any:
    tab = page.get_by_role("tab", name=name)
    if not tab.count():  # on a narrow screen, in the menu
        page.get_by_label("More tabs").click()
        tab = page.locator(".overflow-dropdown").get_by_role("button", name=name)
    tab.click()
    panel = page.get_by_role("tabpanel").filter(visible=True)
    panel.get_by_role("button", name="Run", exact=True).wait_for()
    return panel


def fetched(page: Any, link: Any) -> zipfile.ZipFile:
    with page.expect_download() as download:
        link.click()
    return zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))


def quick(panel: Any, width: int = 96) -> None:
    """As small a work as the form allows."""
    panel.get_by_role("button", name="Advanced").click()
    for label, value in (("Width", width), ("Height", width), ("Steps", 2)):
        field = panel.get_by_label(re.compile(f"^number input for {label}"))
        field.fill(str(value))
        field.press("Tab")


def test_a_change_by_click_and_a_reload_that_loses_nothing(visit: Any) -> None:
    page = visit.open("#at=2/0/0")
    panel = visit.tab("Change")
    quick(panel)
    panel.get_by_label("Remove", exact=True).check()
    panel.get_by_role("toolbar").get_by_role("button", name="Box").click()
    place = panel.locator(".eg-map")
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for dx in (-120, 60):
        page.mouse.move(x + dx, y - 30)
        page.mouse.down()
        page.mouse.move(x + dx + 60, y + 30, steps=4)
        page.mouse.up()
    assert panel.locator(".eg-shapes").get_by_role("listitem").count() == 2
    panel.get_by_role("button", name="Run", exact=True).click()
    page.locator(".eg-jobs li").first.wait_for()
    page.reload()
    visit.done()
    panel = visit.tab("Change")
    result = panel.get_by_label("The change", exact=True)
    result.get_by_role("img", name="What changed").wait_for()
    panel.locator("img.leaflet-image-layer").wait_for()  # the image before lies on the canvas
    assert [image.get_attribute("alt") for image in result.get_by_role("img").all()] == [
        "Before", "After", "What changed", "Classes before", "Classes after",
    ]  # fmt: skip
    assert "building" in result.get_by_label("What happened").inner_text()
    with fetched(page, result.get_by_role("link", name="Download")) as archive:
        assert any(name.startswith("events/seed-") for name in archive.namelist())
    page.wait_for_timeout(500)
    shot(page, "change")


def test_several_pairs_of_change_in_one_download(visit: Any) -> None:
    page = visit.open("#at=2/0/0")
    panel = visit.tab("Change")
    quick(panel)
    panel.get_by_label("Pairs", exact=True).fill("2")
    visit.settled()
    panel.get_by_label("Pairs", exact=True).press("Enter")
    row = visit.done()
    assert "2 pairs" in row.inner_text()
    result = panel.get_by_label("The change", exact=True)
    with fetched(page, result.get_by_role("link", name="Download all 2 pairs")) as archive:
        assert len([name for name in archive.namelist() if name.startswith("events/")]) == 2


def test_a_change_by_key_of_an_uploaded_image(visit: Any, tmp_path: Path) -> None:
    pixels = np.full((96, 96, 3), (70, 110, 60), np.uint8)
    for top, left in ((10, 10), (10, 60), (60, 20), (58, 64)):
        pixels[top : top + 16, left : left + 18] = (190, 160, 150)
    Picture.fromarray(pixels).save(tmp_path / "field.png")
    page = visit.open("#at=2/0/0")
    page.get_by_role("tab", name="Explore").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    panel = visit.tab("Change")
    panel.get_by_label("Start from an image").set_input_files(tmp_path / "field.png")
    panel.get_by_text("96 × 96 px").wait_for()
    panel.get_by_label("Remove", exact=True).press("Space")
    panel.get_by_label("Events", exact=True).focus()
    visit.settled()
    page.keyboard.press("Enter")
    visit.done()
    result = panel.get_by_label("The change", exact=True)
    result.get_by_role("img", name="What changed").wait_for()
    assert result.get_by_role("img").count() == 3
    assert "is gone" in result.get_by_label("What happened").inner_text()


def test_a_data_set_watched_cancelled_and_gone_on_with(visit: Any, go: threading.Event) -> None:
    page = visit.open("#at=2/0/0")
    panel = panel_of(page, "Data set")
    quick(panel)
    panel.get_by_label(re.compile("^Images, up to")).fill("16")
    visit.settled()
    panel.get_by_role("button", name="Run", exact=True).click()
    row = page.locator(".eg-jobs li").first
    row.get_by_role("img").first.wait_for()
    row.get_by_role("button", name="Cancel").focus()
    for _ in range(2):  # polls, which leave the focus where it is
        with page.expect_response(re.compile("/jobs/[0-9a-f]{32}$")):
            pass
    page.keyboard.press("Enter")
    row.and_(page.locator("[data-state=cancelled]")).wait_for()
    go.set()
    row.get_by_role("button", name="Go on").press("Enter")
    row = visit.done()
    row.get_by_role("img").nth(3).wait_for()
    with fetched(page, row.get_by_role("link", name=re.compile("zip$"))) as archive:
        names = archive.namelist()
    assert "summary.html" in names and "coco/annotations/instances_train.json" in names
    with page.expect_popup() as popup:
        row.get_by_role("link", name="What is in it").click()
    popup.value.get_by_role("heading", name="Synthetic data set for detection").wait_for()
    popup.value.close()
    page.wait_for_timeout(500)
    shot(page, "dataset")


def test_a_data_set_that_lies_as_labels_of_ones_own(visit: Any, tmp_path: Path) -> None:
    boxes = [[10, 10, 20, 8], [50, 60, 22, 9], [40, 20, 18, 8]]
    mine = {
        "images": [{"id": 1, "width": 96, "height": 96}],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes],
    }
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    page = visit.open("#at=2/0/0")
    panel = panel_of(page, "Data set")
    panel.get_by_role("button", name="Layout of the objects").click()
    panel.get_by_label("Labels of your own").set_input_files(tmp_path / "mine.json")
    panel.get_by_text("3 objects in 1 image: ship").wait_for()
    visit.settled()
    quick(panel)
    panel.get_by_label(re.compile("^Images, up to")).fill("2")
    panel.get_by_label(re.compile("^Images, up to")).press("Tab")
    panel.get_by_role("button", name="Run", exact=True).click()
    row = visit.done()
    with fetched(page, row.get_by_role("link", name=re.compile("zip$"))) as archive:
        made = json.loads(archive.read("coco/annotations/instances_train.json"))
    assert [category["name"] for category in made["categories"]] == ["ship"]


def test_what_is_wrong_is_said(visitor: Any) -> None:
    visit = visitor()
    page = visit.open("#at=2/0/0")
    panel = panel_of(page, "Data set")
    panel.get_by_label("Metres a pixel, or a range").fill("0.6, 0.3")
    panel.get_by_role("button", name="Run", exact=True).press("Enter")
    page.get_by_text("must be two values, low first").first.wait_for()
    panel = visit.tab("Change")
    panel.get_by_role("button", name="Advanced").click()
    panel.get_by_label("Class transitions, in place of the usual ones").fill("grass water")
    panel.get_by_role("button", name="Run", exact=True).press("Enter")
    page.get_by_text("must be as grass > water").first.wait_for()
    visit.context.close()


def test_a_view_exported_with_labels(visit: Any) -> None:
    page = visit.open("#at=6/46.5/8&steps=1")
    bar = page.get_by_role("toolbar").first
    bar.get_by_role("button", name="Box").click()
    place = page.locator(".eg-map").first
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 420, box["y"] + 250, steps=4)
    page.mouse.up()
    assert page.locator(".eg-shapes").first.get_by_role("listitem").count() == 1
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_url("**regions=**")
    visit.sharp()
    page.get_by_role("button", name="Export as labelled data set").click()
    page.get_by_role("button", name="Export what is on the screen with labels").press("Enter")
    row = visit.done()
    with fetched(page, row.get_by_role("link", name=re.compile("zip$"))) as archive:
        assert "masks/classes.csv" in archive.namelist()


@pytest.mark.parametrize(
    "visit",
    [{"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}],
    indirect=True,
    ids=["dark", "phone"],
)
def test_in_the_dark_and_on_a_phone(visit: Any, request: pytest.FixtureRequest) -> None:
    page = visit.open("#at=2/0/0&steps=1")
    for name in ("Change", "Data set"):
        panel = panel_of(page, name)
        for part in ("Advanced", "Formats of the download", "What differs", "Layout of the objects"):
            if panel.get_by_role("button", name=part).count():
                panel.get_by_role("button", name=part).click()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0  # nothing to scroll sideways
        page.wait_for_timeout(500)
        shot(page, f"{name.replace(' ', '-')}-{request.node.callspec.id}")
