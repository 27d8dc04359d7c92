"""The primitives beside those that operators stand for: numbers with public ones, products, forms for products.

Functions of one variable, and what else is a gate of its own, are declared with their gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import InputError
from secure.protocols.core.secret import Primitive, Reference, Secret, bounded_product
from secure.protocols.core.windows import Window


@Primitive
def halve(clear: Reference, x: Secret, times: int) -> Secret:
    """x / 2^times, exactly: the same ring elements, with as many more fraction bits. Local if x's ring has room."""
    return clear.secret(clear.value(x) * 2.0**-times, x.fraction_bits + times)


@Primitive
def widen(clear: Reference, x: Secret) -> Secret:
    """x in a ring with room for twice the policy's range: for a sum or difference of two such numbers. Local."""
    return clear.secret(clear.bounded("widen", clear.value(x)), x.fraction_bits)


@Primitive
def known_below(clear: Reference, x: Secret, limit: float, what: str, *, terms: int = 1) -> Secret:
    """x itself, of which |x| < limit is promised, and `what` it is: a run in the clear tells where it is not. Local.

    terms: so many are added up in long inputs, which is what the limit is for.
    """
    return clear.secret(clear.bounded(what, clear.value(x), limit), x.fraction_bits)


@Primitive
def checked_one_hot(clear: Reference, x: Secret, parts: Sequence[int]) -> Secret:
    """x itself, once it is certain that it is what a client must share to choose rows of tables.

    parts: lengths of the vectors that lie side by side along the last axis: one entry of each is 1, the others are 0.
    With no fraction bits. Raises InputError where the vectors are others, but for probability 2^-40.
    """
    for vectors in clear.value(x).split(list(parts), -1):
        bits = ((vectors == 0) | (vectors == 1)).all()
        if not bool(bits & (vectors.sum(-1) == 1).all()):
            raise InputError("a vector that chooses a row of a table is not one-hot")
    return x


@Primitive
def multiply_public(clear: Reference, x: Secret, factor: Tensor) -> Secret:
    """Elementwise x * factor for a public float tensor, with broadcasting; not truncated. No round.

    The factor is rounded to the policy's fraction bits, which add to x's.
    """
    product = clear.value(x) * factor.to(torch.float64)
    return clear.secret(clear.bounded("multiply_public", product), x.fraction_bits + clear.policy.fraction_bits)


@Primitive
def truncate(clear: Reference, x: Secret, fraction_bits: int) -> Secret:
    """x at a smaller scale."""
    return clear.secret(clear.bounded("truncate", clear.value(x)), fraction_bits)


@Primitive
def compose(clear: Reference, bits: Secret, fraction_bits: int) -> Secret:
    """The number whose bits lie along the last axis, lowest first, in two's complement. Local."""
    number = ring.from_bits(clear.value(bits).to(torch.int64)).to(torch.float64)
    return clear.secret(clear.bounded("compose", number / 2.0**fraction_bits), fraction_bits)


@Primitive
def concatenate(clear: Reference, x: Secret, others: Sequence[Secret], dim: int) -> Secret:
    """x and others, joined along an axis. Local."""
    parts = [x, *others]
    values = torch.cat([clear.value(part) for part in parts], dim)
    return clear.secret(values, max(part.fraction_bits for part in parts))


@Primitive
def multiply_weight(clear: Reference, x: Secret, weight: Any) -> Secret:
    """Elementwise x * weight, as it was prepared, with broadcasting; not truncated, as a share to be added."""
    product = clear.value(x) * clear.value(weight)
    return bounded_product(clear, "multiply_weight", x, weight, product, x.fraction_bits + weight.fraction_bits)


@Primitive
def square_sum(clear: Reference, x: Secret, *, fraction_bits: int | None = None) -> Secret:
    """Sum of x^2 along the last axis (kept, length one), with twice the fraction bits, which are not truncated.

    fraction_bits: that the ring has room for with such a sum. Squares are added up in groups that fit in any case, and
    what all groups give is rounded to them, once. |x| is less than the policy's range then.
    """
    total = (clear.value(x) ** 2).sum(-1, keepdim=True)
    kept = 2 * x.fraction_bits if fraction_bits is None else fraction_bits
    return clear.secret(clear.bounded("square_sum", total, 2.0 ** (62 - kept)), kept)


@Primitive
def linear(
    clear: Reference,
    x: Secret,
    weight: Any,
    bias: Any,
    *,
    residual: Secret | None = None,
    truncated: bool = True,
    wide: bool = False,
) -> Secret:
    """x @ weight + bias, both as they were prepared; the bias may be a secret, too, or None.

    residual: added before the truncation; of the result's shape, with no more fraction bits than the product has.
    truncated: to the policy's fraction bits; an output for the client needs no truncation, hence no round.
    wide: the result goes on into products or functions, and is put in a form in which they take it as it is.
    """
    product = clear.value(x) @ clear.value(weight)
    if residual is not None:
        product = product + clear.bounded("linear", clear.value(residual))
    scale = clear.policy.fraction_bits if truncated else x.fraction_bits + weight.fraction_bits
    total = product if bias is None else product + clear.value(bias)
    return bounded_product(clear, "linear", x, weight, total, scale)


@Primitive
def convolve(clear: Reference, x: Secret, weight: Any, bias: Any, window: Window) -> Secret:
    """Convolution of images: each window as a row, times the matrix of all kernels, plus bias, as `linear`.

    Shapes: [B, C, H, W], matrix [C kernel elements, N], [N] or None -> [B, N, rows, columns].
    """
    rows = linear.reference(clear, x.map(window.rows), weight, bias)
    return window.images(rows, x.shape)


@Primitive
def as_factor(clear: Reference, x: Secret, *, wide: bool = False) -> Secret:
    """x in the form that products take, made once: what else uses that form costs no opening of its own.

    wide: so that what is truncated of a product with x is a factor itself, without a form of its own.
    """
    return x


@Primitive
def append(clear: Reference, rows: Secret, kept: Secret | None, dim: int) -> Secret:
    """What earlier calls kept, and new rows behind it along an axis: a factor of products again and again.

    The rows are put in the form that products take, once; what was kept is not touched. Costs depend on `rows`.
    """
    return rows if kept is None else concatenate.reference(clear, kept, [rows], dim)
