"""Where the inputs and outputs of a linear layer lie in polynomials.

A layer has *units*, of which each has `size` coefficients for every feature: a row of a matrix product has one, an
image, or a stripe of one, has its pixels with padding, row by row. A *block* has one feature of some units, one behind
the other; a polynomial has the blocks of as many features as it has room for. So the sum over features j and elements
d of a kernel, at all units and places i at once, is

    out_k = Σ_{j, d} W[(j, d), k] X^(-(offset of block j + offset of d)) polynomial_of_j,

of which the places of block zero are wanted; all others hold combinations that nobody is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.lattice.parameters import DEGREE


@dataclass(frozen=True)
class Placement:
    """units: rows, or images. features: of the input. size: coefficients of one feature of a unit.

    offsets: how far each element of the kernel is from the place of its output. wanted: the
    places of a unit's outputs.
    Raises ConfigurationError where a unit does not fit a polynomial.
    """

    units: int
    features: int
    size: int = 1
    offsets: tuple[int, ...] = (0,)
    wanted: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.size > DEGREE:
            raise ConfigurationError(
                f"{self.size} coefficients of one image do not fit a polynomial, which has {DEGREE}; "
                "protocol 'hybrid' takes narrower images, or smaller kernels"
            )

    @property
    def together(self) -> int:
        """Units of a block."""
        return min(self.units, DEGREE // self.size)

    @property
    def groups(self) -> int:
        """How often the layer is computed, each time for as many units as a block has."""
        return -(-self.units // self.together)

    @property
    def _block(self) -> int:
        return self.together * self.size

    @property
    def _blocks(self) -> int:
        """Blocks of a polynomial."""
        return DEGREE // self._block

    @property
    def polynomials(self) -> int:
        """Ciphertexts of the input, of one group."""
        return -(-self.features // self._blocks)

    @cached_property
    def terms(self) -> tuple[Array, Array]:
        """The polynomial and the shift of every row of the matrix: features first, elements of the kernel second.

        Shapes: int64 [features elements] each.
        """
        feature = np.repeat(np.arange(self.features), len(self.offsets))
        offset = np.tile(np.array(self.offsets, dtype=np.int64), self.features)
        return feature // self._blocks, feature % self._blocks * self._block + offset

    @cached_property
    def places(self) -> Array:
        """Where outputs are, unit by unit. Shapes: int64 [units of a block wanted]."""
        units = self.size * np.arange(self.together, dtype=np.int64)[:, None]
        return (units + np.array(self.wanted, dtype=np.int64)).reshape(-1)

    def spread(self, x: Array) -> Array:
        """Plaintexts. Shapes: uint64 [units, features, size] -> [groups, polynomials, N]."""
        whole = np.zeros((self.groups * self.together, self.polynomials * self._blocks, self.size), dtype=np.uint64)
        whole[: self.units, : self.features] = x
        blocks = whole.reshape(self.groups, self.together, -1, self.size).transpose(0, 2, 1, 3)
        found = np.zeros((self.groups, self.polynomials, DEGREE), dtype=np.uint64)
        found[:, :, : self._blocks * self._block] = blocks.reshape(self.groups, self.polynomials, -1)
        return found

    def gathered(self, outputs: Sequence[Array]) -> Array:
        """Outputs as rows, from what is at `places` for every group and output feature, in this order.

        Shapes: uint64 [groups outputs] of [places] -> [units, wanted, outputs].
        """
        whole = np.stack(outputs).reshape(self.groups, -1, self.together, len(self.wanted)).transpose(0, 2, 3, 1)
        return whole.reshape(self.groups * self.together, len(self.wanted), -1)[: self.units]
