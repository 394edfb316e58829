"""`earthgen bench`: quality, speed and memory measured again on this machine, beside the stored report."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

import earthgen
from earthgen.weights import BUNDLED

ROOT = Path(earthgen.__file__).resolve().parents[1]


def bench(
    what: Annotated[
        list[str] | None,
        typer.Option("--what", metavar="PART[/NAME]", help="What to measure, see above. Repeat it. Default: all."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="As little of each as there can be: does it run?")] = False,
    model: Annotated[str, typer.Option(help="The bundled model's name or a model folder.")] = BUNDLED,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Keep figures, plots and logs here.")
    ] = Path("out/bench"),
    against: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Report to compare with. Default: benchmarks/report.json.")
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Put report and plots into benchmarks/, to be compared with.")
    ] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Measure again what --output holds already.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print the commands, and run none.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Measure quality, speed and memory on this machine, and say what moved.

    Runs what is in benchmarks/ and `earthgen evaluate`, one after the other,
    hours on a CPU. Finished figures are kept: a stopped run goes on.
    It needs the repository, EARTHGEN_DATA, and what the commands import:
      pip install -e ".\\[bench]"

    \b
    Parts; PART/NAME is one command of them, as --list shows:
      quality     autoencoder, classes, distances, spectra, scores, GSD
      cascade     restored from 4 and 16 times coarser, against interpolation
      canvas      seams, rules of tiling, repetition, one world
      throughput  images, tiles, noise, labelled images
      memory      of large exports
      peers       UNets of equal size, trained by diffusers' own example

    \b
    Does all of it run here:
      earthgen bench --quick
    Everything, and make it the report to compare with:
      earthgen bench --store
    """
    from earthgen.errors import ArgumentError, DataError, EarthgenError
    from earthgen.output.atomic import write_text

    suite = ROOT / "benchmarks" / "suite.yaml"
    if not suite.is_file():
        way = "clone the repository and install it with `pip install -e '.[bench]'`"
        raise EarthgenError(f"the benchmarks are not part of the installed package: {way}")
    if store and (quick or what):
        raise ArgumentError("store", "goes with a full run: without --quick and --what", True)

    from earthgen import weights
    from earthgen.cli import parse
    from earthgen.metrics import bench as benchmarks

    sha = weights.model_sha256(weights.resolve(model))
    folder = output / f"{'quick' if quick else 'full'}-{sha[:12]}"
    measurements = benchmarks.chosen(benchmarks.read_suite(suite, model, folder, quick), what)
    if list_:
        for m in measurements:
            typer.echo(f"{m.key:24} {m.command}")
        return
    stored, old = None, against or ROOT / "benchmarks" / "report.json"
    if against is not None or (old.is_file() and not quick):  # a quick run has other commands
        try:
            stored = json_module.loads(old.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{old} is no report: {error}") from error

    report = benchmarks.run(measurements, model, folder, redo, progress=True)
    text = benchmarks.markdown(report, stored)
    failed = [key for key, m in report["measurements"].items() if "error" in m]
    targets = [output] if failed or not store else [output, ROOT / "benchmarks"]
    for target in targets:
        write_text(target / "report.json", json_module.dumps(report, indent=1) + "\n")
    write_text(output / "report.md", text)
    parse.print_json(report) if json else typer.echo(text)

    from earthgen.metrics import bench_plots

    for target in targets:
        bench_plots.draw(report, target if target == output else target / "plots", stored)
    if failed:
        logs = folder / "logs"
        raise EarthgenError(f"{len(failed)} of {len(measurements)} failed: {', '.join(failed)}; see {logs}")
