"""The folder of a data set: what lies where, which rows of it are done, and that one process at a time works on it.

    resolved.yaml            the configuration, with digests of the model and of what was learned
    manifest.jsonl           a line a row: every image that was drawn, why it was kept or not, its files' checksums
    summary.html             for people
    SHA256SUMS               of every file, written last: where it is, the data set is whole
    <format>/                one folder for each format asked for, images hard-linked to
    source/images, masks, canvases, rejected
    learned/                 layouts and filter, learned from real labels
    .work/                   records of the rows that are done, until all are

A row is done when its record is there, which is written after its files. Every file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from earthgen.dataset.checks import read_yaml
from earthgen.dataset.config import Config
from earthgen.errors import ArgumentError, DataError, OutputError
from earthgen.output.atomic import StrPath, check_writable, write_text

Record = dict[str, Any]
"""What is known of a row that is done, JSON-ready; `earthgen.dataset.maker` makes them."""


class Store:
    """A data set's folder. Meant to be `locked` while anything is changed."""

    def __init__(self, folder: StrPath) -> None:
        self.folder = Path(folder)
        self.resolved = self.folder / "resolved.yaml"
        self.manifest = self.folder / "manifest.jsonl"
        self.summary = self.folder / "summary.html"
        self.sums = self.folder / "SHA256SUMS"
        self.source = self.folder / "source"
        self.layouts = self.folder / "learned" / "layouts.json"
        self.masks = self.folder / "learned" / "masks"
        self.filter = self.folder / "learned" / "filter"
        self.work = self.folder / ".work"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, which is made if absent, for this process, and leave no temporary file in it.

        Raises `OutputError` where another process holds it or it cannot be written (a full disk, too), or where it is
        no data set's.
        """
        new = not self.folder.exists()
        check_writable(self.folder)
        if not self.resolved.exists() and any(path.name[0] != "." for path in self.folder.iterdir()):
            rule = "is not empty and holds no data set of earthgen's: give another output folder"
            raise OutputError(f"the folder {str(self.folder)!r} {rule}")
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()  # the system gives it up when its holder dies, however it dies
        except Timeout:
            raise OutputError(f"another process works on the data set in {str(self.folder)!r}") from None
        try:
            self._sweep()
            yield
        except OSError as error:
            if isinstance(error, (OutputError, DataError)) or error.errno is None:
                raise
            reason = os.strerror(error.errno)
            raise OutputError(f"cannot write the data set in {str(self.folder)!r}: {reason}") from error
        finally:
            self._sweep()
            lock.release()
            if new and [path.name for path in self.folder.iterdir()] == [".lock"]:  # refused before anything was made
                with suppress(OSError):
                    (self.folder / ".lock").unlink()
                    self.folder.rmdir()

    def config(self) -> Config | None:
        """The configuration of the data set in the folder, None if there is none yet."""
        return Config.from_dict(read_yaml(self.resolved)) if self.resolved.exists() else None

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration, from which the same command makes the same data set."""
        text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True, width=120)
        write_text(self.resolved, text)

    def records(self) -> dict[int, Record]:
        """The rows that are done, by their number."""
        found: dict[int, Record] = {}
        if self.manifest.exists():
            for number, line in enumerate(self.manifest.read_text(encoding="utf-8").splitlines(), start=1):
                record = _parsed(line, f"line {number} of {str(self.manifest)!r}")
                found[record["index"]] = record
        for path in sorted((self.work / "records").glob("*/*.json")):
            record = _parsed(path.read_text(encoding="utf-8"), repr(str(path)))
            found[record["index"]] = record
        return dict(sorted(found.items()))

    def add(self, record: Record) -> None:
        """Note that a row is done: all its files are there."""
        index = record["index"]
        write_text(self.work / "records" / f"{index // 1000:05d}" / f"{index}.json", dumped(record))

    def whole(self, record: Record) -> bool:
        """Whether all files of a row are there with their checksums."""
        files = [(part, record[part]) for part in ("canvas",) if record.get(part)]
        files += [
            (part, picture[part]) for picture in record["pictures"] for part in ("image", "mask") if picture[part]
        ]
        return all(self._same(entry) for _, entry in files)

    def _same(self, entry: dict[str, str]) -> bool:
        path = self.folder / entry["file"]
        return path.is_file() and sha256(path) == entry["sha256"]

    def entry(self, path: Path) -> dict[str, str]:
        """A file of the folder with its checksum, as records name it."""
        return {"file": path.relative_to(self.folder).as_posix(), "sha256": sha256(path)}

    def write_manifest(self, records: dict[int, Record]) -> None:
        """All rows, in their order."""
        write_text(self.manifest, "".join(f"{dumped(record)}\n" for record in records.values()))

    def put(self, made: Path, name: str) -> None:
        """Give a folder made in `.work` its place, instead of what an earlier run left there."""
        target = self.folder / name
        if target.exists():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)

    def finish(self) -> None:
        """Drop what is needed to resume, and write the checksums of all files: the data set is whole."""
        shutil.rmtree(self.work, ignore_errors=True)
        known: dict[tuple[int, int], str] = {}  # the formats' images are links to one file
        lines = []
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            if path.is_file() and path != self.sums and not any(part.startswith(".") for part in name.parts):
                status = path.stat()
                key = (status.st_dev, status.st_ino)
                if key not in known:
                    known[key] = sha256(path)
                lines.append(f"{known[key]}  {name.as_posix()}\n")
        write_text(self.sums, "".join(lines))

    def discard(self) -> None:
        """Leave nothing of a data set of which no row was made."""
        for folder in (self.layouts.parent, self.work):
            shutil.rmtree(folder, ignore_errors=True)
        self.resolved.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Note that the data set is not whole any more, before it is changed."""
        self.sums.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what a killed process left half written."""
        for path in self.folder.rglob(".earthgen-*.tmp"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def check_same(store: Store, there: Config, asked: Config) -> None:
    """Raise `ArgumentError` unless the data set in the folder is the one that is asked for, or the beginning of it."""
    differing = there.differences(asked)
    if differing:
        rule = (
            f"holds a data set of another configuration (another {', '.join(differing)}): give another folder, delete "
            f"this one, or go on with its own configuration: --config {store.resolved}"
        )
        raise ArgumentError("output", rule, str(store.folder))
    if asked.count < there.count:
        raise ArgumentError(
            "count", f"must be at least that of the data set in {store.folder}, {there.count}", asked.count
        )


def dumped(record: Record) -> str:
    """A record as one line of JSON."""
    return json.dumps(record, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parsed(text: str, where: str) -> Record:
    try:
        record = json.loads(text)
        if not isinstance(record["index"], int) or not isinstance(record["pictures"], list):
            raise TypeError("not a row")
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{where} is no row of a data set ({error}): delete it, and its rows are made again") from error
    return record
