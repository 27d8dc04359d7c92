"""What follows from a deal's name, and what from the session that uses it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from secure.protocols.core.errors import PartyDeviates
from secure.protocols.core.secret import Protocol, multiply
from secure.protocols.masked.sharing.three_parts import splitter
from secure.protocols.witnessed.gates import AllAreHere, Draw
from secure.protocols.witnessed.protocol import Side, WitnessedParty
from secure.protocols.witnessed.witness import DIGEST_BYTES
from tests.four_roles import EVALUATORS, run_evaluators
from tests.in_process import RoleFailure
from tests.three_parties import combine

X = torch.tensor([3, -5, 7, 11]) << 16
DEAL, SEEDS = bytes(range(16)), [bytes([number]) * 16 for number in range(3)]


def product(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
    x = protocol.input(shares[0], (4,), 16)
    return protocol.reveal(multiply(x, x))


def given(x: Tensor) -> list[list[Tensor]]:
    """Each evaluator's parts of x."""
    return [[torch.stack(held)] for held in splitter()(0, 0, x)]


def first_of_p0(
    session: bytes, deal: bytes, common_seed: bytes, parts: list[list[Tensor]]
) -> tuple[bytes, bytes, Tensor]:
    """The digest and the masked part of p0's first message to p1, and the product."""
    results, _, sent = run_evaluators(
        product, [X], session=session, dealt_under=[deal] * 3, seeds=SEEDS, common_seed=common_seed, parts=parts
    )
    first = sent["p0"][0]
    return first[:DIGEST_BYTES], first[DIGEST_BYTES:], combine(results)


def test_masks_follow_from_the_deal_and_digests_from_all_three() -> None:
    """So the same deal in two sessions would tell the difference of their inputs: no party uses it twice."""
    session, common_seed, parts = os.urandom(16), os.urandom(16), given(X)
    digest, message, due = first_of_p0(session, DEAL, common_seed, parts)
    assert torch.equal(due, first_of_p0(session, DEAL, common_seed, parts)[2])
    other_session = first_of_p0(os.urandom(16), DEAL, common_seed, parts)
    other_seed = first_of_p0(session, DEAL, os.urandom(16), parts)
    other_deal = first_of_p0(session, DEAL[::-1], common_seed, parts)
    assert len({digest, other_session[0], other_seed[0], other_deal[0]}) == 4
    assert message == other_session[1] == other_seed[1] != other_deal[1]


def test_evaluators_that_take_different_deals_stop_at_the_start() -> None:
    """A second fence: their handshakes have compared the name already."""
    for odd in range(3):
        deals = [DEAL[::-1] if index == odd else DEAL for index in range(3)]
        with pytest.raises((RoleFailure, PartyDeviates)) as caught:
            run_evaluators(product, [X], dealt_under=deals)
        errors = caught.value.errors if isinstance(caught.value, RoleFailure) else {}
        found = [error for error in errors.values() if isinstance(error, PartyDeviates)]
        assert found and all("the start" in str(error) for error in found)


def test_what_is_drawn_is_fresh_in_each_session_of_whatever_deal() -> None:
    """The words that are opened are the deal's; the secret that is hashed with them is not."""
    drawn: list[bytes] = []

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        x = protocol.input(shares[0], (4,), 16)
        if isinstance(protocol, WitnessedParty):
            protocol.for_both(lambda which, side: side.run(AllAreHere()))
            drawn.extend(protocol.for_both(lambda which, side: side.run(Draw())))
        else:
            assert isinstance(protocol, Side)
            protocol.run(AllAreHere())
            protocol.run(Draw())
        return protocol.reveal(x)

    session, common_seed = os.urandom(16), os.urandom(16)
    for beginning in ((session, common_seed), (os.urandom(16), common_seed), (session, os.urandom(16))):
        run_evaluators(
            program, [X], session=beginning[0], common_seed=beginning[1], dealt_under=[DEAL] * 3, seeds=SEEDS
        )
    assert len(drawn) == 2 * len(EVALUATORS) * 3 and len(set(drawn)) == 3
