"""What a dealer shares for functions by straight pieces, made by two parties: `EvaluatePiecewise` without a dealer.

A bit ρ = ρ_0 ⊕ ρ_1 as a word is ρ_0 + ρ_1 - 2 ρ_0 ρ_1, where P0 chooses and P1 owns -2 ρ_1. With r = r_0 + r_1,
    ρ r = ρ_0 r_0 + ρ_1 r_1 + ρ_0 (1 - 2 ρ_1) r_1 + ρ_1 (1 - 2 ρ_0) r_0,
the last two by one product in each direction. All of them are in one exchange.
"""

from __future__ import annotations

import math

import numpy as np

from secure.protocols.core import bits
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.hybrid.transfer.comparison import Compared
from secure.protocols.hybrid.transfer.crossing import Crossed, crossed_words
from secure.protocols.hybrid.transfer.making import Making
from secure.protocols.masked.gates.pieces import table_of
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise


def check_straight(function: Piecewise, input_bits: int) -> None:
    """Raises ConfigurationError, naming the function, where its correlations are not made here."""
    exact = all(
        piece is None or math.ldexp(piece.slope, function.scale - input_bits).is_integer() for piece in function.pieces
    )
    if function.trigonometric or not exact:
        raise ConfigurationError(
            f"protocol 'hybrid' cannot compute {function.name} with engine = \"transfer\": it takes functions of "
            'straight pieces with slopes that are integers (ReLU, ReLU6, clamp); use engine = "garbled" for slopes of '
            "2^-s, or protocol 'beaver'"
        )
    function.check_scale(input_bits)


def crossed(gate: EvaluatePiecewise) -> Crossed:
    """What making it takes."""
    table, count = table_of(gate.function, gate.input_bits, gate.profile), gate.pair.opened.numel()
    pieces, sloped = count * len(table.chosen), count * len(table.sloped)
    return Compared(table.thresholds, count).crossed() + crossed_words((pieces + sloped, sloped), gate.bits)


def make(making: Making, gate: EvaluatePiecewise, mask: Array) -> None:
    """mask: this party's half of the pair's. Shapes: uint64 [n]."""
    table, count = table_of(gate.function, gate.input_bits, gate.profile), len(mask)
    Compared(table.thresholds, count).make(making, mask)
    planes = making.mask_planes((len(table.chosen), bits.plane_bytes(count)))
    own = np.unpackbits(planes, axis=-1, count=count, bitorder="little")  # ρ_i: [pieces, n]
    of_slopes = own[list(table.sloped)]
    times_mask = of_slopes * mask
    masked = (mask - np.uint64(2) * times_mask).reshape(-1)  # (1 - 2 ρ_i) r_i
    if making.index == 0:
        chosen, owned = np.concatenate([own.reshape(-1), of_slopes.reshape(-1)]), masked
    else:
        chosen = of_slopes.reshape(-1)
        owned = np.concatenate([np.uint64(0) - np.uint64(2) * own.reshape(-1), masked])
    mine, theirs = making.crossing.words(chosen, owned, gate.bits)
    of_bits, rest = (mine, theirs) if making.index == 0 else (theirs, mine)
    split = own.size
    making.keep_words(own.reshape(-1) + of_bits[:split], gate.bits)
    if table.sloped:
        making.keep_words(times_mask.reshape(-1) + of_bits[split:] + rest, gate.bits)
