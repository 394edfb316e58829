"""The tensors a denoiser is conditioned on: every condition has a place, and a flag that says whether it is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from earthgen.conditions import CONDITION_NAMES
from earthgen.layout import LAYOUT_CHANNELS
from earthgen.text import TEXT_DIM


@dataclass(frozen=True)
class Conditioning:
    """Conditions of a batch. Absent ones hold any finite numbers and are false in `present`.

    Numbers have the shape (batch, rows, columns): (batch, 1, 1) for one value an image, or the latent grid's size
    for a field that varies over it.
    """

    present: Tensor
    """(batch, 9) bool, in the order of `CONDITION_NAMES`."""
    text: Tensor
    """(batch, tokens, 384), the text encoder's tokens."""
    text_mask: Tensor
    """(batch, tokens) bool."""
    gsd: Tensor
    """(batch, rows, columns), log2 of metres a pixel."""
    position: Tensor
    """(batch, 3, rows, columns), the unit vector of latitude and longitude."""
    date: Tensor
    """(batch, 3, rows, columns): cosine and sine of the day of the year, and (year - 2015) / 20."""
    cloud: Tensor
    """(batch, rows, columns), fraction covered."""
    layout: Tensor
    """(batch, 70, h, w), see `earthgen.layout`; or of size 1 × 1 for none."""
    known: Tensor
    """(batch, latent_channels, h, w), latent of the known pixels, zero elsewhere; or of size 1 × 1 for none."""
    known_mask: Tensor
    """(batch, 1, h, w), 1 where a latent's pixels are all known."""
    coarse: Tensor
    """(batch, latent_channels, h, w), latent of the coarser image brought to the image's size; or 1 × 1 for none."""
    degradation: Tensor
    """(batch, rows, columns), 0 to 1, how far the coarser image is to be mistrusted."""

    @classmethod
    def none(cls, batch: int, latent_channels: int, device: torch.device | str = "cpu") -> Conditioning:
        """No condition at all."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(batch, *shape, device=device)

        return cls(
            present=torch.zeros(batch, len(CONDITION_NAMES), dtype=torch.bool, device=device),
            text=zeros(1, TEXT_DIM),
            text_mask=torch.ones(batch, 1, dtype=torch.bool, device=device),
            gsd=zeros(1, 1),
            position=zeros(3, 1, 1),
            date=zeros(3, 1, 1),
            cloud=zeros(1, 1),
            layout=zeros(LAYOUT_CHANNELS, 1, 1),
            known=zeros(latent_channels, 1, 1),
            known_mask=zeros(1, 1, 1),
            coarse=zeros(latent_channels, 1, 1),
            degradation=zeros(1, 1),
        )

    def keep(self, names: Iterable[str]) -> Conditioning:
        """The same with every condition but `names` absent."""
        kept = set(names)
        row = torch.tensor([n in kept for n in CONDITION_NAMES], device=self.present.device)
        return replace(self, present=self.present & row)

    def is_present(self, name: str) -> Tensor:
        """(batch,) bool."""
        return self.present[:, CONDITION_NAMES.index(name)]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Conditioning:
        """On another device; floating tensors in another precision, if one is given, but the metadata stay float32."""
        numbers = {"gsd", "position", "date", "cloud", "degradation"}
        moved = {}
        for f in fields(self):
            value: Tensor = getattr(self, f.name)
            cast = dtype is not None and value.is_floating_point() and f.name not in numbers
            moved[f.name] = value.to(device, dtype) if cast else value.to(device)
        return Conditioning(**moved)

    def __getitem__(self, rows: slice) -> Conditioning:
        """Some of the batch."""
        return Conditioning(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def window(self, rows: slice, columns: slice) -> Conditioning:
        """The part of every field that belongs to a window of the latent grid; single values stay."""

        def cut(name: str) -> Tensor:
            value: Tensor = getattr(self, name)
            if name in ("present", "text", "text_mask") or value.shape[-2:] == (1, 1):
                return value
            return value[..., rows, columns]

        return Conditioning(**{f.name: cut(f.name) for f in fields(self)})
