"""Pictures of the web canvas for the README, made by a headless Chromium on the true page.

Starts `earthgen app` with the bundled weights, does something in each tab, and writes what is seen then as WebP, at
most 1200 px wide and 100 kB large. A further picture is a further function in `SCENES`.

    python benchmarks/screenshots.py
    python benchmarks/screenshots.py --only generate refine --dark --phone -o elsewhere

Takes some minutes on two cores. Only this machine is asked.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIZE = {"width": 1200, "height": 900}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LARGEST = 100_000
"""Bytes."""
PATIENCE = 600_000
"""Milliseconds that a scene may wait for the model."""
PLACE = "46.62/8.05"


def sharp(page: Page) -> None:
    """Wait until no tile of the map is a preview any more."""
    page.wait_for_function("[...document.querySelectorAll('.eg-map')].every(map => !Number(map.dataset.left))")


def tab(page: Page, name: str) -> Any:
    """Open a tab; what it shows."""
    page.locator(".eg-map.leaflet-container").first.wait_for()  # by then the tabs are there
    button = page.get_by_role("tab", name=name)
    if not button.count():  # on a narrow screen, in the menu
        page.get_by_label("More tabs").click()
        button = page.locator(".overflow-dropdown").get_by_role("button", name=name)
    button.click()
    panel = page.get_by_role("tabpanel").filter(visible=True)
    panel.get_by_role("button", name="Run", exact=True).wait_for()
    return panel


def run(page: Page, panel: Any) -> None:
    """Press Run, with seed 0, and wait until the newest work is done."""
    advanced = panel.get_by_role("button", name="Advanced")
    advanced.click()
    panel.get_by_label("A fresh seed each time").uncheck()
    advanced.click()
    before = page.locator(".eg-jobs li").count()
    panel.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_function(f"document.querySelectorAll('.eg-jobs li').length > {before}")
    page.locator(".eg-jobs li[data-state=done]").first.wait_for()
    page.evaluate("window.scrollTo(0, 0)")


def drag(page: Page, place: Any, *points: tuple[float, float]) -> None:
    """Draw over a map; points are fractions of its width and height."""
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()


def explore(page: Page, url: str) -> None:
    """The world at level 8, a region of it asked for by a sentence."""
    page.goto(f"{url}/#at=8/{PLACE}&seed=7")
    panel = page.get_by_role("tabpanel").filter(visible=True)
    panel.locator(".eg-map.leaflet-container").wait_for()
    panel.get_by_text("Seed used: 7").wait_for()
    bar = panel.get_by_role("toolbar")
    bar.get_by_label("What the region should be").fill("a desert with dunes")
    bar.get_by_role("button", name="Box").click()
    drag(page, panel.locator(".eg-map"), (0.35, 0.25), (0.7, 0.75))
    bar.get_by_role("button", name="Move").click()
    page.wait_for_timeout(1000)
    panel.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**regions=**")
    page.wait_for_timeout(500)
    sharp(page)
    bar.evaluate("element => element.scrollIntoView({ block: 'end' })")


def explore_closer(page: Page, url: str) -> None:
    """The same place at level 12."""
    page.goto(f"{url}/#at=12/{PLACE}&seed=7")
    page.locator(".eg-map.leaflet-container").first.wait_for()
    page.wait_for_timeout(500)
    sharp(page)


def generate(page: Page, url: str) -> None:
    """Single images from a sentence."""
    page.goto(f"{url}/#at=2/0/0")
    panel = tab(page, "Generate")
    panel.get_by_label("What there is to see").fill("a river through farmland")
    run(page, panel)


def refine(page: Page, url: str) -> None:
    """A part of the world, uploaded and made four times finer."""
    page.goto(f"{url}/#at=2/0/0")
    panel = tab(page, "Super-resolve")
    part = page.request.get(f"{url}/bbox.png?bounds=7.9,46.5,8.25,46.74&zoom=9&seed=7", timeout=PATIENCE)
    file = {"name": "part.png", "mimeType": "image/png", "buffer": part.body()}
    panel.get_by_label("Image to refine").set_input_files(files=[file])
    panel.get_by_text("× ").first.wait_for()
    page.wait_for_timeout(500)
    run(page, panel)
    panel.get_by_label("Compare: left and right").wait_for()
    page.wait_for_timeout(500)


def change(page: Page, url: str) -> None:
    """Two images of one place, and what changed between them."""
    page.goto(f"{url}/#at=2/0/0")
    panel = tab(page, "Change")
    run(page, panel)
    result = panel.get_by_label("The change", exact=True)
    result.get_by_role("img", name="What changed").wait_for()
    result.evaluate("element => element.scrollIntoView({ block: 'end' })")


def dataset(page: Page, url: str) -> None:
    """A small labelled data set with its preview."""
    page.goto(f"{url}/#at=2/0/0")
    panel = tab(page, "Data set")
    panel.get_by_label("Images, up to").fill("6")
    panel.get_by_label("Images, up to").press("Tab")
    run(page, panel)
    page.locator(".eg-jobs li").first.evaluate("element => element.scrollIntoView({ block: 'end' })")


SCENES: dict[str, Callable[[Page, str], None]] = {
    "explore": explore,
    "explore-closer": explore_closer,
    "generate": generate,
    "refine": refine,
    "change": change,
    "data-set": dataset,
}


def written(content: bytes, path: Path) -> int:
    """A screenshot as WebP, of the best quality that is small enough; its bytes."""
    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((SIZE["width"], SIZE["height"]))
    for quality in range(90, 20, -10):
        picture.save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size < LARGEST:
            break
    return path.stat().st_size


@contextmanager
def served(port: int, model: str) -> Iterator[str]:
    """The address of a server with nothing in its cache."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "earthgen.cli", "app", "--port", str(port), "--model", model]
        command += ["-o", f"{folder}/out", "--cache", f"{folder}/tiles"]
        server = subprocess.Popen(command, env={**os.environ, "NO_COLOR": "1"})
        try:
            while True:
                try:
                    if httpx.get(f"{url}/health", timeout=60).json()["model"] is not None:
                        break
                except httpx.TransportError:
                    if server.poll() is not None:
                        raise SystemExit("the server did not start") from None
                time.sleep(0.2)
            yield url
        finally:
            server.terminate()
            server.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs"), help="folder of the pictures")
    parser.add_argument("--only", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--model", default="earthgen/mini", help="or a model folder")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--phone", action="store_true", help="on a narrow screen that is touched")
    parser.add_argument("--port", type=int, default=7898)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with served(asked.port, asked.model) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name in asked.only:
            shape: dict[str, Any] = PHONE if asked.phone else {"viewport": SIZE}
            context = browser.new_context(**shape, color_scheme="dark" if asked.dark else "light")
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            SCENES[name](page, url)
            size = written(page.screenshot(timeout=PATIENCE), asked.output / f"{name}.webp")
            print(f"{asked.output / name}.webp: {size / 1000:.0f} kB", flush=True)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
