"""The command line run in this process, and a stand-in for the pipeline where no model is needed."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import earthgen.pipelines
from earthgen.conditions import Conditions, Guidance

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def heed_ctrl_c() -> Callable[[], None]:
    """Undoes, in a process to be, what a shell does to jobs it starts in the background: to ignore SIGINT."""

    def heed() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return heed


class StandIn:
    """Has the pipeline's interface; its images are noise of the seed around a colour of the sentence."""

    loaded = 0
    calls: list[dict[str, Any]]

    def __init__(self) -> None:
        self.scheduler = SimpleNamespace()

    @classmethod
    def from_pretrained(cls, name: str, backend: str = "torch") -> StandIn:
        cls.loaded += 1
        return cls()

    def to(self, device: str) -> StandIn:
        return self

    def set_progress_bar_config(self, **options: object) -> None:
        pass

    def __call__(
        self,
        *,
        conditions: list[Conditions],
        height: int,
        width: int,
        num_inference_steps: int,
        guidance: Guidance,
        negative_prompt: str = "",
        generator: list[torch.Generator],
        output_type: str,
    ) -> SimpleNamespace:
        asked_for = {"steps": num_inference_steps, "guidance": guidance, "negative_prompt": negative_prompt}
        self.calls.append({"conditions": conditions, **asked_for})
        images = []
        for asked, random in zip(conditions, generator, strict=True):
            base = sum((asked.text or "").encode()) % 200
            noise = torch.randint(0, 50, (height, width, 3), generator=random).numpy()
            image = (base + noise).astype(np.uint8)
            if asked.known is not None and asked.known_mask is not None:
                image[asked.known_mask] = asked.known[asked.known_mask]
            images.append(Image.fromarray(image))
        as_array = np.stack([np.asarray(image, np.float32) / 255 for image in images])
        return SimpleNamespace(images=as_array if output_type == "np" else images)


@pytest.fixture
def run() -> Run:
    """Run `earthgen` with arguments."""
    from earthgen.cli.main import app

    runner = CliRunner()

    def invoke(*arguments: object) -> Any:
        return runner.invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model folder with random weights, small enough to run in a moment."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    from earthgen import weights
    from earthgen.models import PRESETS, EarthAutoencoder, EarthUNet
    from earthgen.pipelines.earth import EarthPipeline
    from earthgen.text import load_text_encoder

    torch.manual_seed(0)
    narrow = {"block_channels": (8, 8), "encoder_blocks": (1, 1), "decoder_blocks": (1, 1)}
    vae = EarthAutoencoder(latent_channels=4, **narrow)
    unet = EarthUNet(latent_channels=4, **PRESETS["tiny"])
    folder = tmp_path_factory.mktemp("models") / "tiny"
    EarthPipeline(unet, vae, *load_text_encoder(), FlowMatchEulerDiscreteScheduler()).save_pretrained(folder)
    for part in ("text_encoder", "tokenizer"):  # 90 MB that the package carries; the bundled model leaves them out too
        shutil.rmtree(folder / part)
    weights.write_sums(folder)
    return folder


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> type[StandIn]:
    """The pipeline's place taken by `StandIn`, and a model folder in the place of the bundled one."""
    from earthgen import weights

    StandIn.loaded, StandIn.calls = 0, []
    monkeypatch.setitem(vars(earthgen.pipelines), "EarthPipeline", StandIn)
    (model_folder.parent / "mini").symlink_to(model_folder)
    monkeypatch.setattr(weights, "_ROOT", model_folder.parent)
    return StandIn
