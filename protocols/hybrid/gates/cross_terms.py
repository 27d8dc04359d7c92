"""What products of two secrets take of what one party has times what the other one has, in shares.

A term is made of A at P0 and B at P1. Numbers come from transfers, as `secure.protocols.hybrid.transfer.rows` makes
them. So do matrices, while they are small; others by the lattice. B's words are as long as the ring, and would drown in
noise of their own. So P0 encrypts A, 2^16 A and 2^32 A, and P1 multiplies with signed digits of 16 bits of B: of 128
rows, they add up to less than 2^24, which is what noise has room for. Longer sums are cut.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.lattice.exchange import Exchange
from secure.protocols.hybrid.lattice.parameters import PLAIN_BITS
from secure.protocols.hybrid.lattice.placement import Placement
from secure.protocols.hybrid.roles import Maker, as_array, as_tensor
from secure.protocols.hybrid.transfer.crossing import Crossing
from secure.protocols.hybrid.transfer.rows import RowProducts

_DIGIT_BITS = 16
_LEVELS = PLAIN_BITS // _DIGIT_BITS
_MOST_ROWS = 128
"""Rows of B whose digits, 2^15 at the most, add up to less than 2^24: three times 128 of them."""


class CrossTerm(ABC):
    """One term."""

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """What making it takes."""

    @property
    def transfers(self) -> tuple[int, int]:
        """Transfers that are drawn, by who has their Δ."""
        return 0, 0

    @abstractmethod
    def share(self, crossing: Crossing, own: Tensor, labels: Iterator[int]) -> Tensor:
        """This party's share. own: A, or B. labels: of addresses of its own that were not used."""


class OfTransfers(CrossTerm):
    """A term that is made of products of numbers with rows."""

    @property
    @abstractmethod
    def _products(self) -> RowProducts:
        """Which those are."""

    @property
    def cost(self) -> Cost:
        return self._products.crossed().cost

    @property
    def transfers(self) -> tuple[int, int]:
        return self._products.crossed().transfers


@dataclass(frozen=True)
class Elements(OfTransfers):
    """A B elementwise. Shapes: [count], [count] -> [count]."""

    count: int
    bits: int

    @property
    def _products(self) -> RowProducts:
        return RowProducts(self.count, 1, self.bits)

    def share(self, crossing: Crossing, own: Tensor, labels: Iterator[int]) -> Tensor:
        flat = as_array(own).reshape(-1)
        return as_tensor(self._products.cross(crossing, flat[:, None] if crossing.index else flat)).reshape(-1)


@dataclass(frozen=True)
class Matrices(CrossTerm):
    """A B of matrices. Shapes: [batch, rows, inner], [batch, inner, columns] -> [batch, rows, columns]."""

    batch: int
    rows: int
    inner: int
    columns: int
    bits: int


@dataclass(frozen=True)
class TransferredMatrices(OfTransfers, Matrices):
    """Every number of A times a row of B, from transfers."""

    @property
    def _products(self) -> RowProducts:
        return RowProducts(self.batch * self.rows * self.inner, self.columns, self.bits)

    def share(self, crossing: Crossing, own: Tensor, labels: Iterator[int]) -> Tensor:
        shape = self.batch, self.rows, self.inner, self.columns
        if crossing.index == 0:
            given: Array = as_array(own).reshape(-1)
        else:
            rows = np.broadcast_to(as_array(own)[:, None], shape)
            given = np.ascontiguousarray(rows).reshape(-1, self.columns)
        return as_tensor(self._products.cross(crossing, given)).reshape(shape).sum(-2)


@dataclass(frozen=True)
class EncryptedMatrices(Matrices):
    """Matrices by the lattice; bits <= PLAIN_BITS. All ciphertexts are sent before any reply: two rounds."""

    @cached_property
    def _parts(self) -> list[tuple[slice, Exchange]]:
        """Which rows of B are multiplied at once."""
        starts = range(0, self.inner, _MOST_ROWS)
        parts = [slice(start, min(start + _MOST_ROWS, self.inner)) for start in starts]
        return [
            (part, Exchange(Placement(self.rows, _LEVELS * (part.stop - part.start)), self.columns)) for part in parts
        ]

    @property
    def cost(self) -> Cost:
        of_one = sum((exchange.cost() for _, exchange in self._parts), Cost())
        return Cost(2, p0_bytes=self.batch * of_one.p0_bytes, p1_bytes=self.batch * of_one.p1_bytes)

    def share(self, crossing: Crossing, own: Tensor, labels: Iterator[int]) -> Tensor:
        maker, given = crossing.maker, as_array(ring.low(own.contiguous(), PLAIN_BITS))
        jobs = [(one, *part) for one in given for part in self._parts]
        if maker.index == 0:
            for matrix, part, exchange in jobs:
                for group in exchange.layout.spread(_lifted(matrix[:, part])[:, :, None]):
                    exchange.send(maker, group)
            found = [
                exchange.layout.gathered([c for _ in range(exchange.layout.groups) for c in exchange.receive(maker)])
                for *_, exchange in jobs
            ]
        else:
            residues = [[exchange.read(maker) for _ in range(exchange.layout.groups)] for *_, exchange in jobs]
            found = [
                self._answered(maker, groups, _digits(matrix[part]), exchange, labels)
                for groups, (matrix, part, exchange) in zip(residues, jobs, strict=True)
            ]
        whole = np.stack(found).reshape(self.batch, len(self._parts), self.rows, self.columns)
        return as_tensor(whole).sum(1)

    def _answered(
        self, maker: Maker, groups: list[Array], numbers: Array, exchange: Exchange, labels: Iterator[int]
    ) -> Array:
        """P1's share of one exchange, which are its masks, negated. Shapes: -> uint64 [rows, 1, columns]."""
        shape = len(groups), exchange.columns, len(exchange.layout.places)
        masks = as_array(ring.low(maker.words(next(labels), shape), PLAIN_BITS))
        for residues, of_group in zip(groups, masks, strict=True):
            exchange.reply(maker, residues, numbers, of_group, labels)
        return np.uint64(0) - exchange.layout.gathered(list(masks.reshape(-1, shape[2])))


def matrices(batch: int, rows: int, inner: int, columns: int, bits: int) -> CrossTerm:
    """The term whose making takes fewer bytes. Transfers that are extended are not counted: silent ones take few."""
    shape = batch, rows, inner, columns, bits
    transferred, encrypted = TransferredMatrices(*shape), EncryptedMatrices(*shape)
    fits = bits <= PLAIN_BITS and encrypted.cost.both_bytes < transferred.cost.both_bytes
    return encrypted if fits else transferred


def total(terms: list[CrossTerm]) -> tuple[Cost, tuple[int, int]]:
    """What all terms take, and the transfers that they draw."""
    drawn = [term.transfers for term in terms]
    return sum((term.cost for term in terms), Cost()), (sum(p0 for p0, _ in drawn), sum(p1 for _, p1 in drawn))


def _lifted(matrix: Array) -> Array:
    """A, 2^16 A and 2^32 A beside each other. Shapes: uint64 [rows, k] -> [rows, 3 k]."""
    low = np.uint64((1 << PLAIN_BITS) - 1)
    return np.concatenate([matrix << np.uint64(_DIGIT_BITS * i) & low for i in range(_LEVELS)], 1)


def _digits(matrix: Array) -> Array:
    """Signed digits of B, lowest first. Shapes: uint64 [k, columns], below 2^48 -> float64 [3 k, columns]."""
    left, found = matrix.view(np.int64), []
    for _ in range(_LEVELS):
        digit = left & ((1 << _DIGIT_BITS) - 1)
        digit = digit - ((digit >> (_DIGIT_BITS - 1)) << _DIGIT_BITS)
        left = (left - digit) >> _DIGIT_BITS
        found.append(digit.astype(np.float64))
    return np.concatenate(found)
