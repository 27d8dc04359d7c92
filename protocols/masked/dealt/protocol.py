"""How secrets become masked pairs where a dealer knows the masks.

One class serves parties and dealer: which gate comes next depends on shapes and rings only, so they walk through the
same sequence, and at each gate the parties evaluate while the dealer deals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar, cast

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Parameter, Secret, Table, Visibility
from secure.protocols.core.transfer import CPU
from secure.protocols.masked import lanes, small_gates_on_host
from secure.protocols.masked.ahead import PartyAhead
from secure.protocols.masked.dealt import forms
from secure.protocols.masked.dealt.preparing import PREPARING, share_given
from secure.protocols.masked.dealt.secret import DealtSecret
from secure.protocols.masked.gate import Gate, OpeningGate
from secure.protocols.masked.gates.opening import OpenToOne
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import Factors, MaskedProtocol, dropped_bits, truncation_shift
from secure.protocols.masked.roles import Dealer, Party
from secure.protocols.masked.weights import Matrix, PublicMatrix, PublicWeight, ServerMatrix, Weight

Result = TypeVar("Result")


class DealtProtocol(MaskedProtocol[DealtSecret]):
    """What parties and dealer have in common. programs: the family's table of operations."""

    # What is left of the full ring after a truncation is enough for a product with no opening of its own.
    full_products = True

    coarse_openings = True

    def __init__(
        self,
        programs: Table,
        role: Party | Dealer,
        policy: FixedPointPolicy,
        on_layer: Callable[[str], None] | None,
    ) -> None:
        known_on = torch.device("meta") if isinstance(role, Dealer | PartyAhead) else role.device
        super().__init__(DealtSecret, programs, known_on, policy, on_layer)
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

    def shared(self, x: Secret, bits: int, *, soon: int | None = None) -> DealtSecret:
        share, held = self.share(x, max(bits, soon or 0))
        return DealtSecret(self, x.fraction_bits, share=share, share_bits=held)

    def scaled_up(self, x: Secret, fraction_bits: int) -> DealtSecret:
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

    def of_share(self, share: Tensor, bits: int, fraction_bits: int) -> DealtSecret:
        return DealtSecret(self, fraction_bits, share=share, share_bits=bits)

    def opened(
        self, gate: OpeningGate, bits: int, scale: int, fraction_bits: int, *, unopened: Gate[Tensor] | None = None
    ) -> DealtSecret:
        if unopened is not None:
            return self.of_share(self.run(unopened), bits, scale)
        dropped = dropped_bits(self, bits, truncation_shift(scale, fraction_bits))
        return forms.rescaled(self, self.run(replace(gate, dropped=dropped)), scale - dropped, fraction_bits)

    def plus_public(self, x: Secret, number: Tensor) -> DealtSecret:
        own = self.own(x)
        share, pair = own.share, own.pair
        if share is not None:
            share = ring.add(share, forms.share_of_public(self, number))
        if pair is not None:
            opened = ring.add(pair.opened, number)
            mask, first = (None if t is None else t.expand(opened.shape) for t in (pair.mask, pair.first))
            pair = Pair(opened, mask, pair.bits, pair.dealt, first)
        return DealtSecret(self, own.fraction_bits, share=share, share_bits=own.share_bits, pair=pair)

    # -- ends of the program ---------------------------------------------------------------------------------------

    def input(self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64) -> DealtSecret:
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

    def bind(self, prepared: Weight | PublicWeight) -> DealtSecret:
        """A prepared tensor as a secret of this session; a public one gets the mask zero."""
        if isinstance(prepared, Weight):
            share, bits = prepared.share, prepared.bits
            return DealtSecret(self, prepared.fraction_bits, share=share, share_bits=bits, pair=prepared.pair)
        number = prepared.values
        mask = torch.zeros(tuple(number.shape), dtype=torch.int64, device=self.role.device)
        pair = Pair(number, mask, ring.WORD_BITS, dealt=True, first=mask if self.at_dealer else None)
        return DealtSecret(self, prepared.fraction_bits, share=forms.share_of_public(self, number), pair=pair)
