"""Secrets with public numbers, and what is linear in one secret: local, but for rings that have to grow."""

from __future__ import annotations

from torch import Tensor

from secure.protocols.core import primitives, ring
from secure.protocols.core.fixedpoint import public_factor
from secure.protocols.core.secret import Secret
from secure.protocols.masked.protocol import Masked


def add_public(masked: Masked, x: Secret, y: Tensor | float) -> Secret:
    """The sum must fit x's ring, which therefore holds the policy's values."""
    wide = masked.widened(x, masked.policy.ring_bits(x.fraction_bits), soon=0)
    return masked.plus_public(wide, masked.public(y, x.fraction_bits))


def scale(masked: Masked, x: Secret, factor: float) -> Secret:
    """An integer factor is local; another one is a product with n / 2^extra and a truncation by `extra`."""
    values = masked.policy.ring_bits(x.fraction_bits)
    if factor == int(factor):
        own = masked.widened(x, values) if abs(factor) > 1 else masked.own(x)
        return own.map(lambda t: t * int(factor))
    number, extra = public_factor(factor, x.fraction_bits, masked.policy)
    # What is left after the truncation must hold the policy's values.
    needed = min(values + max(number.bit_length(), extra), ring.WORD_BITS)
    product = shared_to_multiply(masked, x, needed).map(lambda t: t * number, x.fraction_bits + extra)
    return primitives.truncate(product, x.fraction_bits)


def shared_to_multiply(masked: Masked, x: Secret, bits: int) -> Secret:
    """x for a product with public numbers that takes a ring of `bits` bits."""
    return masked.shared(x, ring.WORD_BITS if masked.full_products else bits)


def halve(masked: Masked, x: Secret, times: int) -> Secret:
    """The ring elements stay; only what they mean changes."""
    needed, scale = masked.policy.ring_bits(x.fraction_bits + times), x.fraction_bits + times
    return masked.widened(x, needed, soon=factor_bits(masked)).map(lambda t: t, scale)


def widen(masked: Masked, x: Secret) -> Secret:
    """A bit more than the policy's numbers take."""
    return masked.widened(x, masked.policy.ring_bits(x.fraction_bits) + 1)


def known_below(masked: Masked, x: Secret, limit: float, what: str, *, terms: int = 1) -> Secret:
    """Shares tell nothing of what they are shares of: who runs the model in the clear has looked."""
    return x


def multiply_public(masked: Masked, x: Secret, factor: Tensor) -> Secret:
    """The product is in the full ring: what a truncation leaves of it is enough for a product of secrets."""
    bits = masked.policy.fraction_bits
    number = masked.public(factor, bits)
    return masked.shared(x, ring.WORD_BITS).map(lambda t: ring.multiply(t, number), x.fraction_bits + bits)


def sum_along(masked: Masked, x: Secret, dim: int, *, keepdim: bool = False) -> Secret:
    """The ring must hold the sum."""
    needed = masked.policy.sum_bits(x.fraction_bits, x.shape[dim])
    return masked.widened(x, needed, soon=factor_bits(masked)).map(lambda t: t.sum(dim, keepdim=keepdim))


def compose(masked: Masked, bits: Secret, fraction_bits: int) -> Secret:
    """A combination of the bits with powers of two."""
    return masked.shared(bits, masked.policy.ring_bits(fraction_bits)).map(ring.from_bits, fraction_bits)


def factor_bits(masked: Masked) -> int:
    """The ring of a product of two numbers with the policy's fraction bits."""
    return masked.policy.ring_bits(2 * masked.policy.fraction_bits)
