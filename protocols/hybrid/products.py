"""Products of two secrets, and of secrets with the owner's tensors elementwise, from what transfers made."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.secret import Secret
from secure.protocols.hybrid.gates.lifted import Lifted
from secure.protocols.hybrid.gates.multiplied import Multiplied
from secure.protocols.hybrid.gates.weighted import Weighted
from secure.protocols.hybrid.secret import HybridSecret
from secure.protocols.hybrid.verbs import HybridVerbs
from secure.protocols.hybrid.weights import OwnerVector
from secure.protocols.masked.gates.product import Bilinear
from secure.protocols.masked.programs.products import in_groups


def multiply(
    hybrid: HybridVerbs, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
) -> Secret:
    """A product, and a truncation."""
    return _multiplied(hybrid, Bilinear.ELEMENTWISE, x, y, fraction_bits, value_bits)


def matmul(hybrid: HybridVerbs, x: Secret, y: Secret, *, fraction_bits: int | None = None) -> Secret:
    """This is `multiply`, of matrices."""
    return _multiplied(hybrid, Bilinear.MATRIX, x, y, fraction_bits)


def multiply_weight(hybrid: HybridVerbs, x: Secret, weight: Any) -> Secret:
    """Local but for what was made of P0's share; a weight that is a secret is multiplied as one."""
    scale = x.fraction_bits + weight.fraction_bits
    if not isinstance(weight, OwnerVector):
        return _multiplied(hybrid, Bilinear.ELEMENTWISE, x, weight, scale)
    hybrid.need_transfers("multiplies with a tensor elementwise")
    bits = _whole_bytes(hybrid.policy.product_bits(scale))
    number_bits = weight.fraction_bits + hybrid.policy.value_bits + 1
    share = hybrid.run(Weighted(hybrid.widened(x, bits).share, weight, bits, number_bits))
    return HybridSecret(hybrid, share, bits, scale)


def multiply_three(hybrid: HybridVerbs, x: Secret, y: Secret, z: Secret) -> Secret:
    """Two products in the full ring, and one truncation."""
    hybrid.need_transfers("multiplies three secrets")
    product, scale = hybrid.widened(x, ring.WORD_BITS).share, x.fraction_bits
    for factor in (y, z):
        other = hybrid.widened(factor, ring.WORD_BITS).share
        product = hybrid.run(Multiplied(Bilinear.ELEMENTWISE, product, other, ring.WORD_BITS))
        scale += factor.fraction_bits
    return hybrid.result(product, ring.WORD_BITS, scale, x.fraction_bits)


def square_sum(hybrid: HybridVerbs, x: Secret, *, fraction_bits: int | None = None) -> Secret:
    """Squares in the full ring, of which the sum alone is masked. What is rounded is so once, not group by group.

    Low bits of a party's shares of all groups but the first are moved to the first one before both drop them. So that
    one alone is a unit off.
    """
    hybrid.need_transfers("adds up squares")
    own, scale = hybrid.widened(x, ring.WORD_BITS), 2 * x.fraction_bits
    if fraction_bits in (None, scale):
        return HybridSecret(hybrid, _squares(hybrid, own.share), ring.WORD_BITS, scale)
    assert fraction_bits is not None
    if fraction_bits > scale:
        raise ProtocolError(f"cannot truncate from {scale} to {fraction_bits} fraction bits")
    sums, shift = _squares(hybrid, hybrid.own(in_groups(hybrid, own)).share), scale - fraction_bits
    if not sums.is_meta:
        sums = ring.shift_right(ring.low_bits_to_first(sums, shift, -2), shift, ring.WORD_BITS)
        sums.narrow(-2, 0, 1).add_(hybrid.role.index)
    # No number of the policy: a sum may be as large as its ring allows.
    lifted = hybrid.run(Lifted(sums, ring.WORD_BITS - shift, ring.WORD_BITS))
    return HybridSecret(hybrid, ring.mapped(lambda t: t.sum(-2), lifted), ring.WORD_BITS, fraction_bits)


def _squares(hybrid: HybridVerbs, share: Tensor) -> Tensor:
    """Shares of sums of squares along the last axis. Shapes: [..., n] -> [..., 1]."""
    return hybrid.run(Multiplied(Bilinear.ELEMENTWISE, share, share, ring.WORD_BITS, summed=True))


def _multiplied(
    hybrid: HybridVerbs, kind: Bilinear, x: Secret, y: Secret, fraction_bits: int | None, value_bits: int | None = None
) -> Secret:
    """Raises ConfigurationError where circuits are garbled."""
    hybrid.need_transfers("multiplies two secrets")
    scale = x.fraction_bits + y.fraction_bits
    bits = _whole_bytes(hybrid.policy.product_bits(scale, value_bits))
    first = hybrid.widened(x, bits)
    second = first if y is x else hybrid.widened(y, bits)
    share = hybrid.run(Multiplied(kind, first.share, second.share, bits))
    target = max(x.fraction_bits, y.fraction_bits) if fraction_bits is None else fraction_bits
    return hybrid.result(share, bits, scale, target)


def _whole_bytes(bits: int) -> int:
    """The largest ring whose words take as many bytes: what is truncated then need not be lifted for the next gate."""
    return 8 * ring.element_bytes(bits)
