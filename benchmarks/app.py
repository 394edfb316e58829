"""How quick the web canvas is, and how it bears many clients that pan at random.

Starts `earthgen app` with the bundled weights and an empty cache, and measures from outside: when the page can be used
in a headless Chromium; at a place never seen, the first preview and the full view of 12 tiles; the same view again;
clients that hold six requests at most each, and leave what is out of sight.

    python benchmarks/app.py
    python benchmarks/app.py --clients 20 --minutes 5

Takes about a minute, and the minutes asked for. Only this machine is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

LEVEL = 12
COLUMNS, ROWS = 4, 3
CONCURRENT = 6


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


async def view(client: httpx.AsyncClient, url: str, asked: list[tuple[int, int, int]]) -> tuple[float, float]:
    """Seconds to the first preview and to the last tile, refined as the page does it."""
    start, line = time.perf_counter(), asyncio.Semaphore(3)
    first = 0.0

    async def one(z: int, x: int, y: int) -> None:
        nonlocal first
        level = -1
        while level < z:
            async with line if level >= 0 else asyncio.Semaphore(1):
                answer = await client.get(f"{url}/tiles/{z}/{x}/{y}.png?finer_than={level}")
            if answer.status_code == 503:
                await asyncio.sleep(int(answer.headers["retry-after"]))
                continue
            answer.raise_for_status()
            level = int(answer.headers["earthgen-level"])
            first = first or time.perf_counter() - start

    await asyncio.gather(*(one(*tile) for tile in asked))
    return first, time.perf_counter() - start


async def wander(url: str, number: int, until: float, answers: Counter[int], seen: dict[Any, bytes]) -> int:
    """A client that pans at random. Returns how many tiles differed from what was answered before."""
    pick, wrong = random.Random(number), 0
    z = pick.choice((6, 8, 10))
    x, y = (pick.randrange(2**z) for _ in range(2))
    y = min(max(y, 2), 2**z - 6)
    async with httpx.AsyncClient(timeout=90, headers={"Earthgen-Client": str(number)}) as client:
        while time.monotonic() < until:
            line = asyncio.Semaphore(CONCURRENT)

            async def one(tile: tuple[int, int, int], line: asyncio.Semaphore = line) -> None:
                nonlocal wrong
                async with line:
                    answer = await client.get(f"{url}/tiles/{tile[0]}/{tile[1] % 2 ** tile[0]}/{tile[2]}.png")
                answers[answer.status_code] += 1
                if answer.status_code == 503 and "retry-after" not in answer.headers:
                    answers[-503] += 1
                if answer.status_code == 200:
                    wrong += seen.setdefault(tile, answer.content) != answer.content

            works = [asyncio.ensure_future(one(tile)) for tile in tiles(z, x, y)]
            await asyncio.wait(works, timeout=pick.uniform(1, 6))
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            x, y = x + pick.randrange(-2, 3), min(max(y + pick.randrange(-2, 3), 1), 2**z - ROWS - 1)
    return wrong


def usable(url: str) -> float | None:
    """Seconds until the page's map is there and its form answers; None without a browser."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if found is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        start = time.perf_counter()
        page.goto(url)
        page.wait_for_selector(".eg-map .leaflet-tile-loaded")
        page.get_by_role("button", name="Run", exact=True).first.click(trial=True)
        seconds = time.perf_counter() - start
        browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=0, help="that pan at random")
    parser.add_argument("--minutes", type=float, default=1.0, help="for how long")
    parser.add_argument("--port", type=int, default=7899)
    asked = parser.parse_args()
    url, report = f"http://127.0.0.1:{asked.port}", {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "earthgen.cli", "app", "--port", str(asked.port), "-o", f"{folder}/out"]
        start = time.perf_counter()
        server = subprocess.Popen([*command, "--cache", f"{folder}/tiles"], env={**os.environ, "NO_COLOR": "1"})
        try:
            while True:
                try:
                    httpx.get(f"{url}/health", timeout=5)
                    break
                except httpx.TransportError:
                    if server.poll() is not None:
                        raise SystemExit("the server did not start") from None
                    time.sleep(0.1)
            report["server_s"] = time.perf_counter() - start
            page = usable(url)
            report["page_s"] = page
            report["start_to_page_s"] = None if page is None else report["server_s"] + page

            async def views() -> None:
                async with httpx.AsyncClient(timeout=90) as client:
                    place = tiles(LEVEL, 2148, 1446)
                    report["preview_s"], report["view_s"] = await view(client, url, place)
                    _, report["again_s"] = await view(client, url, place)
                    beside = [(z, x + COLUMNS, y) for z, x, y in place]
                    _, report["panned_s"] = await view(client, url, beside)

            asyncio.run(views())
            report["memory_mib"] = resident(server.pid)
            if asked.clients:
                answers: Counter[int] = Counter()
                seen: dict[Any, bytes] = {}

                async def crowd() -> list[int]:
                    until = time.monotonic() + 60 * asked.minutes
                    return await asyncio.gather(*(wander(url, n, until, answers, seen) for n in range(asked.clients)))

                wrong = asyncio.run(crowd())
                report |= {"answers": dict(answers), "tiles": len(seen), "wrong": sum(wrong)}
                report["memory_after_mib"] = resident(server.pid)
        finally:
            server.terminate()
            server.wait(60)
    print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in report.items()}, indent=2))


if __name__ == "__main__":
    main()
