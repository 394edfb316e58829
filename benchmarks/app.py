"""How quick the web canvas is, and how it bears many clients that pan at random.

Starts `earthgen app` with the bundled weights and an empty cache, and measures from outside. In a headless Chromium:
when the page can be used, and what processor time the server took until then and until the model was there; at a
place never seen, the first preview and the full view of 12 tiles; the view beside it; the same view again. Then clients
that hold six requests each at most, and leave what is out of sight; of the tiles they saw some are held against a fresh
`World` of this process. Then the tests that stand for figures, of malformed requests, hostile uploads and every tab.

    python benchmarks/app.py
    python benchmarks/app.py --clients 20 --minutes 5 --tests

Takes about a minute, the minutes asked for, those of the fresh world, and a quarter of an hour for the tests. Only this
machine is asked. Ends with 1 where a client met another error than 503 with `Retry-After`, a tile was wrong, or a test
failed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from figures import Figure, add_out, report
from PIL import Image

FIGURES = {
    "page_s": ("server start to usable page, s", "≤ 8"),
    "server_cpu_s": ("processor time until the server answers, s", ""),
    "page_cpu_s": ("until the page is usable, s", ""),
    "model_cpu_s": ("until the model is there, s", ""),
    "preview_s": ("a place never seen, level 12: first preview, s", "≤ 1"),
    "view_s": ("full view of 12 tiles, s", "≤ 15"),
    "again_s": ("the same view again, s", "≤ 1"),
    "panned_s": ("the view beside it, s", "≤ 15"),
    "memory_mib": ("memory of the server then, MiB", ""),
    "tiles": ("tiles that clients panning at random saw", ""),
    "slowest_s": ("their slowest answer, s", ""),
    "errors": ("answers other than tiles and 503 with Retry-After", "≤ 0"),
    "changed": ("tiles that differed from an earlier answer", "≤ 0"),
    "wrong": ("tiles that differed from a fresh world", "≤ 0"),
    "memory_most_mib": ("most memory, MiB", ""),
    "tests": ("tests of malformed requests, hostile uploads, other clients and every tab", ""),
    "failed": ("of which failed", "≤ 0"),
    "skipped": ("of which could not be run here", "≤ 0"),
    "growth_mib": ("most of the second half of the time over that of the first, MiB", "≤ 200"),
}
"""What is reported, and its aim."""
LEVEL = 12
COLUMNS, ROWS = 4, 3
PLACE = (2148, 1446)
"""Column and row of the first of 12 tiles of that level."""
LOOK = """async ([x, y, zoom, count]) => {
  const place = document.querySelector('.eg-map'), { map } = place;
  Object.assign(place.style, { width: '1024px', height: '768px', minHeight: 0 });
  map.invalidateSize({ pan: false });
  const frame = place.getBoundingClientRect(), start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  const inside = (tile) => {
    const r = tile.getBoundingClientRect(), across = Math.min(r.right, frame.right) - Math.max(r.left, frame.left);
    return across > 1 && Math.min(r.bottom, frame.bottom) - Math.max(r.top, frame.top) > 1;
  };
  map.setView(map.unproject([256 * x, 256 * y], zoom), zoom, { animate: false });
  for (let first = null; ; await new Promise((done) => setTimeout(done, 20))) {
    const tiles = [...place.querySelectorAll('img.leaflet-tile')].filter(inside);
    if (first === null && tiles.some((tile) => tile.dataset.level)) first = seconds();
    if (tiles.length === count && tiles.every((tile) => Number(tile.dataset.level) === zoom)) return [first, seconds()];
  }
}"""
"""In the browser: jump to a view of so many tiles, its middle in tiles of a level."""
CONCURRENT = 6
TESTS = Path(__file__).resolve().parents[1] / "tests" / "app"


def tiles(level: int, x: int, y: int) -> list[tuple[int, int, int]]:
    """A view of 12 tiles, the middle first."""
    found = [(level, x + i, y + j) for i in range(COLUMNS) for j in range(ROWS)]
    return sorted(found, key=lambda t: abs(t[1] - x - 1.5) + abs(t[2] - y - 1))


def resident(pid: int) -> float:
    """MiB of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def worked(pid: int) -> float:
    """Seconds of processor time that a process took."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Crowd:
    """What the clients met together."""

    answers: Counter[str] = field(default_factory=Counter)
    seen: dict[tuple[int, int, int], bytes] = field(default_factory=dict)
    changed: int = 0
    """Tiles that differed from what was answered before."""
    slowest: float = 0.0
    """Seconds of the slowest answer."""

    async def get(self, client: httpx.AsyncClient, url: str, tile: tuple[int, int, int]) -> None:
        z, x, y = tile
        start = time.perf_counter()
        try:
            answer = await client.get(f"{url}/tiles/{z}/{x}/{y}.png")
        except httpx.HTTPError as error:
            self.answers[type(error).__name__] += 1
            return
        self.slowest = max(self.slowest, time.perf_counter() - start)
        busy = answer.status_code == 503 and int(answer.headers.get("retry-after", 0)) > 0
        self.answers["busy" if busy else str(answer.status_code)] += 1
        if answer.status_code == 200:
            self.changed += self.seen.setdefault(tile, answer.content) != answer.content

    async def wander(self, url: str, number: int, until: float) -> None:
        """A client that pans at random."""
        pick = random.Random(number)
        z = pick.choice((6, 8, 10))
        x, y = pick.randrange(2**z), pick.randrange(1, 2**z - ROWS)
        headers = {"Earthgen-Client": str(number)}
        async with httpx.AsyncClient(timeout=90, headers=headers, verify=False) as client:  # reads no certificates
            while time.monotonic() < until:
                line = asyncio.Semaphore(CONCURRENT)

                async def one(tile: tuple[int, int, int], line: asyncio.Semaphore = line) -> None:
                    async with line:
                        await self.get(client, url, (tile[0], tile[1] % 2 ** tile[0], tile[2]))

                works = [asyncio.ensure_future(one(tile)) for tile in tiles(z, x, y)]
                await asyncio.wait(works, timeout=pick.uniform(1, 6))
                for work in works:
                    work.cancel()
                for result in await asyncio.gather(*works, return_exceptions=True):
                    if isinstance(result, Exception):
                        raise result
                x, y = x + pick.randrange(-2, 3), min(max(y + pick.randrange(-2, 3), 1), 2**z - ROWS - 1)

    async def watch(self, pid: int, until: float) -> list[float]:
        """The server's memory, every second."""
        held = []
        while time.monotonic() < until:
            held.append(resident(pid))
            await asyncio.sleep(1)
        return held

    async def run(self, url: str, pid: int, clients: int, seconds: float) -> list[float]:
        until = time.monotonic() + seconds
        held, *_ = await asyncio.gather(self.watch(pid, until), *(self.wander(url, n, until) for n in range(clients)))
        return held


def compared(seen: dict[tuple[int, int, int], bytes], count: int, model: str) -> dict[str, Any]:
    """Some of the tiles against a world that nobody has asked before."""
    from earthgen import World

    sample = random.Random(0).sample(sorted(seen), min(count, len(seen)))
    wrong, largest = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        world = World.open(0, model, cache=folder)
        for tile in sample:
            with Image.open(io.BytesIO(seen[tile])) as picture:
                difference = np.abs(np.asarray(picture).astype(int) - world.tile(*tile)).max()
            wrong, largest = wrong + (difference > 0), max(largest, int(difference))
    return {"compared": len(sample), "wrong": int(wrong), "largest_difference": largest}


def seen(page: Any, x: int, y: int) -> tuple[float, float]:
    """Seconds from a jump of the map to 12 tiles until one of them shows anything, and until all are what they are."""
    first, last = page.evaluate(LOOK, [x + COLUMNS / 2, y + ROWS / 2, LEVEL, COLUMNS * ROWS])
    return first, last


def looked(url: str, found: dict[str, Any], pid: int) -> None:
    """What a person in front of a headless Chromium waits for, once the server answers."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(300_000)
        start = time.perf_counter()
        page.goto(url)
        page.wait_for_selector(".eg-map .leaflet-tile-loaded")
        page.get_by_role("button", name="Run", exact=True).first.click(trial=True)
        found |= {"page_s": found["server_s"] + time.perf_counter() - start, "page_cpu_s": worked(pid)}
        while httpx.get(f"{url}/health", timeout=60).json()["model"] is None:
            time.sleep(0.1)
        found["model_cpu_s"] = worked(pid)
        found["preview_s"], found["view_s"] = seen(page, *PLACE)
        _, found["panned_s"] = seen(page, PLACE[0] + COLUMNS, PLACE[1])
        _, found["again_s"] = seen(page, *PLACE)
        browser.close()


def tested() -> dict[str, int]:
    """The tests that stand for figures: how many there are, and how many of them failed or did not run."""
    files = ("clients", "uploads", "own", "page", "tabs")
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={told}"]
        subprocess.run([*command, *(TESTS / f"test_{name}.py" for name in files)], cwd=TESTS.parents[1], check=False)
        suite = next(ElementTree.parse(told).iter("testsuite"))
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    return {"tests": count["tests"], "failed": count["failures"] + count["errors"], "skipped": count["skipped"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=0, help="that pan at random")
    parser.add_argument("--minutes", type=float, default=1.0, help="for how long")
    parser.add_argument("--sample", type=int, default=20, help="of their tiles, held against a fresh world")
    parser.add_argument("--tests", action="store_true", help="the tests of hostile input and of the page, too")
    parser.add_argument("--model", default="earthgen/mini", help="or a model folder")
    parser.add_argument("--port", type=int, default=7899)
    add_out(parser)
    asked = parser.parse_args()
    url = f"http://127.0.0.1:{asked.port}"
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "earthgen.cli", "app", "--port", str(asked.port), "--model", asked.model]
        command += ["-o", f"{folder}/out", "--cache", f"{folder}/tiles"]
        start = time.perf_counter()
        server = subprocess.Popen(command, env={**os.environ, "NO_COLOR": "1"})
        try:
            while True:
                try:
                    httpx.get(f"{url}/health", timeout=5)
                    break
                except httpx.TransportError:
                    if server.poll() is not None:
                        raise SystemExit("the server did not start") from None
                    time.sleep(0.1)
            found |= {"server_s": time.perf_counter() - start, "server_cpu_s": worked(server.pid)}
            looked(url, found, server.pid)
            found["memory_mib"] = resident(server.pid)
            if asked.clients:
                crowd = Crowd()
                held = asyncio.run(crowd.run(url, server.pid, asked.clients, 60 * asked.minutes))
                found |= {"answers": dict(crowd.answers), "tiles": len(crowd.seen), "changed": crowd.changed}
                found |= {"errors": sum(n for kind, n in crowd.answers.items() if kind not in ("200", "busy"))}
                found |= {"slowest_s": crowd.slowest, "memory_most_mib": max(held)}
                half = len(held) // 2
                found["growth_mib"] = max(held[half:]) - max(held[: half + 1])
        finally:
            server.terminate()
            server.wait(60)
    if asked.clients:
        found |= compared(crowd.seen, asked.sample, asked.model)
    if asked.tests:
        found |= tested()
    shown = [Figure(what, found[name], aim) for name, (what, aim) in FIGURES.items() if found.get(name) is not None]
    report(shown, asked, record=found)
    crowded = asked.clients and (found["errors"] or found["changed"] or found["wrong"] or not found["tiles"])
    if crowded or found.get("failed"):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
