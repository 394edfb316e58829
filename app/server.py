"""The server: tiles, statistics, windows, jobs and uploads over HTTP, and the page on top.

Tiles are plain XYZ routes. A client that says `finer_than` is answered at once with what there is, enlarged from a
coarser level, and may ask again; any other waits for the tile itself. Where the model has too much to do the answer is
503 with `Retry-After`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import html
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from earthgen import __version__
from earthgen.app import labelled, places
from earthgen.app.answers import png, summary, tiff, tile_headers
from earthgen.app.engine import STATIC, Engine, client_of
from earthgen.app.guard import Guard
from earthgen.app.settings import Settings
from earthgen.app.tasks import ExportRequest, GenerateRequest, UpscaleRequest, export_grid, frame, read
from earthgen.app.worker import BusyError
from earthgen.app.worlds import View, chain
from earthgen.errors import ArgumentError, EarthgenError
from earthgen.output.scene import Scene
from earthgen.world.base import CREDIT
from earthgen.world.projection import MAX_LATITUDE
from earthgen.world.pyramid import DEEPEST

log = logging.getLogger(__name__)

_SCRIPTS = ("leaflet.js", "base.js", "draw.js", "explore.js", "images.js", "change.js", "labels.js", "jobs.js")
ATTRIBUTION = f"Synthetic imagery by earthgen · {CREDIT}"
_BUSY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Busy; `Retry-After` says for how many seconds."},
    422: {"description": "An argument breaks a rule.", "content": {"application/json": {}}},
}
_PARTING = 3
"""Seconds that what is being sent has to end when the server ends."""
_NO_SCRIPT = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
"""Of results: the page of a data set shows words that somebody typed."""
_MISSING: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such thing."}}
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
_TIFF: dict[int | str, dict[str, Any]] = {200: {"content": {"image/tiff": {}}}}


class TileView(View):
    """A view, and how coarse an answer may be."""

    finer_than: Annotated[
        int | None,
        Field(ge=-1, le=DEEPEST, description="Answer as soon as something finer than this level is there, enlarged."),
    ] = None


class FrameView(View):
    """A view and a frame, in degrees and pixels."""

    bounds: Annotated[
        str, Field(max_length=120, pattern=r"^-?[\d.]+(,-?[\d.]+){3}$", description="W,S,E,N degrees.")
    ] = "-180,-85,180,85"
    zoom: Annotated[int, Field(ge=0, le=DEEPEST, description="Level whose pixels are read.")] = 0

    def export(self) -> ExportRequest:
        """As the request of an export. Raises `ArgumentError` for numbers that are none."""
        try:
            west, south, east, north = map(float, self.bounds.split(","))
            view = self.world().model_dump()
            return ExportRequest(**view, west=west, south=south, east=east, north=north, zoom=self.zoom)
        except ValueError as error:
            raise ArgumentError("bounds", "must be W,S,E,N in degrees", self.bounds) from error


def create_app(settings: Settings, pipe: Any = None, page: bool = True) -> Any:
    """The ASGI application.

    Args:
        settings: What it is started with.
        pipe: A pipeline in place of the model that the settings name.
        page: Whether the Gradio page is there, or the routes alone.

    Raises:
        WeightsError: There is no such model.
        OutputError: The folder cannot be written.
    """
    engine = Engine.open(settings, pipe)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        delay = 0 if engine.loading.done() else settings.idle_s
        later = asyncio.get_running_loop().call_later(delay, engine.worker.start)
        try:
            yield
        finally:
            later.cancel()
            await run_in_threadpool(engine.worker.stop)

    app = FastAPI(
        title="earthgen",
        version=__version__,
        description="An unbounded generated Earth: tiles, windows, images and exports. All imagery is synthetic.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _handle_errors(app)
    _tile_routes(app, engine)
    _work_routes(app, engine)
    labelled.add_routes(app, engine, _BUSY)
    _document(app)
    scripts = b"\n".join((STATIC / name).read_bytes() for name in _SCRIPTS)

    @app.get("/canvas.js", include_in_schema=False)
    def script() -> Response:
        return Response(scripts, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    app.mount("/canvas", StaticFiles(directory=STATIC), name="canvas")
    if page:
        from earthgen.app.page import mount

        app = mount(app, engine)
    return Guard(app, settings, engine)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(ArgumentError)
    async def argument(_: Request, error: ArgumentError) -> Response:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # Without the input: it may hold what JSON does not know, and is the client's own.
        problems = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
        return JSONResponse({"detail": problems}, 422)

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> Response:
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": str(error.retry_after)})

    @app.exception_handler(EarthgenError)
    async def failed(_: Request, error: EarthgenError) -> Response:
        log.error("a request failed: %s", error)  # which may name folders, so the client is not told
        return JSONResponse({"detail": "the server could not do this; its log says why"}, 503, {"Retry-After": "60"})


def _tile_routes(app: FastAPI, engine: Engine) -> None:
    worlds = engine.worlds

    @app.get("/tiles/{z}/{x}/{y}.png", responses={**_PNG, **_BUSY, **_MISSING}, response_class=Response, tags=["map"])
    async def tile(
        request: Request,
        z: Annotated[int, PathParameter(ge=0, le=30)],
        x: Annotated[int, PathParameter(ge=0, lt=2**30)],
        y: Annotated[int, PathParameter(ge=0, lt=2**30)],
        view: Annotated[TileView, Query()],
    ) -> Response:
        """An XYZ tile of 256 px, web mercator."""
        if z > DEEPEST or x >= 2**z or y >= 2**z:
            raise HTTPException(404, f"there are tiles from level 0 to {DEEPEST}")
        deadline = engine.deadline()
        about = f"{engine.model_sha256} {__version__} {z}/{x}/{y} {view.query()}"
        tag = hashlib.sha256(about.encode()).hexdigest()[:32]
        if view.finer_than is None and request.headers.get("if-none-match") == f'"{tag}"':
            return Response(status_code=304, headers={"ETag": f'"{tag}"'})
        least = z if view.finer_than is None else min(view.finer_than + 1, z)
        if least < z and not engine.loading.done():
            found = await run_in_threadpool(worlds.ground, view, z, x, y)
            if found is not None and found.level >= least:
                headers = tile_headers(found.level, z) | {"Earthgen-Model": "loading"}
                return Response(await run_in_threadpool(png, found.image), media_type="image/png", headers=headers)
        shown, world = view.world(), await engine.world(view, request, deadline)
        found = await run_in_threadpool(worlds.preview, world, z, x, y)
        for part in chain(world, z, x, y) if found is None or found.level < least else ():
            if found is not None and part.z <= found.level:
                continue
            await engine.ask((shown, part), partial(world.tile, *part), request, deadline)
            if (found := await run_in_threadpool(worlds.preview, world, z, x, y)) is not None and found.level >= least:
                break
        if found is None or found.level < least:  # the cache keeps nothing
            image = await engine.ask((shown, (z, x, y)), partial(world.tile, z, x, y), request, deadline)
        else:
            image = found.image
        headers = tile_headers(z if found is None else found.level, z)
        if view.finer_than is None:
            headers |= {"Cache-Control": "private, max-age=86400", "ETag": f'"{tag}"'}
        return Response(await run_in_threadpool(png, image), media_type="image/png", headers=headers)

    @app.get("/tilejson.json", tags=["map"])
    async def tilejson(request: Request, view: Annotated[View, Query()]) -> dict[str, Any]:
        """Where the tiles of a view are (TileJSON 3.0)."""
        await run_in_threadpool(worlds.check, view)
        query = view.query()
        return {
            "tilejson": "3.0.0",
            "name": f"earthgen, seed {view.seed}",
            "scheme": "xyz",
            "tiles": [f"{request.base_url}tiles/{{z}}/{{x}}/{{y}}.png" + (f"?{query}" if query else "")],
            "minzoom": 0,
            "maxzoom": DEEPEST,
            "bounds": [-180, -MAX_LATITUDE, 180, MAX_LATITUDE],
            "center": [8.0, 46.5, 8],
            "attribution": html.escape(ATTRIBUTION),
        }

    async def framed(view: FrameView, request: Request) -> Scene:
        """The pixels of a frame, asked for tile by tile."""
        asked, shown = view.export(), view.world()
        grid, gsd = export_grid(asked)
        if grid.height * grid.width > engine.settings.answer_pixels:
            rule = f"must show at most {engine.settings.answer_pixels} pixels; POST /jobs/export takes more"
            raise ArgumentError("bounds", rule, f"{grid.width} x {grid.height}")
        deadline = engine.deadline()
        world = await engine.world(shown, request, deadline)
        for at in frame(asked).tiles():
            for part in chain(world, *at.wrapped):
                found = await run_in_threadpool(worlds.preview, world, *part)
                if found is None or found.level < part.z:
                    await engine.ask((shown, part), partial(world.tile, *part), request, deadline)
        image = await engine.ask(object(), lambda: read(world, grid, lambda _: None), request, deadline)
        return Scene(image, grid.crs, grid.transform, gsd, worlds.provenance(world))

    @app.get("/bbox.png", responses={**_PNG, **_BUSY}, response_class=Response, tags=["map"])
    async def bbox(request: Request, view: Annotated[FrameView, Query()]) -> Response:
        """The pixels of a frame, web mercator."""
        scene = await framed(view, request)
        return Response(await run_in_threadpool(png, scene.image), media_type="image/png")

    @app.get("/bbox.tif", responses={**_TIFF, **_BUSY}, response_class=Response, tags=["map"])
    async def bbox_tif(request: Request, view: Annotated[FrameView, Query()]) -> Response:
        """The same as a GeoTIFF. For larger ones see POST /jobs/export."""
        scene = await framed(view, request)
        return Response(await run_in_threadpool(tiff, scene, engine.settings.folder), media_type="image/tiff")

    @app.get("/statistics", responses=_BUSY, tags=["map"])
    async def statistics(request: Request, view: Annotated[FrameView, Query()]) -> dict[str, Any]:
        """Of the pixels of a frame, band by band."""
        scene, asked = await framed(view, request), view.export()
        return {
            "bounds": [asked.west, asked.south, asked.east, asked.north],
            "width": scene.width,
            "height": scene.height,
            "gsd": scene.gsd,
            "bands": {name: summary(scene.image[..., n]) for n, name in enumerate(("red", "green", "blue"))},
        }

    @app.post("/regions", status_code=201, responses=_BUSY, tags=["map"])
    async def regions(collection: dict[str, Any]) -> dict[str, str]:
        """Keep a FeatureCollection: regions with a `prompt`, `date` or `cloud_cover`, objects with a `class`."""
        return {"id": await run_in_threadpool(worlds.regions.put, collection)}

    @app.get("/regions/{name}", responses=_BUSY, tags=["map"])
    async def region(name: str) -> dict[str, Any]:
        """The FeatureCollection of an id."""
        return worlds.regions.get(name)

    @app.get("/places", tags=["map"])
    def search(q: Annotated[str, Query(max_length=100)]) -> list[dict[str, Any]]:
        """Places by the beginning of their name, or coordinates."""
        return [place._asdict() for place in places.find(q)]


def _work_routes(app: FastAPI, engine: Engine) -> None:
    def job_named(name: str) -> dict[str, Any]:
        try:
            return engine.jobs.record(name)
        except KeyError:
            raise HTTPException(404, "there is no such job, or it was forgotten") from None

    @app.post("/jobs/generate", status_code=202, responses=_BUSY, tags=["jobs"])
    def generate(asked: GenerateRequest, request: Request) -> dict[str, Any]:
        """Make single images."""
        return engine.tasks.generate(asked, client_of(request))

    @app.post("/jobs/upscale", status_code=202, responses=_BUSY, tags=["jobs"])
    def upscale(asked: UpscaleRequest, request: Request) -> dict[str, Any]:
        """Make an uploaded image 4 or 16 times finer."""
        return engine.tasks.upscale(asked, client_of(request))

    @app.post("/jobs/export", status_code=202, responses=_BUSY, tags=["jobs"])
    def export(asked: ExportRequest, request: Request) -> dict[str, Any]:
        """Write a part of a world as GeoTIFF."""
        return engine.tasks.export(asked, client_of(request))

    @app.get("/jobs/{name}", responses=_MISSING, tags=["jobs"])
    def job(name: str) -> dict[str, Any]:
        """How a job stands."""
        return job_named(name)

    @app.delete("/jobs/{name}", responses=_MISSING, tags=["jobs"])
    def cancel(name: str) -> dict[str, Any]:
        """Cancel a job, or forget one that is done."""
        job_named(name)
        return engine.jobs.cancel(name)

    @app.get("/jobs/{name}/files/{file}", responses=_MISSING, response_class=FileResponse, tags=["jobs"])
    def result(name: str, file: str) -> FileResponse:
        """A result of a job."""
        try:
            path, kind = engine.jobs.file(name, file)
        except KeyError:
            raise HTTPException(404, "there is no such file") from None
        inline = "inline" if kind in ("image/png", "text/html") else "attachment"
        return FileResponse(
            path, media_type=kind, filename=path.name, content_disposition_type=inline, headers=_NO_SCRIPT
        )

    body = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}

    @app.post("/uploads", status_code=201, responses=_BUSY, openapi_extra={"requestBody": body}, tags=["jobs"])
    async def upload(request: Request) -> dict[str, Any]:
        """Take in an image, the body being the file: PNG, JPEG or GeoTIFF."""
        taken = await run_in_threadpool(engine.uploads.put, await request.body())
        return taken._asdict()

    @app.post("/labels", status_code=201, responses=_BUSY, openapi_extra={"requestBody": body}, tags=["jobs"])
    async def own_labels(request: Request) -> dict[str, Any]:
        """Take in labels to lay objects out by, the body being COCO's JSON."""
        taken = await run_in_threadpool(engine.labels.put, await request.body())
        return taken._asdict()

    @app.get("/uploads/{name}.png", responses={**_PNG, **_BUSY}, response_class=Response, tags=["jobs"])
    def uploaded(name: str) -> Response:
        """An uploaded image, as it is seen."""
        return Response(png(engine.uploads.seen(name)), media_type="image/png")

    @app.get("/health", tags=["server"])
    def health() -> dict[str, Any]:
        """Whether the server is there, and what waits. `model` is null while it is being loaded."""
        units, jobs = engine.worker.waiting
        model = engine.loading.result().name if engine.loading.done() else None
        return {"status": "ok", "version": __version__, "model": model, "tiles": units, "jobs": jobs}


def _document(app: FastAPI) -> None:
    """A page of all routes that needs nothing but itself; `/openapi.json` says all."""

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        schema, rows = app.openapi(), []
        for path, methods in schema["paths"].items():
            for method, about in methods.items():
                names = ", ".join(p["name"] for p in about.get("parameters", []))
                cells = (f"{method.upper()} {path}", about.get("description", ""), names)
                rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
        template = (STATIC / "docs.html").read_text(encoding="utf-8")
        return HTMLResponse(template.replace("<!-- rows -->", "\n".join(rows)))


def run(settings: Settings) -> None:
    """Serve until Ctrl-C.

    Raises:
        WeightsError: The model is missing or damaged.
        ArgumentError: The device is not here.
    """
    import uvicorn

    app = create_app(settings)
    worker, loading = app.engine.worker, app.engine.loading

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: Any = None) -> None:
            worker.stop(0)  # requests that wait for the model are answered now, and then waited for
            await super().shutdown(sockets)

    config = uvicorn.Config(app, settings.host, settings.port, log_level="warning", timeout_graceful_shutdown=_PARTING)
    server = Server(config)

    def loaded(_: Any) -> None:
        server.should_exit |= not loading.cancelled() and loading.exception() is not None

    loading.add_done_callback(loaded)
    with suppress(KeyboardInterrupt):
        server.run()
    if loading.done() and not loading.cancelled():
        loading.result()


def with_free_port(settings: Settings) -> Settings:
    """The same, with a port that is free where 0 was asked."""
    import socket

    if settings.port:
        return settings
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.bind((settings.host, 0))
        return dataclasses.replace(settings, port=probe.getsockname()[1])
