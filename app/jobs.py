"""Long works: how far they are, their results in a folder each, kept until the room is needed.

A job is known by a name that nobody guesses, and who has it may look, fetch and cancel. What was done before a server
ended is there when it starts again.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from earthgen.app.worker import Breathe, CancelledError, Worker
from earthgen.errors import ArgumentError
from earthgen.labels.writing import link
from earthgen.output.atomic import atomic_path, write_text

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Kind = Literal["generate", "upscale", "export", "change", "dataset"]
_RECORD = "job.json"
_PREVIEWS = "previews"
_PREVIEWS_KEPT = 12
_TYPES = {
    ".png": "image/png",
    ".tif": "image/tiff",
    ".json": "application/json",
    ".zip": "application/zip",
    ".html": "text/html",
}
_STORED = (".png", ".jpg", ".tif", ".parquet")
"""What a zip cannot make smaller."""


class Job:
    """One long work. Made by `Jobs.start`."""

    def __init__(self, kind: str, client: str, folder: Path, work: Callable[[Job], None]) -> None:
        self.id, self.kind, self.client = secrets.token_hex(16), kind, client
        self.folder = folder / self.id
        self.state: State = "waiting"
        self.about: dict[str, Any] = {}
        """What the page shows beside it, as the seed that was used."""
        self.error: str | None = None
        self.progress = 0.0
        self.created = time.time()
        self._work = work
        self._breathe: Breathe = lambda: None
        self._cancelled = threading.Event()
        self._started: float | None = None
        self._first: tuple[float, float] | None = None
        """When the first step was done, and how far it came: work that goes on begins in the middle."""
        self._seconds: float | None = None
        self._previews: list[Path] = []

    def step(self, progress: float) -> None:
        """Note how far the work is, 0 to 1, and let others at the model.

        Raises:
            CancelledError: It is wanted no more.
        """
        self.progress = min(max(progress, self.progress), 1.0)
        if self._first is None and progress > 0:
            self._first = time.monotonic(), self.progress
        if self._cancelled.is_set():
            raise CancelledError("cancelled")
        self._breathe()

    def preview(self, image: Path) -> None:
        """Show an image, a PNG, from now on, also when the work is given up; of many the first dozen."""
        kept = self.folder / _PREVIEWS / image.name
        if kept in self._previews or len(self._previews) == _PREVIEWS_KEPT:
            return
        kept.parent.mkdir(exist_ok=True)
        link(image, kept)
        self._previews.append(kept)

    def pack(self, folder: Path, name: str) -> None:
        """Put the files of a folder into a zip among the results."""
        with atomic_path(self.folder / name) as temporary, ZipFile(temporary, "w", compresslevel=1) as archive:
            for path in sorted(folder.rglob("*")):
                inside = path.relative_to(folder)
                if path.is_file() and not any(part.startswith(".") for part in inside.parts):
                    self.step(self.progress)
                    archive.write(path, inside, ZIP_STORED if path.suffix in _STORED else ZIP_DEFLATED)

    def cancel(self) -> None:
        """Give the work up at its next step."""
        self._cancelled.set()

    def run(self, breathe: Breathe) -> None:
        """Do the work; on the worker's thread."""
        self._breathe, self._started = breathe, time.monotonic()
        state: State
        try:
            self.state = "running"
            self.folder.mkdir(parents=True, exist_ok=True)
            self.step(0)
            self._work(self)
            state, self.progress = "done", 1.0
        except CancelledError:
            state = "cancelled"
        except ArgumentError as error:
            state, self.error = "failed", str(error)
        except Exception:
            log.exception("job %s failed", self.id)
            state, self.error = "failed", "the work failed; the server's log says why"
        self.end(state)

    def end(self, state: State) -> None:
        """Note how the work ended, in the folder too. Previews stay in any case: somebody looks at them."""
        self._seconds = time.monotonic() - self._started if self._started is not None else 0.0
        del self._work
        if state != "done":
            for path in self.folder.glob("*"):
                if path.name == _PREVIEWS:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()  # where nothing stays
        self.state = state
        if self.folder.exists():
            with suppress(OSError):
                write_text(self.folder / _RECORD, json.dumps(self.record()))

    def record(self, ahead: int | None = None) -> dict[str, Any]:
        """What a client is told."""
        seconds = self._seconds
        left = None
        if self.state == "running" and self._started is not None:
            seconds = time.monotonic() - self._started
            since, begun = self._first or (0.0, 1.0)
            if self.progress - begun > 0.01:
                left = (time.monotonic() - since) * (1 - self.progress) / (self.progress - begun)
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "progress": round(self.progress, 3),
            "seconds": None if seconds is None else round(seconds, 1),
            "seconds_left": None if left is None else round(left, 1),
            "ahead": ahead,
            "error": self.error,
            "about": self.about,
            "created": round(self.created, 3),
            "files": files_in(self.folder, self.id) if self.state == "done" else [],
            "previews": files_in(self.folder / _PREVIEWS, self.id),
        }


def files_in(folder: Path, name: str) -> list[dict[str, Any]]:
    """The results of a job: name, type, size and where they are fetched, relative to the server's root."""
    found = []
    for p in sorted(path for path in folder.glob("*") if path.suffix in _TYPES and path.name != _RECORD):
        with suppress(FileNotFoundError):  # somebody forgot the job meanwhile
            url = f"jobs/{name}/files/{p.name}"
            found.append({"name": p.name, "type": _TYPES[p.suffix], "bytes": p.stat().st_size, "url": url})
    return found


class Jobs:
    """Those of a server."""

    def __init__(self, folder: Path, worker: Worker, kept: int, kept_bytes: int) -> None:
        self.folder, self.worker, self.kept, self.kept_bytes = folder, worker, kept, kept_bytes
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def start(self, kind: Kind, client: str, work: Callable[[Job], None], **about: Any) -> dict[str, Any]:
        """Put a work into the line. Raises `BusyError` where too many wait."""
        job = Job(kind, client, self.folder, work)
        job.about = about
        with self._lock:
            self._make_room()
            self._jobs[job.id] = job
        try:
            self.worker.submit(job)
            self.worker.start()
        except Exception:
            with self._lock:
                del self._jobs[job.id]
            raise
        return self.record(job.id)

    def record(self, name: str) -> dict[str, Any]:
        """How a job stands. Raises `KeyError` for one that is not known."""
        with self._lock:
            job = self._jobs.get(name)
        if job is not None:
            return job.record(self.worker.ahead(job) if job.state == "waiting" else None)
        path = self._folder(name) / _RECORD
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise KeyError(name) from None
        return record

    def cancel(self, name: str) -> dict[str, Any]:
        """Give a job up, or forget one that has ended. Raises `KeyError` for one that is not known."""
        record = self.record(name)
        with self._lock:
            job = self._jobs.get(name)
        if job is not None and job.state == "running":
            job.cancel()
        elif job is not None and self.worker.withdraw(job):
            job.end("cancelled")
        elif record["state"] not in ("waiting", "running"):
            shutil.rmtree(self._folder(name), ignore_errors=True)
            with self._lock:
                self._jobs.pop(name, None)
            return record | {"state": "cancelled", "files": [], "previews": []}
        return self.record(name)

    def file(self, name: str, file: str) -> tuple[Path, str]:
        """A result's path and type. Raises `KeyError` where there is none."""
        record = self.record(name)
        for part, folder in (("files", self._folder(name)), ("previews", self._folder(name) / _PREVIEWS)):
            for found in record.get(part, ()):
                if found["name"] == file and (folder / file).is_file():
                    return folder / file, found["type"]
        raise KeyError(file)

    def _folder(self, name: str) -> Path:
        if not re.fullmatch("[0-9a-f]{32}", name):
            raise KeyError(name)
        return self.folder / name

    def _make_room(self) -> None:
        """Forget the oldest jobs that have ended, and then their files, until the rest is within bounds."""
        ended = [n for n, job in self._jobs.items() if job.state not in ("waiting", "running")]
        for name in ended[: max(0, len(self._jobs) - self.kept)]:
            del self._jobs[name]
        folders = [f for f in self.folder.glob("*") if f.is_dir() and (f / _RECORD).exists()]
        folders.sort(key=lambda f: f.stat().st_mtime, reverse=True)
        used = 0
        for count, folder in enumerate(folders, 1):
            used += sum(path.stat().st_size for path in folder.rglob("*"))
            if count > self.kept or used > self.kept_bytes:
                shutil.rmtree(folder, ignore_errors=True)
                self._jobs.pop(folder.name, None)
