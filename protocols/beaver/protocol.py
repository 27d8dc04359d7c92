"""The flagship protocol, for two computing parties and a dealer: how its secrets become masked pairs.

One class serves all three: which gate comes next depends on shapes and rings only, so they walk through the same
sequence, and at each gate the parties evaluate while the dealer deals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
from torch import Tensor

from secure.protocols.beaver import forms
from secure.protocols.beaver.preparing import PREPARING, share_given
from secure.protocols.beaver.programs import PROGRAMS
from secure.protocols.beaver.secret import BeaverSecret
from secure.protocols.core import ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import Prg
from secure.protocols.core.secret import Parameter, Secret, Visibility
from secure.protocols.core.transfer import CPU
from secure.protocols.masked import lanes, small_gates_on_host
from secure.protocols.masked.ahead import Ahead, PartyAhead
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import OpenToOne
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import Factors, MaskedProtocol
from secure.protocols.masked.roles import Dealer, Party
from secure.protocols.masked.weights import Matrix, PublicMatrix, PublicWeight, ServerMatrix, Weight

Result = TypeVar("Result")


class BeaverProtocol(MaskedProtocol[BeaverSecret]):
    """Shared by parties and dealer; make a `BeaverParty` or a `BeaverDealer`."""

    # What is left of the full ring after a truncation is enough for a product with no opening of its own.
    full_products = True

    def __init__(
        self,
        role: Party | Dealer,
        policy: FixedPointPolicy,
        on_layer: Callable[[str], None] | None,
    ) -> None:
        known_on = torch.device("meta") if isinstance(role, Dealer | PartyAhead) else role.device
        super().__init__(BeaverSecret, PROGRAMS, known_on, policy, on_layer)
        self._role = role

    @property
    def role(self) -> Party | Dealer:
        return self._role

    def run(self, gate: Gate[Result]) -> Result:
        self.role.begin_gate()
        with self.role.meter.gate(self.role.place.layer or self.layer_name, gate.name, gate.cost()):
            device = self.role.device
            if device == CPU or not small_gates_on_host.is_small(gate):
                return gate.run(self.role)
            with self.role.on_host():
                moved = cast(Gate[Result], small_gates_on_host.moved(gate, CPU))
                return cast(Result, small_gates_on_host.moved(moved.run(self.role), device))

    @contextmanager
    def meanwhile(self, layer: str, branch: Callable[[], object]) -> Iterator[None]:
        with lanes.meanwhile(self.role, layer, branch):
            yield

    def pair(self, x: Secret, bits: int, *, dealt: bool = True) -> Pair:
        own = self.own(x)
        return forms.pair_in(self, own, bits) if dealt else forms.opened_in(self, own, bits)

    def share(self, x: Secret, bits: int) -> tuple[Tensor, int]:
        own = self.own(x)
        return forms.share_in(self, own, bits), own.share_bits

    def shared(self, x: Secret, bits: int, *, soon: int | None = None) -> BeaverSecret:
        share, held = self.share(x, max(bits, soon or 0))
        return BeaverSecret(self, x.fraction_bits, share=share, share_bits=held)

    def scaled_up(self, x: Secret, fraction_bits: int) -> BeaverSecret:
        own, shift = self.own(x), fraction_bits - x.fraction_bits
        if shift == 0:
            return own
        if own.bits + shift < self.policy.ring_bits(fraction_bits):
            own = self.shared(own, self.policy.ring_bits(own.fraction_bits))
        return own.shifted_left(shift)

    def factors(self, x: Secret, y: Secret, bits: int) -> Factors:
        first, second = self.own(x), self.own(y)
        # Nothing is gained by a new pair in a larger ring than that of the other factor's.
        most = min([s.pair.bits for s in (first, second) if s.pair and s.carries(bits)], default=ring.WORD_BITS)
        if not first.carries(bits) and not second.carries(bits):
            forms.open_both(self, first, second, bits)
        pair_x, pair_y = (forms.factor_pair(self, factor, bits, most) for factor in (first, second))
        share_y = second.share if second.share is not None and second.share_bits >= pair_y.bits else None
        return Factors(pair_x, pair_y, forms.unmasked(self, pair_y) if share_y is None else share_y)

    def left_factor(self, x: Secret, matrix: Matrix, bits: int, *, whole: bool) -> Pair:
        """Where P1 holds the matrix, P0 need not know c: P0 alone sends."""
        own = self.own(x)
        if isinstance(matrix, ServerMatrix) and not own.carries(bits):
            ring_bits = bits if whole else own.opening_bits(bits)
            return self.run(OpenToOne(forms.share_in(self, own, ring_bits), ring_bits, sender=0))
        # From the full ring, the truncated product carries a pair that is wide enough for another product.
        return forms.pair_in(self, own, bits) if whole else forms.factor_pair(self, own, bits)

    def of_share(self, share: Tensor, bits: int, fraction_bits: int) -> BeaverSecret:
        return BeaverSecret(self, fraction_bits, share=share, share_bits=bits)

    def opened(
        self, gate: Gate[Pair], bits: int, scale: int, fraction_bits: int, *, unopened: Gate[Tensor] | None = None
    ) -> BeaverSecret:
        if unopened is not None:
            return self.of_share(self.run(unopened), bits, scale)
        return forms.rescaled(self, self.run(gate), scale, fraction_bits)

    def plus_public(self, x: Secret, number: Tensor) -> BeaverSecret:
        own = self.own(x)
        share, pair = own.share, own.pair
        if share is not None:
            share = ring.add(share, forms.share_of_public(self, number))
        if pair is not None:
            opened = ring.add(pair.opened, number)
            mask, first = (None if t is None else t.expand(opened.shape) for t in (pair.mask, pair.first))
            pair = Pair(opened, mask, pair.bits, pair.dealt, first)
        return BeaverSecret(self, own.fraction_bits, share=share, share_bits=own.share_bits, pair=pair)

    # -- ends of the program ---------------------------------------------------------------------------------------

    def input(self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64) -> BeaverSecret:
        """A secret from a share that a client or model owner made. The dealer passes no share."""
        return self.of_share(share_given(self, share, shape), bits, fraction_bits)

    def reveal(self, x: Secret, bits: int = ring.WORD_BITS) -> Tensor:
        """A share of x in Z_2^bits for the client; the dealer, who has none, only follows."""
        return forms.share_in(self, self.own(x), bits)

    def prepare(
        self,
        parameter: Parameter,
        given: Tensor | None,
        visibility: Visibility = Visibility.PRIVATE,
        keep: Keep = IN_MEMORY,
    ) -> Weight | Matrix | PublicWeight | PublicMatrix:
        return PREPARING[visibility](self, parameter, given, keep)

    def bind(self, prepared: Weight | PublicWeight) -> BeaverSecret:
        """A prepared tensor as a secret of this session; a public one gets the mask zero."""
        if isinstance(prepared, Weight):
            share, bits = prepared.share, prepared.bits
            return BeaverSecret(self, prepared.fraction_bits, share=share, share_bits=bits, pair=prepared.pair)
        number = prepared.values
        mask = torch.zeros(tuple(number.shape), dtype=torch.int64, device=self.role.device)
        pair = Pair(number, mask, ring.WORD_BITS, dealt=True, first=mask if self.at_dealer else None)
        return BeaverSecret(self, prepared.fraction_bits, share=forms.share_of_public(self, number), pair=pair)


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
