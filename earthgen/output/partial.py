"""Outputs that take long: they grow in `<name>.partial` beside their place and go on there after an interruption.

One process works on an output at a time, and the output appears under its name only when it is whole.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rasterio.errors import RasterioError

from earthgen.errors import EarthgenError, OutputError
from earthgen.output.atomic import StrPath, check_writable, write_text
from earthgen.output.provenance import Provenance

_STATE, _LOCK = "state.json", "lock"

log = logging.getLogger(__name__)


class Partial:
    """An output that is not whole yet: a folder to work in, and how far the work is."""

    def __init__(self, path: Path, folder: Path, request: dict[str, Any], done: int) -> None:
        self.path = path
        self.folder = folder
        self.done = done
        """Parts, in their order, that lie whole in the folder."""
        self._request = request

    def advance(self, done: int) -> None:
        """Note, on disk too, that so many parts lie whole in the folder."""
        write_text(self.folder / _STATE, json.dumps({"request": self._request, "done": done}) + "\n")
        self.done = done

    def publish(self, finished: Path) -> None:
        """Give the finished file or folder, which lies in this folder, its place and name."""
        with self.writing():
            if finished.is_file():
                with finished.open("rb+") as file:  # its bytes reach the disk before its name does
                    os.fsync(file.fileno())
            finished.replace(self.path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns what the system, GDAL or SQLite has against writing into an `OutputError`."""
        try:
            yield
        except EarthgenError:
            raise
        except (OSError, RasterioError, sqlite3.Error) as error:
            reason = (isinstance(error, OSError) and error.strerror) or error.__cause__ or error
            raise OutputError(f"cannot write {str(self.path)!r}: {reason}{self._kept()}") from error

    def _kept(self) -> str:
        return f"; what is done is kept in {self.folder.name} and the same request goes on there" if self.done else ""


@contextmanager
def resumable(path: StrPath, request: Mapping[str, Any]) -> Iterator[Partial]:
    """The `Partial` of an output; its folder is removed on a clean exit and otherwise kept, if anything in it is done.

    Args:
        path: Where the output will lie.
        request: All that the output depends on, JSON-ready. Work of another request is not gone on with but dropped,
            with a warning that says what differs.

    Raises:
        OutputError: another process works on this output, or the folder cannot be written.
    """
    path = Path(path)
    if not path.name:
        raise OutputError(f"cannot write {str(path)!r}: it names no file")
    folder = check_writable(path.with_name(path.name + ".partial"))
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()  # the system gives it up when its holder dies, however it dies
    except Timeout:
        holder = _holder(folder / _LOCK)
        raise OutputError(f"cannot write {str(path)!r}: {holder} is writing it, see {folder.name}") from None
    try:
        (folder / _LOCK).write_text(f"{os.getpid()}\n")
        partial = _opened(path, folder, json.loads(json.dumps(dict(request))))
        try:
            yield partial
        except BaseException:
            if not partial.done:
                _remove(folder)
            raise
        _remove(folder)
    finally:
        lock.release()


def identity_of(provenance: Provenance) -> dict[str, Any]:
    """What of a provenance decides about the pixels: all but the time."""
    return {key: value for key, value in provenance.to_dict().items() if key != "created"}


def check_space(path: Path, least: float, typical: float) -> None:
    """Compare the free space where `path` will lie with the bytes that it and the work on it take.

    Raises `OutputError` below what even images without detail need, and warns below what detailed ones do.
    """
    free = shutil.disk_usage(path.parent).free
    need = f"writing {str(path)!r} takes about {_size(typical)}, and {str(path.parent)!r} has {_size(free)} free"
    if free < least:
        raise OutputError(f"{need}: too little")
    if free < typical:
        log.warning("%s: it may not suffice", need)


def _opened(path: Path, folder: Path, request: dict[str, Any]) -> Partial:
    state = folder / _STATE
    if state.exists():
        try:
            found = json.loads(state.read_text())
            before, done = found["request"], int(found["done"])
            differing = sorted(k for k in before.keys() | request.keys() if before.get(k) != request.get(k))
        except (ValueError, TypeError, KeyError, AttributeError):
            differing = ["its record"]
        if not differing:
            if done:
                log.info("going on with %s, where %d parts are done", path, done)
            return Partial(path, folder, request, done)
        log.warning("%s starts anew: %s was of another request (%s)", path, folder.name, ", ".join(differing))
    old = [entry for entry in folder.iterdir() if entry.name != _LOCK]
    if old and not state.exists():
        raise OutputError(f"cannot work in {str(folder)!r}: it holds files that are not earthgen's")
    for entry in old:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    partial = Partial(path, folder, request, 0)
    partial.advance(0)
    return partial


def _remove(folder: Path) -> None:
    """Remove the folder, under another name: a process that starts right now makes its own."""
    with suppress(OSError):
        folder = folder.replace(folder.with_name(f".earthgen-{secrets.token_hex(8)}.tmp"))
    shutil.rmtree(folder, ignore_errors=True)


def _holder(lock: Path) -> str:
    with suppress(OSError, ValueError):
        return f"process {int(lock.read_text())}"
    return "another process"


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
