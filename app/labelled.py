"""The routes of labelled works: change pairs, data sets, and a view with what is drawn on it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

from earthgen.app import changes, datasets, windows
from earthgen.app.changes import ChangeRequest
from earthgen.app.datasets import DatasetRequest
from earthgen.app.engine import Engine, client_of
from earthgen.app.windows import WindowRequest


def add_routes(app: FastAPI, engine: Engine, answers: dict[int | str, dict[str, Any]]) -> None:
    """Put them onto an application; `answers` are those that every work may give."""

    @app.post("/jobs/change", status_code=202, responses=answers, tags=["jobs"])
    def change(asked: ChangeRequest, request: Request) -> dict[str, Any]:
        """Make two images of one place, with labels of what changed."""
        return changes.start(engine.tasks, asked, client_of(request))

    @app.post("/jobs/dataset", status_code=202, responses=answers, tags=["jobs"])
    def dataset(asked: DatasetRequest, request: Request) -> dict[str, Any]:
        """Make a labelled data set. Asked again, one that was cancelled goes on where it was."""
        return datasets.start(engine.tasks, asked, client_of(request))

    @app.post("/jobs/window", status_code=202, responses=answers, tags=["jobs"])
    def window(asked: WindowRequest, request: Request) -> dict[str, Any]:
        """Write a part of a world with what is drawn on it as its labels."""
        return windows.start(engine.tasks, asked, client_of(request))
