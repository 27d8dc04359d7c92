"""The test of one-hot vectors by three parties: see `secure.protocols.masked.one_hot`.

Party i holds parts i and i + 1 of y = y_0 + y_1 + y_2, hence its own part of y^2: y_i^2 + 2 y_i y_{i+1}. What each
computes of v is added to a part of a sharing of zero, and told to both others, so that all three know the verdict.

Each part comes to two parties, from a client that may send them two different ones. `ConfirmingChannel` compares them
before anything that a peer sent is read, and so before anybody acts on the verdict.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.galois_ring import DEGREE, multiply, weighted_sum
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.core.secret import Secret
from secure.protocols.masked.one_hot import Challenge, refuse, seed_of
from secure.protocols.replicated.forms import Replicated
from secure.protocols.replicated.roles import PARTIES

_NAME = "one-hot-check"


def checked_one_hot(replicated: Replicated, x: Secret, parts: Sequence[int]) -> Secret:
    """Two rounds: what is drawn, and whether all is well. Each party sends 16 + 43 w bytes to either other one.

    w: bytes of a word. Reveals: v to all three, whose parts are uniform but for their sum.
    """
    with replicated.meter.gate(replicated.layer_name, _NAME, _cost(replicated.own(x).bits)):
        # Where there are shapes alone, nothing is drawn, sent or seen.
        if not replicated.own(x).shares.own.is_meta and not _is_one_hot(replicated, x, parts):
            raise refuse()
    return x


def _cost(bits: int) -> Cost:
    """Costs are declared as two of the three parties have them, see `ReplicatedGate`; here all three send as much."""
    return Cost(rounds=2, online_bytes=PARTIES * (SEED_BYTES + DEGREE * ring.element_bytes(bits)))


def _is_one_hot(replicated: Replicated, x: Secret, parts: Sequence[int]) -> bool:
    shares, neighbours = replicated.own(x).shares, replicated.neighbours
    counts = not replicated.at_dealer
    bits, index, device = shares.bits, neighbours.index, shares.own.device
    challenge = Challenge(seed_of(neighbours.tell(os.urandom(SEED_BYTES), counts=counts)), parts, bits, device)
    y, squares, sums = challenge.sketch(shares.own)
    following = challenge.sketch(shares.following).values
    weights, of_sums = challenge.weights(len(y)), challenge.weights(len(y))
    v = weighted_sum(weights, multiply(y, y + 2 * following) - squares, bits)
    v += ring.matmul((sums - 1 if index == 0 else sums).unsqueeze(0), of_sums, bits)[0]
    v += neighbours.zero(DEGREE, device)
    told = neighbours.tell(ring.pack(v, bits).cpu().numpy().tobytes(), counts=counts)
    total = sum((ring.unpack(each, (DEGREE,), bits) for each in told), torch.zeros(DEGREE, dtype=torch.int64))
    return not bool(ring.low(total, bits).any())
