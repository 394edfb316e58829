"""What networks compute in is what the processor has instructions for."""

import platform
from pathlib import Path

import pytest
import torch

from earthgen.precision import mixed_precision, native_dtype

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(platform.machine() != "x86_64" or not CPUINFO.exists(), reason="reads the flags of Linux on x86")
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has bfloat16")
def test_bfloat16_is_for_processors_that_have_it() -> None:
    flags = next(line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")).split()
    assert (native_dtype() == torch.bfloat16) == ("avx512_bf16" in flags)


@pytest.mark.parametrize(("has", "claims", "dtype"), [(False, True, torch.float32), (True, True, torch.bfloat16)])
def test_emulated_bfloat16_is_not_native(
    monkeypatch: pytest.MonkeyPatch, has: bool, claims: bool, dtype: torch.dtype
) -> None:
    """AVX-512 alone is enough for oneDNN to claim it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: claims)
    assert native_dtype() == dtype
    assert mixed_precision()._enabled == has
