"""A pipeline of real components, tiny and untrained, and one saved to a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

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


def tiny_published(folder: Path, scheduler: Any = None, **shape: Any) -> Any:
    """A `StableDiffusionPipeline`, tiny and untrained: group norm, attention over the whole window, latents of 16 px.

    Args:
        folder: Where the tokenizer's files are written.
        scheduler: DDIM's, as Stable Diffusion has it, unless given.
        shape: Of the UNet's configuration, in place of the usual.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    ends = ["<|startoftext|>", "<|endoftext|>"]
    letters = [chr(n) for n in range(ord("a"), ord("z") + 1)]
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), "se", "sea</w>", *ends]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\ns e\nse a</w>\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=16)
    first, last = (vocabulary.index(end) for end in ends)
    unet = {
        "sample_size": 16, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 4,
        "block_out_channels": (8, 16), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "cross_attention_dim": 16, "attention_head_dim": 4,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = CLIPTextConfig(
            vocab_size=len(vocabulary), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=16, bos_token_id=first, eos_token_id=last, pad_token_id=last,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(4, 4, 4, 4, 8), layers_per_block=1, norm_num_groups=2, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 5, up_block_types=("UpDecoderBlock2D",) * 5,
        )  # fmt: skip
        usual = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
            set_alpha_to_one=False, steps_offset=1,
        )  # fmt: skip
        return StableDiffusionPipeline(
            vae=awake(vae), text_encoder=CLIPTextModel(text).eval(), tokenizer=tokenizer,
            unet=awake(UNet2DConditionModel(**unet | shape)), scheduler=scheduler or usual, safety_checker=None,
            feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip


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
