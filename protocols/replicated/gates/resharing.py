"""From what two parties hold, or have opened, to replicated shares."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.errors import ProtocolError
from secure.protocols.masked.ahead import PartyAhead
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party
from secure.protocols.replicated.roles import Evaluator, Helper
from secure.protocols.replicated.shares import Shares, of_masks, of_opened, outlined


def in_this_setting(cost: Cost) -> Cost:
    """Cost of a gate of the `beaver` family: what its dealer sends ahead is a round here, before its openings."""
    return cost + Cost(rounds=1) if cost.dealer_bytes else cost


class ReplicatedGate(Gate[Shares]):
    """A gate that leaves replicated shares, and that knows its rounds in this setting.

    `Cost.online_bytes` is what first and second send each, `Cost.dealer_bytes` what the helper sends. The parties take
    turns, so a party's mean is a third of twice the one and the other.
    """

    def deal(self, dealer: Dealer) -> Shares:
        if not isinstance(dealer, Helper):
            raise ProtocolError(f"{self.name} was run by another family's dealer")
        return self.help(dealer)

    def evaluate(self, party: Party) -> Shares:
        if not isinstance(party, Evaluator):
            raise ProtocolError(f"{self.name} was run by another family's party")
        return self.compute(party)

    def ahead(self, party: PartyAhead) -> Shares:
        """Raises ProtocolError: helpers deal while an input is there, so nothing is computed before."""
        raise ProtocolError(f"{self.name} was run before there is an input")

    @abstractmethod
    def help(self, helper: Helper) -> Shares:
        """The helper's side."""

    @abstractmethod
    def compute(self, party: Evaluator) -> Shares:
        """The side of first and second."""


@dataclass(frozen=True, eq=False)
class Reshare(ReplicatedGate):
    """Replicated shares of x = z_first + z_second: c = x + r is opened to the two, and r's shares are the other parts.

    Shapes: any. Encoding: share in Z_2^bits or larger -> shares in Z_2^bits.
    Cost: 1 round; first and second send ceil(bits/8) bytes per element, the helper nothing.
    Error: none. Reveals: c to first and second, which is uniform.
    Source: the resharing of Araki et al. 2016, for numbers that two of the three hold.
    """

    name = "reshare"
    z: Tensor
    bits: int

    def cost(self) -> Cost:
        return Cost(1, self.z.numel() * ring.element_bytes(self.bits))

    def outline(self) -> Shares:
        return outlined(self.z.shape, self.bits)

    def help(self, helper: Helper) -> Shares:
        return of_masks(helper.mask_halves(tuple(self.z.shape)), self.bits)

    def compute(self, party: Evaluator) -> Shares:
        mask = party.mask(tuple(self.z.shape))
        return of_opened(party, party.open(self.z, mask, self.bits), mask, self.bits)


@dataclass(frozen=True, eq=False)
class Rescale(ReplicatedGate):
    """Replicated shares of y >> s, or of y itself for s = 0, where `opening` opens c = y + r under a mask of its own.

    With c' = c + 2^(k-2) and |y| < 2^(k-2):  y >> s = (c' >> s) - (r >> s) - 2^(k-2-s), up to one unit and up to a
    multiple of 2^(k-s), which vanishes in Z_2^(k-s), the ring of the result. The helper knows r, the others c.
    So a product, its truncation and the way back to replicated shares take one round together.

    Shapes: as the opening's. Encoding: pair in Z_2^k -> shares in Z_2^(k-s), s fraction bits fewer.
    Cost: the opening's; the helper sends ceil((k-s)/8) bytes per element in the same round.
    Error: 0 <= result - (y >> s) <= 1 unit, never a wrap. Reveals: c to first and second, which is uniform.
    Source: ABY3's truncation by two of three, in the smaller ring, where it cannot fail.
    """

    name = "rescale"
    opening: Gate[Pair]
    bits: int
    shift: int

    def cost(self) -> Cost:
        cost = in_this_setting(self.opening.cost())
        elements = cost.online_bytes // ring.element_bytes(self.bits)
        return cost + Cost(dealer_bytes=elements * ring.element_bytes(self.bits - self.shift))

    def outline(self) -> Shares:
        return outlined(self.opening.outline().opened.shape, self.bits - self.shift)

    def help(self, helper: Helper) -> Shares:
        return _deal_mask(helper, self.opening.deal(helper), self.shift)

    def compute(self, party: Evaluator) -> Shares:
        return _take_mask(party, self.opening.evaluate(party), self.shift)


@dataclass(frozen=True, eq=False)
class Truncate(ReplicatedGate):
    """Replicated shares of x >> s from those of x, which are c and r of `Rescale` as they are.

    Shapes: any. Encoding: pair in Z_2^k, |x| < 2^(k-2) -> shares in Z_2^(k-s), s fraction bits fewer.
    Cost: 1 round; the helper sends ceil((k-s)/8) bytes per element, first and second nothing.
    Error: as `Rescale`. Reveals: nothing. Source: as `Rescale`.
    """

    name = "truncate"
    pair: Pair
    shift: int

    def cost(self) -> Cost:
        width = ring.element_bytes(self.pair.bits - self.shift)
        return Cost(rounds=1, dealer_bytes=self.pair.opened.numel() * width)

    def outline(self) -> Shares:
        return outlined(self.pair.opened.shape, self.pair.bits - self.shift)

    def help(self, helper: Helper) -> Shares:
        return _deal_mask(helper, self.pair, self.shift)

    def compute(self, party: Evaluator) -> Shares:
        return _take_mask(party, self.pair, self.shift)


def _deal_mask(helper: Helper, pair: Pair, shift: int) -> Shares:
    smaller = pair.shift_right(shift, at_dealer=True)
    assert smaller.mask is not None
    return of_masks(helper.share_halves(smaller.mask, smaller.bits), smaller.bits)


def _take_mask(party: Evaluator, pair: Pair, shift: int) -> Shares:
    smaller = pair.shift_right(shift, at_dealer=False)
    mask = party.correlation(tuple(smaller.opened.shape), smaller.bits)
    return of_opened(party, smaller.opened, mask, smaller.bits)


@dataclass(frozen=True, eq=False)
class LiftShares(ReplicatedGate):
    """Replicated shares in Z_2^m of x, from those of x in Z_2^k, k < m, |x| < 2^(k-2).

    Let the parts be numbers in [0, 2^k): c' = c + 2^(k-2), and -r = -r_first - r_second + 2^k u with the helper's bit
    u = [r_first + r_second >= 2^k]. As x + 2^(k-2) is in [0, 2^(k-1)), it wrapped when the top bit of r is set and
    that of c' is not:
        x = c' - 2^(k-2) - r_first - r_second + 2^k w,   w = u + (1 - msb(c')) msb(r).
    All but w is there already, in the larger ring too. The helper deals u and msb(r) in Z_2^(m-k), first and second
    compute w from that, and reshare it.

    Shapes: any. Encoding: pair in Z_2^k with its shares of r -> Z_2^m.
    Cost: 2 rounds; the helper sends 2 ceil((m-k)/8) bytes per element, first and second ceil((m-k)/8).
    Error: none. Reveals: nothing.
    Source: the wrap as in Escudero et al. 2020, which `beaver` follows too; the parts kept as ours.
    """

    name = "lift"
    shares: Shares
    pair: Pair
    bits: int

    @property
    def _gap(self) -> int:
        return self.bits - self.shares.bits

    def cost(self) -> Cost:
        count = self.shares.own.numel() * ring.element_bytes(self._gap)
        return Cost(2, count, 2 * count)

    def outline(self) -> Shares:
        return outlined(self.shares.own.shape, self.bits)

    def help(self, helper: Helper) -> Shares:
        small = self.shares.bits
        first, second = ring.low(-self.shares.following, small), ring.low(-self.shares.own, small)
        total = first + second
        top = ring.top_bit(total, small)
        # Reduced to fewer than 64 bits, two numbers do not overflow: the carry is bit k of their sum.
        carry = _carry(first, second, total, small)
        helper.share(carry, self._gap)
        helper.share(top, self._gap)
        own, following = helper.mask_halves(tuple(total.shape))[::-1]
        return Shares(-second - (own << small), -first - (following << small), self.bits)

    def compute(self, party: Evaluator) -> Shares:
        small, shape = self.shares.bits, tuple(self.shares.own.shape)
        assert self.pair.mask is not None
        offset = 1 << (small - 2)
        shifted = ring.low(self.pair.opened + offset, small)
        wrap = party.correlation(shape, self._gap)
        wrap = wrap + (1 - ring.top_bit(shifted, small)) * party.correlation(shape, self._gap)
        mask = party.mask(shape)
        opened = party.open(wrap, mask, self._gap)
        other = ring.low(self.pair.mask, small) + (mask << small)
        return of_opened(party, shifted - offset + (opened << small), other, self.bits)


def _carry(first: Tensor, second: Tensor, total: Tensor, bits: int) -> Tensor:
    """[first + second >= 2^bits] of numbers in [0, 2^bits), bits < 64."""
    if bits < ring.WORD_BITS - 1:
        return total >> bits
    # 63 bits: the sum may have overflowed into the sign, which is then its bit 63.
    return torch.lt(total, 0).to(torch.int64)
