"""The replicated family: the primitives of `Protocol`, each as a short sequence of gates.

One party helps until the next linear layer, where another one takes its turn. A helper waits for nobody: it deals all
that follows while the other two still compute, as a dealer would, until it has to compute itself again.
Which gate comes next, and who helps, depends on shapes and rings only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy, public_factor
from secure.protocols.core.piecewise import Piecewise, Smooth
from secure.protocols.core.prg import Prg
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.carry import Carry
from secure.protocols.masked.gates.decompose import Decompose
from secure.protocols.masked.gates.exponential import FRACTION_BITS as EXPONENT_FRACTION_BITS
from secure.protocols.masked.gates.exponential import RING_BITS as EXPONENTIAL_BITS
from secure.protocols.masked.gates.exponential import Exp2Negative
from secure.protocols.masked.gates.largest import Largest, compared_bits, ring_bits
from secure.protocols.masked.gates.linear import Linear
from secure.protocols.masked.gates.opening import Open, unknown
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise
from secure.protocols.masked.gates.product import Bilinear, Product, TripleProduct
from secure.protocols.masked.gates.smooth import EvaluateSmooth, least_bits
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.weights import Matrix
from secure.protocols.replicated.gates.resharing import (
    Lift,
    ReplicatedGate,
    Rescale,
    Reshare,
    Truncate,
    in_this_setting,
)
from secure.protocols.replicated.roles import PARTIES, Evaluator, Helper, roles_of
from secure.protocols.replicated.secret import ReplicatedSecret
from secure.protocols.replicated.seeds import PartySeeds
from secure.protocols.replicated.shares import Role, Shares, additive, pair_of
from secure.protocols.replicated.weights import HelpedMatrix, PublicMatrix, PublicWeight, Weight

Result = TypeVar("Result")
_BROADCAST = 4  # times: a secret that is so much smaller than another one is cheap beside it
_PRODUCT_BITS = 48  # ring of factors: two scales of 16 bits and a value of 14
_TRIPLE_FRACTION_BITS = 49  # most of three factors together, so that their truncation leaves a usable ring


class ReplicatedParty(Protocol):
    """Computing party 0, 1 or 2 of one session.

    to_next: the channel to party index + 1; to_previous: to party index - 1 (mod 3).
    """

    def __init__(
        self,
        index: int,
        seeds: PartySeeds,
        session: bytes,
        to_next: Channel,
        to_previous: Channel,
        policy: FixedPointPolicy,
        *,
        meter: Meter | None = None,
        on_layer: Callable[[str], None] | None = None,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(policy, on_layer)
        self.index = index
        self.meter = meter or Meter()
        self.device = device
        pairwise = seeds.with_next, seeds.with_previous
        self._roles = roles_of(index, pairwise, session, to_next, to_previous, self.meter, device)
        self._common = Prg(seeds.common, session)
        self._revealed = 0
        # Sessions begin with any of the three, so that small models wear them out evenly, too.
        self._helper = sum(session) % PARTIES

    def finish(self) -> None:
        """The last act of a program. Raises ProtocolError when a helper sent more than the program used."""
        for role in self._roles:
            if isinstance(role, Evaluator):
                role.finish()

    def role(self, helper: int) -> Role:
        """What this party is in a gate with that helper."""
        return self._roles[helper]

    @property
    def _current(self) -> Role:
        """This party's role under the present helper."""
        return self.role(self._helper)

    def _next_helper(self) -> Role:
        """This party's role under the helper after the present one."""
        self._helper = (self._helper + 1) % PARTIES
        return self._current

    def run(self, role: Role, gate: Gate[Result]) -> Result:
        """Help with or evaluate one gate and attribute its cost to the current layer."""
        role.begin_gate()
        replicated = isinstance(gate, ReplicatedGate)
        declared = gate.cost() if replicated else in_this_setting(gate.cost())
        name = gate.opening.name if isinstance(gate, Rescale) else gate.name
        with self.meter.gate(self.layer_name, name, declared):
            if not isinstance(role, Helper):
                return gate.evaluate(role)
            result = gate.deal(role)
            role.flush()
            return result

    # -- rings -----------------------------------------------------------------------------------------------------

    def _own(self, x: Secret) -> ReplicatedSecret:
        if not isinstance(x, ReplicatedSecret) or x.protocol is not self:
            raise ProtocolError("a secret of another protocol or session was passed in")
        return x

    def shares_of(self, x: ReplicatedSecret, bits: int, *, larger: int = ring.WORD_BITS) -> Shares:
        """x's shares in a ring of at least `bits` bits; if they have to be lifted, to one of `larger`."""
        if x.shares.bits < bits:
            role = self._current
            x.shares = self.run(role, Lift(x.shares, pair_of(role, x.shares), max(bits, larger)))
        return x.shares

    def _factors(self, secrets: Sequence[ReplicatedSecret], needed: int) -> list[Shares]:
        """Factors of a product that needs a ring of `needed` bits: no larger one than all of them have gains anything.

        Where one is in a ring that is large enough, the others are lifted to its size only.
        """
        largest = min([s.shares.bits for s in secrets if s.shares.bits >= needed], default=ring.WORD_BITS)
        return [self.shares_of(s, needed, larger=largest).low(largest) for s in secrets]

    def _rescaled(self, role: Role, opening: Gate[Pair], bits: int, scale: int, fraction_bits: int) -> ReplicatedSecret:
        """The secret of what an opening opens, truncated from `scale` to `fraction_bits`."""
        shift = self._shift(scale, fraction_bits)
        if not shift or self.policy.truncation != "exact":
            return ReplicatedSecret(self, fraction_bits, self.run(role, Rescale(opening, bits, shift)))
        return self._floor(role, self.run(role, opening), shift, fraction_bits)

    def _floor(self, role: Role, pair: Pair, shift: int, fraction_bits: int) -> ReplicatedSecret:
        """Truncation without the unit that it may be too large by."""
        shares = self.run(role, Truncate(pair, shift))
        carry = self.run(role, Carry(pair.low_part(shift, at_dealer=isinstance(role, Helper))))
        return ReplicatedSecret(self, fraction_bits, shares.plus(self.run(role, Reshare(-carry, shares.bits))))

    @staticmethod
    def _shift(scale: int, fraction_bits: int) -> int:
        if fraction_bits > scale:
            raise ProtocolError(f"cannot truncate from {scale} to {fraction_bits} fraction bits")
        return scale - fraction_bits

    def _truncated(self, shares: Shares, scale: int, fraction_bits: int) -> ReplicatedSecret:
        """The secret of `shares` at a smaller scale."""
        shift = self._shift(scale, fraction_bits)
        if not shift:
            return ReplicatedSecret(self, fraction_bits, shares)
        role = self._current
        pair = pair_of(role, shares)
        if self.policy.truncation == "exact":
            return self._floor(role, pair, shift, fraction_bits)
        return ReplicatedSecret(self, fraction_bits, self.run(role, Truncate(pair, shift)))

    # -- primitives ------------------------------------------------------------------------------------------------

    def add(self, x: Secret, y: Secret | Tensor | float) -> Secret:
        first = self._own(x)
        if not isinstance(y, Secret):
            shares = self.shares_of(first, self.policy.ring_bits(first.fraction_bits), larger=_PRODUCT_BITS)
            return self._offset(ReplicatedSecret(self, first.fraction_bits, shares), y)
        second = self._own(y)
        scale = max(first.fraction_bits, second.fraction_bits)
        small, large = sorted((first, second), key=lambda s: math.prod(s.shape))
        addend = self._upscaled(large, scale)
        # What is broadcast to a much larger secret is cheap to lift, and the sum then stays in the larger one's ring.
        worthwhile = _BROADCAST * math.prod(small.shape) <= math.prod(large.shape)
        return ReplicatedSecret(
            self, scale, self._upscaled(small, scale, addend.bits if worthwhile else 0).plus(addend)
        )

    def _upscaled(self, x: ReplicatedSecret, fraction_bits: int, bits: int = 0) -> Shares:
        """x at a finer scale, in a ring that holds the policy's values: x mod 2^k becomes x 2^s mod 2^(k + s).

        bits: that the ring is to have at least.
        """
        shift = fraction_bits - x.fraction_bits
        shares = self.shares_of(x, max(self.policy.ring_bits(fraction_bits), bits) - shift)
        larger = shares.map(lambda t: t << shift) if shift else shares
        return Shares(larger.own, larger.following, min(shares.bits + shift, ring.WORD_BITS))

    def _number(self, y: Tensor | float, fraction_bits: int) -> Tensor:
        """Public numbers in the ring."""
        public = torch.as_tensor(y, dtype=torch.float64)
        return torch.round(public * 2.0**fraction_bits).to(torch.int64).to(self.device)

    def _public(self, number: Tensor) -> Shares:
        """Shares of what all parties know: x_0 is the number, the others are zero."""
        own = number if self.index == 0 else torch.zeros_like(number)
        following = number if self.index == PARTIES - 1 else torch.zeros_like(number)
        return Shares(own, following, ring.WORD_BITS)

    def _offset(self, x: ReplicatedSecret, y: Tensor | float) -> ReplicatedSecret:
        """x + y in x's own ring, which the sum must fit."""
        number = self._number(y, x.fraction_bits)
        return ReplicatedSecret(self, x.fraction_bits, x.shares.plus(self._public(number)))

    def scale(self, x: Secret, factor: float) -> Secret:
        own = self._own(x)
        if factor == int(factor):
            bits = self.policy.ring_bits(own.fraction_bits) if abs(factor) > 1 else own.shares.bits
            shares = self.shares_of(own, bits)
            return ReplicatedSecret(self, own.fraction_bits, shares.map(lambda t: t * int(factor)))
        number, extra = public_factor(factor, own.fraction_bits, self.policy)
        # What is left after the truncation must hold the policy's values.
        values = self.policy.ring_bits(own.fraction_bits)
        needed = min(values + max(number.bit_length(), extra), ring.WORD_BITS)
        product = self.shares_of(own, needed).map(lambda t: t * number)
        return self._truncated(product, own.fraction_bits + extra, own.fraction_bits)

    def halve(self, x: Secret, times: int) -> Secret:
        own = self._own(x)
        shares = self.shares_of(own, self.policy.ring_bits(own.fraction_bits + times), larger=_PRODUCT_BITS)
        return ReplicatedSecret(self, own.fraction_bits + times, shares)

    def multiply_public(self, x: Secret, factor: Tensor) -> Secret:
        own, bits = self._own(x), self.policy.fraction_bits
        # In the full ring: what is left of it after the truncation is enough for a product.
        number = self._number(factor, bits)
        product = self.shares_of(own, ring.WORD_BITS).map(lambda t: t * number)
        return ReplicatedSecret(self, own.fraction_bits + bits, product)

    def sum(self, x: Secret, dim: int, *, keepdim: bool = False) -> Secret:
        own = self._own(x)
        values = self.policy.ring_bits(own.fraction_bits)
        needed = self.policy.sum_bits(own.fraction_bits, own.shape[dim])
        # Any value is summed for a mean, and what is left without it multiplied three times, in the full ring. What
        # has too small a ring for any value is softmax's powers, and goes on into one product.
        shares = self.shares_of(own, needed, larger=ring.WORD_BITS if own.shares.bits >= values else _PRODUCT_BITS)
        return ReplicatedSecret(self, own.fraction_bits, shares.map(lambda t: t.sum(dim, keepdim=keepdim)))

    def truncate(self, x: Secret, fraction_bits: int) -> Secret:
        own = self._own(x)
        return self._truncated(own.shares, own.fraction_bits, fraction_bits)

    def multiply(
        self, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
    ) -> Secret:
        return self._product(Bilinear.ELEMENTWISE, self._own(x), self._own(y), fraction_bits, value_bits)

    def matmul(self, x: Secret, y: Secret, *, fraction_bits: int | None = None) -> Secret:
        return self._product(Bilinear.MATRIX, self._own(x), self._own(y), fraction_bits)

    def _product(
        self,
        kind: Bilinear,
        x: ReplicatedSecret,
        y: ReplicatedSecret,
        fraction_bits: int | None,
        value_bits: int | None = None,
    ) -> ReplicatedSecret:
        scale = x.fraction_bits + y.fraction_bits
        target = max(x.fraction_bits, y.fraction_bits) if fraction_bits is None else fraction_bits
        return self._bilinear(kind, self._factors([x, y], self.policy.product_bits(scale, value_bits)), scale, target)

    def _bilinear(self, kind: Bilinear, factors: list[Shares], scale: int, target: int) -> ReplicatedSecret:
        """First and second compute two products each, the helper one: nine products of parts in five."""
        role = self._current
        x, y = (pair_of(role, shares) for shares in factors)
        product = Product(kind, x, y, additive(role, factors[1]))
        return self._rescaled(role, product, product.bits, scale, target)

    def multiply_weight(self, x: Secret, weight: Secret | PublicWeight) -> Secret:
        own, scale = self._own(x), x.fraction_bits + weight.fraction_bits
        needed = self.policy.product_bits(scale)
        if not isinstance(weight, PublicWeight):
            # In no larger ring than it takes: what is sent is as long as that.
            factors = [shares.low(needed) for shares in self._factors([own, self._own(weight)], needed)]
            return self._bilinear(Bilinear.ELEMENTWISE, factors, scale, scale)
        product = self.shares_of(own, needed).map(lambda t: t * weight.values)
        return ReplicatedSecret(self, scale, product)

    def multiply_three(self, x: Secret, y: Secret, z: Secret) -> Secret:
        factors = [self._own(s) for s in (x, y, z)]
        scale = sum(s.fraction_bits for s in factors)
        if scale > _TRIPLE_FRACTION_BITS:
            raise ProtocolError(f"three factors with {scale} fraction bits; at most {_TRIPLE_FRACTION_BITS} fit")
        shares = [self.shares_of(s, ring.WORD_BITS) for s in factors]
        role = self._current
        product = TripleProduct(*(pair_of(role, s) for s in shares))
        return self._rescaled(role, product, ring.WORD_BITS, scale, x.fraction_bits)

    def square_sum(self, x: Secret) -> Secret:
        own = self._own(x)
        shares = self.shares_of(own, ring.WORD_BITS)
        row, column = shares.map(lambda t: t.unsqueeze(-2)), shares.map(lambda t: t.unsqueeze(-1))
        scale = 2 * own.fraction_bits
        return self._bilinear(Bilinear.MATRIX, [row, column], scale, scale).squeeze(-1)

    def linear(
        self,
        x: Secret,
        weight: HelpedMatrix | PublicMatrix,
        bias: Secret | PublicWeight | None,
        *,
        residual: Secret | None = None,
        truncated: bool = True,
        wide: bool = False,
    ) -> Secret:
        own = self._own(x)
        scale = own.fraction_bits + weight.fraction_bits
        target = self.policy.fraction_bits if truncated else scale
        added = None if residual is None else self._upscaled(self._own(residual), scale)
        most = ring.WORD_BITS if added is None else added.bits
        if isinstance(weight, PublicMatrix):
            role = self._next_helper()
            shares = self.shares_of(own, ring.WORD_BITS if wide else self.policy.ring_bits(scale)).low(most)
            z = self._public_product(role, shares, weight, self._addends(role, bias, added, scale))
            return self._returned(role, z, shares.bits, scale, target)
        self._helper = weight.helper
        role = self._current
        # From the full ring, the truncated product is in one that is wide enough for another product.
        bits = weight.matrix.bits
        shares = self.shares_of(own, bits if wide or bits <= ring.HALF_WORD_BITS else self.policy.ring_bits(scale))
        product = Linear(pair_of(role, shares.low(most)), weight.matrix, self._addends(role, bias, added, scale))
        return self._rescaled(role, product, product.bits, scale, target)

    @staticmethod
    def _public_product(role: Role, x: Shares, weight: PublicMatrix, addend: Tensor | None) -> Tensor:
        """First's or second's share of x @ weight + addend."""
        share = additive(role, x)
        if isinstance(role, Helper):
            return unknown((*share.shape[:-1], weight.shape[1]))
        product = weight.factor.product([share], x.bits)
        return product if addend is None else product.add_(addend)

    def _addends(
        self, role: Role, bias: Secret | PublicWeight | None, residual: Shares | None, scale: int
    ) -> Tensor | None:
        """First's or second's share of what is added to a linear layer's product, at its scale."""
        addend = self._addend(role, bias, scale)
        if residual is None:
            return addend
        share = additive(role, residual)
        return share if addend is None else share + addend

    def _addend(self, role: Role, bias: Secret | PublicWeight | None, scale: int) -> Tensor | None:
        """First's or second's share of a bias at a product's scale."""
        if bias is None:
            return None
        if isinstance(bias, PublicWeight):
            return additive(role, self._public(bias.values)) << (scale - bias.fraction_bits)
        own = self._own(bias)
        return additive(role, self.shares_of(own, ring.WORD_BITS)) << (scale - own.fraction_bits)

    def piecewise(self, x: Secret, function: Piecewise) -> Secret:
        own = self._own(x)
        if function.smooth is not None:
            return self._smooth(own, function, function.smooth)
        bits = min(function.scale + function.integer_bits + 2, ring.WORD_BITS)
        needed = min(function.compare_bits, ring.WORD_BITS)
        pair = self._argument(own, max(bits, needed) if function.sloped else needed, function)
        role, bits = self._current, pair.bits if function.sloped else bits
        z = self.run(role, EvaluatePiecewise(pair, function, own.fraction_bits, bits))
        return self._returned(role, z, bits, function.scale, function.output_bits)

    def _smooth(self, x: ReplicatedSecret, function: Piecewise, smooth: Smooth) -> ReplicatedSecret:
        """By a series whose truncation is part of the gate, unless it must be exact."""
        shift = 0 if self.policy.truncation == "exact" else function.scale - function.output_bits
        scale = function.scale - shift
        pair, role = self._argument(x, least_bits(function, smooth, scale), function), self._current
        z = self.run(role, EvaluateSmooth(pair, function, x.fraction_bits, pair.bits, shift))
        return self._offset(self._returned(role, z, pair.bits, scale, function.output_bits), smooth.base)

    def _argument(self, x: ReplicatedSecret, needed: int, function: Piecewise) -> Pair:
        """What a function by pieces is evaluated from, in a ring of at least `needed` bits.

        What has slopes is often a factor of a product next: it stays in a ring that is large enough.
        """
        ring_bits = max(needed, _PRODUCT_BITS) if function.sloped else needed
        shares = self.shares_of(x, needed, larger=ring_bits).low(ring_bits)
        return pair_of(self._current, shares)

    def _returned(self, role: Role, z: Tensor, bits: int, scale: int, fraction_bits: int) -> ReplicatedSecret:
        """The secret of what first and second hold shares of, truncated if it must be."""
        if scale == fraction_bits:
            return ReplicatedSecret(self, scale, self.run(role, Reshare(z, bits)))
        return self._rescaled(role, Open(z, bits), bits, scale, fraction_bits)

    def largest_of_few(self, x: Secret) -> Secret:
        own = self._own(x)
        bits = ring_bits(self.policy, own.fraction_bits)
        shares, role = self.shares_of(own, bits).low(bits), self._current
        z = self.run(role, Largest(pair_of(role, shares), compared_bits(own.fraction_bits)))
        return self._returned(role, z.unsqueeze(-1), bits, own.fraction_bits, own.fraction_bits)

    def exp2_negative(self, u: Secret) -> Secret:
        own = self._own(u)
        if own.fraction_bits != EXPONENT_FRACTION_BITS:
            raise ProtocolError(f"exp2_negative takes {EXPONENT_FRACTION_BITS} fraction bits")
        shares = self.shares_of(own, ring.HALF_WORD_BITS)
        role = self._current
        z = self.run(role, Exp2Negative(pair_of(role, shares)))
        return self._returned(role, z, EXPONENTIAL_BITS, Exp2Negative.SCALE, own.fraction_bits)

    def decompose(self, x: Secret, count: int) -> Secret:
        own = self._own(x)
        bits = self.policy.ring_bits(own.fraction_bits)
        shares = self.shares_of(own, count)
        role = self._current
        z = self.run(role, Decompose(pair_of(role, shares), count, bits))
        return self._returned(role, z, bits, 0, 0)

    def compose(self, bits: Secret, fraction_bits: int) -> Secret:
        shares = self.shares_of(self._own(bits), self.policy.ring_bits(fraction_bits))
        return ReplicatedSecret(self, fraction_bits, shares.map(ring.from_bits))

    def concatenate(self, parts: Sequence[Secret], dim: int) -> Secret:
        own = [self._own(part) for part in parts]
        scale = max(part.fraction_bits for part in own)
        shares = [self._upscaled(part, scale) for part in own]
        own_parts, following = torch.cat([s.own for s in shares], dim), torch.cat([s.following for s in shares], dim)
        return ReplicatedSecret(self, scale, Shares(own_parts, following, min(s.bits for s in shares)))

    def as_factor(self, x: Secret) -> Secret:
        own = self._own(x)
        needed = self.policy.ring_bits(own.fraction_bits + self.policy.fraction_bits)
        return ReplicatedSecret(self, own.fraction_bits, self.shares_of(own, needed, larger=_PRODUCT_BITS))

    def append(self, kept: Secret | None, rows: Secret, dim: int) -> Secret:
        """Rows are lifted once, to a ring in which products can take them again and again."""
        added = self.as_factor(rows)
        return added if kept is None else self.concatenate([kept, added], dim)

    def end_step(self) -> None:
        pass  # what a helper deals is sent with each gate

    # -- ends of the program ---------------------------------------------------------------------------------------

    def input(
        self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64
    ) -> ReplicatedSecret:
        """A secret from the two parts that a client or model owner made. Shapes: share [2, *shape]."""
        return ReplicatedSecret(self, fraction_bits, self._given(share, shape, bits))

    def _given(self, share: Tensor | None, shape: tuple[int, ...], bits: int) -> Shares:
        if 0 in shape:
            raise ProtocolError(f"a secret of shape {shape} has no elements")
        if share is None or tuple(share.shape) != (2, *shape):
            found = "nothing" if share is None else str(tuple(share.shape))
            raise ProtocolError(f"a replicated share has shape {(2, *shape)}, this party was given {found}")
        on_device = share.to(self.device)
        return Shares(on_device[0], on_device[1], bits)

    def reveal(self, x: Secret, bits: int = ring.WORD_BITS) -> Tensor:
        """This party's two parts of x in Z_2^bits, made fresh, for the client. Shapes: -> [2, *shape].

        The parts of x may tell the owner of all three about what happened inside: a truncation's opened value is one
        of them. So a sharing of zero from the seed that all three parties have, and the client does not, is added.
        """
        shares = self.shares_of(self._own(x), bits, larger=bits)
        shape = tuple(shares.own.shape)
        masks = [self._common.words(self._revealed, label, shape, self.device) for label in range(PARTIES - 1)]
        masks.append(-(masks[0] + masks[1]))
        self._revealed += 1
        own, following = masks[self.index], masks[(self.index + 1) % PARTIES]
        # Reduced only now: what bits above the ring hold depends on masks, and whole bytes are sent.
        return ring.low(torch.stack([shares.own + own, shares.following + following]), bits)

    def prepare(
        self,
        share: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        bits: int = 64,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> Weight | HelpedMatrix:
        """Keep a model's tensor; for factors of products in the form that this party's role in them takes. Local."""
        shares = self._given(share, shape, bits)
        if not opened or len(shape) != 2:
            return Weight(shares, fraction_bits)
        role = self._next_helper()
        pair = pair_of(role, shares)
        assert pair.mask is not None
        kept = [pair.mask] if isinstance(role, Helper) else [additive(role, shares), -pair.opened]
        matrix = Matrix(keep(kept, bits), shape, fraction_bits, bits)
        return HelpedMatrix(matrix, self._helper)

    def prepare_server(
        self,
        values: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        bits: int = 64,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> Weight:
        """Raises ProtocolError: of three equal parties none holds a model in the clear."""
        raise ProtocolError("weights='server' is for the protocol 'beaver'; split the model with private weights")

    def prepare_public(
        self,
        values: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> PublicWeight | PublicMatrix:
        """Keep a tensor that all parties hold in the clear. Local."""
        if values is None:
            raise ProtocolError("a public tensor was not given")
        if opened and len(shape) == 2:
            prepared = keep([values.to(self.device)], ring.WORD_BITS)
            return PublicMatrix(prepared, shape, fraction_bits)
        return PublicWeight(values.to(self.device), fraction_bits)

    def bind(self, weight: Weight | PublicWeight) -> ReplicatedSecret:
        """A prepared tensor as a secret of this session."""
        shares = weight.shares if isinstance(weight, Weight) else self._public(weight.values)
        return ReplicatedSecret(self, weight.fraction_bits, shares)

    def factor(
        self, weight: Weight | HelpedMatrix | PublicWeight | PublicMatrix
    ) -> ReplicatedSecret | HelpedMatrix | PublicWeight | PublicMatrix:
        """What `linear` takes: a matrix as it was prepared, a public bias in the clear, a private one as a secret."""
        return self.bind(weight) if isinstance(weight, Weight) else weight
