"""Folders of published models of the Stable Diffusion family, loaded by the rules of `folders.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from earthgen.errors import WeightsError
from earthgen.pipelines.folders import PUBLISHED_UNET, check_weights, checked, index_of
from earthgen.precision import native_dtype

_CLASSES = {
    "unet": {PUBLISHED_UNET},
    "vae": {"AutoencoderKL", "AutoencoderTiny"},
    "text_encoder": {"CLIPTextModel"},
    "tokenizer": {"CLIPTokenizer", "CLIPTokenizerFast"},
}
_OLD = "position_ids"
"""Older weights of text encoders hold the numbers 0, 1, 2, … under this name; nothing reads them."""


def load_published(name_or_path: str | os.PathLike[str], torch_dtype: torch.dtype | None = None) -> Any:
    """A `StableDiffusionPipeline` of a local folder, from safetensors alone; nothing else of it is read or run.

    The UNet in bfloat16 where the machine computes with it, unless `torch_dtype` says otherwise, the rest in float32:
    an autoencoder's pixels would show bfloat16's steps. A safety checker is left out.

    Raises:
        WeightsError: Nothing is there, a file is damaged or a pickle, a component is of another class than these
            pipelines have, or its weights are another network's.
    """
    folder = checked(name_or_path)
    index = index_of(folder)
    for name, allowed in _CLASSES.items():
        if (found := index.get(name, ("", "none"))[1]) not in allowed:
            rule = f"must be of {' or '.join(sorted(allowed))}, but is of {found}"
            raise WeightsError(f"the {name} of {folder} {rule}")
    kind = getattr(diffusers, index.get("scheduler", ("", ""))[1], None)
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise WeightsError(f"the scheduler of {folder} must be one of diffusers', but is {index.get('scheduler')}")
    components = {
        "unet": _loaded(diffusers.UNet2DConditionModel, folder / "unet", torch_dtype=torch_dtype or native_dtype()),
        "vae": _loaded(getattr(diffusers, index["vae"][1]), folder / "vae", torch_dtype=torch.float32),
        "text_encoder": _loaded(transformers.CLIPTextModel, folder / "text_encoder", dtype=torch.float32),
        "tokenizer": _read(transformers.CLIPTokenizer, folder / "tokenizer"),
        "scheduler": _read(kind, folder / "scheduler"),
    }
    absent = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))
    return diffusers.StableDiffusionPipeline(**components, **absent, requires_safety_checker=False)


def _loaded(kind: Any, folder: Path, **options: Any) -> Any:
    """A network whose weights are exactly the folder's."""
    check_weights(folder)
    if all(".fp16." in path.name for path in folder.glob("*.safetensors")):
        options["variant"] = "fp16"  # of a download of the halved weights alone
    model, info = _read(kind, folder, use_safetensors=True, output_loading_info=True, **options)
    found = {what: [name for name in names if not str(name).endswith(_OLD)] for what, names in info.items()}
    wrong = {what: names for what, names in found.items() if names}
    if wrong:
        raise WeightsError(f"the weights in {folder} do not fit {kind.__name__}: {wrong}")
    return model.eval().requires_grad_(False)


def _read(kind: Any, folder: Path, **options: Any) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise WeightsError(f"{folder} holds no {kind.__name__} that can be read: {error}") from error
