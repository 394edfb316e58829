"""`earthgen generate`: conditions on the command line, images with their provenance on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earthgen.cli.world import Backend
from earthgen.weights import BUNDLED

_WHAT = "What is shown"
_HOW = "How it is made"
_WHERE = "Where it goes"


def _option(*names: str, panel: str, text: str, metavar: str | None = None) -> typer.models.OptionInfo:
    info: typer.models.OptionInfo = typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)
    return info


def generate(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="One sentence an image. None at all: the other conditions decide."),
    ] = None,
    gsd: Annotated[
        list[float] | None,
        _option("--gsd", panel=_WHAT, metavar="M", text="Metres on the ground a pixel. Repeat it for several scales."),
    ] = None,
    lat: Annotated[float | None, _option("--lat", panel=_WHAT, text="Latitude of the centre, degrees north.")] = None,
    lon: Annotated[float | None, _option("--lon", panel=_WHAT, text="Longitude of the centre, degrees east.")] = None,
    date: Annotated[
        str | None, _option("--date", panel=_WHAT, metavar="YYYY-MM-DD", text="Day that the image shows.")
    ] = None,
    cloud_cover: Annotated[
        float | None, _option("--cloud-cover", panel=_WHAT, metavar="0..1", text="Fraction under cloud.")
    ] = None,
    box: Annotated[
        list[str] | None,
        _option(
            "--box",
            panel=_WHAT,
            metavar="LABEL,X,Y,W,H[,ANGLE]",
            text="An object: centre and sides in pixels, angle in degrees clockwise. Repeat it for more.",
        ),
    ] = None,
    polygon: Annotated[
        list[str] | None,
        _option(
            "--polygon",
            panel=_WHAT,
            metavar="LABEL,X,Y,X,Y,X,Y,...",
            text="An area by its corners in pixels. Repeat it for more; later ones lie on top.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        _option("--mask", panel=_WHAT, metavar="PNG", text="What lies where: number of a class a pixel, 255 unknown."),
    ] = None,
    mask_class: Annotated[
        list[str] | None,
        _option("--mask-class", panel=_WHAT, metavar="NAME", text="Class 0 of the mask. Repeat it for 1, 2, ..."),
    ] = None,
    known: Annotated[
        Path | None,
        _option(
            "--known",
            panel=_WHAT,
            metavar="IMAGE",
            text="Image whose pixels are kept. What its nodata or alpha leaves out is filled; a larger --size "
            "grows it on all sides. It stays where it lies; place and GSD that you give are for the model alone.",
        ),
    ] = None,
    known_mask: Annotated[
        Path | None,
        _option("--known-mask", panel=_WHAT, metavar="IMAGE", text="White: keep the known pixel. Black: make it anew."),
    ] = None,
    bands: Annotated[
        str | None,
        _option(
            "--bands", panel=_WHAT, metavar="R,G,B|GREY", text="Numbers of the known image's bands. Default: RGB's."
        ),
    ] = None,
    scale: Annotated[
        str | None,
        _option(
            "--scale",
            panel=_WHAT,
            metavar="LOW,HIGH",
            text="Its values, or percentiles as in 2%,98%, that become black and white. Needed unless it is of 8 bits.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        _option("--size", panel=_HOW, metavar="SIDE|WxH", text="Pixels. Default: 256, or the known image's."),
    ] = None,
    seed: Annotated[
        int | None, _option("--seed", panel=_HOW, text="Same seed, same image. Default: a fresh one, printed.")
    ] = None,
    count: Annotated[
        int, _option("--count", "-n", panel=_HOW, metavar="N", text="Images of each, from seeds SEED, SEED+1, ...")
    ] = 1,
    steps: Annotated[
        int | None,
        _option(
            "--steps",
            panel=_HOW,
            metavar="N",
            text="Sampling steps. Default: the model's. 4 of the bundled one's make a draft.",
        ),
    ] = None,
    guidance: Annotated[
        str | None,
        _option(
            "--guidance",
            panel=_HOW,
            metavar="W|NAME=W,...",
            text="How strongly conditions pull: one number, or by name (text=3,gsd=2). 1 as learned, 0 ignores.",
        ),
    ] = None,
    negative_prompt: Annotated[
        str,
        _option(
            "--negative-prompt",
            panel=_HOW,
            metavar="TEXT",
            text="What to lead away from, in place of no text at all. Needs a weight for text above 1 in --guidance.",
        ),
    ] = "",
    model: Annotated[str, _option("--model", panel=_HOW, text="The bundled model's name or a model folder.")] = BUNDLED,
    device: Annotated[str, _option("--device", panel=_HOW, metavar="auto|cpu|cuda", text="Where to compute.")] = "auto",
    backend: Backend = "torch",
    batch_size: Annotated[
        int, _option("--batch-size", panel=_HOW, metavar="N", text="Images at once. Changes speed and memory only.")
    ] = 1,
    output: Annotated[
        Path,
        _option(
            "-o",
            "--output",
            panel=_WHERE,
            metavar="PATH",
            text="A .tif, .png or .jpg for one image, or a folder: GeoTIFF, PNG and STAC item of each, a manifest,"
            " a contact sheet.",
        ),
    ] = Path("out"),
    json: Annotated[bool, _option("--json", panel=_WHERE, text="Print JSON, for scripts.")] = False,
) -> None:
    """Make Earth images from sentences, a place, a resolution, a day.

    Every condition may be left out. With --lat, --lon and --gsd the GeoTIFF has
    a CRS and lies where you said; without a place it has none. Images are
    marked as synthetic and carry what they were made from.

    \b
    One image, georeferenced:
      earthgen generate "a river through farmland" --gsd 10 --lat 45.4 --lon 9.2 -o river.tif
    Three sentences at two scales each, with a contact sheet:
      earthgen generate "a forest" "a harbour" "a desert" --gsd 1 --gsd 10 -o out
    Ten variants, the sentence followed harder, no clouds, in summer:
      earthgen generate "a village" --cloud-cover 0 --date 2024-07-01 --guidance text=6 -n 10 -o villages
    What it is to lead away from:
      earthgen generate "a town by a lake" --negative-prompt "water, a lake" --gsd 10 -o dry.tif
    A building and water where you want them:
      earthgen generate --box building,60,80,40,24,30 --polygon water,0,160,256,200,256,256,0,256 -o shore.tif
    Fill a hole in an image:
      earthgen generate "a lake" --known scene.tif --known-mask keep.png -o filled.tif
    Grow an image to 1024 pixels:
      earthgen generate --known scene.tif --size 1024 -o grown.tif

    The same command with the same --seed and folder goes on where it was stopped.
    """
    from earthgen.cli import parse, plan
    from earthgen.output.picture import Scale, parse_bands

    for name, number in (("count", count), ("steps", steps), ("batch-size", batch_size)):
        parse.at_least_one(name, number)
    with parse.spoken_warnings():
        request = plan.Request.from_options(
            prompts=prompts or [],
            gsds=gsd or [],
            lat=lat,
            lon=lon,
            date=parse.date(date),
            cloud_cover=cloud_cover,
            boxes=parse.boxes(box),
            polygons=parse.polygons(polygon),
            mask=mask,
            mask_classes=mask_class or [],
            known=known,
            known_mask=known_mask,
            bands=parse_bands(bands),
            scale=Scale.parse(scale),
            size=None if size is None else parse.size(size),
            seed=parse.seed(seed),
            count=count,
            steps=steps,
            guidance=parse.guidance(guidance),
            negative_prompt=negative_prompt,
            output=output,
        )

    from earthgen.cli import render  # imports torch, so only once the request is known to be sound

    report = render.render(request, model=model, device=device, backend=backend, batch_size=batch_size)
    if json:
        parse.print_json(report)
    else:
        render.print_report(report)
