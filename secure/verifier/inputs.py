"""What a classifier is asked: texts, or tensors whose first axis counts the inputs."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from secure.arrays import Array, as_tensor
from secure.protocols.core.errors import InputError

Inputs = list[str] | Tensor
GivenInputs = Sequence[str] | Array

_WORD = re.compile(r"\w+")
_LEAST_SIDE = 8
"""Pixels. Smaller images are taken for vectors: two poolings would leave a single point of them."""
_SHARE_OF_WORDS_KEPT = 0.8
_NOISE = 0.05
"""Standard deviation of what is added to a number, as a share of all numbers' own deviation."""


def as_inputs(given: GivenInputs) -> Inputs:
    """A list of texts, or a tensor of float32. Raises InputError for anything else, and for no inputs."""
    if isinstance(given, str):
        raise InputError("a verifier takes a list of texts; for one text, a list of one: ['...']")
    if isinstance(given, Sequence) and given and all(isinstance(item, str) for item in given):
        return [cast(str, item) for item in given]
    tensor = as_tensor("inputs", given)
    if tensor.dim() < 2 or not len(tensor):
        raise InputError(
            f"inputs of shape {list(tensor.shape)}; the first axis counts inputs, others hold their numbers"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise InputError("inputs have numbers that are not finite")
    return tensor.float()


def chosen(inputs: Inputs, rows: Tensor) -> Inputs:
    """The inputs at these places. Shapes: rows int64 [K]."""
    if isinstance(inputs, Tensor):
        return inputs[rows]
    return [inputs[row] for row in rows.tolist()]


def joined(parts: Sequence[Inputs]) -> Inputs:
    """All parts' inputs, one part after the other."""
    if isinstance(parts[0], Tensor):
        return torch.cat([cast(Tensor, part) for part in parts])
    return [text for part in parts for text in part]


def is_image(inputs: Inputs) -> bool:
    """Whether inputs are [N, C, H, W] with sides of 8 pixels or more."""
    return isinstance(inputs, Tensor) and inputs.dim() == 4 and min(inputs.shape[-2:]) >= _LEAST_SIDE


def varied(inputs: Inputs, generator: torch.Generator) -> Inputs:
    """One more input of the same kind for each: texts without some words; images moved by a pixel; vectors with noise.

    Half of the images and vectors are mixed with another one. A service answers such inputs, too, and between the
    classes its answers say most about where it parts them.
    """
    if not isinstance(inputs, Tensor):
        return [_fewer_words(text, generator) for text in inputs]
    count = len(inputs)
    shape = (count, *[1] * (inputs.dim() - 1))
    changed = inputs
    if is_image(inputs):
        steps = torch.randint(-1, 2, (count, 2), generator=generator)
        changed = torch.stack(
            [torch.roll(image, tuple(step), (1, 2)) for image, step in zip(inputs, steps.tolist(), strict=True)]
        )
    own = torch.where(
        torch.rand(shape, generator=generator) < 0.5, torch.rand(shape, generator=generator) / 2, torch.zeros(())
    )
    changed = (1 - own) * changed + own * changed[torch.randperm(count, generator=generator)]
    noise = torch.randn(changed.shape, generator=generator) * _NOISE * inputs.std()
    return torch.minimum(torch.maximum(changed + noise, inputs.amin()), inputs.amax())


def bags(texts: Sequence[str], buckets: int) -> tuple[Tensor, Tensor]:
    """Words and pairs of neighbouring words as numbers of buckets, by CRC-32, for `torch.nn.EmbeddingBag`.

    Shapes: numbers int64 [all words], offsets int64 [texts]. Every text has one bucket at least, that of its length in
    powers of two.
    """
    numbers: list[int] = []
    offsets = []
    for text in texts:
        words = _WORD.findall(text.lower())
        terms = [f"#{len(words).bit_length()}", *words, *(f"{a} {b}" for a, b in itertools.pairwise(words))]
        offsets.append(len(numbers))
        numbers += [zlib.crc32(term.encode()) % buckets for term in terms]
    return torch.tensor(numbers), torch.tensor(offsets)


def _fewer_words(text: str, generator: torch.Generator) -> str:
    words = text.split()
    kept = (torch.rand(len(words), generator=generator) < _SHARE_OF_WORDS_KEPT).tolist()
    return " ".join(word for word, keep in zip(words, kept, strict=True) if keep) or text
