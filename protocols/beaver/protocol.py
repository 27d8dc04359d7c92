"""The flagship protocol, for two computing parties and a dealer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from secure.protocols.beaver.programs import PROGRAMS
from secure.protocols.core import ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import Prg
from secure.protocols.core.secret import Secret
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.ahead import Ahead
from secure.protocols.masked.dealt.protocol import DealtProtocol
from secure.protocols.masked.roles import Dealer, Party


class BeaverProtocol(DealtProtocol):
    """Shared by parties and dealer; make a `BeaverParty` or a `BeaverDealer`."""

    def __init__(self, role: Party | Dealer, policy: FixedPointPolicy, on_layer: Callable[[str], None] | None) -> None:
        super().__init__(PROGRAMS, role, policy, on_layer)


class BeaverParty(BeaverProtocol):
    """Computing party 0 or 1 of one session."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        session: bytes,
        peer: Channel,
        dealer: Channel | None,
        policy: FixedPointPolicy,
        *,
        common_seed: bytes,
        meter: Meter | None = None,
        on_layer: Callable[[str], None] | None = None,
        device: torch.device = CPU,
        ahead: Ahead | None = None,
    ) -> None:
        """seed: what the dealer has, too. common_seed: what P0 and P1 alone have.

        ahead: what this party computed of the session before.

        Raises ProtocolError for that of another one."""
        if ahead is not None and (ahead.index, ahead.session) != (index, session):
            raise ProtocolError("what was computed ahead is of another session, or of the other party")
        products = None if ahead is None else ahead.products
        super().__init__(
            Party(index, seed, session, peer, dealer, meter or Meter(), device, products), policy, on_layer
        )
        self._common = Prg(common_seed, session)
        self._sign = 1 - 2 * index
        self._revealed = 0

    def reveal(self, x: Secret, bits: int = ring.WORD_BITS) -> Tensor:
        """A fresh share of x in Z_2^bits for the client.

        Without a fresh zero the two shares could tell the client about masks of earlier gates. It comes from a seed
        that P0 and P1 alone have, so that they tell nothing but x to a client that colludes with the dealer, either.
        """
        share = super().reveal(x, bits)
        mask = self._common.words(self._revealed, 0, tuple(share.shape), share.device)
        self._revealed += 1
        # Reduced only now: what bits above the ring hold depends on masks, and whole bytes are sent.
        return ring.low(share + self._sign * mask, bits)

    def finish(self) -> None:
        """The last act of a program. Raises ProtocolError when the dealer sent more than the program used."""
        assert isinstance(self.role, Party)
        self.role.finish()


class BeaverDealer(BeaverProtocol):
    """The dealer of one session: runs the same program on shapes."""

    def __init__(
        self,
        seeds: tuple[bytes, bytes],
        session: bytes,
        to_p1: Channel,
        policy: FixedPointPolicy,
        *,
        meter: Meter | None = None,
        on_layer: Callable[[str], None] | None = None,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(Dealer(seeds, session, to_p1, meter or Meter(), device), policy, on_layer)

    def end_step(self) -> None:
        """Send what is still buffered: the client goes on only when p1 has finished the step."""
        assert isinstance(self.role, Dealer)
        self.role.flush()

    def finish(self) -> None:
        """The last act of a program."""
        self.end_step()
