"""`earthgen dataset change`: pairs and series of images with exact labels of what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from earthgen.cli.options import ConfigFile, Device, Json, ModelName, Output, Seed, Size, Steps
from earthgen.cli.options import formats as formats_option
from earthgen.cli.world import HOW, WHAT, WHERE, option

_FORMATS = "levir-cd, levir-cd-split, second, change-geotiff, change-captions, change-coco"
_KINDS = "add, remove, move, grow, shrink, transition"
_NUISANCES = "season, illumination, relief, haze, noise, jpeg (0 to 1), misregistration (px), rectangles (count)"


def change(
    config: ConfigFile = None,
    source: Annotated[
        Path | None, option("--source", panel=WHAT, metavar="FOLDER", text="Images of the first date. None: made too.")
    ] = None,
    masks: Annotated[
        Path | None,
        option(
            "--masks", panel=WHAT, metavar="FOLDER", text="Index masks, named as the images. None: segments vanish."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        option("--labels", panel=WHAT, metavar="PATH", text="Labelled images, not --source: their boxes change."),
    ] = None,
    classes: Annotated[
        list[str] | None,
        option("--class", panel=WHAT, metavar="NAME", text="Of the masks' indices, in order, or objects. Repeat it."),
    ] = None,
    count: Annotated[int | None, option("--count", "-n", panel=WHAT, metavar="N", text="Series. Default: 100.")] = None,
    dates: Annotated[int | None, option("--dates", panel=WHAT, metavar="N", text="Images of each. Default: 2.")] = None,
    events: Annotated[
        str | None,
        option("--events", panel=WHAT, metavar="N|KIND=N,...", text=f"From date to date, of {_KINDS}. Default: 4."),
    ] = None,
    become: Annotated[
        list[str] | None,
        option("--become", panel=WHAT, metavar="TEXT", text="What places become, without masks. Repeat it."),
    ] = None,
    nuisance: Annotated[
        str | None,
        option("--nuisance", panel=WHAT, metavar="NAME=S,...", text=f"What is no change: {_NUISANCES}. Default: none."),
    ] = None,
    size: Size = None,
    prompt: Annotated[str | None, option("--prompt", panel=WHAT, text="A sentence about all images.")] = None,
    gsd: Annotated[float | None, option("--gsd", panel=WHAT, metavar="M", text="Metres on the ground a pixel.")] = None,
    start: Annotated[
        str | None, option("--start", panel=WHAT, metavar="YYYY-MM-DD", text="Day of the first image.")
    ] = None,
    interval: Annotated[
        int | None, option("--interval", panel=WHAT, metavar="DAYS", text="From date to date. Default: 365.")
    ] = None,
    seed: Seed = None,
    margin: Annotated[
        int | None, option("--margin", panel=HOW, metavar="PX", text="Around a change, may differ. Default: 12.")
    ] = None,
    steps: Steps = None,
    model: ModelName = None,
    device: Device = None,
    formats: Annotated[list[str] | None, formats_option(_FORMATS)] = None,
    second_classes: Annotated[
        list[str] | None,
        option("--second-class", panel=WHERE, metavar="NAME=CLASS", text="What a class is in SECOND. Repeat it."),
    ] = None,
    output: Output = Path("changes"),
    json: Json = False,
) -> None:
    """Make pairs of images of one place with exact labels of what changed.

    Outside a change and its margin both images are the same, pixel for pixel,
    but for the nuisances that are asked for, which the labels record.

    \b
    From images with masks, for two tools at once:
      earthgen dataset change --source images --masks masks --class land --class building -f levir-cd -f second -o out
    From images with boxes, whatever their format:
      earthgen dataset change --labels my/coco --events add=2,remove=1 -f change-coco -o out
    From images without labels: what stands out vanishes, or appears:
      earthgen dataset change --source images -n 500 --nuisance season=0.5,misregistration=1,rectangles=1 -o out
    The same images, in which places become what a text says:
      earthgen dataset change --source images --gsd 10 --become "an industrial area" --become "a lake" -o out
    From nothing, series of five years:
      earthgen dataset change --class land --class vegetation --class building --dates 5 --start 2020-07-01 -o out

    What results is written as resolved.yaml, and --config with that file makes
    the same data set again. Stopped or killed, the same command goes on.
    """
    from earthgen.cli import parse
    from earthgen.dataset.change_config import ChangeConfig
    from earthgen.dataset.checks import read_yaml

    record = {} if config is None else read_yaml(config)
    given = {
        "source": None if source is None else str(source),
        "masks": None if masks is None else str(masks),
        "labels": None if labels is None else str(labels),
        "classes": classes,
        "count": count,
        "dates": dates,
        "events": None if events is None else _numbers("events", events),
        "become": become,
        "nuisance": None if nuisance is None else _numbers("nuisance", nuisance),
        "size": size,
        "prompt": prompt,
        "gsd": gsd,
        "start": start,
        "interval": interval,
        "seed": seed,
        "margin": margin,
        "steps": steps,
        "model": model,
        "formats": formats,
        "second_classes": None if second_classes is None else _words("second_classes", second_classes),
    }
    record |= {name: value for name, value in given.items() if value is not None}

    from earthgen.cli import models
    from earthgen.dataset.change import make_changes  # imports torch, so only once the request is known to be sound

    asked = ChangeConfig.from_dict({**record, "device": models.find_device(device or record.get("device", "auto"))})
    models.hush()
    with parse.spoken_warnings():
        report = make_changes(asked, output, progress=not json)
    parse.print_json(report) if json else _print(report)


def _numbers(name: str, text: str) -> Any:
    """`4`, or `add=2,remove=1`."""
    from earthgen.errors import ArgumentError

    def number(part: str) -> int | float:
        return float(part) if "." in part else int(part)

    try:
        if "=" not in text:
            return number(text)
        pairs = [part.split("=") for part in text.split(",")]
        found = {key.strip(): number(value) for key, value in pairs}
        if len(found) == len(pairs):
            return found
    except ValueError:
        pass
    raise ArgumentError(name, "must be a number, or NAME=NUMBER pairs", text)


def _words(name: str, texts: list[str]) -> dict[str, str]:
    """`hut=building`, each."""
    from earthgen.errors import ArgumentError

    pairs = [[word.strip() for word in text.split("=")] for text in texts]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ArgumentError(name, "must be NAME=CLASS, each", texts)
    return dict(pairs)


def _print(report: dict[str, Any]) -> None:
    """The report for a person."""
    from earthgen.cli import parse

    made = f"{report['series_made']} of {report['series']} series made now" if report["series_made"] else "was there"
    pairs, unplaced = parse.counted(report["pairs"], "pair"), report["events_without_place"]
    typer.echo(f"{report['output']}  {pairs}, {report['changed']:.2%} of the pixels changed, {made}")
    if unplaced:
        typer.echo(f"{parse.counted(unplaced, 'event')} found no place; series.json says which kinds")
    for name, folder in report["formats"].items():
        typer.echo(f"{name}: {folder}")
