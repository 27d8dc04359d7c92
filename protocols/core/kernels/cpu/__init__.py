"""Compiled loops for the CPU: what torch does slowly, or in many passes over memory.

Each module has the loops of the steps that the module of its name declares, in `core` or `kernels`, and makes them
known to the dispatcher when it is imported. torch has no fast path for products of int64 matrices on every processor;
the loop here uses the widest integer multiplier that there is.
"""

from __future__ import annotations

import torch

from secure.protocols.core.kernels.cpu import bits, comparison, factor, harmonics, powers, ring, selection

__all__ = ["bits", "comparison", "factor", "harmonics", "powers", "ring", "runs", "selection"]


def runs(device: torch.device) -> bool:
    """Whether loops run on this device: its compiler, which was found, serves every processor that it installs on."""
    return device.type == "cpu"
