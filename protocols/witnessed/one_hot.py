"""The test of one-hot vectors by three evaluators: see `secure.protocols.masked.one_hot`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from secure.protocols.core import ring
from secure.protocols.core.galois_ring import DEGREE, weighted_sum
from secure.protocols.core.secret import Secret
from secure.protocols.masked.dealt.forms import Dealt, share_in
from secure.protocols.masked.gates.opening import Open, unknown
from secure.protocols.masked.one_hot import Challenge
from secure.protocols.masked.roles import Party
from secure.protocols.witnessed.gates import AllAreHere, Draw, SumVanishes


def checked_one_hot(part: Dealt, x: Secret, parts: Sequence[int]) -> Secret:
    """Four rounds: that all have the input, what is drawn, sketches under a mask, and what is to be zero.

    Each evaluator sends 16 + 43 w (N + 1) bytes for N vectors in words of w bytes, the dealer 43 w N to either holder.
    The session of a client that is refused ends with the next round, whatever it is for.
    """
    own = part.own(x)
    share, bits = share_in(part, own, own.bits), own.bits
    part.run(AllAreHere())
    seed, count = part.run(Draw()), math.prod(own.shape[:-1]) * len(parts)
    values = weights = unknown((count, DEGREE))
    addend = unknown((DEGREE,))
    if isinstance(part.role, Party) and not share.is_meta:
        challenge = Challenge(seed, parts, bits, share.device)
        values, squares, sums = challenge.sketch(share)
        weights, of_sums = challenge.weights(count), challenge.weights(count)
        less_one = sums - 1 if part.role.index == 0 else sums
        addend = ring.matmul(less_one.unsqueeze(0), of_sums, bits)[0] - weighted_sum(weights, squares, bits)
    part.run(SumVanishes(part.run(Open(values, bits)), weights, addend))
    return x
