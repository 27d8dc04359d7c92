"""A matrix that P0 has times one that P1 has, in shares: encrypted, combined and sent back under masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.lattice.combine import combine
from secure.protocols.hybrid.lattice.parameters import DEGREE, FLOOD_BITS
from secure.protocols.hybrid.lattice.placement import Placement
from secure.protocols.hybrid.lattice.scheme import POLYNOMIALS, PRIMES, encrypted_bytes, reply_bytes
from secure.protocols.hybrid.roles import Maker, as_array


@dataclass(frozen=True)
class Exchange:
    """Ciphertexts of P0's features up, and one for each column of P1's matrix down; group by group of units.

    The norm of a column, of integers, is below 2^MOST_NORM_BITS: see `secure.protocols.hybrid.lattice.parameters`.
    Cost: one round for all groups that are sent before any is received, and one for their replies.
    Reveals: nothing, under the assumptions there: P1 sees ciphertexts, P0 decrypts sums with masks of P1's own.
    """

    layout: Placement
    columns: int

    def cost(self) -> Cost:
        """Bytes, and no round."""
        up = self.layout.groups * self.layout.polynomials * encrypted_bytes()
        down = self.layout.groups * self.columns * reply_bytes(len(self.layout.places))
        return Cost(p0_bytes=up, p1_bytes=down)

    def send(self, maker: Maker, group: Array) -> None:
        """P0's plaintexts of one group. Shapes: uint64 [polynomials, N]."""
        for plain in group:
            maker.send(maker.client.encrypt(plain))

    def receive(self, maker: Maker) -> Iterator[Array]:
        """What P0 decrypts of one group, column by column. Shapes: -> uint64 [places] each."""
        for _ in range(self.columns):
            reply = maker.receive(reply_bytes(len(self.layout.places)))
            yield maker.client.decrypt(reply, self.layout.places)

    def read(self, maker: Maker) -> Array:
        """One group's ciphertexts at P1. Shapes: -> uint64 [polynomials, 2, primes, N]."""
        payloads = [maker.receive(encrypted_bytes()) for _ in range(self.layout.polynomials)]
        return np.stack([maker.owner.read(payload) for payload in payloads])

    def reply(self, maker: Maker, residues: Array, numbers: Array, masks: Array, labels: Iterator[int]) -> None:
        """P1's replies for one group. labels: of addresses that floods come from.

        Shapes: as `read`, float64 [features, columns], uint64 [columns, places].
        """
        for total, of_column in zip(self._combined(maker, residues, numbers), masks, strict=True):
            mask = np.zeros(DEGREE, dtype=np.uint64)
            mask[self.layout.places] = of_column
            words = as_array(maker.words(next(labels), (POLYNOMIALS, DEGREE)))
            flood = words[0] >> np.uint64(4), words[1] >> np.uint64(124 - FLOOD_BITS)
            maker.send(maker.owner.reply(total, self.layout.places, mask, *flood))

    def _combined(self, maker: Maker, residues: Array, numbers: Array) -> Array:
        """A ciphertext of every column, zero where nothing of it is wanted.

        Shapes: uint64 [polynomials, 2, primes, N] -> [columns, 2, primes, N].
        """
        found = np.zeros((self.columns, POLYNOMIALS, PRIMES, DEGREE), dtype=np.uint64)
        for p, prime in enumerate(maker.scheme.primes):
            for part, places in enumerate((self.layout.places, np.arange(DEGREE))):
                source = np.ascontiguousarray(residues[:, part, p])
                found[:, part, p, places] = combine(source, *self.layout.terms, numbers, places, prime)
        return found
