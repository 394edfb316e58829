"""`earthgen world`: a part of the world as map tiles. Also what it shares with `earthgen window`."""

from __future__ import annotations

import functools
import inspect
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earthgen.errors import ArgumentError
from earthgen.weights import BUNDLED

if TYPE_CHECKING:
    from earthgen.world.world import World

WHAT, HOW, WHERE = "What is shown", "How it is made", "Where it goes"


def option(*names: str, panel: str, text: str, metavar: str | None = None) -> typer.models.OptionInfo:
    """An option of the command line, in one of the three panels."""
    info: typer.models.OptionInfo = typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)
    return info


Json = Annotated[bool, option("--json", panel=WHERE, text="Print JSON, for scripts.")]
Backend = Annotated[
    str,
    option(
        "--backend",
        panel=HOW,
        metavar="torch|openvino|onnx",
        text="What computes on a CPU. The others are extras to install, and faster.",
    ),
]
Opener = Callable[[], "World"]


def opener(
    prompt: Annotated[
        str | None, option("--prompt", panel=WHAT, text="A sentence of what there is to see everywhere.")
    ] = None,
    date: Annotated[
        str | None,
        option("--date", panel=WHAT, metavar="YYYY-MM-DD", text="Day that is shown: season and events."),
    ] = None,
    cloud_cover: Annotated[
        float | None, option("--cloud-cover", panel=WHAT, metavar="0..1", text="Fraction under cloud.")
    ] = None,
    regions: Annotated[
        Path | None,
        option(
            "--regions",
            panel=WHAT,
            metavar="GEOJSON",
            text="FeatureCollection of polygons, each with a `prompt`, `date` or `cloud_cover` of its own.",
        ),
    ] = None,
    known: Annotated[
        list[Path] | None,
        option(
            "--known",
            panel=WHAT,
            metavar="FILE",
            text="An image with a CRS that is there as it is; the world grows around it. May be given again.",
        ),
    ] = None,
    bands: Annotated[
        str | None, option("--bands", panel=WHAT, metavar="R,G,B", text="Of --known, where it has others: 4,3,2.")
    ] = None,
    scale: Annotated[
        str | None,
        option("--scale", panel=WHAT, metavar="LOW,HIGH", text="Black and white of --known: 0,3000, or 2%,98%."),
    ] = None,
    layout: Annotated[
        Path | None,
        option(
            "--layout",
            panel=WHAT,
            metavar="GEOJSON",
            text="Objects of a `class` each, and maybe a `text`: boxes and polygons, or points with width and height.",
        ),
    ] = None,
    layout_mask: Annotated[
        Path | None,
        option("--layout-mask", panel=WHAT, metavar="TIF", text="Classes of the ground: a raster of indices with CRS."),
    ] = None,
    mask_classes: Annotated[
        list[str] | None,
        option("--mask-class", panel=WHAT, metavar="NAME", text="Of the mask's indices, in order, unless it says."),
    ] = None,
    events: Annotated[
        Path | None,
        option(
            "--events",
            panel=WHAT,
            metavar="GEOJSON",
            text="What becomes of the layout's objects, each with a `date`, an `event` and the object's `id`.",
        ),
    ] = None,
    base: Annotated[
        str,
        option(
            "--base", panel=WHAT, metavar="earth|imagined", text="NASA's Blue Marble above, or a planet from noise."
        ),
    ] = "earth",
    seed: Annotated[int, option("--seed", panel=HOW, text="Same seed, same world.")] = 0,
    steps: Annotated[
        int | None, option("--steps", panel=HOW, metavar="N", text="Sampling steps of each level.")
    ] = None,
    guidance: Annotated[
        str | None, option("--guidance", panel=HOW, metavar="W|NAME=W,...", text="As in generate. Default: 1.")
    ] = None,
    strength: Annotated[
        float | None,
        option(
            "--strength", panel=HOW, metavar="0..1", text="Of a published UNet: how much of a level is made anew. 0.6."
        ),
    ] = None,
    model: Annotated[str, option("--model", panel=HOW, text="The bundled model's name or a model folder.")] = BUNDLED,
    device: Annotated[str, option("--device", panel=HOW, metavar="auto|cpu|cuda", text="Where to compute.")] = "auto",
    backend: Backend = "torch",
    cache: Annotated[
        Path | None,
        option("--cache", panel=HOW, metavar="FOLDER", text="Where tiles are kept. Default: the user's cache."),
    ] = None,
) -> Opener:
    """A function that opens the world asked for, after all that can be said without the model was checked."""
    from earthgen import weights
    from earthgen.cli import parse
    from earthgen.conditions import Conditions
    from earthgen.output.picture import Picture, Scale, parse_bands

    parse.at_least_one("steps", steps)
    if base not in ("earth", "imagined"):
        raise ArgumentError("base", "must be earth or imagined", base)
    conditions = Conditions(text=prompt, date=parse.date(date), cloud_cover=cloud_cover)
    from earthgen.world.given import USUAL_GUIDANCE, laid_out

    wanted = parse.guidance(guidance, USUAL_GUIDANCE)
    weights.check(weights.resolve(model))
    parse.seed(seed)
    from earthgen.world.regions import read_regions, regions_of

    collection = None if regions is None else read_regions(regions)
    if collection is not None:
        regions_of(collection, conditions)
    for name, value in (("bands", bands), ("scale", scale)):
        if value is not None and not known:
            raise ArgumentError(name, "must be given together with `known`", value)
    laid = laid_out(layout, layout_mask, mask_classes, events)
    pictures = [Picture.open(path, parse_bands(bands), Scale.parse(scale)) for path in known or ()]

    def opened() -> World:
        from earthgen.cli import models
        from earthgen.world.world import World

        models.hush()
        return World.open(
            seed,
            model,
            base=base,
            conditions=conditions,
            regions=collection,
            known=pictures,
            layout=laid,
            steps=steps,
            guidance=wanted,
            strength=strength,
            cache=cache,
            device=models.find_device(device, backend),
            backend=backend,
        )

    return opened


def of_a_world(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of `opener` besides its own; it gets what that returns as `opened`."""
    shared = inspect.signature(opener, eval_str=True).parameters
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "opened"]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared.values())]

    @functools.wraps(command)
    def whole(**given: Any) -> None:
        opened = opener(**{name: given.pop(name) for name in shared})
        command(opened=opened, **given)

    whole.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    whole.__annotations__ = {p.name: p.annotation for p in parameters}
    return whole


def zoom_range(text: str) -> tuple[int, int]:
    """`4-10` or `7`, as (4, 10) or (7, 7)."""
    from earthgen.world.pyramid import DEEPEST

    match = re.fullmatch(r"\s*(\d{1,2})\s*(?:-\s*(\d{1,2})\s*)?", text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not 0 <= low <= high <= DEEPEST:
        raise ArgumentError("zooms", f"must be LOW-HIGH or one zoom, from 0 to {DEEPEST}", text)
    return low, high


@of_a_world
def world(
    opened: Opener,
    bbox: Annotated[
        tuple[float, float, float, float],
        option("--bbox", panel=WHERE, metavar="W S E N", text="Degrees. W > E goes across the antimeridian."),
    ],
    zooms: Annotated[str, option("--zooms", panel=WHERE, metavar="LOW-HIGH", text="Zoom levels, 0 to 18: 4-10, or 7.")],
    output: Annotated[
        Path,
        option("-o", "--output", panel=WHERE, metavar="PATH", text="A .pmtiles, an .mbtiles, or a folder of z/x/y."),
    ],
    format: Annotated[str, option("--format", panel=WHERE, metavar="png|jpg|webp", text="Of the tiles.")] = "png",
    quality: Annotated[int, option("--quality", panel=WHERE, metavar="1..100", text="Of jpg and webp.")] = 85,
    name: Annotated[str, option("--name", panel=WHERE, text="What the archive calls itself.")] = "earthgen",
    json: Json = False,
) -> None:
    """Make a part of the world as map tiles, ready for any map client.

    Every zoom shows the same Earth: who zooms in sees it sharper. Down to zoom 6
    it is NASA's Blue Marble, below that it is invented. Tiles are marked as
    synthetic. Run again after an interruption, the command goes on where it was.

    \b
    The Alps, as one file to be served as it is:
      earthgen world --bbox 5.5 44 16 48 --zooms 4-10 -o alps.pmtiles
    Islands on both sides of the antimeridian, as a folder z/x/y.webp:
      earthgen world --bbox 177 -20 -178 -15 --zooms 5-9 --format webp -o fiji
    """
    from earthgen.cli import parse
    from earthgen.output import archives
    from earthgen.output.provenance import Provenance
    from earthgen.output.tiles import TileRequest

    low, high = zoom_range(zooms)
    unknown = Provenance(0, {}, {}, "", "", "", 1, "")
    request = TileRequest(bbox, low, high, unknown, name, format, quality)
    writers = {".pmtiles": archives.write_pmtiles, ".mbtiles": archives.write_mbtiles, "": archives.write_xyz}
    if output.suffix.lower() not in writers:
        raise ArgumentError("output", "must end in .pmtiles or .mbtiles, or be a folder without a suffix", str(output))
    start = time.monotonic()
    whole = opened()
    request = replace(request, provenance=whole.provenance())
    path = writers[output.suffix.lower()](output, whole.tile, request, progress=not json)
    report: dict[str, Any] = {
        "output": str(path),
        "tiles": request.count,
        "bounds": list(request.bounds),
        "zooms": [low, high],
        "seed": whole.request.seed,
        "seconds": round(time.monotonic() - start, 1),
    }
    if json:
        parse.print_json(report)
    else:
        typer.echo(
            f"{path}  {request.count} tiles of zooms {low} to {high}  seed {report['seed']}  {report['seconds']} s"
        )
