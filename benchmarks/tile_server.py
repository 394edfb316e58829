"""Plain XYZ routes beside titiler's factory: milliseconds a tile of one world, asked of both in one process.

    pip install -c constraints.txt titiler.core
    python benchmarks/tile_server.py [--tiles 100] [--out JSON]

Tiles are those of NASA's map at level 6, which no model makes, so that what is measured is the serving: each is asked
for once by the way, and then again under the clock, as PNG, through the server's whole stack.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from figures import Figure, add_out, report

from earthgen.app.server import create_app
from earthgen.app.settings import Settings
from earthgen.world import World

LEVEL = 6


def by_titiler(world: World) -> FastAPI:
    """A server of the world as a rio-tiler reader."""
    import attrs
    import morecantile
    from rasterio.crs import CRS
    from rio_tiler.io import BaseReader
    from rio_tiler.models import ImageData
    from titiler.core.factory import TilerFactory

    @attrs.define
    class Reader(BaseReader):
        input: str = attrs.field()
        tms: Any = attrs.field(default=morecantile.tms.get("WebMercatorQuad"))
        bounds = (-180.0, -85.0511, 180.0, 85.0511)
        crs = CRS.from_epsg(4326)

        def tile(self, tile_x: int, tile_y: int, tile_z: int, **_: Any) -> ImageData:
            image = world.tile(tile_z, tile_x, tile_y)
            bounds = self.tms.xy_bounds(tile_x, tile_y, tile_z)
            return ImageData(np.moveaxis(image, 2, 0), bounds=bounds, crs=CRS.from_epsg(3857))

        info = statistics = part = preview = point = feature = None  # nothing here asks for them

    app = FastAPI()
    app.include_router(TilerFactory(reader=Reader, path_dependency=lambda: "world").router)
    return app


def milliseconds(client: TestClient, urls: list[str]) -> float:
    """Of one answer, the middle of all."""
    times = []
    for url in urls:
        client.get(url)
        start = time.perf_counter()
        answer = client.get(url)
        times.append(time.perf_counter() - start)
        if answer.status_code != 200:
            sys.exit(f"{url}: {answer.status_code} {answer.text[:200]}")
    return 1000 * float(np.median(times))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tiles", type=int, default=100)
    add_out(parser)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    places = [tuple(int(n) for n in rng.integers(0, 2**LEVEL, 2)) for _ in range(args.tiles)]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(folder=Path(folder) / "out", cache=Path(folder) / "tiles", rate=1e6, burst=10**6)
        with TestClient(create_app(settings, page=False), base_url="http://localhost") as client:
            ours = milliseconds(client, [f"/tiles/{LEVEL}/{x}/{y}.png" for x, y in places])
        with TestClient(by_titiler(World.open(cache=Path(folder) / "tiles"))) as client:
            theirs = milliseconds(client, [f"/tiles/WebMercatorQuad/{LEVEL}/{x}/{y}.png" for x, y in places])
    figures = [Figure("plain XYZ, ms a tile", ours), Figure("titiler's factory, ms a tile", theirs)]
    report([*figures, Figure("titiler ÷ plain", theirs / ours)], args)


if __name__ == "__main__":
    main()
