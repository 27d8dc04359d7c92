"""What a program costs three evaluators and their dealer, known from shapes."""

from __future__ import annotations

import pytest
import torch

from secure.protocols.core.cost import Cost, CostTally
from secure.protocols.core.primitives import checked_one_hot
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.functions.softmax import softmax
from secure.protocols.witnessed.outline import WitnessedOutline
from tests.four_roles import run_evaluators
from tests.in_process import POLICY


def block(protocol: Protocol, x: Secret, chosen: Secret) -> Secret:
    with protocol.meanwhile("inputs", lambda: checked_one_hot(chosen, (4,))):
        largest = softmax(x)
    first, second = protocol.together(lambda: x * x, lambda: largest * x)
    return first + second


@pytest.mark.slow
def test_an_outline_declares_what_a_run_costs() -> None:
    tally = CostTally()
    outline = WitnessedOutline(POLICY, tally)
    outline.reveal(block(outline, outline.input(None, (4,), 16), outline.input(None, (4,), 0, 24)))
    outline.end_step()
    outline.finish()
    inputs = [torch.arange(4) << 16, torch.tensor([0, 1, 0, 0])]

    def program(protocol, shares):  # type: ignore[no-untyped-def]
        x, chosen = (protocol.input(share, (4,), *given) for share, given in zip(shares, ((16,), (0, 24)), strict=True))
        return protocol.reveal(block(protocol, x, chosen))

    _, meters, _ = run_evaluators(program, inputs)
    declared = sum((row.declared for row in tally.rows.values()), Cost())
    assert declared.rounds == meters["p0"].total.rounds
    assert declared.both_bytes == sum(meters[role].total.online_bytes for role in ("p0", "p1", "p2"))
    assert declared.dealer_bytes == meters["dealer"].total.dealer_bytes > 0
