"""Tensors of ids as rows of unequal length, which is how they travel, and hidden states back into their places."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from secure.parties.encrypted.engine import EncoderInputs
from secure.parties.encrypted.limits import GenerationLimits
from secure.protocols.core.errors import InputError


def as_rows(ids: Tensor, mask: Tensor | None) -> list[list[int]]:
    """The rows of a tensor without what the mask marks as padding. Shapes: integer [B, T], mask the same.

    Raises InputError for other shapes and types, a mask with gaps, and rows of nothing.
    """
    if isinstance(ids, Tensor) and ids.dim() == 2 and not ids.numel():
        raise InputError("the prompt is empty; it must have one token or more")
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point():
        raise InputError("ids must be an integer tensor of shape [batch, tokens]")
    if mask is None:
        return [[int(token) for token in row] for row in ids.tolist()]
    if not isinstance(mask, Tensor) or mask.shape != ids.shape:
        raise InputError("attention_mask must be a tensor of the shape of the ids")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError("attention_mask must have ones and zeros only")
    kept = mask.bool()
    # Positions are counted from the first token, so padding may be on either side and nowhere else.
    if bool((kept.int().diff(dim=1) != 0).sum(1).gt(2).any()) or not bool(kept.any(1).all()):
        raise InputError("attention_mask must leave one run of tokens in each row")
    rows = [row[keep].tolist() for row, keep in zip(ids.cpu(), kept.cpu(), strict=True)]
    for row, keep in zip(rows, kept.tolist(), strict=True):
        if keep.index(True) + len(row) != len(keep) - keep[::-1].index(True):
            raise InputError("attention_mask must leave one run of tokens in each row")
    return rows


def as_tensor(hidden: Tensor, ids: Tensor, mask: Tensor | None) -> Tensor:
    """Hidden states of rows, at the places of their tokens in `ids`; zeros at padding.

    Shapes: [B, longest, D] -> [B, T, D].
    """
    if mask is None:
        return hidden
    placed = torch.zeros(*ids.shape, hidden.shape[-1], dtype=hidden.dtype)
    for i, keep in enumerate(mask.bool().cpu()):
        placed[i, keep] = hidden[i, : int(keep.sum())]
    return placed


def requests(inputs: EncoderInputs, size: int = GenerationLimits.rows) -> Iterator[EncoderInputs]:
    """The inputs in parts of `size`: by default as many as a server takes in one request."""
    rows, types, pixels = inputs.rows, inputs.token_types, inputs.pixels
    count = len(rows) if pixels is None else len(pixels)
    for start in range(0, max(count, 1), size):
        part = slice(start, start + size)
        yield EncoderInputs(
            rows[part], None if types is None else types[part], None if pixels is None else pixels[part]
        )
