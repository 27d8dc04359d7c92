"""The largest of a few numbers: all pairs of them compared at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core import bits, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.kernels import selection
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.core.secret import Primitive, Reference, Secret
from secure.protocols.masked.comparison.comparing import (
    Thresholds,
    compare,
    deal_bit_masks,
    deal_comparison,
    open_bits,
    opened_bits_cost,
    thresholds_cost,
)
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import ShareMask, unknown
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import Masked
from secure.protocols.masked.roles import Dealer, Party

MOST = 8  # numbers: words grow as 2^k
_DIFFERENCE_BITS = 14  # |x_i - x_j| < 2^14, as |x_i| < 2^13


def compared_bits(fraction_bits: int) -> int:
    """`Largest.width` for numbers with that many fraction bits."""
    return _DIFFERENCE_BITS + fraction_bits + 1


def ring_bits(policy: FixedPointPolicy, fraction_bits: int) -> int:
    """The ring for them: softmax's exponential takes what it subtracts from a maximum as it is then."""
    return max(_DIFFERENCE_BITS + fraction_bits + 2, policy.ring_bits(fraction_bits))


@dataclass(frozen=True, eq=False)
class Largest(Gate[Tensor]):
    """max(x_0, ..., x_{k-1}), k = 2 to 8, along the last axis, from a pair c = x + r that exists already.

    1. b_ij = [x_i < x_j] for all i < j at once, from (c_i - c_j) and r_i - r_j.
    2. Open v_ij = b_ij ⊕ ρ_ij, one bit for each pair.
    3. x_i is the first largest when e_i = 1, the product of the b_ji, j < i, and of the 1 - b_ij, j > i. With the last
       number z, the maximum is z + sum_i e_i (x_i - z) over the others. Each factor of e_i is v ⊕ ρ for a public v, so
       e_i and e_i (r_i - r_z) are public combinations of what the dealer shares: the products of ρ's of every subset
       of the k - 1 factors, with and without r_i - r_z.

    Shapes: [..., k] -> [...]. Encoding: pair in Z_2^b, mask dealt, |x_i - x_j| < 2^(width - 1) -> share in Z_2^b, same
    fraction bits.
    Cost: a comparison of `width` bits for each of the k (k - 1) / 2 pairs, one round of one bit each; the dealer sends
    the comparisons' correlations and words of ceil(b/8) bytes: 2, 11, 38 for 2, 3, 4 numbers, 1,757 for 8.
    Error: none. Reveals: nothing new; all opened bits are uniform.
    Source: the products of masks are those of ABY2.0's multi-input AND.
    """

    name = "largest"
    pair: Pair
    width: int
    profile: Profile = NEAR

    def __post_init__(self) -> None:
        if not 2 <= self.count <= MOST:
            raise ProtocolError(f"the largest of {self.count} numbers; 2 to {MOST} are compared at once")

    @property
    def count(self) -> int:
        """How many numbers are compared."""
        return int(self.pair.opened.shape[-1])

    @property
    def _groups(self) -> int:
        return self.pair.opened.numel() // self.count

    @property
    def _thresholds(self) -> Thresholds:
        return Thresholds((0,), self.width, profile=self.profile)

    def cost(self) -> Cost:
        pairs, subsets = len(selection.pairs_of(self.count)), 1 << (self.count - 1)
        words = pairs + (self.count - 1) * (subsets - self.count + subsets - 1)
        cost = thresholds_cost(self._thresholds, pairs * self._groups) + opened_bits_cost(1, pairs * self._groups)
        return cost + Cost(dealer_bytes=words * self._groups * ring.element_bytes(self.pair.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        masks = _by_number(self.pair.mask)
        differences = _differences(masks)
        deal_comparison(dealer, Pair(unknown(differences.shape), differences, self.pair.bits, True), self._thresholds)
        bit_masks = deal_bit_masks(dealer, 1, differences.numel()).reshape(-1, self._groups)
        tables = [bits.products(bit_masks[selection.positions(self.count, i)], 1) for i in range(self.count - 1)]
        several = [subset for subset in range(1 << (self.count - 1)) if subset.bit_count() > 1]
        dealer.share(bit_masks, self.pair.bits)
        dealer.share(torch.stack([table[several] for table in tables]), self.pair.bits)
        of_others = zip(tables, masks[:-1] - masks[-1], strict=True)
        dealer.share(torch.stack([table[1:] * mask for table, mask in of_others]), self.pair.bits)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self.pair.opened.shape[:-1])

    def evaluate(self, party: Party) -> Tensor:
        assert self.pair.mask is not None
        opened, masks, width = _by_number(self.pair.opened), _by_number(self.pair.mask), self.pair.bits
        differences = _differences(opened)
        below, _ = compare(party, Pair(differences, None, width, False), self._thresholds)
        found = open_bits(party, below, differences.numel()).reshape(-1, self._groups)
        subsets = 1 << (self.count - 1)
        bit_masks = party.correlation(tuple(found.shape), width)
        several = party.correlation((self.count - 1, subsets - self.count, self._groups), width)
        masked = party.correlation((self.count - 1, subsets - 1, self._groups), width)
        result = selection.largest(opened, masks, found, bit_masks, several, masked, first=party.index == 0)
        return result.reshape(tuple(self.pair.opened.shape[:-1]))


def _by_number(x: Tensor) -> Tensor:
    """Shapes: [..., k] -> [k, n]."""
    return x.reshape(-1, x.shape[-1]).T.contiguous()


def _differences(x: Tensor) -> Tensor:
    """x_i - x_j of every pair. Shapes: [k, n] -> [pairs * n]."""
    first, second = zip(*selection.pairs_of(x.shape[0]), strict=True)
    return (x[list(first)] - x[list(second)]).reshape(-1)


@Primitive
def largest_of_few(clear: Reference, x: Secret) -> Secret:
    """The largest of two to eight numbers along the last axis (kept, length one), which differ by less than 2^14."""
    value = clear.value(x)
    if value.numel():
        clear.bounded("largest_of_few", value.amax(-1) - value.amin(-1), 2.0**_DIFFERENCE_BITS)
    return clear.secret(value.amax(-1, keepdim=True), x.fraction_bits)


def find_largest(masked: Masked, x: Secret) -> Secret:
    """`largest_of_few` by this gate."""
    bits = ring_bits(masked.policy, x.fraction_bits)
    # No larger ring than it takes: the words that are dealt are as long as that.
    pair = masked.pair(x, bits, dealt=False).low_part(bits, at_dealer=masked.at_dealer)
    if not pair.dealt:
        pair = masked.run(ShareMask(pair))
    share = masked.run(Largest(pair, compared_bits(x.fraction_bits), masked.profile)).unsqueeze(-1)
    return masked.of_share(share, bits, x.fraction_bits)
