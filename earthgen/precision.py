"""Which precision networks compute in on this machine."""

from __future__ import annotations

import platform

import torch


def native_dtype() -> torch.dtype:
    """bfloat16 where the machine computes with it, which is about twice as fast; else float32.

    A processor without instructions for bfloat16 emulates it, five (with AVX-512) to a hundred times slower than
    float32.
    """
    return torch.bfloat16 if torch.cuda.is_available() or _processor_has_bfloat16() else torch.float32


def _processor_has_bfloat16() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        # oneDNN calls it supported wherever there is AVX-512, and emulates it. AMX comes with these instructions.
        return torch.cpu._is_avx512_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def mixed_precision(device: str = "cpu") -> torch.autocast:
    """A context in which matrix products and convolutions of float32 networks are computed in `native_dtype`."""
    dtype = native_dtype()
    return torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16)
