"""The page in a real browser: each tab's main path by click and key, a silent console, nobody else asked."""

from __future__ import annotations

import dataclasses
import io
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image as Picture

pytestmark = pytest.mark.slow


def at(place: Any, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point of a map is now: pages scroll."""
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]


def drag(place: Any, *points: tuple[float, float]) -> None:
    mouse = place.page.mouse
    mouse.move(*at(place, points[0]))
    mouse.down()
    for point in points[1:]:
        mouse.move(*at(place, point), steps=4)
    mouse.up()


def view(page: Any) -> dict[str, float]:
    match = re.search(r"at=([\d.]+)/(-?[\d.]+)/(-?[\d.]+)", page.url)
    assert match, page.url
    return dict(zip(("zoom", "lat", "lon"), map(float, match.groups()), strict=True))


def image(tmp_path: Path) -> Path:
    path = tmp_path / "field.png"
    Picture.fromarray(np.random.default_rng(0).integers(60, 200, (32, 48, 3), dtype=np.uint8)).save(path)
    return path


def test_exploring_by_click(visit: Any) -> None:
    page = visit.open("#at=6/46.5/8&steps=1")
    panel = page.get_by_role("tabpanel").filter(visible=True)
    panel.get_by_label("What there is to see").fill("sand")
    panel.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**prompt=sand**")
    visit.sharp()
    panel.get_by_label("Find a place").fill("zuri")
    page.get_by_role("option", name="Zürich, CH").click()
    page.wait_for_url(re.compile("at=10/47.3"))
    visit.sharp()
    tiles = page.locator(".eg-map .leaflet-tile")
    assert {tile.get_attribute("data-level") for tile in tiles.all()} == {"10"}


def test_drawing_regions_by_click(visit: Any) -> None:
    page = visit.open("#at=6/46.5/8&steps=1")
    place = page.locator(".eg-map").first
    bar = page.get_by_role("toolbar").first
    bar.get_by_role("button", name="Box").click()
    chosen, other = (
        bar.get_by_role("button", name=name).evaluate("button => getComputedStyle(button).backgroundColor")
        for name in ("Box", "Move")
    )
    assert chosen != other  # one sees which tool it is
    drag(place, (0.3, 0.3), (0.5, 0.5))
    bar.get_by_role("button", name="Polygon").click()
    for x, y in ((0.6, 0.3), (0.8, 0.3), (0.7, 0.5)):
        page.mouse.click(*at(place, (x, y)))
    bar.get_by_role("button", name="Finish").click()
    bar.get_by_label("What the region should be").fill("a lake")
    bar.get_by_role("button", name="Brush").click()
    drag(place, (0.3, 0.7), (0.5, 0.8), (0.7, 0.7))
    shapes = page.locator(".eg-shapes").first.get_by_role("listitem")
    assert shapes.count() == 3
    page.get_by_label("Angle of shape 1").fill("30")
    page.get_by_label("Angle of shape 1").press("Tab")
    page.get_by_label("Remove shape 2").click()
    assert shapes.count() == 2
    page.get_by_role("button", name="Run", exact=True).first.click()  # at once: what is drawn goes with it
    page.wait_for_url("**regions=**")
    visit.sharp()
    name = re.search("regions=([0-9a-f]{32})", page.url)
    assert name
    features = page.request.get(f"{visit.server.url}/regions/{name[1]}").json()["features"]
    assert [f["properties"]["prompt"] for f in features] == ["a forest", "a lake"]


def test_what_a_link_has_drawn_can_be_gone_on_with(visit: Any) -> None:
    square = [[7, 46], [9, 46], [9, 47], [7, 47], [7, 46]]
    area = {"type": "Polygon", "coordinates": [square]}
    lake = {"type": "Feature", "properties": {"prompt": "a lake"}, "geometry": area}
    drawn = {"type": "FeatureCollection", "features": [lake]}
    kept = httpx.post(f"{visit.server.url}/regions", json=drawn).json()["id"]
    page = visit.open(f"#at=6/46.5/8&steps=1&regions={kept}")
    page.get_by_label("Class of shape 1").wait_for()
    assert page.get_by_label("Class of shape 1").input_value() == "a lake"
    page.get_by_role("button", name="Hide").first.click()
    assert page.locator(".eg-map").first.locator("path").count() == 0
    run = page.get_by_role("button", name="Run", exact=True).first
    run.click()
    visit.settled()
    assert f"regions={kept}" in page.url  # the same to the byte, until something is changed
    page.get_by_label("Class of shape 1").fill("a desert")
    page.get_by_label("Class of shape 1").press("Tab")
    run.click()
    page.wait_for_url(re.compile(f"regions=(?!{kept})"))
    visit.sharp()
    name = re.search("regions=([0-9a-f]{32})", page.url)
    assert name
    (feature,) = page.request.get(f"{visit.server.url}/regions/{name[1]}").json()["features"]
    assert feature["properties"] == {"prompt": "a desert"}
    west, south, east, north = shapely.geometry.shape(feature["geometry"]).bounds
    assert (west, south, east, north) == pytest.approx((7, 46, 9, 47), abs=1e-6)


def test_a_link_to_what_is_not_here_says_so(visit: Any) -> None:
    page = visit.open(f"#at=3/10/20&seed=9&regions={'0' * 32}")
    page.get_by_text("The link names no world that is here.").wait_for()
    assert page.get_by_text("Seed used: 0").first.is_visible()


def test_a_page_from_elsewhere_reads_the_map_alone(visitor: Any) -> None:
    """As MapLibre does, by `fetch` from another origin, which the same server by another name is."""
    visit = visitor()
    visit.page.goto(visit.server.url.replace("127.0.0.1", "localhost") + "/docs")
    ask = "url => fetch(url).then(answer => answer.status, () => 0)"
    for path, status in (("tilejson.json?seed=5", 200), ("tiles/2/1/1.png?seed=5", 200), ("places?q=rome", 0)):
        assert visit.page.evaluate(ask, f"{visit.server.url}/{path}") == status
    visit.context.close()


def test_with_user_and_password(visitor: Any, server: Any, pipe: Any, tmp_path: Path) -> None:
    guarded = dataclasses.replace(
        server.settings, folder=tmp_path / "out", cache=tmp_path / "tiles", user="me", password="secret"
    )
    with type(server)(guarded, pipe) as running:
        visit = visitor(running, http_credentials={"username": "me", "password": "secret"})
        assert httpx.get(running.url).status_code == 401
        page = visit.open("#at=2/0/0&steps=1")
        panel = visit.tab("Generate")
        panel.get_by_label("Start from an image").set_input_files(image(tmp_path))
        panel.get_by_text("48 × 32 px").wait_for()
        panel.get_by_role("button", name="Run", exact=True).click()
        row = visit.done()
        with page.expect_download() as download:
            row.get_by_role("link", name=re.compile("tif$")).click()
        assert download.value.path().stat().st_size > 0
        visit.context.close()
    assert visit.wrong == []


def test_drawing_an_object_by_click(visit: Any) -> None:
    page = visit.open("#at=6/46.5/8&steps=1")
    bar = page.get_by_role("toolbar").first
    bar.get_by_label("What shapes are").select_option("Object")
    bar.get_by_label("Class of the object").fill("water")
    bar.get_by_role("button", name="Box").click()
    drag(page.locator(".eg-map").first, (0.3, 0.3), (0.5, 0.5))
    assert page.get_by_text("object, box").is_visible()
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_url("**regions=**")
    visit.sharp()
    name = re.search("regions=([0-9a-f]{32})", page.url)
    assert name
    (feature,) = page.request.get(f"{visit.server.url}/regions/{name[1]}").json()["features"]
    assert feature["properties"] == {"class": "water"}
    page.reload()  # a link keeps what was drawn, also when something else is asked
    page.wait_for_selector(".eg-map.leaflet-container")
    visit.sharp()
    page.get_by_label("What there is to see").first.fill("sand")
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_url("**prompt=sand**")
    assert f"regions={name[1]}" in page.url


def test_growing_around_a_geotiff(visit: Any, visitor: Any, tmp_path: Path) -> None:
    page = visit.open("#at=2/0/0&steps=1")
    picker = page.get_by_label("Grow around a GeoTIFF")
    picker.set_input_files(image(tmp_path))
    page.get_by_text("it does not say where it lies").wait_for()
    with Picture.open(image(tmp_path)) as opened:
        values = np.asarray(opened)
    place = rasterio.Affine(1200, 0, 890_000, 0, -1200, 5_900_000)
    about = {"driver": "GTiff", "width": 48, "height": 32, "count": 3, "dtype": "uint8"}
    with rasterio.open(tmp_path / "mine.tif", "w", crs="EPSG:3857", transform=place, **about) as target:
        target.write(np.moveaxis(values, 2, 0))
    picker.set_input_files(tmp_path / "mine.tif")
    page.wait_for_url("**known=**")
    assert view(page)["lat"] == pytest.approx(46.6, abs=1) and view(page)["zoom"] >= 6
    visit.sharp()
    other = visitor()
    again = other.open(page.url.partition("/")[2].partition("/")[2].partition("/")[2])
    assert "known=" in again.url
    other.context.close()
    assert other.wrong == []
    page.get_by_role("button", name="Remove").first.click()
    page.wait_for_url(re.compile("^((?!known=).)*$"))


def test_exploring_by_key(visit: Any) -> None:
    page = visit.open("#at=6/46.5/8&steps=1")
    place = page.locator(".eg-map").first
    place.focus()
    place.press("ArrowRight")
    page.wait_for_function("!location.hash.includes('/8.0')")
    place.press("-")
    page.wait_for_url("**at=5/**")
    bar = page.get_by_role("toolbar").first
    bar.get_by_role("button", name="Box").focus()
    page.keyboard.press("Enter")
    place.focus()
    place.press("Enter")
    for key in ("ArrowRight", "ArrowDown"):
        place.press(key)
        page.wait_for_timeout(600)
    place.press("Enter")
    assert page.locator(".eg-shapes").first.get_by_role("listitem").count() == 1
    search = page.get_by_label("Find a place").first
    search.fill("zuri")
    page.get_by_role("option", name="Zürich, CH").wait_for()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp"):  # into the list and back
        page.keyboard.press(key)
    search.fill("-33.9, 18.4")
    search.press("Enter")
    page.wait_for_url(re.compile("at=10/-33.9"))
    page.get_by_label("What there is to see").first.focus()
    page.keyboard.type("snow")
    page.keyboard.press("Enter")
    page.wait_for_url("**prompt=snow**")
    visit.sharp()


def test_a_link_opens_the_same_view(visit: Any, visitor: Any) -> None:
    page = visit.open("#at=4/20/30&seed=77&steps=1&prompt=a+desert&guidance=text%3D3&compare=seed:5")
    assert page.get_by_label("What there is to see").first.input_value() == "a desert"
    assert "77" in page.get_by_text("Seed used").first.inner_text()
    assert view(page) == pytest.approx({"zoom": 4, "lat": 20, "lon": 30}, abs=0.2)
    page.get_by_text("seed 5", exact=True).wait_for()
    page.get_by_role("button", name="Run", exact=True).first.click()  # the form says what the link said
    page.get_by_text("Seed used").first.wait_for()
    visit.settled()
    for words in ("seed=77", "guidance=text%3D3", "compare=seed%3A5"):
        assert words in page.url
    other = visitor()
    again = other.open(page.url.partition("/")[2].partition("/")[2].partition("/")[2])
    assert view(again) == pytest.approx(view(page), abs=0.2) and "seed=77" in again.url
    again.get_by_text("seed 5", exact=True).wait_for()
    again.evaluate("location.hash = 'at=3/10/20&steps=1&seed=6'")  # another link in the same window
    again.get_by_text("Seed used: 6").first.wait_for()
    again.get_by_text("seed 5", exact=True).wait_for(state="hidden")
    assert view(again) == pytest.approx({"zoom": 3, "lat": 10, "lon": 20}, abs=0.2)
    other.context.close()
    assert other.wrong == []


def test_a_fresh_seed_is_used_and_shown(visit: Any) -> None:
    page = visit.open("#at=3/20/30&steps=1")
    page.get_by_role("button", name="Advanced").first.click()
    page.get_by_label("A fresh seed each time").first.check()
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_url(re.compile("seed=[0-9]+"))
    seed = re.search("seed=([0-9]+)", page.url)
    assert seed
    page.get_by_text(seed[1]).first.wait_for()
    visit.sharp()


@pytest.mark.parametrize(
    ("what", "shown", "level"),
    [("another seed", "seed 1", "8"), ("another date", "2025-01-15", "8"), ("four times coarser", None, "6")],
)
def test_comparing_seeds_dates_and_resolutions(visit: Any, what: str, shown: str | None, level: str) -> None:
    page = visit.open("#at=8/46.5/8&steps=1")
    page.get_by_role("button", name="Compare").first.click()
    page.get_by_label(what).check()
    slider = page.get_by_label("Compare: left and right").first
    slider.wait_for()
    visit.sharp()
    pane = page.locator(".leaflet-compare-pane").first
    before = pane.evaluate("pane => pane.style.clip")
    slider.focus()
    slider.press("ArrowRight")
    assert pane.evaluate("pane => pane.style.clip") != before
    assert page.locator(".eg-right").first.inner_text() == (shown or what)
    assert {tile.get_attribute("data-level") for tile in pane.locator("img.leaflet-tile").all()} == {level}


def test_exporting_what_is_on_the_screen(visit: Any) -> None:
    page = visit.open("#at=4/46.5/8&steps=1&seed=5")
    page.get_by_role("button", name="Export what is on the screen").click()
    row = visit.done()
    with page.expect_download() as download:
        row.get_by_role("link", name=re.compile("tif$")).click()
    with rasterio.open(download.value.path()) as source:
        assert source.crs.to_epsg() == 3857 and source.width == pytest.approx(1120, abs=80)
        assert source.transform.a == pytest.approx(156543.034 / 16, rel=1e-4)


def test_generating_by_click_and_a_reload_that_loses_nothing(visit: Any) -> None:
    page = visit.open("#at=2/0/0")
    panel = visit.tab("Generate")
    panel.get_by_label("What there is to see").fill("a lake")
    bar = panel.get_by_role("toolbar")
    bar.get_by_role("button", name="Box").click()
    drag(panel.locator(".eg-map"), (0.45, 0.45), (0.55, 0.55))
    visit.settled()
    panel.get_by_role("button", name="Run", exact=True).click()
    page.locator(".eg-jobs li").first.wait_for()
    page.reload()
    row = visit.done()
    assert row.get_by_role("img").count() == 1
    item = page.request.get(
        f"{visit.server.url}/{row.get_by_role('link', name=re.compile('json$')).get_attribute('href')}"
    )
    assert "building" in item.text()


def test_generating_by_key_and_cancelling(visit: Any, go: threading.Event) -> None:
    page = visit.open("#at=2/0/0")
    page.get_by_role("tab", name="Explore").focus()
    page.keyboard.press("ArrowRight")
    panel = visit.tab("Generate")
    panel.get_by_role("button", name="Advanced").press("Enter")
    panel.get_by_label("number input for Images").fill("8")
    panel.get_by_label("number input for Images").press("Tab")
    panel.get_by_label("What there is to see").fill("sand")
    panel.get_by_label("What there is to see").press("Enter")
    row = page.locator(".eg-jobs li").first
    row.get_by_role("button", name="Cancel").press("Enter")
    row.and_(page.locator("[data-state=cancelled]")).wait_for()


def test_inpainting(visit: Any, tmp_path: Path) -> None:
    page = visit.open("#at=2/0/0")
    panel = visit.tab("Generate")
    panel.get_by_label("Start from an image").set_input_files(image(tmp_path))
    panel.get_by_text("48 × 32 px").wait_for()
    panel.get_by_role("button", name="Paint anew").click()
    drag(panel.locator(".eg-map"), (0.5, 0.5), (0.52, 0.5))
    assert panel.get_by_text("made anew").is_visible()
    panel.get_by_role("button", name="Run", exact=True).click()
    row = visit.done()
    link = row.get_by_role("link", name=re.compile("json$")).get_attribute("href")
    assert "known" in page.request.get(f"{visit.server.url}/{link}").text()


def test_refining_an_image_and_comparing(visit: Any, tmp_path: Path) -> None:
    page = visit.open("#at=2/0/0")
    panel = visit.tab("Super-resolve")
    panel.get_by_label("Image to refine").set_input_files(image(tmp_path))
    panel.get_by_text("48 × 32 px").wait_for()
    panel.get_by_role("button", name="Run", exact=True).press("Enter")
    row = visit.done()
    png = page.request.get(
        f"{visit.server.url}/{row.get_by_role('link', name=re.compile('png$')).last.get_attribute('href')}"
    )
    with Picture.open(io.BytesIO(png.body())) as made:
        assert made.size == (192, 128)
    panel.get_by_label("Compare: left and right").wait_for()


def test_refining_an_image_of_16_bits(visit: Any, tmp_path: Path) -> None:
    about = {"driver": "GTiff", "width": 24, "height": 16, "count": 4, "dtype": "uint16"}
    values = np.random.default_rng(0).integers(0, 3000, (4, 16, 24), dtype=np.uint16)
    with rasterio.open(
        tmp_path / "mine.tif", "w", crs="EPSG:32632", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5.2e6), **about
    ) as target:
        target.write(values)
    page = visit.open("#at=2/0/0")
    panel = visit.tab("Super-resolve")
    panel.get_by_label("Image to refine").set_input_files(tmp_path / "mine.tif")
    panel.get_by_text("24 × 16 px, with its place").wait_for()
    panel.locator("img.leaflet-image-layer").wait_for()
    page.wait_for_timeout(1000)  # by then it lies still
    middle = panel.locator(".eg-map").evaluate("place => place.map.getCenter()")
    assert (middle["lng"], -middle["lat"]) == pytest.approx((12, 8), abs=1)
    panel.get_by_role("button", name="Advanced").click()
    panel.get_by_label("Bands, as 4,3,2").fill("3,2,1")
    panel.get_by_label("Black and white").fill("0,3000")
    panel.get_by_label("Black and white").press("Tab")
    panel.get_by_role("button", name="Run", exact=True).click()
    visit.done()
    panel.get_by_label("Compare: left and right").wait_for()


def test_what_is_typed_before_the_page_is_ready_stays(visit: Any) -> None:
    held: list[Any] = []
    visit.page.route("**/queue/join*", lambda route: held.append(route))
    visit.page.goto(f"{visit.server.url}/#at=2/0/0&steps=1")
    prompt = visit.page.get_by_label("What there is to see")
    prompt.fill("a lake")
    visit.page.wait_for_selector(".eg-map.leaflet-container")
    visit.page.wait_for_timeout(1000)
    assert held  # the link has been asked about, and not answered
    visit.page.unroute("**/queue/join*")  # which lets go of what was held
    visit.sharp()
    visit.page.get_by_role("button", name="Advanced").first.click()
    visit.settled()
    assert visit.page.get_by_label("Steps of each level").first.input_value() == "1"
    assert prompt.first.input_value() == "a lake"


def test_what_is_wrong_is_said(visitor: Any, tmp_path: Path) -> None:
    visit = visitor()
    page = visit.open("#at=2/0/0")
    page.get_by_role("button", name="Advanced").first.click()
    page.get_by_label("Date").first.fill("tomorrow")
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.get_by_text("must be a day as YYYY-MM-DD").first.wait_for()
    panel = visit.tab("Super-resolve")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    panel.get_by_label("Image to refine").set_input_files(broken)
    panel.get_by_text("must be a PNG, a JPEG or a GeoTIFF").wait_for()
    visit.context.close()


@pytest.mark.parametrize(
    "visit",
    [{"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}],
    indirect=True,
    ids=["dark", "phone"],
)
def test_in_the_dark_and_on_a_phone(visit: Any) -> None:
    page = visit.open("#at=3/20/30&steps=1")
    for name in ("Explore", "Generate", "Super-resolve"):
        panel = visit.tab(name)
        assert panel.get_by_role("button", name="Run", exact=True).is_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0  # nothing to scroll sideways
