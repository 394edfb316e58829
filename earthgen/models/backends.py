"""OpenVINO and ONNX Runtime in the place of torch, for the networks on a CPU.

They take over `EarthUNet.network` and `EarthAutoencoder.decoder`, nearly all the work of an image; what is delicate
about precision (noise levels, metadata, the path around the network, colours) stays in torch. The models keep their
classes, weights and calls, so nothing that uses them needs to know.

A network is converted when it is first called, for any size, which takes some seconds; the result is kept in the user's
cache, by the weights and by the versions and the code that had a part in it.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import logging
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from earthgen.errors import ArgumentError, EarthgenError
from earthgen.models.autoencoder import EarthAutoencoder
from earthgen.models.denoiser import EarthUNet

BACKENDS = ("torch", "openvino", "onnx")
_PACKAGES = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnx", "onnxscript")}
_KEPT = 16
"""Converted networks in the cache; those used longest ago go first. One of `mini` has 34 MB."""

Session = Callable[[list[NDArray[Any]]], NDArray[Any]]

log = logging.getLogger(__name__)


def check_backend(backend: str) -> str:
    """`backend`, if there is such a one and it is installed.

    Raises:
        ArgumentError: There is no such backend.
        EarthgenError: Its package is missing; says how to install it.
    """
    if backend not in BACKENDS:
        raise ArgumentError("backend", f"must be one of {', '.join(BACKENDS)}", backend)
    for package in _PACKAGES.get(backend, ()):
        if find_spec(package) is None:
            raise EarthgenError(f'backend {backend} needs the package {package}: pip install "earthgen[{backend}]"')
    return backend


def set_backend(model: EarthUNet | EarthAutoencoder, backend: str) -> None:
    """Let `backend` compute the model's network from now on; "torch" for its own.

    Weights that are changed after the first call are not seen. Computed in the model's precision where the backend has
    it: OpenVINO in bfloat16 or float32, ONNX Runtime always in float32. On the CPU, without gradients.

    Raises:
        ArgumentError: There is no such backend.
        EarthgenError: Its package is missing; says how to install it.
    """
    check_backend(backend)
    owner, method, grid = _part(model)
    vars(owner).pop(method, None)
    if backend != "torch":
        vars(owner)[method] = Network(owner, method, grid, backend)


def backend_of(model: EarthUNet | EarthAutoencoder) -> str:
    """Which of `BACKENDS` computes the model's network."""
    owner, method, _ = _part(model)
    network = vars(owner).get(method)
    return network.backend if isinstance(network, Network) else "torch"


def _part(model: EarthUNet | EarthAutoencoder) -> tuple[nn.Module, str, int]:
    """The module and the method that a backend replaces, and of what the sides of its maps are multiples."""
    return (model, "network", model.grid) if isinstance(model, EarthUNet) else (model.decoder, "forward", 1)


class Network:
    """A method of a module, from tensors to one, computed by a backend. May be called from several threads in turn."""

    def __init__(self, owner: nn.Module, method: str, grid: int, backend: str) -> None:
        self.owner, self.method, self.grid, self.backend = owner, method, grid, backend
        self._sessions: dict[Any, Session] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Without what cannot be copied, and is made again."""
        return {name: getattr(self, name) for name in ("owner", "method", "grid", "backend")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the method itself returns, in float32."""
        if inputs[0].device.type != "cpu":
            raise ArgumentError("backend", "must be torch where the device is not the CPU", self.backend)
        # A modulation vector (1 × 1) and a field of them are two graphs.
        single = tuple(t.ndim == 4 and t.shape[-2:] == (1, 1) for t in inputs)
        key = single, inputs[0].dtype, torch.get_num_threads()
        arrays = [(t.float() if t.is_floating_point() else t).detach().contiguous().numpy() for t in inputs]
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = self._session(inputs, single, inputs[0].dtype)
            return torch.from_numpy(self._sessions[key](arrays))

    def _session(self, inputs: tuple[Tensor, ...], single: tuple[bool, ...], dtype: torch.dtype) -> Session:
        export, load = _EXPORT[self.backend], _LOAD[self.backend]
        shapes = [_shape(t, one, self.grid) for t, one in zip(inputs, single, strict=True)]

        def write(folder: Path) -> None:
            plain = copy.deepcopy(self.owner).float().requires_grad_(False)
            vars(plain).pop(self.method)
            export(_Method(plain, self.method).eval(), _examples(inputs, shapes), shapes, folder)

        return _stored(self._digest(shapes), write, lambda folder: load(folder, dtype))

    def _digest(self, shapes: list[tuple[Any, ...]]) -> str:
        """Of all that decides about the converted network: weights, code, versions."""
        versions = {name: metadata.version(name) for name in ("torch", *_PACKAGES[self.backend])}
        digest = hashlib.sha256(json.dumps([self.method, shapes, str(self.owner), versions]).encode())
        for file in sorted({__file__} | {inspect.getfile(type(module)) for module in self.owner.modules()}):
            digest.update(Path(file).read_bytes())
        for name, value in self.owner.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:32]


class _Method(nn.Module):
    """A method as a module of its own, which exporters want."""

    def __init__(self, owner: nn.Module, method: str) -> None:
        super().__init__()
        self.owner, self.method = owner, method

    def forward(self, *inputs: Tensor) -> Tensor:
        return getattr(self.owner, self.method)(*inputs)


def _shape(tensor: Tensor, single: bool, grid: int) -> tuple[int | str, ...]:
    """A number where a side is fixed, a name where it is free."""
    if tensor.ndim == 4:
        return ("batch", tensor.shape[1], *((1, 1) if single else (f"{grid}*rows", f"{grid}*columns")))
    return ("batch", "tokens", *tensor.shape[2:])


def _examples(inputs: tuple[Tensor, ...], shapes: list[tuple[Any, ...]]) -> tuple[Tensor, ...]:
    """Inputs to trace with; every free side is another, and none 1, which exporters would take for fixed."""
    sides = {"batch": 2, "tokens": 7, "rows": 4, "columns": 6}

    def side(of: int | str) -> int:
        factor, _, name = str(of).rpartition("*")
        return int(factor or 1) * sides[name] if name in sides else int(of)

    return tuple(
        torch.ones([side(n) for n in shape], dtype=torch.bool if t.dtype == torch.bool else torch.float32)
        for t, shape in zip(inputs, shapes, strict=True)
    )


def _stored(digest: str, write: Callable[[Path], None], load: Callable[[Path], Session]) -> Session:
    """A converted network from the cache, into which it is written if it is not there."""
    from earthgen.world.cache import default_folder

    cache = default_folder().with_name("networks")
    folder = cache / digest
    if folder.is_dir():
        try:
            session = load(folder)
        except Exception as error:  # each package has errors of its own for a damaged file
            log.warning("the converted network in %s cannot be read and is made again: %s", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
        else:
            with suppress(OSError):
                os.utime(folder)
            return session
    try:
        cache.mkdir(parents=True, exist_ok=True)
        draft = TemporaryDirectory(prefix=".", dir=cache, ignore_cleanup_errors=True)
    except OSError:
        draft = TemporaryDirectory(ignore_cleanup_errors=True)
    with draft as name:
        write(Path(name))
        try:
            Path(name).rename(folder)
        except OSError:  # the cache cannot be written, or another process was first
            return load(Path(name))
    used = sorted((p.stat().st_mtime, p) for p in cache.iterdir() if not p.name.startswith("."))
    for _, old in used[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return load(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """No chatter of the exporters, and none of OpenVINO's reports home, which it would send when it is imported."""
    kept = sys.modules.get("openvino_telemetry")
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it then takes its own stub
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
        del sys.modules["openvino_telemetry"]
        if kept is not None:
            sys.modules["openvino_telemetry"] = kept


def _export_openvino(module: nn.Module, examples: tuple[Tensor, ...], shapes: list[Any], folder: Path) -> None:
    with _quiet():
        import openvino

        free = [openvino.PartialShape([n if isinstance(n, int) else -1 for n in shape]) for shape in shapes]
        model = openvino.convert_model(module, example_input=examples, input=free)
        openvino.save_model(model, folder / "network.xml", compress_to_fp16=False)


def _load_openvino(folder: Path, dtype: torch.dtype) -> Session:
    with _quiet():
        import openvino

    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(core.read_model(folder / "network.xml"), "CPU", options).create_infer_request()
    return lambda arrays: request.infer(arrays, share_inputs=True)[0]


def _export_onnx(module: nn.Module, examples: tuple[Tensor, ...], shapes: list[Any], folder: Path) -> None:
    dims = {name: torch.export.Dim(name, min=1, max=1 << 16) for name in ("batch", "tokens", "rows", "columns")}

    def dim(side: str) -> Any:
        factor, _, name = side.rpartition("*")
        return int(factor) * dims[name] if int(factor or 1) > 1 else dims[name]

    free = tuple({i: dim(side) for i, side in enumerate(shape) if isinstance(side, str)} for shape in shapes)
    with _quiet():
        torch.onnx.export(
            module, examples, folder / "network.onnx", dynamo=True, dynamic_shapes=(free,), external_data=False,
            verbose=False,
        )  # fmt: skip


def _load_onnx(folder: Path, dtype: torch.dtype) -> Session:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(folder / "network.onnx", options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda arrays: np.asarray(session.run(None, dict(zip(names, arrays, strict=True)))[0])


_EXPORT = {"openvino": _export_openvino, "onnx": _export_onnx}
_LOAD = {"openvino": _load_openvino, "onnx": _load_onnx}
