"""`earthgen window`: a georeferenced window of the world, of any size, as a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earthgen.cli.world import WHAT, WHERE, Json, Opener, of_a_world, option
from earthgen.errors import ArgumentError

if TYPE_CHECKING:
    from earthgen.world import Grid, World

_STREAMED, _WHOLE = (".tif", ".tiff", ".zarr"), (".png", ".jpg", ".jpeg")
_LOOKED_AT = 512
"""Pixels a side, evenly spread, that are looked at to say how much of a window is off the map."""


def window_size(text: str) -> tuple[int, int]:
    """`1024` or `WIDTHxHEIGHT` in pixels, as (height, width)."""
    from earthgen.world.warp import MAX_SIDE

    sides = text.lower().replace("×", "x").split("x")
    if not 1 <= len(sides) <= 2 or not all(s.strip().isdigit() and 1 <= int(s) <= MAX_SIDE for s in sides):
        raise ArgumentError("size", f"must be SIDE or WIDTHxHEIGHT in pixels, each from 1 to {MAX_SIDE}", text)
    return int(sides[-1]), int(sides[0])


@of_a_world
def window(
    opened: Opener,
    lat: Annotated[float, option("--lat", panel=WHAT, text="Latitude of the centre, degrees north, to 85.05.")],
    lon: Annotated[float, option("--lon", panel=WHAT, text="Longitude of the centre, degrees east.")],
    gsd: Annotated[float, option("--gsd", panel=WHAT, metavar="M", text="Metres on the ground a pixel, from 0.6.")],
    output: Annotated[
        Path,
        option("-o", "--output", panel=WHERE, metavar="PATH", text="A .tif (COG) or .zarr of any size, .png, .jpg."),
    ],
    size: Annotated[str, option("--size", panel=WHERE, metavar="SIDE|WxH", text="Pixels.")] = "1024",
    crs: Annotated[
        str | None,
        option(
            "--crs",
            panel=WHERE,
            text="As EPSG:4326. Default: the UTM zone of the place. EPSG:3857: the map's own pixels, not warped.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        option(
            "--labels", panel=WHERE, metavar="FORMAT,...", text="A folder, with what --layout says in these formats."
        ),
    ] = None,
    tile: Annotated[
        int | None, option("--tile", panel=WHERE, metavar="SIDE", text="Of --labels: cut into tiles of so many pixels.")
    ] = None,
    overlap: Annotated[int, option("--overlap", panel=WHERE, metavar="PX", text="That neighbouring tiles share.")] = 0,
    min_visible: Annotated[
        float, option("--min-visible", panel=WHERE, metavar="0..1", text="Share of an object that is labelled.")
    ] = 0.0,
    dates: Annotated[
        str | None,
        option("--dates", panel=WHAT, metavar="DAY,DAY,...", text="A series in a folder, with what --events change."),
    ] = None,
    json: Json = False,
) -> None:
    """Make an image of any part of the world, at any resolution from continents to 0.6 m.

    The same place looks the same in every window, whatever its size, CRS or
    order; neighbouring windows fit. Down to 2.4 km a pixel it is NASA's Blue
    Marble, below that it is invented, and marked as synthetic.

    A .tif or .zarr is written block by block, so it may be larger than memory;
    run again after an interruption, the command goes on where it was. There is
    no map beyond 85.05 degrees north and south: its edge is continued there.

    \b
    A valley in the Alps at 10 m:
      earthgen window --lat 47.15 --lon 11.07 --gsd 10 --size 4096 -o alps.tif
    The land around an image of one's own:
      earthgen window --lat 45.4 --lon 9.2 --gsd 10 --known mine.tif -o around.tif
    With a forest where a polygon says so, as a picture:
      earthgen window --lat 45.4 --lon 9.2 --gsd 5 --regions forest.geojson -o plain.png
    With objects where a layout says so, as a labelled data set:
      earthgen window --lat 45.4 --lon 9.2 --gsd 1 --layout town.geojson --labels coco,yolo-obb --tile 512 -o town
    What changes there, with exact labels between the days:
      earthgen window --lat 45.4 --lon 9.2 --gsd 1 --layout town.geojson --events built.geojson
      --dates 2019-06-01,2020-06-01 --labels levir-cd -o change
    """
    from earthgen.cli import parse

    sides = window_size(size)
    if labels is not None or dates is not None:
        with parse.spoken_warnings():
            _labelled(opened, (lat, lon, gsd, sides, crs), output, json, labels, tile, overlap, min_visible, dates)
        return
    if tile is not None:
        raise ArgumentError("tile", "must be given together with `labels`", tile)
    suffix = output.suffix.lower()
    if suffix not in _STREAMED + _WHOLE:
        raise ArgumentError("output", f"must end in one of {', '.join(_STREAMED + _WHOLE)}", str(output))

    from earthgen.world.given import check_gsd
    from earthgen.world.warp import MAX_PIXELS, Grid

    grid = Grid.around(lat, lon, gsd, sides, crs)
    check_gsd(gsd, lat)
    if suffix in _WHOLE and grid.height * grid.width > MAX_PIXELS:
        raise ArgumentError("size", f"must be at most {MAX_PIXELS} pixels in all for {suffix}; .tif takes more", size)
    start = time.monotonic()
    world = opened()
    _say_what_is_off_the_map(world, grid)
    metres = world.gsd(grid, gsd, lat)
    if suffix in _STREAMED:
        from earthgen.output.stream import stream_raster

        def blocks(row: int, column: int, height: int, width: int) -> Any:
            return world.block(grid, row, column, height, width)

        place = grid.height, grid.width, grid.crs, grid.transform
        stream_raster(output, blocks, *place, world.provenance(), metres, progress=not json)
    else:
        world.window(lat, lon, gsd, sides, crs).write(output)
    report: dict[str, Any] = {
        "output": str(output),
        "width": grid.width,
        "height": grid.height,
        "gsd": metres,
        "crs": grid.crs.to_string(),
        "transform": list(grid.transform)[:6],
        "seed": world.request.seed,
        "seconds": round(time.monotonic() - start, 1),
    }
    if json:
        parse.print_json(report)
    else:
        shown = f"{grid.width} x {grid.height} px of {metres:g} m"
        code = grid.crs.to_epsg()
        place_of = f"EPSG:{code}" if code else "equal-area about its centre"
        typer.echo(
            f"{output}  {shown}  {place_of if crs is None else crs}  seed {report['seed']}  {report['seconds']} s"
        )


def _say_what_is_off_the_map(world: World, grid: Grid) -> None:
    step = -(-max(grid.height, grid.width) // _LOOKED_AT)
    sides = -(-grid.height // step), -(-grid.width // step)
    off = 1 - float(world.valid(grid.crs, grid.transform @ type(grid.transform).scale(step), *sides).mean())
    if off:
        where = "beyond 85.05° N or S, where the map's outermost row goes on, or where the CRS shows no place"
        typer.echo(f"earthgen: {max(off, 0.01):.0%} of the window is off the map: {where}", err=True)


def _labelled(
    opened: Opener,
    place: tuple[float, float, float, tuple[int, int], str | None],
    output: Path,
    json: bool,
    labels: str | None,
    tile: int | None,
    overlap: int,
    min_visible: float,
    dates: str | None,
) -> None:
    """A data set of one day, or a series."""
    from earthgen.cli import parse
    from earthgen.conditions import check_number
    from earthgen.labels import FORMATS as SINGLE
    from earthgen.labels.change import FORMATS as PAIRED
    from earthgen.simulate.events import check_dates
    from earthgen.world.given import check_gsd
    from earthgen.world.labels import check_formats
    from earthgen.world.warp import Grid

    if output.suffix:
        raise ArgumentError("output", "must be a folder, without a suffix", str(output))
    formats = [name.strip() for name in (labels or "").split(",") if name.strip()]
    days = [day for text in (dates or "").split(",") if text.strip() and (day := parse.date(text)) is not None]
    check_dates(days, len(days))
    check_formats(formats, (*SINGLE, *(PAIRED if days else ())))
    check_number("min_visible", min_visible, "must be a share from 0 to 1", 0, 1)
    if dates is not None and not days:
        raise ArgumentError("dates", "must be days as YYYY-MM-DD, separated by commas", dates)
    if not days and not formats:
        raise ArgumentError("labels", f"must be of {', '.join(SINGLE)}", labels)
    if tile is not None and (days or not 0 <= overlap < tile):
        rule = "must be left out with `dates`" if days else "must be larger than `overlap`"
        raise ArgumentError("tile", rule, tile)
    grid = Grid.around(*place)
    check_gsd(place[2], place[0])
    start = time.monotonic()
    world = opened()
    _say_what_is_off_the_map(world, grid)

    from earthgen.world.export import export_series, export_windows, tiles_of

    report: dict[str, Any] = {"output": str(output)}
    if days:
        series, folders = export_series(world, grid, days, output, formats, min_visible=min_visible, progress=not json)
        report |= {"dates": [str(day) for day in days], "events": sum(map(len, series.events))}
    else:
        grids = {"window": grid} if tile is None else tiles_of(grid, tile, overlap)
        folders = export_windows(world, grids, output, formats, min_visible=min_visible, progress=not json)
        report |= {"windows": len(grids)}
    report |= {"folders": {name: str(path) for name, path in folders.items()}, "seed": world.request.seed}
    report["seconds"] = round(time.monotonic() - start, 1)
    if json:
        parse.print_json(report)
        return
    if days:
        what = f"{parse.counted(len(days), 'date')}, {parse.counted(report['events'], 'event')}"
    else:
        what = parse.counted(report["windows"], "window")
    typer.echo(f"{output}  {what}  seed {report['seed']}  {report['seconds']} s")
    for name, path in folders.items():
        typer.echo(f"{name}: {path}")
