"""Compiled loops for graphics cards: what torch does in many small kernels, each of which costs the host a launch.

They are written for Triton, which comes with PyTorch for CUDA, and named as those of `kernels` for the CPU. The plain
torch references serve where Triton is missing. All three agree bit for bit, and tests compare them: on a card, and on a
machine without one by Triton's interpreter.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from secure.protocols.core.kernels.card.aes import counter_mode, round_keys
    from secure.protocols.core.kernels.card.harmonics_loops import add_harmonics, harmonics, power_products
    from secure.protocols.core.kernels.card.matrices import add_shifted, matmul, split_digits
    from secure.protocols.core.kernels.card.planes import (
        from_planes,
        leaves,
        merge,
        merge_products,
        products,
        to_planes,
    )
    from secure.protocols.core.kernels.card.steps import lift, lines, select, shift_opened, smooth
    from secure.protocols.core.kernels.card.words import pack, pack_difference, pack_sum, unpack, unpack_added

__all__ = [
    "add_harmonics",
    "add_shifted",
    "counter_mode",
    "from_planes",
    "harmonics",
    "leaves",
    "lift",
    "lines",
    "matmul",
    "merge",
    "merge_products",
    "pack",
    "pack_difference",
    "pack_sum",
    "power_products",
    "products",
    "round_keys",
    "select",
    "serve",
    "shift_opened",
    "smooth",
    "split_digits",
    "to_planes",
    "unpack",
    "unpack_added",
]

_MODULES = "aes", "matrices", "planes", "steps", "harmonics_loops", "words"


def serve(device: torch.device) -> bool:
    """Whether the loops here compute on this device."""
    return device.type == "cuda" and bool(_module("compiler").runs(device))


def __getattr__(name: str) -> Any:
    """The loops, imported when the first is asked for: Triton takes 70 MB, which a party without a card can do without.

    Raises AttributeError for other names.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in map(_module, _MODULES):
        globals().update({loop: getattr(module, loop) for loop in __all__ if hasattr(module, loop)})
    return globals()[name]


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
