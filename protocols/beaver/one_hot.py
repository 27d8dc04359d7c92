"""The test of one-hot vectors by two parties: see `secure.protocols.masked.one_hot`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from secure.protocols.core import ring
from secure.protocols.core.galois_ring import DEGREE, weighted_sum
from secure.protocols.core.secret import Secret
from secure.protocols.masked.dealt.forms import Dealt, share_in
from secure.protocols.masked.gates.opening import Open, unknown
from secure.protocols.masked.gates.vanishing import SquaresVanish, Toss
from secure.protocols.masked.one_hot import Challenge, refuse
from secure.protocols.masked.roles import Party


def checked_one_hot(beaver: Dealt, x: Secret, parts: Sequence[int]) -> Secret:
    """Three rounds: what is drawn, sketches under a mask, and whether all is well.

    Each party sends 48 + 43 w N bytes for N vectors in words of w bytes, the dealer 43 w N.
    """
    own = beaver.own(x)
    share, bits = share_in(beaver, own, own.bits), own.bits
    seed, count = beaver.run(Toss()), math.prod(own.shape[:-1]) * len(parts)
    values = weights = unknown((count, DEGREE))
    addend = unknown((DEGREE,))
    if isinstance(beaver.role, Party) and not share.is_meta:  # before there is an input, all of this is unknown
        challenge = Challenge(seed, parts, bits, share.device)
        values, squares, sums = challenge.sketch(share)
        weights, of_sums = challenge.weights(count), challenge.weights(count)
        less_one = sums - 1 if beaver.role.index == 0 else sums
        addend = ring.matmul(less_one.unsqueeze(0), of_sums, bits)[0] - weighted_sum(weights, squares, bits)
    if not beaver.run(SquaresVanish(beaver.run(Open(values, bits)), weights, addend)):
        raise refuse()
    return x
