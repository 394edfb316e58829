"""OpenVINO and ONNX Runtime compute what torch does, at any size, and say what is missing where they are not there."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from earthgen.cli.models import find_device
from earthgen.errors import ArgumentError, EarthgenError
from earthgen.models import Conditioning, EarthAutoencoder, EarthUNet, backends
from earthgen.models.backends import backend_of, check_backend, set_backend

openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs earthgen[openvino]")
onnx = pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs earthgen[onnx]")
BOTH = [pytest.param("openvino", marks=openvino), pytest.param("onnx", marks=[onnx, pytest.mark.slow])]
CHANNELS = 4


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EARTHGEN_CACHE", str(folder))
        yield folder / "networks"


@pytest.fixture(scope="module")
def unet() -> EarthUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EarthUNet.preset("tiny", CHANNELS).eval().requires_grad_(False)
        for p in model.parameters():
            if p.abs().max() == 0:
                p.normal_(std=0.05)
    return model


def conditioning(batch: int, height: int, width: int, field: bool) -> Conditioning:
    none = Conditioning.none(batch, CHANNELS)
    if not field:
        return none
    torch.manual_seed(1)
    return replace(
        none,
        present=torch.ones_like(none.present),
        text=torch.randn(batch, 5, 384),
        text_mask=torch.arange(5)[None].expand(batch, -1) < 4,
        gsd=torch.randn(batch, height, width),
        layout=torch.rand(batch, none.layout.shape[1], height, width),
        coarse=torch.randn(batch, CHANNELS, height, width),
    )


def on(backend: str, model: Any) -> Any:
    model = copy.deepcopy(model)
    set_backend(model, backend)
    assert backend_of(model) == backend
    return model


@pytest.mark.parametrize("backend", BOTH)
def test_the_denoiser_is_the_same_at_any_size(unet: EarthUNet, backend: str) -> None:
    fast = on(backend, unet)
    for batch, height, width, field in [(1, 8, 12, False), (1, 8, 12, True), (3, 4, 16, True), (2, 20, 4, False)]:
        given, x = conditioning(batch, height, width, field), torch.randn(batch, CHANNELS, height, width)
        for time in (20.0, 900.0):
            want, got = (m(x, time, given).sample for m in (unet, fast))
            assert want.std() > 0.1
            torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("backend", BOTH)
def test_the_decoder_is_the_same_at_any_size(backend: str) -> None:
    torch.manual_seed(0)
    vae = EarthAutoencoder(CHANNELS, (8, 16), (1, 1), (1, 1)).eval().requires_grad_(False)
    fast = on(backend, vae)
    for shape in [(1, CHANNELS, 4, 7), (2, CHANNELS, 9, 3)]:
        z = torch.randn(shape)
        torch.testing.assert_close(fast.decode(z).sample, vae.decode(z).sample, atol=2e-5, rtol=1e-4)


@openvino
def test_a_model_keeps_class_weights_and_copies_and_goes_back_to_torch(unet: EarthUNet) -> None:
    fast = on("openvino", unet)
    given, x = Conditioning.none(1, CHANNELS), torch.randn(1, CHANNELS, 8, 8)
    got = fast(x, 500.0, given).sample
    assert isinstance(fast, EarthUNet) and fast.config == unet.config
    assert fast.state_dict().keys() == unet.state_dict().keys()
    for again in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert backend_of(again) == "openvino"
        assert torch.equal(again(x, 500.0, given).sample, got)
    set_backend(fast, "torch")
    assert backend_of(fast) == "torch"
    assert torch.equal(fast(x, 500.0, given).sample, unet(x, 500.0, given).sample)


@openvino
def test_bfloat16_is_near(unet: EarthUNet) -> None:
    fast = on("openvino", copy.deepcopy(unet).bfloat16())
    given, x = conditioning(1, 8, 8, True), torch.randn(1, CHANNELS, 8, 8)
    got, want = fast(x, 500.0, given).sample, unet(x, 500.0, given).sample
    assert got.dtype == torch.float32
    assert (got - want).abs().mean() < 0.02 * want.std()


@openvino
def test_other_weights_are_another_network_and_the_same_are_converted_once(
    unet: EarthUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, x = Conditioning.none(1, CHANNELS), torch.randn(1, CHANNELS, 8, 8)
    on("openvino", unet)(x, 500.0, given)
    export = backends._EXPORT["openvino"]
    converted = []
    monkeypatch.setitem(backends._EXPORT, "openvino", lambda *a: converted.append(a) or export(*a))
    on("openvino", unet)(x, 500.0, given)
    assert not converted
    other = copy.deepcopy(unet)
    other.head.weight.add_(0.1)
    got = on("openvino", other)(x, 500.0, given).sample
    assert len(converted) == 1
    torch.testing.assert_close(got, other(x, 500.0, given).sample, atol=2e-5, rtol=1e-4)


@openvino
@pytest.mark.parametrize("harm", ["damaged", "no folder"])
def test_a_cache_that_fails_stops_nothing(
    unet: EarthUNet, harm: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EARTHGEN_CACHE", str(tmp_path))
    given, x = Conditioning.none(1, CHANNELS), torch.randn(1, CHANNELS, 8, 8)
    if harm == "damaged":
        on("openvino", unet)(x, 500.0, given)
        (weights,) = tmp_path.rglob("network.bin")
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        (tmp_path / "networks").write_text("a file")
    got = on("openvino", unet)(x, 500.0, given).sample
    torch.testing.assert_close(got, unet(x, 500.0, given).sample, atol=2e-5, rtol=1e-4)
    if harm == "damaged":
        assert next(tmp_path.rglob("network.bin")).stat().st_size > 1000


def test_the_cache_keeps_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(backends, "_KEPT", 2)
    made: list[str] = []

    def use(name: str) -> None:
        def write(folder: Path) -> None:
            made.append(name)
            (folder / "network").write_text(name)

        session: Any = backends._stored(name, write, lambda folder: (folder / "network").read_text())  # type: ignore[arg-type, return-value]
        assert session == name
        for age, known in enumerate(reversed(made)):  # the clock of some file systems is coarse
            if (tmp_path / "networks" / known).is_dir() and known != name:
                os.utime(tmp_path / "networks" / known, (1e9 - age, 1e9 - age))

    for name in ("a", "b", "a", "c", "a"):
        use(name)
    assert made == ["a", "b", "c"]
    assert sorted(p.name for p in (tmp_path / "networks").iterdir()) == ["a", "c"]


def test_what_is_not_there_is_said(unet: EarthUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="`backend` must be one of torch, openvino, onnx"):
        set_backend(unet, "tensorrt")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    for backend, package in (("openvino", "openvino"), ("onnx", "onnxruntime")):
        with pytest.raises(EarthgenError, match=rf'needs the package {package}: pip install "earthgen\[{backend}\]"'):
            set_backend(unet, backend)
    assert backend_of(unet) == "torch"
    assert check_backend("torch") == "torch"


@openvino
def test_other_backends_are_for_the_cpu(unet: EarthUNet) -> None:
    assert find_device("auto", "openvino") == "cpu"
    with pytest.raises(ArgumentError, match="`device` must be cpu where the backend is openvino"):
        find_device("cuda", "openvino")
    network = vars(on("openvino", unet))["network"]
    with pytest.raises(ArgumentError, match="must be torch where the device is not the CPU"):
        network(torch.empty(1, CHANNELS, 8, 8, device="meta"))


@openvino
def test_nothing_is_reported_home(tmp_path: Path) -> None:
    """OpenVINO would send a report when it is imported, and for each conversion."""
    script = (
        "import socket, sys\n"
        "def no(*a, **k): raise SystemExit('a connection was tried')\n"
        "socket.getaddrinfo = socket.socket.connect = no\n"
        "import torch\n"
        "from earthgen.models import EarthAutoencoder\n"
        "from earthgen.models.backends import set_backend\n"
        "vae = EarthAutoencoder(4, (8,), (0,), (0,)).eval().requires_grad_(False)\n"
        "set_backend(vae, 'openvino')\n"
        "vae.decode(torch.zeros(1, 4, 3, 3))\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])\n"
    )
    home = {"EARTHGEN_CACHE": str(tmp_path), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **home}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not [p for p in tmp_path.rglob("*") if "telemetry" in p.name or "intel" in p.name]
