"""Halves of products that a party computes before there is an input, in branches that share their rounds, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.ahead import BeaverAhead
from secure.protocols.core.factor import prepare_apart
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.primitives import linear, multiply_weight
from secure.protocols.core.secret import Parameter, Protocol, Secret
from secure.protocols.functions.softmax import softmax
from secure.protocols.masked.ahead import Ahead
from tests import in_process
from tests.in_process import EXACT, POLICY, Tape, encode, run_roles

SEEDS, SESSION = (bytes(range(16)), bytes(range(16, 32))), b"a deal tested so"
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


@pytest.mark.parametrize("policy", [POLICY, EXACT], ids=lambda policy: policy.truncation)
def test_every_message_is_the_same(policy: FixedPointPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    x, matrix, vector = (torch.randn(shape, generator=generator) / 3 for shape in ((3, 8), (8, 8), (8,)))
    monkeypatch.setattr(in_process, "split", lambda value: (value - 77, torch.full_like(value, 77)))
    weights: dict[str, tuple[Any, Any]] = {}

    def role_of(protocol: Protocol) -> str:
        index = getattr(protocol.role, "index", None)  # type: ignore[attr-defined]
        return "dealer" if index is None else f"p{index}"

    def load(protocol: Protocol, shares: Sequence[Tensor | None]) -> Any:
        weights[role_of(protocol)] = (
            protocol.prepare(MATRIX, shares[0], keep=prepare_apart),
            protocol.prepare(VECTOR, shares[1]),
        )

    def session(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        return protocol.reveal(block(protocol.input(shares[0], (3, 8), 16), *weights[role_of(protocol)]))

    def serve(ahead: dict[int, Ahead] | None = None) -> tuple[Any, ...]:
        given: Any = {"seeds": SEEDS, "session": SESSION, "common_seed": SESSION[:16]}
        return run_roles(session, [encode(x)], policy=policy, ahead=ahead, **given)

    run_roles(load, [encode(matrix), encode(vector)], policy=policy)
    results, meters, sent = serve()
    ahead = {}
    for index in range(2):
        tape = Tape(sent["dealer"]) if index else None
        party = BeaverAhead(index, SEEDS[index], SESSION, tape, policy)
        session(party, [None])
        party.finish()
        ahead[index] = party.made
        assert len(party.made.products) == 4
        assert party.made.size_bytes == 4 * 3 * 8 * 8
    again, meters_again, sent_again = serve(ahead)
    assert all(torch.equal(mine, other) for mine, other in zip(results, again, strict=True))
    assert sent_again == sent
    for role, meter in meters.items():
        assert meters_again[role].total == meter.total
