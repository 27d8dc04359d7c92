"""The table of operations of this family: which program computes which primitive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core import primitives, ring, secret
from secure.protocols.core.errors import ConfigurationError, ProtocolError
from secure.protocols.core.fixedpoint import public_factor
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.secret import Secret, row, table
from secure.protocols.core.windows import Window
from secure.protocols.functions import relu
from secure.protocols.hybrid import products
from secure.protocols.hybrid.garbled import circuits
from secure.protocols.hybrid.gates.product import Arrangement, Images, Product, Rows
from secure.protocols.hybrid.gates.transferred import Exponentiated, Transferred
from secure.protocols.hybrid.lattice.parameters import PLAIN_BITS
from secure.protocols.hybrid.secret import HybridSecret
from secure.protocols.hybrid.transfer import pieces
from secure.protocols.hybrid.verbs import HybridVerbs
from secure.protocols.masked.gates import exponential, largest, piecewise, triple_product
from secure.protocols.masked.programs import arithmetic


def add(hybrid: HybridVerbs, x: Secret, y: Secret) -> Secret:
    """Shares are added, in the smaller ring."""
    scale = max(x.fraction_bits, y.fraction_bits)
    first, second = (_scaled_up(hybrid, each, scale) for each in (x, y))
    bits = min(first.bits, second.bits)
    return HybridSecret(hybrid, ring.add(first.share, second.share), bits, scale)


def add_public(hybrid: HybridVerbs, x: Secret, y: Tensor | float) -> Secret:
    """P1 adds."""
    number = torch.round(torch.as_tensor(y, dtype=torch.float64) * 2.0**x.fraction_bits).to(torch.int64)
    return hybrid.plus_public(hybrid.own(x), number)


def scale(hybrid: HybridVerbs, x: Secret, factor: float) -> Secret:
    """An integer factor is local; another one is a product with n / 2^extra in lowest terms, and a truncation."""
    values = hybrid.policy.ring_bits(x.fraction_bits)
    if factor == int(factor):
        return hybrid.own(x).map(lambda t: t * int(factor))
    number, extra = public_factor(factor, x.fraction_bits, hybrid.policy)
    while number % 2 == 0:
        number, extra = number // 2, extra - 1
    needed = min(values + max(number.bit_length(), extra), ring.WORD_BITS)
    product = hybrid.widened(x, needed).map(lambda t: t * number, x.fraction_bits + extra)
    return truncate(hybrid, product, x.fraction_bits)


def sum_along(hybrid: HybridVerbs, x: Secret, dim: int, *, keepdim: bool = False) -> Secret:
    """The ring must hold the sum."""
    needed = hybrid.policy.sum_bits(x.fraction_bits, x.shape[dim])
    return hybrid.widened(x, needed).map(lambda t: t.sum(dim, keepdim=keepdim))


def halve(hybrid: HybridVerbs, x: Secret, times: int) -> Secret:
    """The ring elements stay; only what they mean changes."""
    finer = x.fraction_bits + times
    return hybrid.widened(x, hybrid.policy.ring_bits(finer)).map(lambda t: t, finer)


def widen(hybrid: HybridVerbs, x: Secret) -> Secret:
    """A bit more than the policy's numbers take."""
    return hybrid.widened(x, hybrid.policy.ring_bits(x.fraction_bits) + 1)


def multiply_public(hybrid: HybridVerbs, x: Secret, factor: Tensor) -> Secret:
    """Local, in a ring that holds the product."""
    bits = hybrid.policy.fraction_bits
    number = torch.round(factor.to(torch.float64) * 2.0**bits).to(torch.int64).to(hybrid.device)
    wide = hybrid.widened(x, hybrid.policy.ring_bits(x.fraction_bits + bits))
    return wide.map(lambda t: t * number, x.fraction_bits + bits)


def truncate(hybrid: HybridVerbs, x: Secret, fraction_bits: int) -> Secret:
    """Each party drops low bits of its share. Raises ProtocolError where that is no smaller scale."""
    own = hybrid.own(x)
    return hybrid.result(own.share, own.bits, own.fraction_bits, fraction_bits)


def concatenate(hybrid: HybridVerbs, x: Secret, others: Sequence[Secret], dim: int) -> Secret:
    """Shares are joined, in the smallest ring."""
    scale = max(part.fraction_bits for part in (x, *others))
    parts = [_scaled_up(hybrid, part, scale) for part in (x, *others)]
    share = ring.concatenate([part.share for part in parts], dim)
    return HybridSecret(hybrid, share, min(part.bits for part in parts), scale)


def trust_one_hot(hybrid: HybridVerbs, x: Secret, parts: Sequence[int]) -> Secret:
    """Nothing is looked at: the client is a party here, and all rests on that both follow the protocol."""
    return x


def as_factor(hybrid: HybridVerbs, x: Secret, *, wide: bool = False) -> Secret:
    """x in the ring of its products with weights."""
    return hybrid.widened(x, hybrid.policy.ring_bits(x.fraction_bits + hybrid.policy.fraction_bits))


def append(hybrid: HybridVerbs, rows: Secret, kept: Secret | None, dim: int) -> Secret:
    """Rows are lifted once, to a ring in which products can take them again and again."""
    added = as_factor(hybrid, rows)
    return added if kept is None else concatenate(hybrid, kept, [added], dim)


def linear(
    hybrid: HybridVerbs,
    x: Secret,
    weight: Any,
    bias: Any,
    *,
    residual: Secret | None = None,
    truncated: bool = True,
    wide: bool = False,
) -> Secret:
    """One product that was made ready; the rest is local."""
    product: Secret = _product(hybrid, x, weight, bias, Rows(x.shape))
    if residual is not None:
        product = add(hybrid, product, _scaled_up(hybrid, residual, product.fraction_bits))
    return truncate(hybrid, product, hybrid.policy.fraction_bits) if truncated else product


def convolve(hybrid: HybridVerbs, x: Secret, weight: Any, bias: Any, window: Window) -> Secret:
    """This is `linear`; what is encrypted are images, and not their windows."""
    product = _product(hybrid, x, weight, bias, Images(x.shape, window))
    return window.images(truncate(hybrid, product, hybrid.policy.fraction_bits), x.shape)


def evaluate(hybrid: HybridVerbs, x: Secret, function: Piecewise) -> Secret:
    """`piecewise` by a garbled circuit, its result in the ring of a product with weights; or by a masked gate."""
    if hybrid.garbler == "nobody":
        return _evaluate_masked(hybrid, x, function)
    circuits.check_straight(function, x.fraction_bits)
    own = hybrid.own(x)
    width = max(hybrid.policy.ring_bits(x.fraction_bits), function.compare_bits)
    own = hybrid.widened(own, width)
    bits = hybrid.policy.ring_bits(function.output_bits + hybrid.policy.fraction_bits)
    of = circuits.straight(function, x.fraction_bits, width, bits, hybrid.garbler)
    return HybridSecret(hybrid, hybrid.garbled(own.share.unsqueeze(-1), of), bits, function.output_bits)


def find_largest(hybrid: HybridVerbs, x: Secret) -> Secret:
    """`largest_of_few` by a garbled circuit, likewise; or by a tournament of masked gates."""
    if hybrid.garbler == "nobody":
        return _tournament(hybrid, hybrid.own(x))
    width = largest.compared_bits(x.fraction_bits)
    own = hybrid.widened(x, width)
    bits = hybrid.policy.ring_bits(x.fraction_bits + hybrid.policy.fraction_bits)
    share = hybrid.garbled(own.share, circuits.largest(x.shape[-1], width, bits, hybrid.garbler))
    return HybridSecret(hybrid, share.unsqueeze(-1), bits, x.fraction_bits)


def _evaluate_masked(hybrid: HybridVerbs, x: Secret, function: Piecewise) -> Secret:
    """`piecewise` by the masked pairs' gate, in the smallest ring that takes it, or one of as many bytes."""
    pieces.check_made(function, x.fraction_bits)
    needed = max(hybrid.policy.ring_bits(x.fraction_bits), function.compare_bits)
    bits = function.scale + function.integer_bits + 2 if function.trigonometric else needed
    if function.sloped:
        needed = bits = max(needed, min(bits, ring.WORD_BITS))
    else:
        bits = min(max(bits, hybrid.policy.ring_bits(function.output_bits)), ring.WORD_BITS)
    own = hybrid.widened(x, needed)
    width = min(own.bits, 8 * ring.element_bytes(needed))
    bits = width if function.sloped else bits
    share = hybrid.run(Transferred(own.share, width, bits, function, x.fraction_bits, hybrid.profile))
    return hybrid.result(share, bits, function.scale, function.output_bits)


def exponentiate(hybrid: HybridVerbs, u: Secret) -> Secret:
    """`exp2_negative` by the masked pairs' gate."""
    hybrid.need_transfers("computes exponentials")
    if u.fraction_bits != exponential.FRACTION_BITS:
        raise ProtocolError(f"exp2_negative takes {exponential.FRACTION_BITS} fraction bits")
    own = hybrid.widened(u, ring.HALF_WORD_BITS)
    share = hybrid.run(Exponentiated(own.share, ring.HALF_WORD_BITS, exponential.RING_BITS))
    return hybrid.result(share, exponential.RING_BITS, exponential.Exp2Negative.SCALE, u.fraction_bits)


def _tournament(hybrid: HybridVerbs, x: HybridSecret) -> Secret:
    """The largest along the last axis: each turn takes the maxima of the first half and the second."""
    while (half := x.shape[-1] // 2) > 0:
        first, second = x.map(lambda t: t[..., :half]), x.map(lambda t: t[..., half : 2 * half])
        rest = x.map(lambda t: t[..., 2 * half :])
        largest_so_far = relu.maximum(first, second)
        x = hybrid.own(concatenate(hybrid, largest_so_far, [rest], -1) if rest.shape[-1] else largest_so_far)
    return x


def _product(hybrid: HybridVerbs, x: Secret, weight: Any, bias: Any, arrangement: Arrangement) -> HybridSecret:
    """x @ weight + bias, not truncated. Raises ConfigurationError where the ring of plaintexts does not hold it."""
    scale = x.fraction_bits + weight.fraction_bits
    needed = hybrid.policy.ring_bits(scale)
    if needed > PLAIN_BITS:
        raise ConfigurationError(
            f"layer {hybrid.layer_name or '(none)'}: a product with {scale} fraction bits takes {needed} bits; "
            f"protocol 'hybrid' has {PLAIN_BITS}"
        )
    own = hybrid.widened(x, needed)
    share = hybrid.run(Product(own.share, weight, arrangement))
    product = HybridSecret(hybrid, share, min(own.bits, PLAIN_BITS), scale)
    if bias is None:
        return product
    number = hybrid.own(bias if isinstance(bias, Secret) else hybrid.bind(bias))
    return hybrid.own(add(hybrid, product, number))


def _scaled_up(hybrid: HybridVerbs, x: Secret, fraction_bits: int) -> HybridSecret:
    """x at that scale, in a ring that holds the policy's values there."""
    shift = fraction_bits - x.fraction_bits
    own = hybrid.widened(x, min(hybrid.policy.ring_bits(x.fraction_bits), ring.WORD_BITS))
    return own.shifted_left(shift) if shift else own


PROGRAMS = table(
    row(secret.add, add),
    row(secret.add_public, add_public),
    row(secret.scale, scale),
    row(secret.sum_along, sum_along),
    row(primitives.halve, halve),
    row(primitives.widen, widen),
    row(primitives.known_below, arithmetic.known_below),
    row(primitives.multiply_public, multiply_public),
    row(secret.multiply, products.multiply),
    row(secret.matmul, products.matmul),
    row(primitives.multiply_weight, products.multiply_weight),
    row(triple_product.multiply_three, products.multiply_three),
    row(primitives.square_sum, products.square_sum),
    row(primitives.truncate, truncate),
    row(primitives.checked_one_hot, trust_one_hot),
    row(primitives.concatenate, concatenate),
    row(primitives.as_factor, as_factor),
    row(primitives.append, append),
    row(primitives.linear, linear),
    row(primitives.convolve, convolve),
    row(piecewise.piecewise, evaluate),
    row(largest.largest_of_few, find_largest),
    row(exponential.exp2_negative, exponentiate),
)
