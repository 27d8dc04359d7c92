"""One linear layer between a client and an owner in one thread."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secure.protocols.hybrid.lattice.combine import combine
from secure.protocols.hybrid.lattice.parameters import DEGREE, PLAIN_BITS
from secure.protocols.hybrid.lattice.placement import Placement
from secure.protocols.hybrid.lattice.scheme import POLYNOMIALS, KeyHolder, Owner, Scheme

Array = NDArray[Any]
MASK = np.uint64((1 << PLAIN_BITS) - 1)


@dataclass
class Layer:
    """What a layer's making gives. ciphertexts, replies: as they were sent."""

    client: Array
    owner: Array
    ciphertexts: list[bytes] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)


@cache
def sides() -> tuple[Scheme, KeyHolder, Owner]:
    scheme = Scheme()
    client = KeyHolder(scheme)
    return scheme, client, Owner(scheme, client.public_key)


def uniform(*shape: int) -> Array:
    count = int(np.prod(shape))
    return (np.frombuffer(os.urandom(8 * count), np.uint64) & MASK).reshape(shape)


def flood() -> tuple[Array, Array]:
    words = np.frombuffer(os.urandom(16 * DEGREE), np.uint64).reshape(2, DEGREE)
    return words[0] >> np.uint64(4), words[1] >> np.uint64(55)


def combined(scheme: Scheme, residues: Array, layout: Placement, weights: Array, places: Array) -> Array:
    """Shapes: uint64 [n, 2, primes, N], int64 [J, M] -> uint64 [M, 2, primes, N], zero where nothing was wanted."""
    out = np.zeros((weights.shape[1], *residues.shape[1:]), dtype=np.uint64)
    for p, prime in enumerate(scheme.primes):
        for poly in range(POLYNOMIALS):
            at = places if poly == 0 else np.arange(DEGREE)
            polynomials = np.ascontiguousarray(residues[:, poly, p])
            out[:, poly, p, at] = combine(polynomials, *layout.terms, weights.astype(np.float64), at, prime)
    return out


def make(layout: Placement, x: Array, weights: Array) -> Layer:
    """Shapes: uint64 [units, features, size], int64 [features elements, M] -> [units, wanted, M] each."""
    scheme, client, owner = sides()
    theirs, ours, sent, replies = [], [], [], []
    for group in layout.spread(x):
        payloads = [client.encrypt(plain) for plain in group]
        sent += payloads
        residues = np.stack([owner.read(payload) for payload in payloads])
        for total in combined(scheme, residues, layout, weights, layout.places):
            mask = np.zeros(DEGREE, dtype=np.uint64)
            mask[layout.places] = uniform(len(layout.places))
            replies.append(owner.reply(total, layout.places, mask, *flood()))
            theirs.append(client.decrypt(replies[-1], layout.places))
            ours.append((np.uint64(0) - mask[layout.places]) & MASK)
    return Layer(layout.gathered(theirs), layout.gathered(ours), sent, replies)
