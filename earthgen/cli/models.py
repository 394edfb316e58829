"""Loading a model for a command: where to, quietly, and what its outputs say of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from earthgen import __version__, weights
from earthgen.conditions import Guidance
from earthgen.errors import ArgumentError
from earthgen.models.backends import check_backend
from earthgen.steps import steps_of_folder


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded pipeline, how it is asked, and what provenance says of it."""

    pipe: Any
    name: str
    """The bundled name, or that of the folder."""
    sha256: str
    device: str
    steps: int
    guidance: Guidance

    def about(self) -> dict[str, Any]:
        """A JSON-ready record; the fields of `Provenance` but for what is asked of the model."""
        return {
            "model": self.name,
            "model_sha256": self.sha256,
            "version": __version__,
            "steps": self.steps,
            "guidance": asdict(self.guidance),
            "scheduler": type(self.pipe.scheduler).__name__,
        }


def find_device(name: str, backend: str = "torch") -> str:
    """`auto` is a GPU where there is one and the backend is torch, which alone knows them.

    Raises:
        ArgumentError: The device is not here or not the backend's, or there is no such backend.
        EarthgenError: The backend is not installed.
    """
    if check_backend(backend) != "torch":
        if name not in ("auto", "cpu"):
            raise ArgumentError("device", f"must be cpu where the backend is {backend}", name)
        return "cpu"
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError("device", "must be auto, cpu, or a device that torch has here", name) from error
    return name


def load(
    name: str,
    folder: Path,
    device: str,
    steps: int | None,
    guidance: Guidance | None,
    steps_bar: bool,
    backend: str = "torch",
) -> Model:
    """Load the model `name`, which lies in `folder`, with its defaults for what is None.

    `steps_bar` shows the progress of an image's own steps, on a terminal.

    Raises:
        WeightsError: the model is damaged.
    """
    from earthgen.pipelines import EarthPipeline

    hush()
    pipe = EarthPipeline.from_pretrained(name, backend).to(device)
    pipe.set_progress_bar_config(disable=None if steps_bar else True, leave=False)
    chosen = steps_of_folder(folder).first if steps is None else steps
    return Model(pipe, weights.shown(name), weights.model_sha256(folder), device, chosen, guidance or Guidance())


def hush() -> None:
    """No chatter of the libraries about loading; their errors stay."""
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    for library in (of_diffusers, of_transformers):
        library.set_verbosity_error()
        library.disable_progress_bar()
