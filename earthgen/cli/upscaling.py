"""What `earthgen upscale` was asked for, and carrying it out stage by stage.

Between stages lie 8-bit RGB files on the disk of the output, so that memory does not grow with the image.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthgen.cli.plan import FILE_SUFFIXES
from earthgen.conditions import COARSE_FACTOR, Conditions, Guidance, check_number
from earthgen.errors import ArgumentError
from earthgen.output.picture import Picture, Scale, parse_bands

if TYPE_CHECKING:
    from earthgen.cli.models import Model
    from earthgen.output.provenance import Provenance

MAX_STAGES = 4
MAX_SIDE = 2**20
MAX_PICTURE_SIDE = 16_384
"""Of a PNG or JPEG, which is written from memory."""
_COG_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """All that one call of the command asks for."""

    picture: Picture
    output: Path
    gsds: tuple[float, ...]
    """Metres a pixel of the image and of each stage."""
    shown: Conditions
    """But for the GSD."""
    degradation: float
    """Of the image; what the stages make is mistrusted by the pipeline's default."""
    consistency: float | None
    seed: int
    steps: int | None
    guidance: Guidance

    @classmethod
    def from_options(
        cls,
        *,
        image: Path,
        output: Path,
        gsd: float | None,
        prompt: str | None,
        lat: float | None,
        lon: float | None,
        date: dt.date | None,
        cloud_cover: float | None,
        bands: str | None,
        scale: str | None,
        degradation: float,
        stages: int,
        consistency: float | None,
        seed: int,
        steps: int | None,
        guidance: Guidance | None,
    ) -> Request:
        """Validate the options against each other and the image, whose pixels are not read yet.

        Raises:
            ArgumentError: An option breaks a rule.
            DataError: The image cannot be read.
        """
        if not 1 <= stages <= MAX_STAGES:
            raise ArgumentError(
                "stages", f"must be from 1 to {MAX_STAGES}, of a factor of {COARSE_FACTOR} each", stages
            )
        check_number("degradation", degradation, "must be a number from 0 to 1", 0, 1)
        if consistency is not None:
            check_number("consistency", consistency, "must be a number from 0 to 1", 0, 1)
        shown = Conditions(text=prompt, lat=lat, lon=lon, date=date, cloud_cover=cloud_cover)
        if output.suffix.lower() not in FILE_SUFFIXES or output.is_dir():
            raise ArgumentError("output", "must be a file that ends in .tif, .png or .jpg", str(output))
        chosen, values = parse_bands(bands), Scale.parse(scale)
        picture = Picture.open(image, chosen, values)
        if output.exists() and output.samefile(image):
            raise ArgumentError("output", "must be another file than the input", str(output))
        if lat is None and picture.place is not None:
            shown = shown.replace(lat=picture.place[0], lon=picture.place[1])
        gsd = picture.gsd if gsd is None else gsd
        if gsd is None:
            raise ArgumentError("gsd", "must be given, as the image does not say where on the Earth it lies", None)
        gsds = tuple(gsd / COARSE_FACTOR**n for n in range(stages + 1))
        for one in gsds:
            Conditions(gsd=one)
        limit = MAX_SIDE if output.suffix.lower() in _COG_SUFFIXES else MAX_PICTURE_SIDE
        factor = COARSE_FACTOR**stages
        if max(picture.height, picture.width) * factor > limit:
            kind = f"for an output of at most {limit} pixels a side" + ", or the output .tif" * (limit != MAX_SIDE)
            size = f"{picture.width * factor} x {picture.height * factor}"
            raise ArgumentError("stages", f"must be few enough, and the image small enough, {kind}", size)
        return cls(
            picture, output, gsds, shown, degradation, consistency, seed, steps, guidance or Guidance.uniform(1.0)
        )

    def run(
        self,
        *,
        model: str,
        device: str,
        loaded: Model | None = None,
        on_step: Callable[[float], None] | None = None,
        backend: str = "torch",
    ) -> dict[str, Any]:
        """Make and write the image. Returns a JSON-ready report.

        `loaded` is the model where it is in memory already. `on_step` is told after each step how much is done, 0 to 1;
        what it raises ends the work.

        Raises:
            OutputError: The output cannot be written, or the disk has too little space; found out first.
            WeightsError: There is no such model, or it is damaged.
        """
        from earthgen import weights
        from earthgen.cli import models, stagefiles
        from earthgen.cli.refining import WINDOW, Refiner
        from earthgen.output.atomic import check_writable
        from earthgen.steps import steps_of_folder

        started = time.perf_counter()
        check_writable(self.output.parent)
        if loaded is None:
            folder, where = weights.resolve(model), models.find_device(device, backend)
        height, width = (side * COARSE_FACTOR ** (len(self.gsds) - 1) for side in self._size)
        stagefiles.check_space(self.output, height * width)
        with tempfile.TemporaryDirectory(prefix=".earthgen-", suffix=".tmp", dir=self.output.parent) as work:
            before = Path(work) / "0.tif"
            holes = self._prepare(before)
            if holes and self.output.suffix.lower() in (".jpg", ".jpeg"):
                raise ArgumentError("output", "must be .tif or .png, as the image leaves pixels out", str(self.output))
            if loaded is None:
                alone = max(self._size) <= WINDOW
                steps = steps_of_folder(folder).refining if self.steps is None else self.steps
                loaded = models.load(model, folder, where, steps, self.guidance, steps_bar=alone, backend=backend)
            stages = Refiner(self, loaded, holes, on_step)
            for number in range(1, len(self.gsds)):
                after = before.with_name(f"{number}.tif")
                stages.refine(number, before, after)
                before.unlink()
                before = after
            provenance = self._provenance(loaded, stages.degradations, stages.consistencies)
            stagefiles.publish(before, self.output, provenance, self.gsds[-1], holes)
        crs = self.picture.crs if self.output.suffix.lower() in _COG_SUFFIXES else None
        epsg = crs.to_epsg() if crs is not None else None
        return {
            "input": str(self.picture.path),
            "output": str(self.output),
            "seed": self.seed,
            **loaded.about(),
            "device": loaded.device,
            "seconds": round(time.perf_counter() - started, 2),
            "gsd": self.gsds[-1],
            "height": height,
            "width": width,
            "crs": None if crs is None else f"EPSG:{epsg}" if epsg else crs.to_wkt(),
            "windows": stages.windows,
            "consistency_db": stages.figures,
        }

    @property
    def _size(self) -> tuple[int, int]:
        return self.picture.height, self.picture.width

    def _prepare(self, target: Path) -> bool:
        """Write the image as 8-bit RGB, and say whether it leaves pixels out."""
        from earthgen.cli.stagefiles import blocks, created, write

        holes = False
        with self.picture.opened() as source, created(target, self.picture, 0, self.output) as dataset:
            for block in blocks(*self._size):
                image, valid = self.picture.read(source, block)
                holes = holes or not valid.all()
                write(dataset, image, valid, block, self.picture.nodata, masked=True)
        return holes

    def _provenance(self, model: Model, degradations: list[float], consistencies: list[float]) -> Provenance:
        """The record of the output: the conditions of the last stage, and what the image was."""
        from earthgen.output.provenance import Provenance

        with self.picture.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        coarse = {
            "name": self.picture.path.name,
            "sha256": digest,
            "shape": [self.picture.height, self.picture.width, 3],
            "bands": self.picture.bands,
            "black_white": self.picture.black_white,
            "gsds": self.gsds,
            "degradation": degradations,
            "consistency": consistencies,
        }
        asked = self.shown.replace(gsd=self.gsds[-1]).to_dict()
        return Provenance(seed=self.seed, conditions={**asked, "coarse": coarse}, **model.about())
