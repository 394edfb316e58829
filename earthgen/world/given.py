"""What `World.open` is given, checked and brought into one form."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from earthgen import weights
from earthgen.conditions import LEAST_TOLD, Conditions
from earthgen.errors import ArgumentError

_CONSTANT = ("text", "date", "cloud_cover", "coarse_degradation")
"""Fields of `Conditions` that hold for a whole world."""


def constant_conditions(conditions: Conditions | None) -> Conditions:
    """What may hold for a whole world; of the coarser image's degradation no less than `LEAST_TOLD`."""
    if conditions is None:
        conditions = Conditions()
    if not isinstance(conditions, Conditions):
        raise ArgumentError("conditions", "must be an earthgen.Conditions, or None", conditions)
    given = {name for name, there in conditions.present().items() if there} - {"text", "date", "cloud"}
    if given:
        rule = f"must be of what can hold everywhere, {', '.join(_CONSTANT)}"
        raise ArgumentError("conditions", rule, ", ".join(sorted(given)))
    return conditions.replace(coarse_degradation=max(conditions.coarse_degradation, LEAST_TOLD))


def by_level(name: str, given: Any, levels: range, default: dict[int, Any]) -> dict[int, Any]:
    """One value for all levels, or some by number in place of the defaults."""
    if given is None:
        return default
    if not isinstance(given, Mapping):
        return dict.fromkeys(levels, given)
    if set(given) - set(levels):
        raise ArgumentError(name, f"must be by level, of {list(levels)}", sorted(set(given) - set(levels)))
    return default | dict(given)


def loaded(model: Any, device: str | None) -> tuple[Any, str, str]:
    """A pipeline with its name and checksum, which one that is given as it is has not."""
    if isinstance(model, (str, os.PathLike)):
        folder = weights.resolve(model)
        # The library knows of no pipelines but here, where a name has to become one: it is looked up when asked for.
        pipe = import_module("earthgen.pipelines").EarthPipeline.from_pretrained(model)
        name = weights.BUNDLED if str(model) == weights.BUNDLED else folder.resolve().name
        return pipe.to(device or _default_device()), name, weights.model_sha256(folder)
    if not all(hasattr(model, name) for name in ("unet", "vae", "set_noise_levels")):
        raise ArgumentError("model", "must be a name, a folder or an EarthPipeline", model)
    return model, "", ""


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def fingerprint(pipe: Any) -> str:
    """Of a model that lies in memory."""
    digest = hashlib.sha256()
    for part in (pipe.unet, pipe.vae):
        digest.update(json.dumps(dict(part.config), sort_keys=True, default=str).encode())
        for name, value in part.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
