"""A role of which nothing but shapes is asked: what a program costs, known before anybody shares anything.

Which gate comes next, and what it costs, follows from shapes and rings alone. So a program runs on tensors that have a
shape and no numbers: no mask is drawn, nothing is dealt, sent or computed, and the tally holds what gates declare. That
they cost what they declare is the conformance tests' business.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import Factor
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.core.primitives import linear
from secure.protocols.core.secret import Primitive, Secret, matmul
from secure.protocols.masked.ahead import PartyAhead
from secure.protocols.masked.weights import PublicMatrix, ServerMatrix

META = torch.device("meta")


class Outline(PartyAhead):
    """A party's place before there is an input, of which not even masks are known."""

    def __init__(self, meter: Meter) -> None:
        # A party has a seed. Nothing is drawn from this one, and nobody else has it.
        super().__init__(0, os.urandom(SEED_BYTES), b"", None, META)
        self.meter = meter


class NoFactor(Factor):
    """A right factor of products that nobody computes."""

    def product(self, xs: Sequence[Tensor], bits: int) -> Tensor:
        raise ProtocolError("a program that runs on shapes has computed a product")


def multiplications(primitive: Primitive[Any], x: Secret, args: Sequence[object], result: Secret) -> int:
    """How many numbers a party multiplies in the matrix products of a primitive; what else it does goes with bytes.

    Of two factors that nobody knows it multiplies the opened form of each with its share of the other, or its mask.
    """
    if primitive not in (matmul, linear):
        return 0
    alone = isinstance(args[0], PublicMatrix | ServerMatrix)
    return (1 if alone else 2) * math.prod(result.shape) * x.shape[-1]


def keep_nothing(ys: Sequence[Tensor], bits: int) -> Factor:
    """How an outline keeps the matrices of a model: not at all."""
    return NoFactor()
