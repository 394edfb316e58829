"""The long works themselves: generate images, refine one's own, export a view. Each as a request and its doing."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from earthgen import geo
from earthgen.app import shapes
from earthgen.app.jobs import Job, Jobs
from earthgen.app.own import OwnLabelsStore
from earthgen.app.settings import Settings
from earthgen.app.shapes import Shapes
from earthgen.app.uploads import Uploads
from earthgen.app.worlds import Clouds, Day, Prompt, Seed, View, Weights, Worlds, chain
from earthgen.cli import parse
from earthgen.conditions import GSD_RANGE, Conditions, Guidance
from earthgen.errors import ArgumentError
from earthgen.geo import mercator_gsd
from earthgen.output.picture import Picture as KnownPicture
from earthgen.output.provenance import Provenance
from earthgen.output.scene import Scene
from earthgen.steps import usual_steps
from earthgen.world.projection import MAX_LATITUDE, TILE, WEB_MERCATOR, pixel_to_position, position_to_mercator
from earthgen.world.pyramid import DEEPEST, Window
from earthgen.world.warp import Grid, filled

if TYPE_CHECKING:  # what needs torch is loaded behind the page, not before it
    from earthgen.cli.models import Model
    from earthgen.world.world import World

Gsd = Annotated[float | None, Field(ge=GSD_RANGE[0], le=GSD_RANGE[1], description="Metres a pixel.")]
Latitude = Annotated[float | None, Field(ge=-90, le=90)]
Longitude = Annotated[float | None, Field(ge=-180, le=180)]
Upload = Annotated[str | None, Field(pattern="^[0-9a-f]{32}$", description="As POST /uploads gives it.")]
Side = Annotated[int, Field(ge=32, le=4096, description="Pixels.")]
Steps = Annotated[int | None, Field(ge=1, le=100, description="None for what is usual for the model.")]
AnySeed = Annotated[Seed | None, Field(description="None for a fresh one, which the answer tells.")]


class WorkRequest(BaseModel):
    """What starts a job."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GenerateRequest(WorkRequest):
    """Single images. With `image` it is image to image, or inpainting where shapes have `redo`.

    What is made of an image lies where that lies, and is made for its place and resolution unless others are asked.
    """

    prompt: Prompt = None
    gsd: Gsd = None
    lat: Latitude = None
    lon: Longitude = None
    date: Day = None
    clouds: Clouds = None
    width: Side = 256
    height: Side = 256
    seed: AnySeed = None
    steps: Steps = None
    guidance: Weights = None
    count: Annotated[int, Field(ge=1, le=8, description="Images, from seeds SEED, SEED+1, ...")] = 1
    image: Upload = None
    strength: Annotated[float, Field(gt=0, le=1, description="How much of the image to replace.")] = 0.7
    shapes: Shapes = ()

    @model_validator(mode="after")
    def _together(self) -> GenerateRequest:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("`lat` and `lon` must be given together")
        if self.image is None and any(shape.redo for shape in self.shapes):
            raise ValueError("`image` must be given where shapes have `redo`")
        return self


class UpscaleRequest(WorkRequest):
    """An uploaded image, four times finer or 16 times."""

    image: Annotated[str, Field(pattern="^[0-9a-f]{32}$", description="As POST /uploads gives it.")]
    stages: Annotated[int, Field(ge=1, le=2, description="1 for four times finer, 2 for 16 times.")] = 1
    gsd: Gsd = None
    prompt: Prompt = None
    date: Day = None
    clouds: Clouds = None
    scale: Annotated[str | None, Field(max_length=60, description="Black and white, as 0,3000 or 2%,98%.")] = None
    bands: Annotated[str | None, Field(max_length=20, description="As 4,3,2, or 1 for grey.")] = None
    degradation: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: AnySeed = None
    steps: Steps = None


class ExportRequest(View):
    """What is on the screen, as a GeoTIFF."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    west: Annotated[float, Field(ge=-540, le=540)]
    south: Annotated[float, Field(ge=-90, le=90)]
    east: Annotated[float, Field(ge=-540, le=540)]
    north: Annotated[float, Field(ge=-90, le=90)]
    zoom: Annotated[int, Field(ge=0, le=DEEPEST, description="Level whose pixels are exported.")]
    utm: Annotated[bool, Field(description="In the UTM zone of the place, rather than web mercator.")] = False


@dataclass(frozen=True, eq=False)
class Tasks:
    """Starts jobs. All that can be wrong with a request is said when it is made, as an `ArgumentError`."""

    settings: Settings
    loading: Future[Model]
    worlds: Worlds
    uploads: Uploads
    labels: OwnLabelsStore
    jobs: Jobs

    @property
    def model(self) -> Model:
        """For jobs: on the worker's thread it is there."""
        return self.loading.result()

    def generate(self, asked: GenerateRequest, client: str) -> dict[str, Any]:
        """Start a generation; its record."""
        source = None if asked.image is None else self.uploads.rgb(asked.image)
        ground = None if asked.image is None else KnownPicture.open(self.uploads.path(asked.image), (1,), None)
        height, width = (asked.height, asked.width) if source is None else source.shape[:2]
        if max(height, width) > self.settings.image_side:
            rule = f"must be at most {self.settings.image_side} pixels"
            raise ArgumentError("width, height" if source is None else "image", rule, f"{width} x {height}")
        given: dict[str, Any] = {}
        if drawn := shapes.boxes(asked.shapes, height, width):
            given["boxes"] = drawn
        if (painted := shapes.mask(asked.shapes, height, width)) is not None:
            given["mask"], given["mask_classes"] = painted
        anew = shapes.redo(asked.shapes, height, width)
        if source is not None and anew is not None:
            given["known"], given["known_mask"], source = source, ~anew, None
        lat, lon, gsd = asked.lat, asked.lon, asked.gsd
        if ground is not None and lat is None and ground.place is not None:
            lat, lon = ground.place
        if ground is not None and gsd is None:
            gsd = ground.gsd
        conditions = Conditions(
            text=asked.prompt,
            gsd=gsd,
            lat=lat,
            lon=lon,
            date=asked.date,
            cloud_cover=asked.clouds,
            **given,
        )
        conditions.check_size(height, width)
        if lat is not None and lon is not None and gsd is not None:
            geo.transform_for(lat, lon, gsd, height, width)
        guidance = parse.guidance(asked.guidance) or Guidance()
        seed = seed_of(asked.seed)

        def work(job: Job) -> None:
            import torch

            number, about = 0, dataclasses.replace(self.model, guidance=guidance)
            about = about if asked.steps is None else dataclasses.replace(about, steps=asked.steps)

            def on_step(pipe: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
                job.step((number + (step + 1) / pipe.num_timesteps) / asked.count)
                return tensors

            for number in range(asked.count):
                made = self.model.pipe(
                    conditions=conditions,
                    height=height,
                    width=width,
                    num_inference_steps=asked.steps,
                    guidance=guidance,
                    image=source,
                    strength=asked.strength,
                    generator=torch.Generator().manual_seed(seed + number),
                    callback_on_step_end=on_step,
                )
                record = Provenance(
                    seed=seed + number,
                    conditions=conditions.to_dict(),
                    **about.about(),
                )
                scene = Scene.from_conditions(np.asarray(made.images[0]), conditions, record)
                if ground is not None and _north_up(ground):  # on its own grid, rather than one around its middle
                    scene = dataclasses.replace(scene, crs=ground.crs, transform=ground.transform)
                scene.save_all(job.folder, f"{number + 1}-seed-{seed + number}")

        return self.jobs.start("generate", client, work, seed=seed, prompt=asked.prompt, size=[width, height])

    def upscale(self, asked: UpscaleRequest, client: str) -> dict[str, Any]:
        """Start a refinement; its record."""
        from earthgen.cli.upscaling import Request

        source, seed = self.uploads.path(asked.image), seed_of(asked.seed)

        def request(output: Path) -> Request:
            return Request.from_options(
                image=source,
                output=output,
                gsd=asked.gsd,
                prompt=asked.prompt,
                lat=None,
                lon=None,
                date=asked.date,
                cloud_cover=asked.clouds,
                bands=asked.bands,
                scale=asked.scale,
                degradation=asked.degradation,
                stages=asked.stages,
                consistency=None,
                seed=seed,
                steps=asked.steps,
                guidance=None,
            )

        picture = request(self.jobs.folder / "checked.tif").picture
        factor = 4**asked.stages
        if picture.height * picture.width * factor**2 > self.settings.output_pixels:
            rule = f"must be few enough for at most {self.settings.output_pixels} pixels in all"
            raise ArgumentError("stages", rule, f"{picture.width * factor} x {picture.height * factor}")

        def work(job: Job) -> None:
            steps = asked.steps or usual_steps(self.model.pipe).refining
            about = request(job.folder / f"finer-seed-{seed}.tif").run(
                model=self.settings.model,
                device=self.model.device,
                loaded=dataclasses.replace(self.model, steps=steps, guidance=Guidance.uniform(1.0)),
                on_step=job.step,
            )
            job.about |= {"gsd": about["gsd"], "consistency_db": about["consistency_db"]}
            made = Scene.read(job.folder / f"finer-seed-{seed}.tif")
            dataclasses.replace(made, crs=None, transform=None).write(job.folder / f"finer-seed-{seed}.png")

        size = [picture.width * factor, picture.height * factor]
        return self.jobs.start("upscale", client, work, seed=seed, image=asked.image, size=size)

    def export(self, asked: ExportRequest, client: str) -> dict[str, Any]:
        """Start an export; its record."""
        grid, gsd = export_grid(asked)
        if grid.height * grid.width > self.settings.output_pixels:
            rule = f"must show at most {self.settings.output_pixels} pixels at this zoom"
            raise ArgumentError("west, south, east, north", rule, f"{grid.width} x {grid.height}")
        self.worlds.check(asked)

        def work(job: Job) -> None:
            world = self.worlds.open(asked.world())
            image = read(world, grid, job.step)
            scene = Scene(image, grid.crs, grid.transform, gsd, self.worlds.provenance(world))
            scene.save_all(job.folder, f"earth-{asked.zoom}-seed-{asked.seed}")

        return self.jobs.start("export", client, work, seed=asked.seed, size=[grid.width, grid.height])


def _north_up(image: KnownPicture) -> bool:
    """Whether an image says where its pixels lie, and a scene can say it too."""
    t = image.transform
    return image.crs is not None and t is not None and t.a > 0 > t.e and t.b == t.d == 0


def frame(asked: ExportRequest) -> Window:
    """What is asked for, as a window of its level. Raises `ArgumentError` for a frame that is empty."""
    south, north = max(asked.south, -MAX_LATITUDE), min(asked.north, MAX_LATITUDE)
    if not (asked.west < asked.east <= asked.west + 360 and south < north):
        rule = "must be degrees, west < east and south < north, at most once around the world"
        raise ArgumentError("west, south, east, north", rule, (asked.west, asked.south, asked.east, asked.north))
    (west, east), (low, high) = position_to_mercator([south, north], [asked.west, asked.east])
    return Window.covering(asked.zoom, float(west), float(low), float(east), float(high))


def export_grid(asked: ExportRequest) -> tuple[Grid, float]:
    """Where the pixels of an export lie, and their GSD in the middle, metres."""
    window = frame(asked)
    lat, lon = (
        float(n) for n in pixel_to_position(asked.zoom, window.top + window.height / 2, window.left + window.width / 2)
    )
    gsd = mercator_gsd(asked.zoom, lat)
    if asked.utm:  # of as many pixels of the ground's own size around the same centre
        return Grid.around(lat, lon, gsd, window.shape), gsd
    return Grid(WEB_MERCATOR, window.transform, window.height, window.width), gsd


def read(world: World, grid: Grid, step: Callable[[float], None]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The pixels of a grid as `World.read` gives them, taking breath for each piece of the world that is asked for."""
    image = np.empty((grid.height, grid.width, 3), np.uint8)
    rows_done = pieces = 0

    def pixels(window: Window) -> Any:
        nonlocal pieces
        for tile in window.tiles():
            for part in chain(world, *tile.wrapped):
                pieces += 1
                # Rows that are done count whole, pieces of the strip that runs as far as they can.
                step((rows_done + TILE * (1 - 0.9**pieces)) / (grid.height + TILE))
                world.tile(*part)
        return world.pixels(window)

    for top in range(0, grid.height, TILE):
        rows = range(top, min(top + TILE, grid.height))
        image[top : rows.stop], _ = filled(grid, rows, range(grid.width), pixels, world.deepest)
        rows_done, pieces = rows.stop, 0
        step(rows_done / (grid.height + TILE))
    return image


def seed_of(seed: int | None) -> int:
    """The seed that is asked for, or a fresh one."""
    return secrets.randbelow(2**31) if seed is None else seed
