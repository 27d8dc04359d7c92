"""From a number to its bits and back."""

from __future__ import annotations

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.primitives import compose
from secure.protocols.core.secret import Secret
from secure.protocols.masked.gates.decompose import decompose


def to_bits(x: Secret, count: int) -> Secret:
    """The `count` lowest bits of x in two's complement, lowest first, each 0 or 1 with no fraction bits.

    Shapes: any -> [..., count]. Range: the policy's; bits from the policy's value bits on are copies of the sign.
    Exact. Reveals nothing. Raises ProtocolError for a count of none or of more than x's ring holds.
    """
    most = x.protocol.policy.ring_bits(x.fraction_bits)
    if not 1 <= count <= most:
        raise ProtocolError(f"a number with {x.fraction_bits} fraction bits has 1 to {most} bits, not {count}")
    return decompose(x, count)


def from_bits(bits: Secret, fraction_bits: int) -> Secret:
    """The number whose bits in two's complement lie along the last axis, lowest first; the highest is the sign.

    Shapes: [..., count] -> [...]. Range: bits are 0 or 1, the number is in the policy's. Exact, local, reveals nothing.
    Raises ProtocolError where the bits are no integers, or too many.
    """
    most = bits.protocol.policy.ring_bits(fraction_bits)
    if bits.fraction_bits or not 1 <= bits.shape[-1] <= most:
        raise ProtocolError(
            f"a number with {fraction_bits} fraction bits has 1 to {most} bits without fraction bits of their own, "
            f"not {bits.shape[-1]} with {bits.fraction_bits}"
        )
    return compose(bits, fraction_bits)
