"""What a server works with: the model and the thread that owns it, the worlds, the works, and how requests wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request

from earthgen import weights
from earthgen.app.jobs import Jobs
from earthgen.app.settings import Settings
from earthgen.app.tasks import Tasks
from earthgen.app.uploads import Uploads
from earthgen.app.worker import BusyError, Worker
from earthgen.app.worlds import Regions, Worlds
from earthgen.cli import models
from earthgen.cli.models import Model
from earthgen.conditions import Guidance
from earthgen.output.atomic import check_writable
from earthgen.world.cache import TileCache

STATIC = Path(__file__).resolve().parent / "static"
_POLL = 0.2
"""Seconds between two looks whether a client that waits is still there."""


@dataclass(frozen=True, eq=False)
class Engine:
    """All that the routes use."""

    settings: Settings
    worker: Worker
    model: Model
    worlds: Worlds
    uploads: Uploads
    jobs: Jobs
    tasks: Tasks

    @classmethod
    def open(cls, settings: Settings, pipe: Any = None) -> Engine:
        """Load the model and make the folders. `pipe` is a pipeline in place of the settings' model."""
        folder = check_writable(settings.folder)
        if pipe is None:
            found, device = weights.resolve(settings.model), models.find_device(settings.device)
            model = models.load(settings.model, found, device, None, None, steps_bar=False)
        else:
            model = Model(pipe, "in memory", "", "cpu", 20, Guidance())
        model.pipe.set_progress_bar_config(disable=True)
        worker = Worker(settings.waiting, settings.jobs_waiting)
        regions, cache = Regions(folder / "regions"), TileCache(settings.cache)
        worlds = Worlds(model.pipe, model.name, model.sha256, regions, cache, settings.worlds)
        uploads = Uploads(folder / "uploads", settings.upload_pixels)
        jobs = Jobs(folder / "jobs", worker, settings.kept_jobs, settings.kept_bytes)
        return cls(settings, worker, model, worlds, uploads, jobs, Tasks(settings, model, worlds, uploads, jobs))

    async def ask(self, key: Any, function: Callable[[], Any], request: Request, deadline: float) -> Any:
        """A unit's result, unless the client leaves before.

        Raises:
            BusyError: Too many wait, or it takes too long.
        """
        unit = self.worker.ask(key, function, client_of(request))
        try:
            future = asyncio.wrap_future(unit.future)
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, also if nobody is left
            while not future.done():
                await asyncio.wait({future}, timeout=_POLL)
                if not future.done() and await request.is_disconnected():
                    raise HTTPException(499, "the client has left")
                if not future.done() and asyncio.get_running_loop().time() > deadline:
                    raise BusyError("the model is busy, come again", 5)
            if future.cancelled():
                raise BusyError("the server ends")
            return future.result()
        finally:
            self.worker.leave(unit)

    def deadline(self) -> float:
        """When a request that comes now has waited too long."""
        return asyncio.get_running_loop().time() + self.settings.wait_s


def client_of(request: Request) -> str:
    """Who asks, for taking turns: an address, and the page there that says its name."""
    host = request.client.host if request.client else ""
    return f"{host} {request.headers.get('earthgen-client', '')[:40]}"
