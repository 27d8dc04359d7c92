"""Halves of products that an evaluator computes of its two parts before there is an input, in branches, too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.factor import prepare_apart
from secure.protocols.core.primitives import linear, multiply_weight
from secure.protocols.core.secret import Parameter, Protocol, Secret
from secure.protocols.functions.softmax import softmax
from secure.protocols.masked.ahead import Ahead
from secure.protocols.masked.sharing.three_parts import splitter
from secure.protocols.witnessed.ahead import WitnessedAhead
from secure.protocols.witnessed.protocol import WitnessedParty
from tests.four_roles import EVALUATORS, run_evaluators
from tests.in_process import POLICY, RoleFailure, Tape, encode

SEEDS, DEAL = [bytes([number]) * 16 for number in range(3)], b"a deal's own name"[:16]
MATRIX, VECTOR = Parameter((8, 8), 16, opened=True), Parameter((8,), 16, opened=True)


def block(x: Secret, weight: Any, gain: Any) -> Secret:
    """Products before, within and after branches, of the same matrix under other masks each time."""
    x = linear(x, weight, None)
    first, second, third = x.protocol.together(
        lambda: linear(x, weight, None, truncated=False),
        lambda: softmax(linear(x, weight, gain)),
        lambda: multiply_weight(x * x, gain),
    )
    return linear(first + third, weight, None, residual=second, wide=True) * second


def test_every_message_is_the_same() -> None:
    generator = torch.Generator().manual_seed(3)
    x, matrix, vector = (torch.randn(shape, generator=generator) / 3 for shape in ((3, 8), (8, 8), (8,)))
    weights: dict[int | None, tuple[Any, Any]] = {}

    def load(protocol: Protocol, shares: Sequence[Tensor | None]) -> Any:
        index = protocol.index if isinstance(protocol, WitnessedParty) else None
        weights[index] = (
            protocol.prepare(MATRIX, shares[0], keep=prepare_apart),
            protocol.prepare(VECTOR, shares[1]),
        )

    def program(protocol: Protocol, shares: Sequence[Tensor | None], index: int | None = None) -> Tensor:
        index = protocol.index if isinstance(protocol, WitnessedParty) else index
        return protocol.reveal(block(protocol.input(shares[0], (3, 8), 16), *weights[index]))

    parts, session, common_seed = (
        [[torch.stack(held)] for held in splitter()(0, 0, encode(x))],
        *map(os.urandom, (16, 16)),
    )

    def serve(ahead: dict[int, list[Ahead]] | None = None) -> tuple[Any, ...]:
        of: Any = {"parts": parts, "session": session, "common_seed": common_seed, "seeds": SEEDS}
        return run_evaluators(program, [encode(x)], dealt_under=[DEAL] * 3, ahead=ahead, **of)

    run_evaluators(load, [encode(matrix), encode(vector)])
    results, meters, sent = serve()
    ahead: dict[int, list[Ahead]] = {}
    for index in range(3):
        ahead[index] = []
        for which in range(2):
            tape = Tape(sent["dealer"][: len(sent["dealer"]) // 2]) if (index + which) % 3 == 2 else None
            party = WitnessedAhead(index, which, SEEDS[(index + which) % 3], DEAL, tape, POLICY)
            program(party, [None], index)
            party.finish()
            assert len(party.made.products) == 4
            ahead[index].append(party.made)
    swapped = {index: made[::-1] for index, made in ahead.items()}
    with pytest.raises((RoleFailure, ProtocolError), match="of another deal, or of other parts"):
        serve(swapped)
    again, meters_again, sent_again = serve(ahead)
    assert all(torch.equal(mine, other) for mine, other in zip(results, again, strict=True))
    assert sent_again == sent
    assert not any(made.products for of_evaluator in ahead.values() for made in of_evaluator)
    for role in EVALUATORS:
        assert meters_again[role].total == meters[role].total
