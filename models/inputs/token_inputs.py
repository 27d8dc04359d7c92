"""What families that take token ids have in common at the client: checks, one-hot vectors, masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from secure.models.contract.manifest import TABLE_BITS
from secure.models.contract.network import Inputs
from secure.models.contract.request import Output, Request
from secure.protocols.core.errors import InputError
from secure.protocols.core.secret import SecretSpec
from secure.protocols.functions.softmax import MASKED


def token_request(output: Output, inputs: Inputs, *, steps: int = 1) -> Request:
    """The public part of a session. A mask of ones is no mask: that all tokens count is then public.

    Raises InputError for ids or a mask of the wrong type, and for pixels.
    """
    if inputs.get("pixel_values") is not None:
        raise InputError("pixel_values: this model takes token ids; pass input_ids=... instead")
    ids, mask = check_ids("input_ids", inputs.get("input_ids")), inputs.get("attention_mask")
    if mask is not None:
        check_ids("attention_mask", mask)
    masked = mask is not None and not bool((mask != 0).all())
    return Request(output, ids.shape[0], ids.shape[1], masked, steps)


def with_public_padding(request: Request, mask: Tensor | None) -> Request:
    """The request with the padding at the start of each row told to the parties, instead of a mask shared with them.

    Raises InputError for padding elsewhere.
    """
    if not request.masked or mask is None:
        return request
    counts = mask.shape[1] - mask.sum(1)
    check_padded_at_the_start(mask)
    return replace(request, masked=False, padding=tuple(int(count) for count in counts))


def checked_mask(ids: Tensor, mask: Tensor | None) -> Tensor:
    """The attention mask, of ones where there is none. Raises InputError when it is wrong or leaves a row empty."""
    mask = torch.ones_like(ids) if mask is None else mask
    check_like("attention_mask", mask, ids, 2)
    empty = (mask.sum(1) == 0).nonzero()
    if len(empty):
        raise InputError(f"attention_mask row {int(empty[0])} is all zeros: no token is left to attend to")
    return mask


def check_padded_at_the_start(mask: Tensor) -> None:
    """Raises InputError for zeros after a one: rotary positions count every token, hence would differ there."""
    wrong = (mask.to(torch.int64).cummax(1).values != mask).any(1).nonzero()
    if len(wrong):
        raise InputError(f"attention_mask row {int(wrong[0])}: a prompt to go on from is padded at its start alone")


def additive_mask(mask: Tensor, fraction_bits: int) -> Tensor:
    """What is added to scores: 0 and MASKED. Shapes: integer [B, T] of 0 and 1 -> int64 [B, T]."""
    return (1 - mask.to(torch.int64)) * (round(MASKED) << fraction_bits)


def one_hot_spec(shape: tuple[int, ...], words: int, rows: int) -> SecretSpec:
    """What is shared to choose a word's row of a table, and one of the rows behind the words, where there are any.

    Shapes: indices [...] -> [..., rows].
    """
    parts = (words,) if rows == words else (words, rows - words)
    return SecretSpec((*shape, rows), 0, TABLE_BITS, parts)


def one_hot(indices: list[Tensor], rows: int) -> Tensor:
    """Ones at each of several rows of a table. Shapes: integer [B, T] each -> int64 [B, T, rows]."""
    vectors = torch.zeros(*indices[0].shape, rows, dtype=torch.int64)
    for index in indices:
        vectors.scatter_(2, index.to(torch.int64).unsqueeze(2), 1)
    return vectors


def check_like(name: str, tensor: Tensor, ids: Tensor, limit: int) -> None:
    """Raises InputError unless the tensor goes with the ids and holds whole numbers from 0 to below the limit."""
    check_ids(name, tensor)
    if tensor.shape != ids.shape:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}, input_ids has {tuple(ids.shape)}")
    check_range(name, tensor, limit)


def check_ids(name: str, ids: object) -> Tensor:
    """`ids` as a tensor. Raises InputError unless it is one of whole numbers with batch and tokens."""
    if not isinstance(ids, Tensor):
        raise InputError(f"{name} must be a torch tensor, not {type(ids).__name__}")
    if ids.is_floating_point() or ids.is_complex():
        raise InputError(f"{name} must hold integers, not {ids.dtype}")
    if ids.dim() != 2:
        raise InputError(f"{name} must have shape [batch, tokens], not {list(ids.shape)}")
    if 0 in ids.shape:
        raise InputError(f"{name} is empty (shape {list(ids.shape)}); at least one token is needed")
    return ids


def check_served(ids: Tensor, mask: Tensor, refused: Sequence[int]) -> None:
    """Raises InputError, naming the first token that counts and whose embedding is too small for secure arithmetic."""
    if not refused:
        return
    wrong = (torch.isin(ids, torch.tensor(refused)) & (mask != 0)).nonzero()
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        raise InputError(
            f"input_ids[{row}, {column}] is {int(ids[row, column])}: the embedding of this token is too small for "
            "secure arithmetic, and results with it would be wrong. The model's owner can set it to zero, or to what "
            "it should be, and split the model again"
        )


def check_range(name: str, ids: Tensor, limit: int) -> None:
    """Raises InputError, naming the first entry that is outside 0 to limit - 1."""
    wrong = ((ids < 0) | (ids >= limit)).nonzero()
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        raise InputError(f"{name}[{row}, {column}] is outside 0 to {limit - 1}")
