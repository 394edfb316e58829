"""A pipeline of real components, tiny and untrained, and one saved to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import nn
from transformers import BertConfig, BertModel, BertTokenizerFast

from earthgen.models import EarthAutoencoder, EarthUNet
from earthgen.pipelines import EarthPipeline
from earthgen.text import TEXT_DIM, minilm_folder

Module = TypeVar("Module", bound=nn.Module)


def awake(model: Module) -> Module:
    """Give layers that start at zero some weight: an untrained network ignores its conditions otherwise."""
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        if p.abs().max() == 0:
            p.data = torch.randn(p.shape, generator=generator) * 0.05
    return model.eval().requires_grad_(False)


def tiny_pipeline() -> EarthPipeline:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bert = BertConfig(hidden_size=TEXT_DIM, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        pipe = EarthPipeline(
            unet=awake(EarthUNet.preset("tiny", latent_channels=4)),
            vae=awake(EarthAutoencoder(4, (8, 16), (1, 1), (1, 1))),
            text_encoder=BertModel(bert).eval().requires_grad_(False),
            tokenizer=BertTokenizerFast.from_pretrained(minilm_folder()),
            scheduler=FlowMatchEulerDiscreteScheduler(),
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def own_pipe() -> EarthPipeline:
    """A pipeline whose networks are not shared either."""
    return tiny_pipeline()


@pytest.fixture(scope="session")
def components() -> dict[str, object]:
    return dict(tiny_pipeline().components)


@pytest.fixture
def pipe(components: dict[str, object]) -> EarthPipeline:
    """A pipeline of its own for each test; the networks are shared, so no test may change them."""
    fresh = EarthPipeline(**(components | {"scheduler": FlowMatchEulerDiscreteScheduler()}))  # type: ignore[arg-type]
    fresh.set_progress_bar_config(disable=True)
    return fresh


@pytest.fixture(scope="session")
def saved(components: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline as `save_pretrained` leaves it. No test may change the folder."""
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    EarthPipeline(**components).save_pretrained(folder)  # type: ignore[arg-type]
    return folder
