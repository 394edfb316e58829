"""What a server works with: the model and the thread that owns it, the worlds, the works, and how requests wait."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool

from earthgen import weights
from earthgen.app.jobs import Jobs
from earthgen.app.own import OwnLabelsStore
from earthgen.app.settings import Settings
from earthgen.app.tasks import Tasks
from earthgen.app.uploads import Uploads
from earthgen.app.worker import BusyError, CancelledError, Worker
from earthgen.app.worlds import Regions, View, Worlds
from earthgen.conditions import Guidance
from earthgen.output.atomic import check_writable
from earthgen.steps import Steps, denoisers, steps_of_folder, usual_steps
from earthgen.world.cache import TileCache

if TYPE_CHECKING:  # what needs torch is loaded behind the page, not before it
    from earthgen.cli.models import Model
    from earthgen.world.world import World

STATIC = Path(__file__).resolve().parent / "static"
_GIVING_WAY = 0.0005
"""Seconds after which the thread that loads the model lets others run, who wait for Python's lock."""
_POLL = 0.2
"""Seconds between two looks whether a client that waits is still there."""


@dataclass(frozen=True, eq=False)
class Engine:
    """All that the routes use."""

    settings: Settings
    worker: Worker
    loading: Future[Model]
    """The worker's first work, begun when somebody needs it, or after a while."""
    model_sha256: str
    usual: Steps
    """Of the model."""
    worlds: Worlds
    uploads: Uploads
    labels: OwnLabelsStore
    jobs: Jobs
    tasks: Tasks

    @classmethod
    def open(cls, settings: Settings, pipe: Any = None) -> Engine:
        """Make the folders; the model is loaded once the worker is started. `pipe` is a pipeline in its place.

        A page that is being opened needs both cores of a small machine, and no model until its map is there.

        Raises:
            WeightsError: There is no such model.
            OutputError: The folder cannot be written.
        """
        folder = check_writable(settings.folder)
        worker = Worker(settings.waiting, settings.jobs_waiting)
        if pipe is None:
            found = weights.resolve(settings.model)
            loading: Future[Model] = worker.ask("model", lambda: _loaded(settings, found), "").future
            sha256, usual = weights.model_sha256(found), steps_of_folder(found)
        else:
            loading, sha256, usual = Future(), "", usual_steps(pipe)
            loading.set_result(_given(pipe))
        loading.add_done_callback(partial(_interruptible, worker))
        regions, cache = Regions(folder / "regions"), TileCache(settings.cache)
        uploads = Uploads(folder / "uploads", settings.upload_pixels, settings.kept_bytes)
        worlds = Worlds(loading, regions, uploads, cache, settings.worlds)
        jobs = Jobs(folder / "jobs", worker, settings.kept_jobs, settings.kept_bytes)
        labels = OwnLabelsStore(folder / "labels")
        tasks = Tasks(settings, loading, worlds, uploads, labels, jobs)
        return cls(settings, worker, loading, sha256, usual, worlds, uploads, labels, jobs, tasks)

    async def world(self, view: View, request: Request, deadline: float) -> World:
        """The world of a view, once the model is there.

        Raises:
            BusyError: The model takes too long.
        """
        self.worker.start()
        if not self.loading.done():
            await _result(self.loading, request, deadline, "the model is being loaded, come again")
        return await run_in_threadpool(self.worlds.open, view)

    async def ask(self, key: Any, function: Callable[[], Any], request: Request, deadline: float) -> Any:
        """A unit's result, unless the client leaves before.

        Raises:
            BusyError: Too many wait, or it takes too long.
        """
        unit = self.worker.ask(key, function, client_of(request))
        try:
            return await _result(unit.future, request, deadline, "the model is busy, come again")
        finally:
            self.worker.leave(unit)

    def deadline(self) -> float:
        """When a request that comes now has waited too long."""
        return asyncio.get_running_loop().time() + self.settings.wait_s


def client_of(request: Request) -> str:
    """Who asks, for taking turns: an address, and the page there that says its name."""
    host = request.client.host if request.client else ""
    return f"{host} {request.headers.get('earthgen-client', '')[:40]}"


def _loaded(settings: Settings, folder: Path) -> Model:
    """The model of a server, quiet."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_GIVING_WAY)  # seconds of imports, while a browser fetches the page
    try:
        from earthgen.cli import models

        device = models.find_device(settings.device, settings.backend)
        model = models.load(settings.model, folder, device, None, None, steps_bar=False, backend=settings.backend)
    finally:
        sys.setswitchinterval(before)
    model.pipe.set_progress_bar_config(disable=True)
    return model


def _interruptible(worker: Worker, loading: Future[Model]) -> None:
    """Let a loaded model look before each evaluation of a network whether the server ends.

    A tile of many steps, or the decoding of a large image, would else hold up the end for a minute.
    """
    if loading.cancelled() or loading.exception() is not None:
        return

    def look(*_: Any) -> None:
        worker.check()

    pipe = loading.result().pipe
    for network in (*denoisers(pipe).values(), pipe.vae.encoder, pipe.vae.decoder):
        network.register_forward_pre_hook(look)


def _given(pipe: Any) -> Model:
    from earthgen.cli.models import Model

    pipe.set_progress_bar_config(disable=True)
    return Model(pipe, "in memory", "", "cpu", usual_steps(pipe).first, Guidance())


async def _result(future: Future[Any], request: Request, deadline: float, late: str) -> Any:
    """What is awaited, unless the client leaves before. Raises `BusyError` past the deadline."""
    waited = asyncio.wrap_future(future)
    waited.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, also if nobody is left
    while not waited.done():
        await asyncio.wait({waited}, timeout=_POLL)
        if not waited.done() and await request.is_disconnected():
            raise HTTPException(499, "the client has left")
        if not waited.done() and asyncio.get_running_loop().time() > deadline:
            raise BusyError(late, 5)
    if waited.cancelled():
        raise BusyError("the server ends")
    try:
        return waited.result()
    except CancelledError as error:
        raise BusyError("the server ends") from error
