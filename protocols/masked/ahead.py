"""A party's work ahead: what it computes of a session's products before there is an input.

A product with a matrix that was opened when the model was loaded has a half in which no input takes part: [r] d, of the
mask of the left factor, or all of P0's part where P1 holds the matrix in the clear. Masks follow from a seed, and at P1
from what the dealer has sent. So a party walks through its program with masks alone and keeps those halves; of all
other gates it draws what later ones multiply, and passes over the rest. It needs no peer, sends nothing, and what it
keeps is as secret as the masks: it stays in memory.

Whatever is sent in a session is masked as ever: the mask t of a product's opening is drawn then, and once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.masked.roles import Party


@dataclass(frozen=True, eq=False)
class Ahead:
    """What party `index` computed ahead of a session: halves of products, by the numbers of their gates.

    Of three evaluators each has two, one for each of its parts; index is then the part's.
    """

    index: int
    session: bytes
    products: dict[int, Tensor] = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        return sum(product.nbytes for product in self.products.values())


class PartyAhead(Party):
    """A computing party before there is an input."""

    def __init__(self, index: int, seed: bytes, session: bytes, dealer: Channel | None, device: torch.device) -> None:
        """dealer: at P1 what the dealer has sent for the session, from its beginning; P0 has none."""
        super().__init__(index, seed, session, _NoPeer(), dealer, Meter(), device)
        self.products: dict[int, Tensor] = {}

    def keep(self, product: Tensor | None) -> None:
        """Keep the half of this gate's product, if it has one."""
        if product is not None:
            self.products[self.place.gate] = product

    def pass_over(self, dealer_bytes: int) -> None:
        """Leave what the dealer has sent for this gate. Who expands its half was sent nothing."""
        while not self._expands and dealer_bytes:
            dealer_bytes -= len(self._correction(min(dealer_bytes, len(self._message()))))

    def end_lane(self) -> None:
        """A lane is over. Raises ProtocolError where the dealer has sent more, or less, for it."""
        if not self._expands and (self.place.left or self._next_message()):
            raise ProtocolError(f"{self.dealer_name} dealt otherwise for a lane; it runs a different program")


class _NoPeer(Channel):
    """The other party, of which nothing is asked."""

    peer = "nobody"

    def send(self, payload: Payload) -> None:
        raise ProtocolError("a gate that works ahead has sent something")

    def receive(self) -> memoryview:
        raise ProtocolError("a gate that works ahead waits for something")
