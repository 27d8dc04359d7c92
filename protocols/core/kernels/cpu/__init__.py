"""Compiled loops for the CPU: what torch does slowly, or in many passes over memory.

Each loop has a plain torch reference where it is called from (`ring`, `factor`, `bits`, `harmonics`, `local`), and a
test compares the two bit for bit. Those for graphics cards are in `card`. torch has no fast path for products of int64
matrices on every processor; the loop here uses the widest integer multiplier that there is.
"""

from __future__ import annotations

from secure.protocols.core.kernels.cpu.compiler import HAS_COMPILER, Array, serve
from secure.protocols.core.kernels.cpu.harmonics_loops import add_harmonics, harmonics, power_of_mask, power_products
from secure.protocols.core.kernels.cpu.planes import leaves, merge, transpose_bits
from secure.protocols.core.kernels.cpu.products import add_shifted, matmul, split_digits, split_transposed
from secure.protocols.core.kernels.cpu.steps import largest, lift, lines, select, shift_opened, smooth
from secure.protocols.core.kernels.cpu.words import pack, pack_difference, pack_sum, shift_right, unpack, unpack_added

__all__ = [
    "HAS_COMPILER",
    "Array",
    "add_harmonics",
    "add_shifted",
    "harmonics",
    "largest",
    "leaves",
    "lift",
    "lines",
    "matmul",
    "merge",
    "pack",
    "pack_difference",
    "pack_sum",
    "power_of_mask",
    "power_products",
    "select",
    "serve",
    "shift_opened",
    "shift_right",
    "smooth",
    "split_digits",
    "split_transposed",
    "transpose_bits",
    "unpack",
    "unpack_added",
]
