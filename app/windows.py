"""What is on the screen as a labelled image, what is drawn there being its labels."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from earthgen import labels
from earthgen.app.datasets import Format
from earthgen.app.jobs import Job
from earthgen.app.tasks import ExportRequest, Tasks, export_grid, read
from earthgen.app.worlds import parted
from earthgen.errors import ArgumentError
from earthgen.labels.base import LabelledImage, LabelledSet
from earthgen.output.scene import Scene

if TYPE_CHECKING:
    from earthgen.world.layout import Layout
    from earthgen.world.warp import Grid


class WindowRequest(ExportRequest):
    """A part of a world with its labels: the objects drawn there or, without any, the regions by their prompts."""

    formats: Annotated[tuple[Format, ...], Field(min_length=1, max_length=10)] = ("coco", "masks")


def start(tasks: Tasks, asked: WindowRequest, client: str) -> dict[str, Any]:
    """Start an export; its record.

    Raises:
        ArgumentError: The request makes no sense, or nothing that is drawn is large enough to be labelled there.
        BusyError: Too many works wait.
    """
    from earthgen.world.labels import labels_of  # torch: behind the page

    grid, gsd = export_grid(asked)
    if grid.height * grid.width > tasks.settings.output_pixels:
        rule = f"must show at most {tasks.settings.output_pixels} pixels at this zoom"
        raise ArgumentError("west, south, east, north", rule, f"{grid.width} x {grid.height}")
    if len(set(asked.formats)) < len(asked.formats) or "classification" in asked.formats:
        raise ArgumentError("formats", "must differ, and hold objects or masks", asked.formats)
    tasks.worlds.check(asked)
    layout = _drawn(tasks, asked)
    if not labels_of(layout, 0, grid).parts:
        raise ArgumentError("regions", "must have something drawn in the view, of 16 pixels or more", asked.regions)
    return tasks.jobs.start(
        "export",
        client,
        lambda job: _make(tasks, asked, grid, gsd, layout, job),
        seed=asked.seed,
        size=[grid.width, grid.height],
    )


def _drawn(tasks: Tasks, asked: WindowRequest) -> Layout:
    """What is drawn on the world, as objects."""
    from earthgen.world.layout import read_layout

    if asked.regions is None:
        return read_layout(None)
    regions, objects = parted(tasks.worlds.regions.get(asked.regions))
    if not objects["features"]:
        worded = [(feature, feature["properties"].get("prompt")) for feature in regions["features"]]
        features = [f | {"properties": {"class": text, "kind": "polygon"}} for f, text in worded if text]
        objects = {"type": "FeatureCollection", "features": features}
    return read_layout(objects)


def _make(tasks: Tasks, asked: WindowRequest, grid: Grid, gsd: float, layout: Layout, job: Job) -> None:
    from earthgen.world.labels import labels_of, mask_classes

    world = tasks.worlds.open(asked.world())
    image = read(world, grid, lambda share: job.step(0.9 * share))
    name = f"earth-{asked.zoom}-seed-{asked.seed}"
    Scene(image, grid.crs, grid.transform, gsd, tasks.worlds.provenance(world)).save_all(job.folder, name)
    told = labels_of(layout, 0, grid)
    epsg = grid.crs.to_epsg()
    labelled = LabelledImage(
        id=name,
        path=job.folder / f"{name}.tif",
        height=grid.height,
        width=grid.width,
        split="train",
        shapes=told.shapes,
        mask=told.mask,
        gsd=gsd,
        crs=f"EPSG:{epsg}" if epsg else grid.crs.to_wkt(version="WKT2_2019"),
        transform=grid.transform,
        extra={"seed": asked.seed},
    )
    draft = job.folder / ".formats"
    labels.export(LabelledSet([labelled], layout.classes, mask_classes(layout)), draft, asked.formats)
    job.about["objects"] = len(told.parts)
    job.pack(draft, f"{name}-labelled.zip")
    shutil.rmtree(draft)
