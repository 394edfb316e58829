"""Where a canvas keeps the latents that it computed: in memory, and behind it, if wanted, where they outlive it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthgen.world.noise import whole_number


class ArrayStore(Protocol):
    """Where arrays outlive the process, as `earthgen.world.cache.TileCache`. It may lose any of them at any time."""

    def get(self, key: str) -> NDArray[Any] | None:
        """What was put there, or None."""

    def put(self, key: str, array: NDArray[Any]) -> None:
        """Keep an array under a key; the same key always has the same array."""


class LatentStore:
    """Latents in memory, those unused for longest dropped first; behind it, if given, a store that outlives them.

    Several canvases may share one, from several threads.
    """

    def __init__(self, limit: int = 2**29, behind: ArrayStore | None = None) -> None:
        self.limit = whole_number("limit", limit, 0, 2**63)
        """Bytes."""
        self.behind = behind
        self.bytes = 0
        self.peak = 0
        """The most that `bytes` has been."""
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        # What lies behind is not brought into memory by asking: a plan asks for far more than is read next.
        return key in self._kept or (self.behind is not None and self.behind.get(key) is not None)

    def get(self, key: str, shape: tuple[int, ...]) -> Tensor | None:
        """What was put there, if it still is and has this shape. Not to be written to."""
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
        array = self.behind.get(key) if self.behind is not None else None
        if array is None or array.shape != shape or array.dtype != np.float32:
            return None
        value = torch.from_numpy(np.array(array))  # a copy: what is mapped from a file may vanish or be read-only
        self._keep(key, value)
        return value

    def put(self, key: str, value: Tensor) -> None:
        """Keep a float32 tensor."""
        self._keep(key, value)
        if self.behind is not None:
            self.behind.put(key, value.numpy())

    def clear(self) -> None:
        """Drop all that is in memory."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def _keep(self, key: str, value: Tensor) -> None:
        with self._lock:
            before = self._kept.pop(key, None)
            self.bytes -= 0 if before is None else before.nbytes
            while self._kept and self.bytes + value.nbytes > self.limit:
                self.bytes -= self._kept.popitem(last=False)[1].nbytes
            if value.nbytes <= self.limit:
                self._kept[key] = value
                self.bytes += value.nbytes
                self.peak = max(self.peak, self.bytes)
