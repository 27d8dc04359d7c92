"""Tokens whose embeddings are so small that the first norm would give something else than it should.

Rows of reserved words, or of words that training never saw, are often nearly zero. A norm makes them as large as any
other row, which shows how coarse fixed point was. So where a model has such rows, what it looks up is held times a
power of two, which the first norm does not see. Tokens for which no power is large enough are refused.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from secure.models.contract.deferred import computed
from secure.models.contract.manifest import TABLE_VALUE_BITS
from secure.protocols.functions.layernorm import LEAST_MEAN_SQUARE

LEAST_SUM = 2.0**-16
"""The least mean square of an encoder's rows, which are sums of three: entries are right to 2^-8 after the norm."""
_WISHED = 2.0**-12
"""Here a unit is a thousandth of an entry."""
_NOTHING = 2.0**-14
"""A mean square after the norm that is as good as zero."""
_MOST_EXPONENT = 16
_BLOCK = 1 << 12  # words that are looked at together
_MOST_NAMED = 100  # tokens
_log = logging.getLogger(__name__)


def small_rows(
    words: Tensor, added: Sequence[Tensor], epsilon: float, *, least: float = LEAST_MEAN_SQUARE
) -> tuple[int, tuple[int, ...]]:
    """The power of two that embeddings are to be held times, and tokens that are too small even so, which are logged.

    added: tables of which one row each is added, such as positions and token types. All are in the scale in which they
    are shared, and without their mean where the norm takes it away. Shapes: words [V, D], added [rows, D] each.
    least: the smallest mean square, with epsilon, of which the norm is right. Rows of zeros always are.
    """
    found = _below(words, added, epsilon, least)
    if not found:
        return 0, ()
    largest = max(float(computed(table.abs().max())) for table in (words, *added))
    room = math.ceil(TABLE_VALUE_BITS - math.log2(largest)) - 1
    needed = math.ceil(math.log2(_WISHED / (min(found.values()) + epsilon)) / 2)
    exponent = max(0, min(needed, room, _MOST_EXPONENT))
    refused = tuple(sorted(i for i, square in found.items() if math.ldexp(square + epsilon, 2 * exponent) < least))
    if refused:
        _log.warning(
            "%d tokens have embeddings that are too small for secure arithmetic, but not zero: %s%s. Clients are "
            "refused them, as results would be wrong. Set these rows to zero, or to what they should be, before the "
            "checkpoint is shared",
            len(refused),
            ", ".join(map(str, refused[:_MOST_NAMED])),
            ", ..." if len(refused) > _MOST_NAMED else "",
        )
    return exponent, refused


def _below(words: Tensor, added: Sequence[Tensor], epsilon: float, least: float) -> dict[int, float]:
    """The words that are too small with some choice of what is added, and their least mean squares then."""
    if epsilon >= least:
        return {}
    rows = torch.zeros(1, words.shape[1], dtype=torch.float64)
    for table in added:
        rows = (rows.unsqueeze(1) + computed(table).to(torch.float64)).flatten(0, 1)
    most = math.sqrt(words.shape[1] * (least - epsilon))
    lengths, order = torch.sort(computed(words.square().sum(1)).to(torch.float64).sqrt())
    of_rows = rows.norm(dim=1)
    # A sum is small only where both are about as long.
    gaps = (lengths.unsqueeze(1) - of_rows.aminmax().min, lengths.unsqueeze(1) - of_rows.aminmax().max)
    near = order[((gaps[0] > -most) & (gaps[1] < most)).flatten()]
    found: dict[int, float] = {}
    if not len(near):
        return found
    candidates = computed(words[near]).to(torch.float64)
    for numbers, block in zip(near.split(_BLOCK), candidates.split(_BLOCK), strict=True):
        of_block = block.norm(dim=1)
        close = rows[(of_rows > of_block.min() - most) & (of_rows < of_block.max() + most)]
        squares = of_block.square().unsqueeze(1) + close.square().sum(1) + 2 * block @ close.T
        for word, row in (squares < 2 * most**2).nonzero().tolist():
            square = float((block[word] + close[row]).square().mean())
            if square + epsilon < least and square > _NOTHING * (square + epsilon):
                number = int(numbers[word])
                found[number] = min(square, found.get(number, math.inf))
    return found
