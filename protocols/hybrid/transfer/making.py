"""What a gate of masked pairs takes of randomness and correlations without a dealer: made here, and then taken.

The gates themselves are those of `secure.protocols.masked`, unchanged: at a party, they draw shares of masks and ask
for shares of what a dealer would deal. Masks are each party's own, expanded from its own seed at the same addresses
when they are made and when they are used; correlations lie in the stock, in the order in which the gate asks for them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.core.transfer import CPU, received
from secure.protocols.hybrid.roles import Maker, User, as_tensor
from secure.protocols.hybrid.transfer.crossing import Crossing
from secure.protocols.masked.roles import Party

_FIRST_MASK = 2
"""The label of a party's own addresses that a gate's first mask has: the one before is the wrapping gate's own."""


class Making:
    """One gate's making at a party."""

    def __init__(self, maker: Maker) -> None:
        self.crossing = Crossing(maker)
        self._maker = maker
        self._label = _FIRST_MASK

    @property
    def index(self) -> int:
        """This party's."""
        return self._maker.index

    def mask_planes(self, shape: tuple[int, ...]) -> Array:
        """This party's XOR share of uniform bits, which `StockedParty.mask_planes` gives again."""
        self._label += 1
        return self._maker.secret_stream(self._label - 1, math.prod(shape)).reshape(shape)

    def keep(self, planes: Array) -> None:
        """A share that `StockedParty.correlation_planes` gives."""
        self._maker.stock.put(self._maker.gate, np.ascontiguousarray(planes))

    def keep_words(self, words: Array, width: int) -> None:
        """A share that `StockedParty.correlation` gives. Shapes: uint64 any."""
        self._maker.stock.put(self._maker.gate, ring.pack(as_tensor(words), width).numpy())


class StockedParty(Party):
    """A computing party in one gate, whose correlations were made before."""

    def __init__(self, user: User) -> None:
        # There is neither a seed shared with a dealer nor a channel from one: what draws from them is replaced below.
        super(Party, self).__init__(user.meter, CPU)
        self.index = user.index
        self._user = user
        self.place.gate = user.gate
        self.place.label = _FIRST_MASK - 1

    def mask(self, shape: tuple[int, ...], bits: int = ring.WORD_BITS) -> Tensor:
        return self._user.words(self._next_label(), shape)

    def mask_planes(self, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(self._user.secret_stream(self._next_label(), math.prod(shape))).reshape(shape)

    def mask_of(self, index: int, shape: tuple[int, ...]) -> Tensor:
        raise ProtocolError("a gate whose mask one party draws is not made without a dealer")

    def correlation(self, shape: tuple[int, ...], bits: int, *, short: bool = False) -> Tensor:
        kept = self._user.stock.take(self._user.gate, math.prod(shape) * ring.element_bytes(bits))
        return ring.unpack(kept.data, shape, bits, self.device, ring.word_type(bits) if short else torch.int64)

    def correlation_planes(self, shape: tuple[int, ...]) -> Tensor:
        return received(self._user.stock.take(self._user.gate, math.prod(shape)).data, CPU).reshape(shape)

    def made_ahead(self) -> Tensor | None:
        return None

    def exchange(self, payload: memoryview | None, due: int) -> memoryview:
        return memoryview(b"") if payload is None else self._user.exchange(payload, due)
