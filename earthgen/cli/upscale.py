"""`earthgen upscale`: an image of one's own, four or more times finer, with its georeference and its provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earthgen.cli.world import Backend
from earthgen.weights import BUNDLED

_WHAT = "What is shown"
_FILE = "What the file holds"
_HOW = "How it is made"
_WHERE = "Where it goes"


def _option(*names: str, panel: str, text: str, metavar: str | None = None) -> typer.models.OptionInfo:
    info: typer.models.OptionInfo = typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)
    return info


def upscale(
    image: Annotated[Path, typer.Argument(metavar="INPUT", help="GeoTIFF or other raster, PNG or JPEG.")],
    output: Annotated[
        Path, _option("-o", "--output", panel=_WHERE, metavar="PATH", text="A .tif (of any size), .png or .jpg.")
    ],
    gsd: Annotated[
        float | None,
        _option("--gsd", panel=_WHAT, metavar="M", text="Metres a pixel of INPUT. Default: by its georeference."),
    ] = None,
    prompt: Annotated[str | None, _option("--prompt", panel=_WHAT, text="A sentence of what there is to see.")] = None,
    lat: Annotated[float | None, _option("--lat", panel=_WHAT, text="Latitude. Default: by the georeference.")] = None,
    lon: Annotated[float | None, _option("--lon", panel=_WHAT, text="Longitude, likewise.")] = None,
    date: Annotated[
        str | None, _option("--date", panel=_WHAT, metavar="YYYY-MM-DD", text="Day that the image shows.")
    ] = None,
    cloud_cover: Annotated[
        float | None, _option("--cloud-cover", panel=_WHAT, metavar="0..1", text="Fraction under cloud.")
    ] = None,
    bands: Annotated[
        str | None,
        _option("--bands", panel=_FILE, metavar="R,G,B|GREY", text="Numbers of the bands to take. Default: RGB's."),
    ] = None,
    scale: Annotated[
        str | None,
        _option(
            "--scale",
            panel=_FILE,
            metavar="LOW,HIGH",
            text="Values, or percentiles as in 2%,98%, that become black and white. Needed unless INPUT is of 8 bits.",
        ),
    ] = None,
    degradation: Annotated[
        float,
        _option(
            "--degradation",
            panel=_FILE,
            metavar="0..1",
            text="How blurred, noisy or compressed INPUT is: how far it is to be mistrusted.",
        ),
    ] = 0.0,
    stages: Annotated[
        int, _option("--stages", panel=_HOW, metavar="N", text="Stages of factor 4: 2 for 16 times finer.")
    ] = 1,
    consistency: Annotated[
        float | None,
        _option(
            "--consistency",
            panel=_HOW,
            metavar="0..1",
            text="1: averaged down, a stage gives the one before; 0: as the network has it. Default: 1 - degradation.",
        ),
    ] = None,
    seed: Annotated[
        int | None, _option("--seed", panel=_HOW, text="Same seed, same image. Default: a fresh one, printed.")
    ] = None,
    steps: Annotated[
        int | None, _option("--steps", panel=_HOW, metavar="N", text="Sampling steps. Default: the model's.")
    ] = None,
    guidance: Annotated[
        str | None, _option("--guidance", panel=_HOW, metavar="W|NAME=W,...", text="As in generate. Default: 1.")
    ] = None,
    model: Annotated[str, _option("--model", panel=_HOW, text="The bundled model's name or a model folder.")] = BUNDLED,
    device: Annotated[str, _option("--device", panel=_HOW, metavar="auto|cpu|cuda", text="Where to compute.")] = "auto",
    backend: Backend = "torch",
    json: Annotated[bool, _option("--json", panel=_WHERE, text="Print JSON, for scripts.")] = False,
) -> None:
    """Make an image four times finer, or 16 times in two stages.

    Detail is invented, of the kind that the model has seen at that scale; averaged
    down, the result gives INPUT back. A GeoTIFF keeps its CRS (or has none, as
    before), its transform, rotated or not, four times finer, and its nodata.
    Images larger than memory are made in windows. The output is of 8 bits,
    marked as synthetic, and carries what it was made from.

    \b
    A Sentinel-2 picture at 2.5 m:
      earthgen upscale scene.tif -o finer.tif
    Bands 4, 3, 2 of a product of 16 bits, 0 black and 3000 white:
      earthgen upscale L1C.tif --bands 4,3,2 --scale 0,3000 -o finer.tif
    A picture without georeference, 16 times finer:
      earthgen upscale field.png --gsd 10 --stages 2 --prompt "fields by a river" -o finer.png
    """
    from earthgen.cli import parse
    from earthgen.cli.upscaling import Request

    parse.at_least_one("steps", steps)
    request = Request.from_options(
        image=image,
        output=output,
        gsd=gsd,
        prompt=prompt,
        lat=lat,
        lon=lon,
        date=parse.date(date),
        cloud_cover=cloud_cover,
        bands=bands,
        scale=scale,
        degradation=degradation,
        stages=stages,
        consistency=consistency,
        seed=parse.seed(seed),
        steps=steps,
        guidance=parse.guidance(guidance),
    )
    report = request.run(model=model, device=device, backend=backend)
    if json:
        parse.print_json(report)
    else:
        size, metres = f"{report['width']} x {report['height']} px", f"{report['gsd']:g} m"
        agreement = ", ".join(f"{figure:.1f} dB" for figure in report["consistency_db"])
        typer.echo(f"{report['output']}  {size} of {metres}  seed {report['seed']}  {report['crs'] or ''}".rstrip())
        typer.echo(f"made in {report['seconds']:.1f} s; averaged down against the stage before: {agreement}")
