"""The flagship protocol: the primitives of `Protocol`, each as a short sequence of gates.

One class serves the two computing parties and the dealer: which gate comes next depends on shapes and rings only, so
all three walk through the same sequence, and at each gate the parties evaluate while the dealer deals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from secure.protocols.beaver.secret import BeaverSecret
from secure.protocols.core import ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import IN_MEMORY, Factor, Keep, keep_rows
from secure.protocols.core.fixedpoint import FixedPointPolicy, public_factor
from secure.protocols.core.piecewise import Piecewise, Smooth
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.core.transfer import CPU
from secure.protocols.masked import small_gates_on_host
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.carry import Carry
from secure.protocols.masked.gates.decompose import Decompose
from secure.protocols.masked.gates.exponential import FRACTION_BITS as EXPONENT_FRACTION_BITS
from secure.protocols.masked.gates.exponential import RING_BITS as EXPONENTIAL_BITS
from secure.protocols.masked.gates.exponential import Exp2Negative
from secure.protocols.masked.gates.largest import Largest, compared_bits, ring_bits
from secure.protocols.masked.gates.lift import Lift
from secure.protocols.masked.gates.linear import Linear, LinearShare
from secure.protocols.masked.gates.opening import Open, OpenBoth, OpenToOne, Reveal, ShareMask, unknown
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise
from secure.protocols.masked.gates.product import Bilinear, Product, ProductShare, Square, TripleProduct
from secure.protocols.masked.gates.smooth import EvaluateSmooth, least_bits
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party
from secure.protocols.masked.weights import Matrix, PublicMatrix, PublicWeight, ServerMatrix, Weight

Result = TypeVar("Result")
_BROADCAST = 4  # times: a secret that is so much smaller than another one is cheaper to open than that one
OPENED_ELEMENTS = 1 << 23
"""Of a weight matrix at a time: 67 MB in full words."""
_TRIPLE_FRACTION_BITS = 49  # most of three factors together, so that their truncation leaves a usable pair


class BeaverProtocol(Protocol):
    """Shared by parties and dealer; make a `BeaverParty` or a `BeaverDealer`."""

    def __init__(
        self,
        role: Party | Dealer,
        policy: FixedPointPolicy,
        on_layer: Callable[[str], None] | None,
    ) -> None:
        super().__init__(policy, on_layer)
        self.role = role

    @property
    def at_dealer(self) -> bool:
        """Whether this is the dealer's execution."""
        return isinstance(self.role, Dealer)

    def run(self, gate: Gate[Result]) -> Result:
        """Deal or evaluate one gate and attribute its cost to the current layer."""
        self.role.begin_gate()
        with self.role.meter.gate(self.layer_name, gate.name, gate.cost()):
            device = self.role.device
            if device == CPU or not small_gates_on_host.is_small(gate):
                return self._ran(gate)
            with self.role.on_host():
                return cast(Result, small_gates_on_host.moved(self._ran(small_gates_on_host.moved(gate, CPU)), device))

    def _ran(self, gate: Gate[Result]) -> Result:
        return gate.deal(self.role) if isinstance(self.role, Dealer) else gate.evaluate(self.role)

    # -- forms of a secret ---------------------------------------------------------------------------------------

    def _own(self, x: Secret) -> BeaverSecret:
        if not isinstance(x, BeaverSecret) or x.protocol is not self:
            raise ProtocolError("a secret of another protocol or session was passed in")
        return x

    def _dealt(self, pair: Pair) -> Pair:
        return pair if pair.dealt else self.run(ShareMask(pair))

    def _unmask(self, pair: Pair) -> Tensor:
        """A share of x in the pair's ring: c - r_0 at P0, -r_1 at P1. The mask must be dealt."""
        if self.at_dealer:
            return pair.opened
        assert isinstance(self.role, Party) and pair.mask is not None
        return pair.opened - pair.mask if self.role.index == 0 else -pair.mask

    def _share_of_public(self, number: Tensor) -> Tensor:
        """A share of what everybody knows: itself at P0, zero at P1, its shape at the dealer."""
        return torch.zeros_like(number) if isinstance(self.role, Party) and self.role.index == 1 else number

    def share_of(self, x: BeaverSecret, bits: int) -> Tensor:
        """A share of x in a ring of at least `bits` bits (then x.share_bits), made if need be."""
        if x.share is not None and x.share_bits >= bits:
            return x.share
        if x.pair is None:
            assert x.share is not None
            x.pair = self.run(Open(x.share, x.share_bits))
        if x.pair.bits >= bits:
            x.pair = self._dealt(x.pair)
            x.share, x.share_bits = self._unmask(x.pair), x.pair.bits
        else:
            whole_bytes = 8 * ring.element_bytes(bits)
            x.share, x.share_bits = self.run(Lift(x.pair, whole_bytes)), whole_bytes
        return x.share

    def pair_of(self, x: BeaverSecret, bits: int) -> Pair:
        """A pair of x in a ring of at least `bits` bits, mask dealt, made by an opening of `bits` bits if need be."""
        x.pair = self._dealt(self._opened(x, bits))
        return x.pair

    def _opened(self, x: BeaverSecret, bits: int) -> Pair:
        """The same for gates that have no use for shares of the mask."""
        if x.pair is not None and x.pair.bits >= bits:
            return x.pair
        pair = self.run(Open(self.share_of(x, bits), bits))
        # Low bits alone, which some gates are content with, are not x.
        if bits >= min(x.share_bits, self.policy.ring_bits(x.fraction_bits)):
            x.pair = pair
        return pair

    def _product_pair(self, x: BeaverSecret, needed: int, most: int = ring.WORD_BITS) -> Pair:
        """x's pair for a product in that ring: the one that it carries if its ring is wide enough, else a new one.

        A new one is opened in the ring of x's share if that is wide enough, and in `most` bits otherwise: from the
        full ring, the truncated product carries a pair that is again wide enough.
        """
        return self.pair_of(x, needed if self._carries(x, needed) else min(most, self._opening_bits(x, needed)))

    @staticmethod
    def _opening_bits(x: BeaverSecret, needed: int) -> int:
        """The ring that x is opened in where at least `needed` bits are wanted."""
        return x.share_bits if x.share is not None and needed <= x.share_bits else ring.WORD_BITS

    def _open_both(self, x: BeaverSecret, y: BeaverSecret, needed: int) -> None:
        """Open two secrets in one round."""
        rings = [self._opening_bits(s, needed) for s in (x, y)]
        shares = [self.share_of(s, bits) for s, bits in zip((x, y), rings, strict=True)]
        x.pair, y.pair = self.run(OpenBoth(shares[0], shares[1], rings[0], rings[1]))

    @staticmethod
    def _carries(x: BeaverSecret, bits: int) -> bool:
        return x.pair is not None and x.pair.bits >= bits

    def _rescaled(self, pair: Pair, scale: int, fraction_bits: int) -> BeaverSecret:
        """The secret of an opened value, truncated from `scale` to `fraction_bits`."""
        shift = scale - fraction_bits
        if shift < 0:
            raise ProtocolError(f"cannot truncate from {scale} to {fraction_bits} fraction bits")
        shifted = pair.shift_right(shift, at_dealer=self.at_dealer)
        if self.policy.truncation == "exact" and shift:
            carry = self.run(Carry(pair.low_part(shift, at_dealer=self.at_dealer)))
            return BeaverSecret(self, fraction_bits, share=self.run(Lift(shifted, ring.WORD_BITS)) - carry)
        return BeaverSecret(self, fraction_bits, pair=shifted)

    # -- primitives ----------------------------------------------------------------------------------------------

    def add(self, x: Secret, y: Secret | Tensor | float) -> Secret:
        first = self._own(x)
        if not isinstance(y, Secret):
            needed = self.policy.ring_bits(first.fraction_bits)
            return self._offset(first if _narrowest(first) >= needed else self._shared(first, needed), y)
        second = self._own(y)
        scale = max(first.fraction_bits, second.fraction_bits)
        first, second = self._upscaled(first, scale), self._upscaled(second, scale)
        wide = any(s.share is not None and s.share_bits == ring.WORD_BITS for s in (first, second))
        if not wide:
            self._open_smaller(first, second, scale)
            if first.pair is not None and second.pair is not None:
                total = first.pair.plus(second.pair)
                if total.bits >= self.policy.ring_bits(scale):
                    return BeaverSecret(self, scale, pair=total)
        bits = ring.WORD_BITS if wide else min(self._share_ring(first), self._share_ring(second))
        share = ring.add(self.share_of(first, bits), self.share_of(second, bits))
        return BeaverSecret(self, scale, share=share, share_bits=min(first.share_bits, second.share_bits))

    def _open_smaller(self, x: BeaverSecret, y: BeaverSecret, fraction_bits: int) -> None:
        """Open what is broadcast to a much larger secret, so that the sum keeps the larger one's pair."""
        small, large = sorted((x, y), key=lambda s: math.prod(s.shape))
        worthwhile = _BROADCAST * math.prod(small.shape) <= math.prod(large.shape)
        if worthwhile and small.pair is None and self._carries(large, self.policy.ring_bits(fraction_bits)):
            assert large.pair is not None
            self._opened(small, min(large.pair.bits, small.share_bits))

    def _share_ring(self, x: BeaverSecret) -> int:
        """A ring in which x is available as a share without an opening."""
        if x.share is not None:
            return x.share_bits
        needed = self.policy.ring_bits(x.fraction_bits)
        return x.pair.bits if x.pair is not None and x.pair.bits >= needed else needed

    def _upscaled(self, x: BeaverSecret, fraction_bits: int) -> BeaverSecret:
        """x at a finer scale: what is in Z_2^k is then in Z_2^(k + shift). It must hold the policy's values there."""
        shift = fraction_bits - x.fraction_bits
        if shift == 0:
            return x
        if _narrowest(x) + shift < self.policy.ring_bits(fraction_bits):
            bits = self.policy.ring_bits(x.fraction_bits)
            x = self._shared(x, bits)
        return x.shifted_left(shift)

    def _shared(self, x: BeaverSecret, bits: int) -> BeaverSecret:
        """x as a share alone, in a ring of at least `bits` bits."""
        share = self.share_of(x, bits)
        return BeaverSecret(self, x.fraction_bits, share=share, share_bits=x.share_bits)

    def _public(self, y: Tensor | float, fraction_bits: int) -> Tensor:
        """Public numbers in the ring."""
        public = torch.as_tensor(y, dtype=torch.float64)
        if self.at_dealer:
            return unknown(public.shape)
        return torch.round(public * 2.0**fraction_bits).to(torch.int64).to(self._device)

    def _offset(self, x: BeaverSecret, y: Tensor | float) -> BeaverSecret:
        """x + y in x's own ring, which the sum must fit."""
        number = self._public(y, x.fraction_bits)
        share = x.share
        if share is not None:
            share = ring.add(share, self._share_of_public(number))
        pair = x.pair
        if pair is not None:
            opened = ring.add(pair.opened, number)
            mask, first = (None if t is None else t.expand(opened.shape) for t in (pair.mask, pair.first))
            pair = Pair(opened, mask, pair.bits, pair.dealt, first)
        return BeaverSecret(self, x.fraction_bits, share=share, share_bits=x.share_bits, pair=pair)

    def scale(self, x: Secret, factor: float) -> Secret:
        own = self._own(x)
        if factor == int(factor):
            if abs(factor) > 1 and _narrowest(own) < self.policy.ring_bits(own.fraction_bits):
                own = self._shared(own, self.policy.ring_bits(own.fraction_bits))
            return own.map(lambda t: t * int(factor))
        number, extra = public_factor(factor, own.fraction_bits, self.policy)
        share = self.share_of(own, ring.WORD_BITS)
        return self._rescaled(
            self.run(Open(share * number, ring.WORD_BITS)), own.fraction_bits + extra, own.fraction_bits
        )

    def halve(self, x: Secret, times: int) -> Secret:
        own = self._own(x)
        needed = self.policy.ring_bits(own.fraction_bits + times)
        if _narrowest(own) < needed:
            own = self._shared(own, max(needed, self.policy.ring_bits(2 * self.policy.fraction_bits)))
        return own.map(lambda t: t, own.fraction_bits + times)

    def multiply_public(self, x: Secret, factor: Tensor) -> Secret:
        own, bits = self._own(x), self.policy.fraction_bits
        # In the full ring: what is left of it after the truncation is enough for a product with no opening of its own.
        share = self.share_of(own, ring.WORD_BITS) * self._public(factor, bits)
        return BeaverSecret(self, own.fraction_bits + bits, share=share)

    def sum(self, x: Secret, dim: int, *, keepdim: bool = False) -> Secret:
        own = self._own(x)
        needed = self.policy.sum_bits(own.fraction_bits, own.shape[dim])
        if _narrowest(own) < needed:
            own = self._shared(own, max(needed, self.policy.ring_bits(2 * self.policy.fraction_bits)))
        return own.map(lambda t: t.sum(dim, keepdim=keepdim))

    def truncate(self, x: Secret, fraction_bits: int) -> Secret:
        own = self._own(x)
        pair = own.pair or self.run(Open(self.share_of(own, own.share_bits), own.share_bits))
        return self._rescaled(pair, own.fraction_bits, fraction_bits)

    def multiply(
        self, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
    ) -> Secret:
        if x is y:
            return self._square(self._own(x), fraction_bits)
        return self._product(Bilinear.ELEMENTWISE, x, y, fraction_bits, value_bits)

    def matmul(self, x: Secret, y: Secret, *, fraction_bits: int | None = None) -> Secret:
        return self._product(Bilinear.MATRIX, x, y, fraction_bits)

    def linear(
        self,
        x: Secret,
        weight: Matrix | PublicMatrix,
        bias: Secret | PublicWeight | None,
        *,
        residual: Secret | None = None,
        truncated: bool = True,
        wide: bool = False,
    ) -> Secret:
        own = self._own(x)
        scale = own.fraction_bits + weight.fraction_bits
        addend, addend_bits = self._addends(bias, residual, scale)
        if isinstance(weight, PublicMatrix):
            bits = ring.WORD_BITS if wide else self.policy.ring_bits(scale)
            share = self._public_product(self.share_of(own, bits), own.share_bits, weight, addend)
            bits = min(own.share_bits, addend_bits)
            if not truncated:
                return BeaverSecret(self, scale, share=share, share_bits=bits)
            pair = self.run(Open(share, bits))
        else:
            pair_x = self._linear_pair(own, weight, scale, wide=wide)
            if addend_bits < pair_x.bits:
                pair_x = pair_x.low_part(addend_bits, at_dealer=self.at_dealer)
            if not truncated:
                gate = LinearShare(pair_x, weight, addend)
                return BeaverSecret(self, scale, share=self.run(gate), share_bits=gate.bits)
            pair = self.run(Linear(pair_x, weight, addend))
        return self._rescaled(pair, scale, self.policy.fraction_bits)

    def _linear_pair(self, x: BeaverSecret, weight: Matrix, scale: int, *, wide: bool) -> Pair:
        """x's pair for a product with a matrix. Where P1 holds that, P0 need not know c: P0 alone sends."""
        whole = wide or weight.bits <= ring.HALF_WORD_BITS
        needed = weight.bits if whole else self.policy.ring_bits(scale)
        if isinstance(weight, ServerMatrix) and not self._carries(x, needed):
            bits = needed if whole else self._opening_bits(x, needed)
            return self.run(OpenToOne(self.share_of(x, bits), bits, sender=0))
        # From the full ring, the truncated product carries a pair that is wide enough for another product.
        return self.pair_of(x, needed) if whole else self._product_pair(x, needed)

    def _public_product(self, share: Tensor, bits: int, weight: PublicMatrix, addend: Tensor | None) -> Tensor:
        """A share of x @ weight + addend from one of x, in the same ring."""
        if weight.factor is None:
            return unknown((*share.shape[:-1], weight.shape[1]))
        product = weight.factor.product([share], bits)
        return product if addend is None else product.add_(addend)

    def _addend(self, bias: Secret | PublicWeight, scale: int) -> Tensor:
        """A share of a bias at a product's scale."""
        if isinstance(bias, PublicWeight):
            return self._share_of_public(bias.values) << (scale - bias.fraction_bits)
        return self.share_of(self._own(bias), ring.WORD_BITS) << (scale - bias.fraction_bits)

    def _addends(
        self, bias: Secret | PublicWeight | None, residual: Secret | None, scale: int
    ) -> tuple[Tensor | None, int]:
        """A share of what is added to a linear layer's product, at its scale, and the ring that it is in."""
        addend = None if bias is None else self._addend(bias, scale)
        if residual is None:
            return addend, ring.WORD_BITS
        added = self._upscaled(self._own(residual), scale)
        share = self.share_of(added, self._share_ring(added))
        return share if addend is None else share + addend, added.share_bits

    def _product(
        self, kind: Bilinear, x: Secret, y: Secret, fraction_bits: int | None, value_bits: int | None = None
    ) -> BeaverSecret:
        first, second = self._own(x), self._own(y)
        scale = first.fraction_bits + second.fraction_bits
        # Nothing is gained by a new pair in a larger ring than that of the other factor's.
        needed = self.policy.product_bits(scale, value_bits)
        most = min([s.pair.bits for s in (first, second) if s.pair and s.pair.bits >= needed], default=ring.WORD_BITS)
        if not self._carries(first, needed) and not self._carries(second, needed):
            self._open_both(first, second, needed)
        pair_x, pair_y = (self._product_pair(factor, needed, most) for factor in (first, second))
        share_y = second.share if second.share is not None and second.share_bits >= pair_y.bits else None
        gate = Product(kind, pair_x, pair_y, self._unmask(pair_y) if share_y is None else share_y)
        target = max(first.fraction_bits, second.fraction_bits) if fraction_bits is None else fraction_bits
        return self._rescaled(self.run(gate), scale, target)

    def _square(self, x: BeaverSecret, fraction_bits: int | None) -> BeaverSecret:
        pair = self._product_pair(x, self.policy.product_bits(2 * x.fraction_bits))
        share = self.run(Square(pair, summed=False))
        target = x.fraction_bits if fraction_bits is None else fraction_bits
        return self._rescaled(self.run(Open(share, pair.bits)), 2 * x.fraction_bits, target)

    def multiply_weight(self, x: Secret, weight: Secret | PublicWeight) -> Secret:
        own, scale = self._own(x), x.fraction_bits + weight.fraction_bits
        needed = self.policy.product_bits(scale)
        if isinstance(weight, PublicWeight):
            share = self.share_of(own, ring.WORD_BITS) * weight.values
            return BeaverSecret(self, scale, share=share)
        gain = self._own(weight)
        # In no larger ring than it takes: the dealer's words are as long as that.
        pair_x = self._product_pair(own, needed).low_part(needed, at_dealer=self.at_dealer)
        pair_y = self.pair_of(gain, needed)
        gate = ProductShare(pair_x, pair_y, self.share_of(gain, pair_y.bits))
        return BeaverSecret(self, scale, share=self.run(gate), share_bits=gate.bits)

    def multiply_three(self, x: Secret, y: Secret, z: Secret) -> Secret:
        factors = [self._own(s) for s in (x, y, z)]
        scale = sum(s.fraction_bits for s in factors)
        if scale > _TRIPLE_FRACTION_BITS:
            raise ProtocolError(f"three factors with {scale} fraction bits; at most {_TRIPLE_FRACTION_BITS} fit")
        pairs = [self.pair_of(s, ring.WORD_BITS) for s in factors]
        return self._rescaled(self.run(TripleProduct(*pairs)), scale, x.fraction_bits)

    def square_sum(self, x: Secret) -> Secret:
        pair = self.pair_of(self._own(x), ring.WORD_BITS)
        return BeaverSecret(self, 2 * x.fraction_bits, share=self.run(Square(pair, summed=True)))

    def piecewise(self, x: Secret, function: Piecewise) -> Secret:
        own = self._own(x)
        if function.smooth is not None:
            return self._smooth(own, function, function.smooth)
        bits = min(function.scale + function.integer_bits + 2, ring.WORD_BITS)
        compared = min(function.compare_bits, ring.WORD_BITS)
        if function.sloped:
            pair = self.pair_of(own, max(bits, compared))
            bits = pair.bits
        else:
            pair = self._opened(own, compared)
        share = self.run(EvaluatePiecewise(pair, function, own.fraction_bits, bits))
        return self._of_function(share, bits, function, function.scale)

    def _smooth(self, x: BeaverSecret, function: Piecewise, smooth: Smooth) -> BeaverSecret:
        """By a series whose truncation is part of the gate, unless it must be exact."""
        shift = 0 if self.policy.truncation == "exact" else function.scale - function.output_bits
        scale = function.scale - shift
        needed = least_bits(function, smooth, scale)
        pair = self.pair_of(x, needed) if function.sloped else self._opened(x, needed)
        share = self.run(EvaluateSmooth(pair, function, x.fraction_bits, pair.bits, shift))
        return self._offset(self._of_function(share, pair.bits, function, scale), smooth.base)

    def _of_function(self, share: Tensor, bits: int, function: Piecewise, scale: int) -> BeaverSecret:
        """The secret of a function's value at that scale, truncated to the function's own."""
        found = BeaverSecret(self, scale, share=share, share_bits=bits)
        return found if scale == function.output_bits else self._own(self.truncate(found, function.output_bits))

    def largest_of_few(self, x: Secret) -> Secret:
        own = self._own(x)
        bits = ring_bits(self.policy, own.fraction_bits)
        # In no larger ring than it takes: the dealer's words are as long as that.
        pair = self._dealt(self._opened(own, bits).low_part(bits, at_dealer=self.at_dealer))
        share = self.run(Largest(pair, compared_bits(own.fraction_bits))).unsqueeze(-1)
        return BeaverSecret(self, own.fraction_bits, share=share, share_bits=bits)

    def exp2_negative(self, u: Secret) -> Secret:
        own = self._own(u)
        if own.fraction_bits != EXPONENT_FRACTION_BITS:
            raise ProtocolError(f"exp2_negative takes {EXPONENT_FRACTION_BITS} fraction bits")
        share = self.run(Exp2Negative(self._opened(own, 32)))
        return self._rescaled(self.run(Open(share, EXPONENTIAL_BITS)), Exp2Negative.SCALE, own.fraction_bits)

    def decompose(self, x: Secret, count: int) -> Secret:
        own = self._own(x)
        bits = self.policy.ring_bits(own.fraction_bits)
        share = self.run(Decompose(self._opened(own, count), count, bits))
        return BeaverSecret(self, 0, share=share, share_bits=bits)

    def compose(self, bits: Secret, fraction_bits: int) -> Secret:
        own = self._shared(self._own(bits), self.policy.ring_bits(fraction_bits))
        return own.map(ring.from_bits, fraction_bits)

    def concatenate(self, parts: Sequence[Secret], dim: int) -> Secret:
        own = [self._own(part) for part in parts]
        scale = max(part.fraction_bits for part in own)
        own = [self._upscaled(part, scale) for part in own]
        shares = [self.share_of(part, self._share_ring(part)) for part in own]
        bits = min(part.share_bits for part in own)
        return BeaverSecret(self, scale, share=ring.concatenate(shares, dim), share_bits=bits)

    def as_factor(self, x: Secret) -> Secret:
        own = self._own(x)
        self.pair_of(own, self.policy.ring_bits(own.fraction_bits + self.policy.fraction_bits))
        return own

    def append(self, kept: Secret | None, rows: Secret, dim: int) -> Secret:
        own = self._own(rows)
        pair = self._product_pair(own, self.policy.product_bits(own.fraction_bits + self.policy.fraction_bits))
        # The share of a pair is what a product multiplies with; made here, it need not be made again for old rows.
        added = BeaverSecret(self, own.fraction_bits, share=self._unmask(pair), share_bits=pair.bits, pair=pair)
        if kept is None:
            return added
        old = self._own(kept)
        assert old.share is not None and added.share is not None and old.pair is not None
        return BeaverSecret(
            self,
            own.fraction_bits,
            share=ring.concatenate([old.share, added.share], dim),
            share_bits=min(old.share_bits, added.share_bits),
            pair=old.pair.extended(pair, dim),
        )

    def end_step(self) -> None:
        pass  # a party holds nothing back

    # -- ends of the program -------------------------------------------------------------------------------------

    def input(self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64) -> BeaverSecret:
        """A secret from a share that a client or model owner made. The dealer passes no share."""
        if 0 in shape:
            raise ProtocolError(f"a secret of shape {shape} has no elements")
        if share is None:
            share = torch.empty(shape, dtype=torch.int64, device="meta")
        return BeaverSecret(self, fraction_bits, share=share.to(self._device), share_bits=bits)

    def reveal(self, x: Secret, bits: int = ring.WORD_BITS) -> Tensor:
        """A fresh share of x in Z_2^bits for the client."""
        return self.run(Reveal(self.share_of(self._own(x), bits), bits))

    def prepare(
        self,
        share: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        bits: int = 64,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> Weight | Matrix:
        """Load a model's tensor: keep its share and, for factors of products, open it under a mask once."""
        secret = self.input(share, shape, fraction_bits, bits)
        assert secret.share is not None
        if not opened or len(shape) != 2:
            return self._elementwise(secret.share, fraction_bits, bits, opened=opened)

        def opened_rows(part: Tensor) -> Factor:
            pair = self.run(Open(part, bits))
            if self.at_dealer:
                assert pair.mask is not None
                return keep([pair.mask], bits)
            # Whoever computes a product keeps no mask of the matrix: its share and opened form say everything.
            return keep([part, -pair.opened], bits)

        return Matrix(_by_rows(secret.share, opened_rows), shape, fraction_bits, bits)

    def prepare_server(
        self,
        values: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        bits: int = 64,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> Weight | ServerMatrix:
        """Load a tensor that P1 holds in the clear: P1's share is the tensor, P0's is zero.

        P0 learns the shape, and for factors of products the tensor under a mask that P1 alone draws. P1 learns what it
        has; the dealer the shape. Loading a matrix is one message from P1 to P0; the dealer sends nothing.
        """
        if values is None and not self.at_dealer:
            values = torch.zeros((), dtype=torch.int64).expand(shape)
        share = self.input(values, shape, fraction_bits, bits).share
        assert share is not None
        if not opened or len(shape) != 2:
            return self._elementwise(share, fraction_bits, bits, opened=opened)
        at_owner = isinstance(self.role, Party) and self.role.index == 1

        def opened_rows(part: Tensor) -> Factor:
            pair = self.run(OpenToOne(part, bits, sender=1))
            kept = pair.mask if self.at_dealer else part if at_owner else -pair.opened
            assert kept is not None
            return keep([kept], bits)

        return ServerMatrix(_by_rows(share, opened_rows), shape, fraction_bits, bits, at_owner)

    def _elementwise(self, share: Tensor, fraction_bits: int, bits: int, *, opened: bool) -> Weight:
        return Weight(share, self.run(Open(share, bits)) if opened else None, fraction_bits, bits)

    def prepare_public(
        self,
        values: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> PublicWeight | PublicMatrix:
        """Load a tensor that both parties hold in the clear."""
        if opened and len(shape) == 2:
            prepared = None
            if values is not None:
                prepared = keep([values.to(self._device)], ring.WORD_BITS)
            return PublicMatrix(prepared, shape, fraction_bits)
        if values is None:
            values = torch.empty(shape, dtype=torch.int64, device="meta")
        return PublicWeight(values.to(self._device), fraction_bits)

    def bind(self, weight: Weight | PublicWeight) -> BeaverSecret:
        """A prepared tensor as a secret of this session; a public one gets the mask zero."""
        if isinstance(weight, Weight):
            return BeaverSecret(
                self, weight.fraction_bits, share=weight.share, share_bits=weight.bits, pair=weight.pair
            )
        number = weight.values
        mask = torch.zeros(tuple(number.shape), dtype=torch.int64, device=self.role.device)
        pair = Pair(number, mask, ring.WORD_BITS, dealt=True, first=mask if self.at_dealer else None)
        return BeaverSecret(self, weight.fraction_bits, share=self._share_of_public(number), pair=pair)

    def factor(
        self, weight: Weight | Matrix | PublicWeight | PublicMatrix
    ) -> BeaverSecret | Matrix | PublicWeight | PublicMatrix:
        """What `linear` takes: a matrix as it was prepared, a public bias in the clear, a private one as a secret."""
        return self.bind(weight) if isinstance(weight, Weight) else weight

    @property
    def _device(self) -> torch.device:
        return torch.device("meta") if self.at_dealer else self.role.device


def _by_rows(share: Tensor, opened: Callable[[Tensor], Factor]) -> Factor:
    """A matrix's factor. A large one is opened some rows at a time, to bound what is sent, and held, at once."""
    return keep_rows([share], OPENED_ELEMENTS // share.shape[1], lambda parts: opened(parts[0]))


def _narrowest(x: BeaverSecret) -> int:
    """The smallest ring in which x is held."""
    rings = [] if x.share is None else [x.share_bits]
    return min(rings + ([] if x.pair is None else [x.pair.bits]))


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
        meter: Meter | None = None,
        on_layer: Callable[[str], None] | None = None,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(Party(index, seed, session, peer, dealer, meter or Meter(), device), policy, on_layer)

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
