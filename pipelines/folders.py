"""Model folders: what is read of them, and what is written so that plain diffusers reads them too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import torch

from earthgen.errors import WeightsError
from earthgen.models import EarthAutoencoder, EarthUNet
from earthgen.precision import native_dtype
from earthgen.steps import DENOISERS
from earthgen.text import load_text_encoder
from earthgen.weights import INDEX, check, check_safetensors, resolve, write_sums

PUBLISHED_UNET = "UNet2DConditionModel"
Network = TypeVar("Network", EarthUNet, EarthAutoencoder)

SHIMS = {
    ".": ("earth_pipeline", "earthgen.pipelines.earth", "EarthPipeline"),
    **dict.fromkeys(DENOISERS, ("earth_unet", "earthgen.models.denoiser", "EarthUNet")),
    "vae": ("earth_autoencoder", "earthgen.models.autoencoder", "EarthAutoencoder"),
}
"""Files that tell diffusers' loader where our classes are: it runs code that lies in the folder, when the user lets it
(`trust_remote_code=True`), and imports no package because a folder names it."""


def checked(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of a model, after its checksums (where it has any) and the kind of its weights were found right."""
    folder = resolve(name_or_path)
    if not (folder / INDEX).is_file():
        raise WeightsError(f"{folder} is no model folder: it has no {INDEX}")
    check(folder)
    for component in ("unet", "vae", *(name for name in DENOISERS[1:] if (folder / name).is_dir())):
        check_weights(folder / component)
    return folder


def index_of(folder: Path) -> dict[str, tuple[str, str]]:
    """The library and the class of each component that a folder's index names."""
    try:
        index = json.loads((folder / INDEX).read_text())
        return {k: (str(v[0]), str(v[1])) for k, v in index.items() if isinstance(v, list) and len(v) == 2}
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"{folder / INDEX} is no index of a model folder") from error


def is_published(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether the index of a model folder names a UNet of diffusers' own in place of ours."""
    folder = resolve(name_or_path)
    return (folder / INDEX).is_file() and index_of(folder).get("unet", ("", ""))[1] == PUBLISHED_UNET


def check_weights(folder: Path) -> None:
    """Refuse the folder of a component that has no safetensors, or a damaged one."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise WeightsError(f"{folder} holds no safetensors weights, and no other kind is read")
    for path in found:
        check_safetensors(path)


def load_components(name_or_path: Any, torch_dtype: torch.dtype | None = None, **given: Any) -> dict[str, Any]:
    """The components of a pipeline, those in `given` taken as they are."""
    unknown = set(given) - {*DENOISERS, "vae", "text_encoder", "tokenizer", "scheduler"}
    if unknown:
        raise TypeError(f"from_pretrained() got unexpected arguments {sorted(unknown)}")
    folder = checked(name_or_path)
    dtype = torch_dtype or native_dtype()
    index = index_of(folder)
    if is_published(folder):
        uses = "`World.open`, `earthgen window` and `earthgen world`"
        raise WeightsError(f"{folder} holds a published UNet, which makes worlds alone: give it to {uses}")
    components = dict(given)
    for name, kind in (*dict.fromkeys(DENOISERS, EarthUNet).items(), ("vae", EarthAutoencoder)):
        if name not in components and (folder / name).is_dir():
            components[name] = load_network(kind, folder / name, dtype)
    if "scheduler" not in components:
        scheduler = getattr(diffusers, index["scheduler"][1])
        components["scheduler"] = scheduler.from_pretrained(folder / "scheduler")
    if "text_encoder" not in components or "tokenizer" not in components:
        saved = folder / "text_encoder" if (folder / "text_encoder").is_dir() else None
        encoder, tokenizer = load_text_encoder(dtype, saved, folder / "tokenizer" if saved else None)
        components.setdefault("text_encoder", encoder)
        components.setdefault("tokenizer", tokenizer)
    return components


def load_network(kind: type[Network], folder: Path, dtype: torch.dtype) -> Network:
    """A network whose weights are exactly the folder's: diffusers would leave what is missing at random.

    Raises:
        WeightsError: The weights are absent, damaged, pickled, or another network's.
    """
    check_weights(folder)
    options = {"torch_dtype": dtype, "use_safetensors": True, "output_loading_info": True}
    model, info = kind.from_pretrained(folder, **options)
    wrong = {what: names for what, names in info.items() if names}
    if wrong:
        raise WeightsError(f"the weights in {folder} do not fit {kind.__name__}: {wrong}")
    network: Network = model.eval()
    return network


def finish_saved_folder(folder: str | os.PathLike[str]) -> None:
    """Name our classes in the way plain diffusers finds them, and write the checksums."""
    root = Path(folder)
    path = root / INDEX
    index = json.loads(path.read_text())
    for component, (module, home, name) in SHIMS.items():
        key = "_class_name" if component == "." else component
        if not (root / component).is_dir():
            index.pop(key, None)  # a component that may be absent, and is
            continue
        index[key] = [module, name]
        shim = f'"""Where diffusers finds `{name}`: pip install earthgen."""\n\nfrom {home} import {name}\n'
        shim += f'\n__all__ = ["{name}"]\n'
        (root / component / f"{module}.py").write_text(shim)
        config = root / component / "config.json"
        if config.is_file():  # diffusers notes where the weights came from: a path of this machine
            noted = json.loads(config.read_text())
            noted.pop("_name_or_path", None)
            config.write_text(json.dumps(noted, indent=2, sort_keys=True) + "\n")
    path.write_text(json.dumps(index, indent=2) + "\n")
    write_sums(root)
