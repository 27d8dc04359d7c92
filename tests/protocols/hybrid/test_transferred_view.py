"""What each party sees in a session with the transfer engine: everything that is sent, beside what it sent itself.

Each element is a sample, as all have masks of their own; columns are bits. For inputs that are all one number, no bit
leans, and no affine relation holds among them: a mask that is missing or serves twice would be one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

pytest.importorskip("tenseal")

from secure.protocols.core import bits, ring
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.functions.gelu import gelu
from secure.protocols.functions.tanh import tanh
from secure.protocols.hybrid.secret import HybridSecret
from secure.protocols.masked.gates.exponential import exp2_negative
from tests.in_process import encode, split
from tests.protocols.hybrid.test_joint_view import RESULT_BITS, WIDTH, bits_of, masked_inputs, nothing_shows, program_of
from tests.protocols.hybrid.two_parties import make, use
from tests.protocols.joint_view.finding import Bits, relations

ELEMENTS = 2048


def planes_of(messages: list[bytes]) -> Bits:
    """Opened bits, as they are sent: planes one after the other. Shapes: -> [elements, planes]."""
    raw = np.frombuffer(b"".join(messages), np.uint8).reshape(-1, bits.plane_bytes(ELEMENTS))
    return np.ascontiguousarray(np.unpackbits(raw, axis=1, bitorder="little").T)


def words_of(message: bytes) -> Bits:
    """Whole bytes of numbers: those bits that lie above the ring, too. Shapes: -> [elements, bits]."""
    return bits_of(np.frombuffer(message, np.uint8).reshape(ELEMENTS, -1))


def sent(value: float, stocks: list[object], first_share: torch.Tensor) -> tuple[Bits, Bits]:
    """What P1 gets in the clear of the input, and what both send after that, P1's first."""
    shares = first_share, encode(torch.full((ELEMENTS,), value).double()) - first_share
    used = use(program_of(ELEMENTS), stocks, [shares])  # type: ignore[arg-type]
    found = ring.low(encode(torch.full((ELEMENTS,), max(value, 0.0)).double()), WIDTH)
    assert used.results[0].is_meta and used.results[1].shape == found.shape
    (given, *opened, result), (seen, *other) = used.sent
    assert len(opened) == len(other) and len(seen) == len(result) == 4 * ELEMENTS
    after = [words_of(seen), planes_of(other), planes_of(opened), words_of(result)]
    return masked_inputs(given, shares[1]), np.concatenate(after, axis=1)


@pytest.mark.parametrize("value", [0.0, pytest.param(-1.5, marks=pytest.mark.slow)])
def test_nothing_shows(value: float) -> None:
    stocks, made = make(program_of(ELEMENTS), 1, garbler="nobody")  # type: ignore[arg-type]
    share, _ = split(encode(torch.zeros(ELEMENTS).double()))
    of_input, after = sent(value, stocks, share)  # type: ignore[arg-type]
    own = bits_of(share.numpy().view(np.uint8).reshape(-1, 8))[:, :RESULT_BITS]
    nothing_shows(np.concatenate([of_input, own, after], axis=1))
    # What making sends is uniform, too: half of its bits are set, but for seven standard deviations.
    for messages in made.sent:
        raw = np.unpackbits(np.frombuffer(b"".join(messages), np.uint8))
        assert abs(raw.mean() - 0.5) < 0.01
        long = [np.unpackbits(np.frombuffer(m, np.uint8)) for m in messages if 1000 < len(m) < 300_000]
        assert all(abs(m.mean() - 0.5) < 7 * 0.5 / np.sqrt(m.size) for m in long if m.size != 8 * 8192 + 128)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (gelu, 0.0),
        pytest.param(exp2_negative, 1.5, marks=pytest.mark.slow),
        pytest.param(tanh, -5.0, marks=pytest.mark.slow),
    ],
)
def test_nothing_shows_of_waves_and_powers(function: Callable[[Secret], Secret], value: float) -> None:
    """All that both send after the input: the argument under P1's mask, opened bits, the result less P0's."""

    def program(protocol: Protocol, shares: Sequence[torch.Tensor | None]) -> torch.Tensor:
        result = function(protocol.input(shares[0], (ELEMENTS,), 16))
        assert isinstance(result, HybridSecret)
        return result.share

    stocks, _ = make(program, 1, garbler="nobody")
    share, _ = split(encode(torch.zeros(ELEMENTS).double()))
    used = use(program, stocks, [(share, encode(torch.full((ELEMENTS,), value).double()) - share)])
    (_, *given), asked = used.sent
    (*opened, result), (seen, *other) = given, asked
    assert [len(message) for message in opened] == [len(message) for message in other]
    nothing_shows(np.concatenate([words_of(seen), planes_of([*opened, *other]), words_of(result)], axis=1))


def test_a_stock_that_serves_twice_would_show() -> None:
    stocks, _ = make(program_of(ELEMENTS), 1, garbler="nobody")  # type: ignore[arg-type]
    again = copy.deepcopy(stocks)
    share, _ = split(encode(torch.zeros(ELEMENTS).double()))
    (_, first), (_, second) = sent(0.0, stocks, share), sent(1.0, again, share)  # type: ignore[arg-type]
    assert len(relations(np.concatenate([first, second], axis=1))) > WIDTH // 2
