"""Linear layers: x @ weight + bias, with a matrix that was prepared when the model was loaded."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from secure.protocols.core import primitives, ring
from secure.protocols.core.secret import Secret
from secure.protocols.core.windows import Window
from secure.protocols.masked.gates.linear import LinearShare, OpenedLinear
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.protocol import Masked
from secure.protocols.masked.weights import PublicMatrix


def linear(
    masked: Masked,
    x: Secret,
    weight: Any,
    bias: Any,
    *,
    residual: Secret | None = None,
    truncated: bool = True,
    wide: bool = False,
) -> Secret:
    """One product with the matrix, opened for its truncation; with a public matrix only that opening."""
    scale = x.fraction_bits + weight.fraction_bits
    target = masked.policy.fraction_bits if truncated else scale
    least = masked.policy.ring_bits(scale)
    added = None if residual is None else masked.scaled_up(residual, scale)
    masked.turn_to(weight)
    addend, most = _addend(masked, bias, added, scale)
    if isinstance(weight, PublicMatrix):
        share, bits = masked.share(x, ring.WORD_BITS if wide else least)
        bits = min(bits, most)
        return masked.result(_public_product(share, bits, weight, addend), bits, scale, target)
    # What is truncated from the full ring is in one that is wide enough for another product.
    whole = wide or weight.bits <= ring.HALF_WORD_BITS
    pair = masked.left_factor(x, weight, weight.bits if whole else least, whole=whole)
    if most < pair.bits:
        pair = pair.low_part(most, at_dealer=masked.at_dealer)
    gate = OpenedLinear(pair, weight, addend)
    unopened = None if truncated else LinearShare(pair, weight, addend)
    return masked.opened(gate, gate.bits, scale, target, unopened=unopened)


def convolve(masked: Masked, x: Secret, weight: Any, bias: Any, window: Window) -> Secret:
    """An element is in many windows: what a product needs of it is made before it is many elements."""
    if isinstance(weight, PublicMatrix):
        x = primitives.concatenate(x, [], 0)
    else:
        x = primitives.truncate(primitives.append(x, None, 0), x.fraction_bits)
    return window.images(primitives.linear(x.map(window.rows), weight, bias), x.shape)


def _addend(masked: Masked, bias: Any, residual: Secret | None, scale: int) -> tuple[Tensor | None, int]:
    """A share of what is added to the product, at its scale, and the ring that it is in."""
    addend, most = None, ring.WORD_BITS
    if bias is not None:
        number = bias if isinstance(bias, Secret) else masked.bind(bias)
        share, _ = masked.share(number, ring.WORD_BITS)
        addend = ring.mapped(lambda t: t << (scale - bias.fraction_bits), share)
    if residual is not None:
        share, most = masked.share(residual, masked.policy.ring_bits(scale))
        addend = share if addend is None else ring.add(share, addend)
    return addend, most


def _public_product(share: Tensor, bits: int, matrix: PublicMatrix, addend: Tensor | None) -> Tensor:
    """A share of x @ matrix + addend from one of x, in the same ring."""
    if share.is_meta or matrix.factor is None:
        return unknown((*share.shape[:-1], matrix.shape[1]))
    product = matrix.factor.product([share], bits)
    return product if addend is None else product.add_(addend)
