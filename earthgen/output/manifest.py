"""The manifest of a batch: one JSON line an image, added when the image lies complete on disk; what resuming reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthgen.errors import ArgumentError, DataError, OutputError
from earthgen.output.atomic import StrPath, check_writable
from earthgen.output.stac import sha256_of

if TYPE_CHECKING:
    from earthgen.output.scene import Scene


@dataclass(frozen=True)
class Row:
    """One finished image of a batch."""

    id: str
    """Unique in the manifest, and all that decides whether an image is already there."""
    file: str
    """Path relative to the manifest's folder, with forward slashes."""
    sha256: str
    """Of the file's bytes."""
    seed: int
    conditions: dict[str, Any]
    """As `Conditions.to_dict` gives them."""
    height: int
    width: int
    gsd: float | None = None
    """Metres a pixel."""
    crs: str | None = None
    """`EPSG:32632`, or WKT2 for a projection without a code."""
    transform: tuple[float, ...] | None = None
    """The six numbers of the affine transform, in rasterio's order."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in WGS 84; west > east across the antimeridian."""
    model_sha256: str = ""
    version: str = ""

    @classmethod
    def of(cls, scene: Scene, row_id: str, file: StrPath, folder: StrPath) -> Row:
        """The row of a scene that was written to `file`, for a manifest in `folder`."""
        epsg = scene.crs.to_epsg() if scene.crs else None
        wkt = scene.crs.to_wkt(version="WKT2_2019") if scene.crs and not epsg else None
        footprint = scene.footprint
        return cls(
            id=row_id,
            file=Path(os.path.relpath(file, folder)).as_posix(),
            sha256=sha256_of(file),
            seed=scene.provenance.seed,
            conditions=scene.provenance.conditions,
            height=scene.height,
            width=scene.width,
            gsd=scene.gsd,
            crs=f"EPSG:{epsg}" if epsg else wkt,
            transform=tuple(scene.transform)[:6] if scene.transform else None,
            bbox=footprint.bbox if footprint else None,
            model_sha256=scene.provenance.model_sha256,
            version=scene.provenance.version,
        )

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Row:
        """A row from its JSON object. Columns that later versions may add are ignored."""
        known = {f.name: record[f.name] for f in fields(cls) if f.name in record}
        for name in ("transform", "bbox"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return cls(**known)


class Manifest:
    """The rows of a batch, in memory and in a file that only grows.

    One process writes to a manifest at a time; parallel workers keep one each. Open it with `Manifest.open`.
    """

    def __init__(self, path: Path, rows: dict[str, Row]) -> None:
        self.path = path
        self._rows = rows

    @classmethod
    def open(cls, path: StrPath) -> Manifest:
        """Open a manifest, or start one, in a folder that is made if absent.

        A last line that an interrupted run left unfinished is dropped: its image counts as not done. Raises
        `OutputError` where the folder cannot be written, `DataError` for any other line that is no row.
        """
        path = Path(path)
        check_writable(path.parent)
        content = path.read_bytes() if path.exists() else b""
        complete = content[: content.rfind(b"\n") + 1]
        rows: dict[str, Row] = {}
        for number, line in enumerate(complete.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                row = Row.from_dict(json.loads(line))
            except (ValueError, TypeError, AttributeError) as error:
                raise DataError(f"line {number} of {str(path)!r} is no row of a manifest: {error}") from error
            rows[row.id] = row
        if len(complete) < len(content):
            os.truncate(path, len(complete))
        return cls(path, rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __getitem__(self, row_id: str) -> Row:
        return self._rows[row_id]

    def done(self, row_id: str, verify: bool = False) -> bool:
        """Whether an image is recorded and its file there, with `verify` also whether it has the recorded checksum."""
        row = self._rows.get(row_id)
        if row is None:
            return False
        file = self.path.parent / row.file
        return file.is_file() and (not verify or sha256_of(file) == row.sha256)

    def add(self, row: Row) -> None:
        """Record a finished image; it reaches the disk before this returns.

        A row of an id that is there already (its file was lost or made anew) stands for it from now on. Raises
        `ArgumentError` for a row that is not JSON, `OutputError` where it cannot be written.
        """
        try:
            line = json.dumps(asdict(row), allow_nan=False, separators=(",", ":")).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise ArgumentError("row", f"must be JSON-ready ({error})", row) from error
        try:
            # One unbuffered write, so that a crash leaves at most one unfinished last line, which `open` drops.
            with self.path.open("ab", buffering=0) as file:
                start = file.tell()
                if file.write(line) != len(line):
                    file.truncate(start)
                    raise OutputError(f"cannot add to {str(self.path)!r}: the disk took only part of a row")
                os.fsync(file.fileno())
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"cannot add to {str(self.path)!r}: {error.strerror or error}") from error
        self._rows[row.id] = row
