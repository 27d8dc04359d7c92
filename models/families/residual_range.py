"""By which power of two a decoder's residual stream is scaled, so that it fits the range of secure arithmetic.

What leaves that range is not clipped but wrong, and real models' streams do leave it. Some begin with embeddings that
are too small for a norm, and in most a few coordinates of the first token grow to thousands of times what the others
are, whatever the input is (Sun et al., Massive activations in large language models, 2024). So a few arbitrary tokens
tell, in a run in the clear at the checkpoint's owner. Norms do not see a factor: everything that writes to the stream
takes it, and a norm's epsilon its square.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secure.models.contract.deferred import computed
from secure.models.contract.manifest import TABLE_VALUE_BITS
from secure.models.contract.rehearsal import NormInput
from secure.protocols.core.errors import CheckpointError
from secure.protocols.functions.layernorm import LEAST_MEAN_SQUARE, most_mean_square

MOST_EXPONENT = 12
SMALL_MEAN_SQUARE = 2.0**-12
"""Below this the first norm of a token loses precision: a unit is a thousandth of an entry."""
_NEGLIGIBLE = 2.0**-16
"""A share of the median row's mean square: rows below it are padding, or words that training never saw."""
_SPARE = 2.0  # other inputs' streams may be so much larger than what was seen
_SEQUENCES, _TOKENS = 4, 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamRange:
    """What the norms of a decoder see.

    smallest, typical: least and median mean square of a token before the first one, and embedding the largest number
    there. largest: the largest mean square of a token before any norm, and magnitude the largest number. width: of the
    stream.
    """

    smallest: float
    typical: float
    embedding: float
    largest: float
    magnitude: float
    width: int

    def exponent(self, value_bits: int) -> int:
        """The k nearest to zero for which the stream times 2^k fits: rather too small than too large.

        Logs a warning where a few tokens are then so small that a norm is wrong, and raises CheckpointError where the
        typical one is, or k is out of range.
        """
        most = math.floor(
            min(
                math.log2(2.0**TABLE_VALUE_BITS / _SPARE / self.embedding),
                math.log2(2.0**value_bits / _SPARE / self.magnitude),
                math.log2(most_mean_square(self.width) / _SPARE**2 / self.largest) / 2,
            )
        )
        least = math.ceil(math.log2(SMALL_MEAN_SQUARE / self.smallest) / 2)
        found = min(max(0, least), most, MOST_EXPONENT)
        if math.ldexp(self.typical, 2 * found) < LEAST_MEAN_SQUARE:
            raise CheckpointError(
                f"the residual stream reaches {self.magnitude:.2g} where its embeddings have a mean square of "
                f"{self.typical:.2g}: no power of two brings both into range with room to spare, {found} being the "
                "largest that leaves it. stream_exponent names another one"
            )
        check_exponent(found)
        if math.ldexp(self.smallest, 2 * found) < LEAST_MEAN_SQUARE:
            _log.warning(
                "the residual stream reaches %.2g where the smallest embeddings have a mean square of %.2g, and "
                "typical ones %.2g: not all fit one range, and words with the smallest ones give less exact results",
                self.magnitude,
                self.smallest,
                self.typical,
            )
        return found


def check_exponent(exponent: int) -> None:
    """Raises CheckpointError for one that no model needs."""
    if abs(exponent) > MOST_EXPONENT:
        raise CheckpointError(
            f"stream_exponent is {exponent}; supported is -{MOST_EXPONENT} to {MOST_EXPONENT}: "
            "the residual stream is held times 2^stream_exponent"
        )


def example_ids(words: Tensor, positions: int, start: object) -> Tensor:
    """Some sequences with tokens of all sizes of embeddings, from the smallest one to the largest.

    start: the token that texts begin with, if there is one. Shapes: [V, D] -> int64 [B, T].
    Raises CheckpointError where all embeddings are zero, or none is finite.
    """
    squares: Tensor = computed(words.square().mean(1))
    used = squares[squares > 0]
    if not len(used):
        raise CheckpointError("the model's embeddings are not finite, or zero everywhere")
    by_size = squares.argsort()
    by_size = by_size[squares[by_size] >= _NEGLIGIBLE * used.median()]
    tokens = min(_TOKENS, positions)
    ids = by_size[torch.linspace(0, len(by_size) - 1, _SEQUENCES * tokens).round().long()].reshape(_SEQUENCES, tokens)
    if isinstance(start, int) and start in by_size:
        ids[-1, 0] = start
    return ids


def stream_range(norms: Sequence[NormInput], width: int) -> StreamRange:
    """What the norms of a decoder saw of such sequences. Raises CheckpointError for what is not finite."""
    first, magnitude = norms[0].mean_squares, max(norm.magnitude for norm in norms)
    largest = max(float(norm.mean_squares.max()) for norm in norms)
    if not math.isfinite(largest):
        raise CheckpointError("the model's hidden states are not finite")
    return StreamRange(float(first.min()), float(first.median()), norms[0].magnitude, largest, magnitude, width)
