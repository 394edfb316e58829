"""`earthgen world`: a part of the world as map tiles. Also what it shares with `earthgen window`."""

from __future__ import annotations

import re
import time
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


Prompt = Annotated[str | None, option("--prompt", panel=WHAT, text="A sentence of what there is to see everywhere.")]
Day = Annotated[str | None, option("--date", panel=WHAT, metavar="YYYY-MM-DD", text="Day that the images show.")]
Clouds = Annotated[float | None, option("--cloud-cover", panel=WHAT, metavar="0..1", text="Fraction under cloud.")]
Regions = Annotated[
    Path | None,
    option(
        "--regions",
        panel=WHAT,
        metavar="GEOJSON",
        text="FeatureCollection of polygons, each with a `prompt`, `date` or `cloud_cover` of its own.",
    ),
]
Ground = Annotated[
    str,
    option("--base", panel=WHAT, metavar="earth|imagined", text="NASA's Blue Marble above, or a planet from noise."),
]
Seed = Annotated[int, option("--seed", panel=HOW, text="Same seed, same world.")]
Steps = Annotated[int | None, option("--steps", panel=HOW, metavar="N", text="Sampling steps of each level.")]
Weights = Annotated[
    str | None, option("--guidance", panel=HOW, metavar="W|NAME=W,...", text="As in generate. Default: 1.")
]
Model = Annotated[str, option("--model", panel=HOW, text="The bundled model's name or a model folder.")]
Device = Annotated[str, option("--device", panel=HOW, metavar="auto|cpu|cuda", text="Where to compute.")]
Cache = Annotated[
    Path | None, option("--cache", panel=HOW, metavar="FOLDER", text="Where tiles are kept. Default: the user's cache.")
]
Json = Annotated[bool, option("--json", panel=WHERE, text="Print JSON, for scripts.")]


def opener(
    prompt: str | None,
    date: str | None,
    cloud_cover: float | None,
    regions: Path | None,
    base: str,
    seed: int,
    steps: int | None,
    guidance: str | None,
    model: str,
    device: str,
    cache: Path | None,
) -> Any:
    """A function that opens the world asked for, after all that can be said without the model was checked."""
    from earthgen import weights
    from earthgen.cli import parse
    from earthgen.conditions import Conditions

    parse.at_least_one("steps", steps)
    if base not in ("earth", "imagined"):
        raise ArgumentError("base", "must be earth or imagined", base)
    conditions = Conditions(text=prompt, date=parse.date(date), cloud_cover=cloud_cover)
    wanted = parse.guidance(guidance)
    weights.check(weights.resolve(model))
    parse.seed(seed)
    from earthgen.world.regions import read_regions, regions_of

    collection = None if regions is None else read_regions(regions)
    if collection is not None:
        regions_of(collection, conditions)

    def opened() -> World:
        from earthgen.cli import models
        from earthgen.world.world import DEFAULT_STEPS, World

        models._hush()
        return World.open(
            seed,
            model,
            base=base,
            conditions=conditions,
            regions=collection,
            steps=steps or DEFAULT_STEPS,
            guidance=wanted,
            cache=cache,
            device=models.find_device(device),
        )

    return opened


def zoom_range(text: str) -> tuple[int, int]:
    """`4-10` or `7`, as (4, 10) or (7, 7)."""
    from earthgen.world.world import DEEPEST

    match = re.fullmatch(r"\s*(\d{1,2})\s*(?:-\s*(\d{1,2})\s*)?", text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not 0 <= low <= high <= DEEPEST:
        raise ArgumentError("zooms", f"must be LOW-HIGH or one zoom, from 0 to {DEEPEST}", text)
    return low, high


def world(
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
    prompt: Prompt = None,
    date: Day = None,
    cloud_cover: Clouds = None,
    regions: Regions = None,
    base: Ground = "earth",
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Weights = None,
    model: Model = BUNDLED,
    device: Device = "auto",
    cache: Cache = None,
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
    opened = opener(prompt, date, cloud_cover, regions, base, seed, steps, guidance, model, device, cache)
    unknown = Provenance(seed, {}, {}, "", "", "", 1, "")
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
        "seed": seed,
        "seconds": round(time.monotonic() - start, 1),
    }
    if json:
        parse.print_json(report)
    else:
        typer.echo(f"{path}  {request.count} tiles of zooms {low} to {high}  seed {seed}  {report['seconds']} s")
