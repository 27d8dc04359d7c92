"""Compiled loops for graphics cards: what torch does in many small kernels, each of which costs the host a launch.

They are written for Triton, which comes with PyTorch for CUDA. Each module has the loops of the steps that the module
of its name declares, in `core` or `kernels`, and makes them known to the dispatcher when it is imported. Tests compare
them with the plain forms: on a card, and on a machine without one by Triton's interpreter.
"""

from __future__ import annotations

from secure.protocols.core.kernels.card import aes, bits, comparison, factor, harmonics, powers, ring, selection
from secure.protocols.core.kernels.card.compiler import runs

__all__ = ["aes", "bits", "comparison", "factor", "harmonics", "powers", "ring", "runs", "selection"]
