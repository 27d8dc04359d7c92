"""Requests that find a deal in stock."""

from __future__ import annotations

import pytest

from secure.models.contract.request import Request


@pytest.mark.parametrize(
    ("steps", "tokens", "room", "due"),
    [
        (1, 5, 1024, 1),  # a single call is dealt for as such
        (2, 5, 1024, 16),
        (16, 5, 1024, 16),
        (17, 5, 1024, 64),
        (65, 5, 1024, 256),
        (257, 5, 1024, 257),
        (2, 5, 20, 16),  # 5 tokens and 15 more, the last one of which no step takes in
        (2, 5, 19, 2),
        (20, 5, 40, 20),
    ],
)
def test_steps_are_rounded_up_to_what_is_dealt_where_there_is_room(
    steps: int, tokens: int, room: int, due: int
) -> None:
    request = Request("next_token", 1, tokens, False, steps)
    found = request.with_steps_dealt(room)
    assert found == Request("next_token", 1, tokens, False, due)
