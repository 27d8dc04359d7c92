"""A program of this family on shapes alone: see `secure.protocols.masked.outline`.

Costs are declared as two of the three parties have them, see `ReplicatedGate`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.cost import Cost, CostTally
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.core.secret import P, Parameter, Primitive, Secret, Visibility
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.outline import META, Outline, multiplications
from secure.protocols.masked.weights import PublicMatrix, PublicWeight
from secure.protocols.replicated import forms
from secure.protocols.replicated.confirming import DIGEST_BYTES
from secure.protocols.replicated.protocol import ReplicatedParty, declared_cost, name_in_meter
from secure.protocols.replicated.roles import PARTIES
from secure.protocols.replicated.secret import ReplicatedSecret
from secure.protocols.replicated.seeds import PartySeeds
from secure.protocols.replicated.weights import HelpedMatrix, SharedWeight

Result = TypeVar("Result")


class ReplicatedOutline(ReplicatedParty):
    """An execution that evaluates no gate, and declares the cost of each to its tally."""

    def __init__(self, policy: FixedPointPolicy, tally: CostTally) -> None:
        seeds = PartySeeds(*(os.urandom(SEED_BYTES) for _ in range(PARTIES)))
        super().__init__(0, seeds, b"", _Nobody(), _Nobody(), policy, meter=tally, device=META)
        self._outline, self._tally = Outline(tally), tally

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        result = super().apply(primitive, x, *args, **kwargs)
        self._tally.multiplications[self.layer_name] += multiplications(primitive, x, args, result)
        return result

    @property
    def role(self) -> Any:
        return self._outline

    def run(self, gate: Gate[Result]) -> Result:
        self.role.begin_gate()
        with self.meter.gate(self.layer_name, name_in_meter(gate), declared_cost(gate)):
            return gate.outline()

    def input(
        self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = ring.WORD_BITS
    ) -> ReplicatedSecret:
        return ReplicatedSecret(self, fraction_bits, forms.shares_given(unknown((2, *shape)), shape, bits))

    def confirm(self, held: Sequence[bytes | memoryview]) -> None:
        """Each of the three sends a digest to both others, and two of them count."""
        with self.meter.gate("input", "confirm", Cost(online_bytes=PARTIES * DIGEST_BYTES)):
            pass

    def reveal(self, x: Secret, bits: int = ring.WORD_BITS) -> Tensor:
        return forms.shares_in(self, self.own(x), bits, larger=bits).own

    def prepare(
        self,
        parameter: Parameter,
        given: Tensor | None,
        visibility: Visibility = Visibility.PRIVATE,
        keep: Keep = IN_MEMORY,
    ) -> SharedWeight | HelpedMatrix | PublicWeight | PublicMatrix:
        # What a party is given of a tensor that it sees is the tensor, and two parts of one that it does not.
        shape = parameter.shape if visibility is Visibility.PUBLIC else (2, *parameter.shape)
        return super().prepare(parameter, torch.empty(shape, dtype=torch.int64, device=META), visibility, keep)


class _Nobody(Channel):
    """The other parties, of whom nothing is asked."""

    peer = "nobody"

    def send(self, payload: Payload) -> None:
        raise ProtocolError("a program that runs on shapes has sent something")

    def receive(self) -> memoryview:
        raise ProtocolError("a program that runs on shapes waits for something")
