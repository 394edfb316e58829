"""Carry out a request of `earthgen generate`: load the model, make the images that are not there yet, write them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from tqdm.auto import tqdm

from earthgen import __version__, weights
from earthgen.cli import models
from earthgen.cli.models import Model
from earthgen.cli.plan import Job, Request
from earthgen.errors import EarthgenError
from earthgen.output.atomic import atomic_path, check_writable
from earthgen.output.manifest import Manifest, Row
from earthgen.output.provenance import GENERATED, MARK_TAG, SOURCE_TYPE_TAG, SYNTHETIC_MARK, Provenance
from earthgen.output.scene import Scene
from earthgen.output.sheet import contact_sheet

SHEET = "contact-sheet.png"
MANIFEST = "manifest.jsonl"
_SHEET_IMAGES = 120
_CELL = 256


def render(request: Request, *, model: str, device: str, batch_size: int, backend: str = "torch") -> dict[str, Any]:
    """Make and write every image of a request. Returns a JSON-ready report.

    A folder that already holds an image of the request, made from the same conditions by the same model, keeps it: the
    same command again goes on where it was stopped.

    Raises:
        OutputError: the output cannot be written; found out before the model is loaded.
        WeightsError: there is no such model, or it is damaged.
    """
    started = time.perf_counter()
    check_writable(request.folder)
    folder = weights.resolve(model)
    where, alone = models.find_device(device, backend), len(request.jobs) == 1
    loaded = models.load(model, folder, where, request.steps, request.guidance, steps_bar=alone, backend=backend)
    manifest = None if request.single else Manifest.open(request.folder / MANIFEST)
    rows: list[dict[str, Any]] = []
    thumbnails: list[Image.Image] = []
    bar = tqdm(total=len(request.jobs), unit="image", disable=True if alone else None, leave=False)
    with bar:
        for batch in _batches(request.jobs, batch_size):
            scenes = {job.name: _finished(request, job, manifest, loaded) for job in batch}
            missing = [job for job in batch if scenes[job.name] is None]
            for job, image in zip(missing, _generate(request, missing, loaded), strict=True):
                scenes[job.name] = _scene(request, job, image, loaded)
            for job in batch:
                scene = scenes[job.name]
                assert scene is not None
                files = _write(request, job, scene, manifest) if job in missing else _paths(request, job)
                rows.append(_record(job, scene, files, made=job in missing))
                if len(thumbnails) < _SHEET_IMAGES:
                    thumbnails.append(_thumbnail(scene.image))
                bar.update()
    report: dict[str, Any] = {
        "seed": request.seed,
        **loaded.about(),
        "device": loaded.device,
        "seconds": round(time.perf_counter() - started, 2),
        "images": rows,
    }
    if manifest is not None:
        sheet = _write_sheet(request, thumbnails)
        report |= {"folder": str(request.folder), "manifest": str(manifest.path), "contact_sheet": str(sheet)}
    return report


def print_report(report: dict[str, Any]) -> None:
    """The report for a person."""
    for row in report["images"]:
        place = f"  {row['crs']}" if row["crs"] else ""
        kept = "" if row["made"] else "  (was there already)"
        typer.echo(f"{next(iter(row['files'].values()))}  seed {row['seed']}{place}{kept}")
    if "contact_sheet" in report:
        typer.echo(report["contact_sheet"])
    made = sum(row["made"] for row in report["images"])
    typer.echo(f"{made} made in {report['seconds']:.1f} s; the same again: --seed {report['seed']}")


def _batches(jobs: Sequence[Job], size: int) -> Iterator[Sequence[Job]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]


def _generate(request: Request, jobs: Sequence[Job], model: Model) -> list[NDArray[np.uint8]]:
    if not jobs:
        return []
    result = model.pipe(
        conditions=[job.conditions for job in jobs],
        height=request.height,
        width=request.width,
        num_inference_steps=model.steps,
        guidance=model.guidance,
        negative_prompt=request.negative_prompt,
        # On the CPU whatever the device, so that a seed means the same image everywhere.
        generator=[torch.Generator().manual_seed(job.seed) for job in jobs],
        output_type="pil",
    )
    return [np.asarray(image.convert("RGB")) for image in result.images]


def _provenance(request: Request, job: Job, model: Model) -> Provenance:
    return Provenance(
        seed=job.seed,
        conditions=job.conditions.to_dict(),
        negative_prompt=request.negative_prompt,
        **model.about(),
    )


def _scene(request: Request, job: Job, image: NDArray[np.uint8], model: Model) -> Scene:
    provenance = _provenance(request, job, model)
    if request.crs is not None:
        return Scene(image, request.crs, request.transform, request.gsd, provenance)
    return Scene.from_conditions(image, job.conditions, provenance)


def _finished(request: Request, job: Job, manifest: Manifest | None, model: Model) -> Scene | None:
    """The image of an earlier run, if it is there, whole, and made from all the same."""
    if manifest is None or not manifest.done(job.name, verify=True):
        return None
    paths = _paths(request, job)
    if not all(path.is_file() for path in paths.values()):
        return None
    try:
        scene = Scene.read(paths["tif"])
    except (EarthgenError, OSError):
        return None
    want = dataclasses.replace(_provenance(request, job, model), created=scene.provenance.created)
    same = scene.provenance == want and (scene.height, scene.width) == (request.height, request.width)
    return scene if same else None


def _paths(request: Request, job: Job) -> dict[str, Path]:
    if request.single:
        return {_kind(request.output): request.output}
    names = {"tif": "tif", "png": "png", "stac": "json"}
    return {kind: request.folder / f"{job.name}.{suffix}" for kind, suffix in names.items()}


def _kind(path: Path) -> str:
    return {".tiff": "tif", ".jpeg": "jpg"}.get(path.suffix.lower(), path.suffix.lower()[1:])


def _write(request: Request, job: Job, scene: Scene, manifest: Manifest | None) -> dict[str, Path]:
    if manifest is None:
        return {_kind(request.output): scene.write(request.output)}
    files = scene.save_all(request.folder, job.name)
    manifest.add(Row.of(scene, job.name, files["tif"], request.folder))
    return files


def _record(job: Job, scene: Scene, files: dict[str, Path], made: bool) -> dict[str, Any]:
    epsg = scene.crs.to_epsg() if scene.crs else None
    return {
        "id": job.name,
        "prompt": job.conditions.text,
        "seed": job.seed,
        "gsd": scene.gsd,
        "height": scene.height,
        "width": scene.width,
        "crs": None if scene.crs is None else f"EPSG:{epsg}" if epsg else scene.crs.to_wkt(),
        "files": {kind: str(path) for kind, path in files.items()},
        "made": made,
    }


def _thumbnail(image: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(image)
    picture.thumbnail((2 * _CELL, 2 * _CELL))
    return picture


def _write_sheet(request: Request, pictures: list[Image.Image]) -> Path:
    titles = [job.title for job in request.jobs[: len(pictures)]]
    sheet = contact_sheet(pictures, titles, request.columns, _CELL)
    texts = PngImagePlugin.PngInfo()
    marks = {"Description": SYNTHETIC_MARK, MARK_TAG: SYNTHETIC_MARK, SOURCE_TYPE_TAG: GENERATED}
    for key, value in {**marks, "Software": f"earthgen {__version__}"}.items():
        texts.add_text(key, value)
    path = request.folder / SHEET
    with atomic_path(path) as draft:
        sheet.save(draft, format="PNG", pnginfo=texts)
    return path
