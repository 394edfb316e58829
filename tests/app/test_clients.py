"""Other people's clients: GDAL's XYZ driver, gradio's client, and one that tries everything (schemathesis)."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.windows import Window

pytestmark = pytest.mark.slow

CASES = 2000
PATIENCE = 60
"""Seconds after which an answer counts as none: the machine that runs this may be busy."""


def test_gdal_reads_the_tiles(server: Any) -> None:
    """GDAL's WMS driver in its TMS mode, as QGIS asks XYZ tiles."""
    top = 20037508.342789244
    description = f"""<GDAL_WMS><Service name="TMS">
        <ServerUrl>{server.url}/tiles/${{z}}/${{x}}/${{y}}.png?seed=3&amp;steps=1</ServerUrl></Service>
        <DataWindow><UpperLeftX>{-top}</UpperLeftX><UpperLeftY>{top}</UpperLeftY><LowerRightX>{top}</LowerRightX>
        <LowerRightY>{-top}</LowerRightY><TileLevel>18</TileLevel><TileCountX>1</TileCountX><TileCountY>1</TileCountY>
        <YOrigin>top</YOrigin></DataWindow><Projection>EPSG:3857</Projection><BlockSizeX>256</BlockSizeX>
        <BlockSizeY>256</BlockSizeY><BandsCount>3</BandsCount></GDAL_WMS>"""
    with rasterio.open(description) as source:
        assert source.crs.to_epsg() == 3857 and source.overviews(1)
        side = source.width // 2**6
        window = Window(33 * side, 22 * side, side, side)  # the tile 6/33/22
        read = source.read(window=window, out_shape=(3, 256, 256))
    from earthgen.app.worlds import View

    world = server.engine.worlds.open(View(seed=3, steps=1))
    assert (np.moveaxis(read, 0, 2) == world.tile(6, 33, 22)).all()


def test_gradios_client_starts_works(server: Any) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(server.url, verbose=False)
    works = {"/generate", "/upscale", "/export", "/window", "/change", "/dataset"}
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == works
    small = {"width": 64, "height": 64, "steps": 1, "seed": 4}
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 120, 60)).save(buffer, "PNG")
    upload = httpx.post(f"{server.url}/uploads", content=buffer.getvalue()).json()["id"]
    ring = [[6, 46], [8, 46], [8, 48], [6, 48], [6, 46]]
    area = {"type": "Polygon", "coordinates": [ring]}
    lake = {"type": "Feature", "properties": {"class": "water"}, "geometry": area}
    drawn = {"type": "FeatureCollection", "features": [lake]}
    regions = httpx.post(f"{server.url}/regions", json=drawn).json()["id"]
    frame = {"west": 6, "south": 46, "east": 8, "north": 48, "zoom": 6, "seed": 4, "steps": 1}
    records = [
        client.predict("a lake", 10.0, 4, 64, 64, api_name="/generate"),
        client.predict({"image": upload, "gsd": 10, "steps": 1, "seed": 4}, api_name="/upscale"),
        client.predict(frame, api_name="/export"),
        client.predict({**frame, "regions": regions}, api_name="/window"),
        client.predict({**small, "events": {"add": 1}}, api_name="/change"),
        client.predict({**small, "classes": ["ship"], "count": 1}, api_name="/dataset"),
    ]
    for record in records:
        assert record["about"]["seed"] == 4
        while server.engine.jobs.record(record["id"])["state"] in ("waiting", "running"):
            time.sleep(0.1)
        assert server.engine.jobs.record(record["id"])["state"] == "done"
    with pytest.raises(gradio_client.exceptions.AppError, match="count"):
        client.predict({"count": 10**6}, api_name="/dataset")


def test_two_thousand_malformed_requests(settings: Any, pipe: Any, routes: Any, tmp_path: Path) -> None:
    """No answer of 500, none that comes late, and nothing written outside the folders of the server."""
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
    import hypothesis
    from schemathesis.generation import GenerationMode

    with routes(dataclasses.replace(settings, wait_s=0.05, jobs_waiting=1, waiting=4), pipe) as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        operations = [result.ok() for result in schema.get_all_operations()]
        operations = [one for one in operations if one.body or any(one.iter_parameters())]
        kinds = [*itertools.product(operations, (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))]
        count, bad = 0, []
        for operation, mode in kinds:

            @hypothesis.settings(
                max_examples=2 * CASES // len(kinds),  # not every operation has as many
                suppress_health_check=list(hypothesis.HealthCheck),
                deadline=None,
                database=None,
                derandomize=True,
            )
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                nonlocal count
                count += 1
                given = case.as_transport_kwargs()
                body, start = given.get("data"), time.monotonic()
                answer = client.request(
                    given["method"],
                    given["url"],
                    params=given.get("params"),
                    json=given.get("json"),
                    content=body if isinstance(body, (bytes, str)) else None,
                )
                late = time.monotonic() - start > PATIENCE
                if late or (answer.status_code >= 500 and not int(answer.headers.get("retry-after", 0))):
                    bad.append((given, answer.status_code, answer.text[:200]))

            with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing can be wrong with a free text
                check()
    assert bad == []
    assert count >= CASES
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "tiles"}
