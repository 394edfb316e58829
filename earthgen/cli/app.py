"""`earthgen app`: the web canvas, a page and a tile server on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earthgen.cli.world import option
from earthgen.errors import OutputError
from earthgen.weights import BUNDLED

_WHERE, _WHO, _HOW = "Where it is", "Who may come", "How it works"


def app(
    host: Annotated[
        str,
        option("--host", panel=_WHERE, text="Address to listen on. The default is reached from this machine alone."),
    ] = "127.0.0.1",
    port: Annotated[int, option("--port", panel=_WHERE, text="0 for any that is free.")] = 7860,
    output: Annotated[
        Path,
        option("-o", "--output", panel=_WHERE, metavar="FOLDER", text="Where results, uploads and regions are kept."),
    ] = Path("out/app"),
    user: Annotated[str | None, option("--user", panel=_WHO, text="Name that a visitor must give.")] = None,
    password: Annotated[
        str | None,
        typer.Option("--password", envvar="EARTHGEN_APP_PASSWORD", help="And the password.", rich_help_panel=_WHO),
    ] = None,
    model: Annotated[str, option("--model", panel=_HOW, text="The bundled model's name or a model folder.")] = BUNDLED,
    device: Annotated[str, option("--device", panel=_HOW, metavar="auto|cpu|cuda", text="Where to compute.")] = "auto",
    backend: Annotated[
        str, option("--backend", panel=_HOW, metavar="torch|openvino|onnx", text="As in window.")
    ] = "torch",
    cache: Annotated[
        Path | None,
        option("--cache", panel=_HOW, metavar="FOLDER", text="Where tiles are kept. Default: the user's cache."),
    ] = None,
) -> None:
    """Open a page to look at the generated Earth, steer it and export from it.

    A map to pan and zoom without end, single images, refinement of your own,
    all over HTTP too: tiles for QGIS, Leaflet, MapLibre and GDAL, jobs, and a
    description of every route at /docs. Nothing leaves the machine.

    \b
    On this machine:
      earthgen app
    For others in the network, with a password from the environment:
      EARTHGEN_APP_PASSWORD=... earthgen app --host 0.0.0.0 --user me
    """
    from earthgen import weights
    from earthgen.app.settings import Settings

    settings = Settings(
        folder=output,
        host=host,
        port=port,
        user=user,
        password=password,
        model=model,
        device=device,
        backend=backend,
        cache=cache,
    )
    if backend != "torch":  # the check takes torch with it, which the page does not wait for
        from earthgen.models.backends import check_backend

        check_backend(backend)
    weights.resolve(model)
    try:
        from earthgen.app.server import run, with_free_port
    except ImportError as error:
        raise OutputError(f"the page needs the package {error.name}: pip install 'earthgen[app]'") from None

    settings = with_free_port(settings)
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"earthgen: http://{shown}:{settings.port}/  (Ctrl-C ends it)", err=True)
    if not settings.local and user is None:
        typer.echo(
            "earthgen: anyone who reaches this address may use it; --user and --password keep others out", err=True
        )
    run(settings)
