"""Products with the owner's matrix, of rows or of the windows of images, by homomorphic encryption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.core.windows import Window
from secure.protocols.hybrid.gates.gate import HybridGate, Made, unknown
from secure.protocols.hybrid.lattice.exchange import Exchange
from secure.protocols.hybrid.lattice.parameters import DEGREE, PLAIN_BITS
from secure.protocols.hybrid.lattice.placement import Placement
from secure.protocols.hybrid.roles import Maker, User, as_array, as_tensor
from secure.protocols.hybrid.weights import OwnerMatrix

_MASK = 1
"""The label of the masks' address; those of the floods follow."""


class Arrangement(ABC):
    """How a tensor lies in polynomials, and as rows of a matrix product."""

    layout: Placement

    @abstractmethod
    def units(self, x: Tensor) -> Tensor:
        """Shapes: as the tensor -> [units, features, size]."""

    @abstractmethod
    def rows(self, x: Tensor) -> Tensor:
        """What is multiplied with the matrix. Shapes: as the tensor -> [..., K]."""

    @abstractmethod
    def result(self, outputs: Tensor) -> Tensor:
        """Shapes: [units, wanted, M] -> that of `rows(x) @ matrix`."""


@dataclass(frozen=True)
class Rows(Arrangement):
    """A matrix product. shape: [..., K]."""

    shape: tuple[int, ...]

    @cached_property
    def layout(self) -> Placement:  # type: ignore[override]
        return Placement(int(np.prod(self.shape[:-1])), self.shape[-1])

    def units(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[-1], 1)

    def rows(self, x: Tensor) -> Tensor:
        return x

    def result(self, outputs: Tensor) -> Tensor:
        return outputs.reshape(*self.shape[:-1], outputs.shape[-1])


@dataclass(frozen=True)
class Images(Arrangement):
    """A convolution. shape: [B, C, H, W].

    An image with its padding is cut into stripes of as many rows of outputs as fit a polynomial; neighbouring ones
    share rows of inputs.
    """

    shape: tuple[int, ...]
    window: Window

    @cached_property
    def _outputs(self) -> tuple[int, ...]:
        return self.window.shape(self.shape, "convolution")

    @cached_property
    def _width(self) -> int:
        return self.shape[3] + 2 * self.window.padding[1] + self.window.after[1]

    def _inputs(self, outputs: int) -> int:
        """Rows of inputs for so many rows of outputs."""
        return (outputs - 1) * self.window.stride[0] + self.window.extent(0)

    @cached_property
    def _stripes(self) -> tuple[int, int]:
        """How many there are, and rows of outputs of each."""
        room = DEGREE // self._width - self.window.extent(0)
        count = -(-self._outputs[0] // max(1, room // self.window.stride[0] + 1))
        return count, -(-self._outputs[0] // count)

    @cached_property
    def layout(self) -> Placement:  # type: ignore[override]
        (count, outputs), window, width = self._stripes, self.window, self._width
        across, down = (range(0, window.extent(i), window.dilation[i]) for i in (1, 0))
        offsets = tuple(y * width + x for y in down for x in across)
        rows, columns = range(outputs), range(self._outputs[1])
        wanted = tuple(y * window.stride[0] * width + x * window.stride[1] for y in rows for x in columns)
        return Placement(self.shape[0] * count, self.shape[1], self._inputs(outputs) * width, offsets, wanted)

    def units(self, x: Tensor) -> Tensor:
        count, outputs = self._stripes
        (top, left), (below, right) = self.window.padding, self.window.after
        missing = self._inputs(count * outputs) - x.shape[2] - top
        padded = torch.nn.functional.pad(x, (left, left + right, top, max(missing, below)))
        stripes = padded.unfold(2, self._inputs(outputs), outputs * self.window.stride[0])[:, :, :count]
        return stripes.permute(0, 2, 1, 4, 3).reshape(x.shape[0] * count, x.shape[1], -1)

    def rows(self, x: Tensor) -> Tensor:
        return self.window.rows(x)

    def result(self, outputs: Tensor) -> Tensor:
        rows, columns = self._outputs
        whole = outputs.reshape(self.shape[0], -1, columns, outputs.shape[-1])[:, :rows]
        return whole.reshape(self.shape[0], rows * columns, -1)


@dataclass(frozen=True, eq=False)
class Product(HybridGate):
    """x W for the matrix W of P1, where x = x_0 + x_1.

    x_1 W is P1's own business. When this is made, P0 sends encryptions of x_0; P1 multiplies, adds masks m and what
    hides W in the reply, and sends back encryptions of x_0 W + m. So P0's share is x_0 W + m, and P1's x_1 W - m.

    Shapes: as the arrangement: [..., K] or [B, C, H, W], and W [K, M] -> [..., M]. Encoding: shares in Z_2^bits,
    fraction bits add up. Cost: none. Making it takes two rounds for each group of units, and bytes as many ciphertexts
    have as the layout says; nothing is kept, as masks come from a seed.
    Error: none. Reveals: nothing, under the assumptions of `secure.protocols.hybrid.lattice.parameters`.
    Source: the structure is that of Gazelle's and DELPHI's offline phase.
    """

    name = "product"
    x: Tensor
    weight: OwnerMatrix
    arrangement: Arrangement

    @property
    def _layout(self) -> Placement:
        return self.arrangement.layout

    @property
    def _columns(self) -> int:
        return self.weight.shape[1]

    def cost(self) -> Cost:
        return Cost()

    @property
    def _exchange(self) -> Exchange:
        return Exchange(self._layout, self._columns)

    def made(self) -> Made:
        return Made(Cost(rounds=2 * self._layout.groups) + self._exchange.cost())

    @property
    def shape(self) -> tuple[int, ...]:
        units = unknown(self._layout.units, len(self._layout.wanted), self._columns)
        return tuple(self.arrangement.result(units).shape)

    def make(self, maker: Maker) -> Tensor:
        if maker.index == 1:
            self._answer(maker)
            return self.outcome
        units = as_array(ring.low(self.arrangement.units(self.x), PLAIN_BITS))
        return self._gathered(list(self._ask(maker, units)))

    def use(self, user: User) -> Tensor:
        if user.index == 0:
            return self.outcome
        assert self.weight.factor is not None
        product = self.weight.factor.product([self.arrangement.rows(self.x)], PLAIN_BITS)
        masks = as_array(self._masks(user))
        return product.sub_(self._gathered([masks[i] for i in range(len(masks))]))

    def _ask(self, maker: Maker, units: Array) -> Iterator[Array]:
        """P0's side: what it decrypts, group by group and output by output."""
        for group in self._layout.spread(units):
            self._exchange.send(maker, group)
            yield from self._exchange.receive(maker)

    def _answer(self, maker: Maker) -> None:
        """P1's side."""
        assert self.weight.numbers is not None
        masks, labels = as_array(self._masks(maker)).reshape(self._layout.groups, self._columns, -1), count(_MASK + 1)
        for of_group in masks:
            self._exchange.reply(maker, self._exchange.read(maker), self.weight.numbers, of_group, labels)

    def _masks(self, party: Maker | User) -> Tensor:
        """P1's masks, the same when this is made and when it is used. Shapes: int64 [groups outputs, places]."""
        shape = (self._layout.groups * self._columns, len(self._layout.places))
        return ring.low(party.words(_MASK, shape), PLAIN_BITS)

    def _gathered(self, outputs: list[Array]) -> Tensor:
        return self.arrangement.result(as_tensor(self._layout.gathered(outputs)))
