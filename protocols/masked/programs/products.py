"""Products of secrets, and with a model's tensors elementwise."""

from __future__ import annotations

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.secret import Secret
from secure.protocols.masked.gates.product import Bilinear, Product, ProductShare, TripleProduct
from secure.protocols.masked.protocol import Masked
from secure.protocols.masked.weights import PublicWeight

_TRIPLE_FRACTION_BITS = 49  # most of three factors together, so that their truncation leaves a usable ring


def multiply(
    masked: Masked, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
) -> Secret:
    """One opening of the product, which its truncation uses."""
    return _product(masked, Bilinear.ELEMENTWISE, x, y, fraction_bits, value_bits)


def matmul(masked: Masked, x: Secret, y: Secret, *, fraction_bits: int | None = None) -> Secret:
    """As `multiply`."""
    return _product(masked, Bilinear.MATRIX, x, y, fraction_bits)


def _product(
    masked: Masked, kind: Bilinear, x: Secret, y: Secret, fraction_bits: int | None, value_bits: int | None = None
) -> Secret:
    scale = x.fraction_bits + y.fraction_bits
    target = max(x.fraction_bits, y.fraction_bits) if fraction_bits is None else fraction_bits
    gate = Product(kind, *masked.factors(x, y, masked.policy.product_bits(scale, value_bits)))
    return masked.opened(gate, gate.bits, scale, target)


def multiply_weight(masked: Masked, x: Secret, weight: object) -> Secret:
    """The product is not opened where a share of it will do."""
    if isinstance(weight, PublicWeight):
        scale = x.fraction_bits + weight.fraction_bits
        product = masked.shared_to_multiply(x, masked.policy.product_bits(scale))
        return product.map(lambda t: t * weight.values, scale)
    gain = weight if isinstance(weight, Secret) else masked.bind(weight)
    scale = x.fraction_bits + gain.fraction_bits
    needed = masked.policy.product_bits(scale)
    pair, other, share = masked.factors(x, gain, needed)
    # In no larger ring than it takes: what is dealt, or opened, is as long as that.
    low = pair.low_part(needed, at_dealer=masked.at_dealer)
    opened = Product(Bilinear.ELEMENTWISE, low, other, share)
    return masked.opened(opened, opened.bits, scale, scale, unopened=ProductShare(low, other, share))


def multiply_three(masked: Masked, x: Secret, y: Secret, z: Secret) -> Secret:
    """One opening for two products, in the full ring."""
    scale = sum(s.fraction_bits for s in (x, y, z))
    if scale > _TRIPLE_FRACTION_BITS:
        raise ProtocolError(f"three factors with {scale} fraction bits; at most {_TRIPLE_FRACTION_BITS} fit")
    pairs = [masked.pair(s, ring.WORD_BITS) for s in (x, y, z)]
    return masked.opened(TripleProduct(*pairs), ring.WORD_BITS, scale, x.fraction_bits)
