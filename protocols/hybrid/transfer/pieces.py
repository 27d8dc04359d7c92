"""What a dealer shares for functions by pieces, made by two parties: `EvaluatePiecewise` without a dealer.

A bit ρ = ρ_0 ⊕ ρ_1 as a word is ρ_0 + ρ_1 - 2 ρ_0 ρ_1, where P0 chooses and P1 owns -2 ρ_1. With w = w_0 + w_1, which
is the mask r where a piece has a slope and cosines and sines of it where it has a trigonometric sum (`waves`),
    ρ w = ρ_0 w_0 + ρ_1 w_1 + ρ_0 (1 - 2 ρ_1) w_1 + ρ_1 (1 - 2 ρ_0) w_0,
the last two by one product in each direction. All of them are in one exchange.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from secure.protocols.core import bits
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.hybrid.transfer.comparison import Compared
from secure.protocols.hybrid.transfer.crossing import Crossed, Crossing, crossed_words
from secure.protocols.hybrid.transfer.making import Making
from secure.protocols.hybrid.transfer.waves import Waves
from secure.protocols.masked.gates.pieces import harmonics_of, table_of
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise


def check_made(function: Piecewise, input_bits: int) -> None:
    """Raises ConfigurationError, naming the function, where its correlations are not made here."""
    exact = all(
        piece is None or math.ldexp(piece.slope, function.scale - input_bits).is_integer() for piece in function.pieces
    )
    if not exact:
        raise ConfigurationError(
            f"protocol 'hybrid' cannot compute {function.name} with engine = \"transfer\": it takes functions of "
            "straight pieces with slopes that are integers (ReLU, ReLU6, clamp), or with waves (GeLU, tanh); use "
            "engine = \"garbled\" for slopes of 2^-s, or protocol 'beaver'"
        )
    function.check_scale(input_bits)


def crossed(gate: EvaluatePiecewise) -> Crossed:
    """What making it takes."""
    table, count = table_of(gate.function, gate.input_bits, gate.profile), gate.pair.opened.numel()
    waves = _waves(gate, count)
    pieces, masked = count * len(table.chosen), count * len(table.sloped)
    if waves is not None:
        masked += count * len(table.waved) * 2 * len(waves.harmonics.numbers)
    found = Compared(table.thresholds, count).crossed() + crossed_words((pieces + masked, masked), gate.bits)
    return found if waves is None else found + waves.crossed()


def make(making: Making, gate: EvaluatePiecewise, mask: Array) -> None:
    """mask: this party's half of the pair's. Shapes: uint64 [n]."""
    table, count = table_of(gate.function, gate.input_bits, gate.profile), len(mask)
    Compared(table.thresholds, count).make(making, mask)
    planes = making.mask_planes((len(table.chosen), bits.plane_bytes(count)))
    own = np.unpackbits(planes, axis=-1, count=count, bitorder="little")  # ρ_i: [pieces, n]
    of_slopes = own[list(table.sloped)]
    terms = [(of_slopes, np.broadcast_to(mask, of_slopes.shape))]
    waves, basis = _waves(gate, count), None
    if waves is not None:
        basis = waves.make(making.crossing, mask)
        terms.append((np.broadcast_to(own[list(table.waved)], basis.shape), basis))
    bit_masks, (sloped, *waved) = times_bits(making.crossing, own, terms, gate.bits)
    making.keep_words(bit_masks, gate.bits)
    if table.sloped:
        making.keep_words(sloped, gate.bits)
    if basis is not None:
        making.keep_words(np.stack([basis, *waved], 2), gate.bits)


def times_bits(
    crossing: Crossing, own: Array, terms: Sequence[tuple[Array, Array]], width: int
) -> tuple[Array, list[Array]]:
    """Additive shares in Z_2^width of shared bits, and of such bits times shared words, in one exchange.

    own: this party's XOR shares, as numbers. terms: likewise, and its shares of as many words.
    Shapes: uint8 any, pairs of uint8 and uint64 any -> uint64 the same.
    """
    flat = np.concatenate([bit.reshape(-1) for bit, _ in terms])
    words = np.concatenate([word.reshape(-1) for _, word in terms])
    selected = flat * words
    masked = words - np.uint64(2) * selected  # (1 - 2 ρ_i) w_i
    if crossing.index == 0:
        chosen, owned = np.concatenate([own.reshape(-1), flat]), masked
    else:
        chosen = flat
        owned = np.concatenate([np.uint64(0) - np.uint64(2) * own.reshape(-1), masked])
    mine, theirs = crossing.words(chosen, owned, width)
    of_bits, rest = (mine, theirs) if crossing.index == 0 else (theirs, mine)
    products = selected + of_bits[own.size :] + rest
    places = np.cumsum([bit.size for bit, _ in terms])[:-1]
    found = [part.reshape(bit.shape) for part, (bit, _) in zip(np.split(products, places), terms, strict=True)]
    return (own.reshape(-1) + of_bits[: own.size]).reshape(own.shape), found


def _waves(gate: EvaluatePiecewise, count: int) -> Waves | None:
    table = table_of(gate.function, gate.input_bits, gate.profile)
    if not table.waved:
        return None
    return Waves(harmonics_of(table.waves, gate.input_bits), count, gate.function.basis_bits, gate.bits)
