"""Products of secrets, and with a model's tensors elementwise."""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.masked.gates.product import Bilinear, OpenedProduct, ProductShare
from secure.protocols.masked.programs.arithmetic import shared_to_multiply
from secure.protocols.masked.protocol import Masked
from secure.protocols.masked.weights import PublicWeight


def multiply(
    masked: Masked, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
) -> Secret:
    """One opening of the product, which its truncation uses."""
    return _product(masked, Bilinear.ELEMENTWISE, x, y, fraction_bits, value_bits)


def matmul(masked: Masked, x: Secret, y: Secret, *, fraction_bits: int | None = None) -> Secret:
    """One opening of the product of matrices, which its truncation uses."""
    return _product(masked, Bilinear.MATRIX, x, y, fraction_bits)


def _product(
    masked: Masked, kind: Bilinear, x: Secret, y: Secret, fraction_bits: int | None, value_bits: int | None = None
) -> Secret:
    scale = x.fraction_bits + y.fraction_bits
    target = max(x.fraction_bits, y.fraction_bits) if fraction_bits is None else fraction_bits
    gate = OpenedProduct(kind, *masked.factors(x, y, masked.policy.product_bits(scale, value_bits)))
    return masked.opened(gate, gate.bits, scale, target)


def multiply_weight(masked: Masked, x: Secret, weight: object) -> Secret:
    """The product is not opened where a share of it will do."""
    if isinstance(weight, PublicWeight):
        scale = x.fraction_bits + weight.fraction_bits
        product = shared_to_multiply(masked, x, masked.policy.product_bits(scale))
        values = weight.values
        return product.map(lambda t: ring.multiply(t, values if values.is_meta else values.to(t.device)), scale)
    gain = weight if isinstance(weight, Secret) else masked.bind(weight)
    scale = x.fraction_bits + gain.fraction_bits
    needed = masked.policy.product_bits(scale)
    pair, other, share = masked.factors(x, gain, needed)
    # No larger ring than it takes: what is dealt, or opened, is as long as that.
    low = pair.low_part(needed, at_dealer=masked.at_dealer)
    opened = OpenedProduct(Bilinear.ELEMENTWISE, low, other, share)
    return masked.opened(opened, opened.bits, scale, scale, unopened=ProductShare(low, other, share))


def in_groups(protocol: Protocol, x: Secret) -> Secret:
    """x with its last axis cut into groups, zeros behind the last one, of which the squares add up to 2^62 at the most.

    Shapes: [..., n] -> [..., groups, of one group]. Raises ProtocolError where a single square is larger than that.
    """
    spare = ring.WORD_BITS - 2 - 2 * (x.fraction_bits + protocol.policy.value_bits)
    if spare < 0:
        raise ProtocolError(f"squares of numbers with {x.fraction_bits} fraction bits do not fit the ring")
    size = 1 << spare
    missing = -x.shape[-1] % size

    def cut(t: Tensor) -> Tensor:
        return torch.nn.functional.pad(t, (0, missing)).reshape(*t.shape[:-1], -1, size)

    return x.map(cut)


def sum_of_groups(masked: Masked, rounded: Secret) -> Secret:
    """The sum of what groups gave, as it was truncated: see `Pair.with_low_bits_in_the_first`.

    Shapes: [..., groups, 1] -> [..., 1].
    """
    return masked.shared(rounded, ring.WORD_BITS).map(lambda t: t.sum(-2))
