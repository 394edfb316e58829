"""Which precision networks compute in on this machine."""

from __future__ import annotations

import torch


def native_dtype() -> torch.dtype:
    """bfloat16 where the machine computes with it, which is about twice as fast; else float32.

    A processor without instructions for bfloat16 emulates it, a hundred times slower than float32.
    """
    if torch.cuda.is_available():
        return torch.bfloat16
    native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def mixed_precision(device: str = "cpu") -> torch.autocast:
    """A context in which matrix products and convolutions of float32 networks are computed in `native_dtype`."""
    dtype = native_dtype()
    return torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16)
