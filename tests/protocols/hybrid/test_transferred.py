"""What two parties make of transfers is what a dealer would deal, and gates that use it give what they should."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("tenseal")

from secure.protocols.core import bits, ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.core.secret import Secret
from secure.protocols.functions.relu import maximum, relu, relu_function
from secure.protocols.hybrid.protocol import HybridMaker, fresh_stock
from secure.protocols.hybrid.roles import Maker
from secure.protocols.hybrid.transfer import pieces
from secure.protocols.hybrid.transfer.comparison import bits_of_sum
from secure.protocols.hybrid.transfer.crossing import Crossing
from secure.protocols.hybrid.transfer.making import Making
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise, piecewise
from secure.protocols.masked.pair import Pair
from tests.in_process import POLICY
from tests.protocols.hybrid.test_costs import check
from tests.protocols.hybrid.two_parties import both, secure

ULP = 2.0**-16
STEPS = Piecewise(
    name="steps",
    thresholds=(-2.0, 0.5, 3.0),
    pieces=(Piece(constant=-1.0), None, Piece(constant=0.25, slope=2.0), Piece(constant=7.0)),
    reference=lambda x: torch.where(x < -2, -1.0, torch.where(x < 0.5, 0.0, torch.where(x < 3, 0.25 + 2 * x, 7.0))).to(
        x.dtype
    ),
    domain=(-4096.0, 4096.0),
)
"""Constants, a slope of two, and three thresholds."""
ROUNDS = Profile("rounds", 1 << 40)
"""What makes comparisons take few rounds: digits of eight bits, merged at once."""


class _Written:
    """What a dealer shares, as it is, for masks that are given."""

    def __init__(self, planes: Sequence[Tensor]) -> None:
        self._planes = list(planes)
        self.device = torch.device("cpu")
        self.shared: list[Tensor] = []

    def mask_planes(self, shape: tuple[int, ...]) -> Tensor:
        found = self._planes.pop(0)
        assert found.shape == shape
        return found

    def share_planes(self, planes: Tensor) -> None:
        self.shared.append(planes)

    def share(self, value: Tensor, width: int) -> None:
        self.shared.append(ring.low(value, width))


def made(gate: EvaluatePiecewise, mask: tuple[Tensor, Tensor]) -> tuple[list[list[Any]], list[list[Tensor]]]:
    """What both parties keep of a making, and their shares of masks on planes, in the gate's order."""
    session, kept, drawn = os.urandom(16), [[], []], [[], []]  # type: ignore[var-annotated]

    class Recording(Making):
        def mask_planes(self, shape: tuple[int, ...]) -> Any:
            found = super().mask_planes(shape)
            drawn[self.index].append(torch.from_numpy(found.copy()))
            return found

        def keep(self, planes: Any) -> None:
            kept[self.index].append(torch.from_numpy(np.ascontiguousarray(planes).copy()))

        def keep_words(self, words: Any, width: int) -> None:
            kept[self.index].append(torch.from_numpy(words.view(np.int64).copy()))

    def run(index: int, channel: Channel, meter: Meter) -> None:
        protocol = HybridMaker(fresh_stock(index, session, "nobody"), channel, POLICY, meter=meter)
        for sender, count in enumerate(pieces.crossed(gate).transfers):
            protocol.carry_out_refills(sender, count)
        role = protocol.role
        assert isinstance(role, Maker)
        role.begin_gate()
        pieces.make(Recording(role), gate, mask[index].numpy().view(np.uint64))

    both(run)
    return kept, drawn


@pytest.mark.parametrize("profile", [NEAR, ROUNDS], ids=["bytes", "rounds"])
@pytest.mark.parametrize("function", [relu_function(16), STEPS], ids=["relu", "steps"])
def test_halves_add_up_to_what_a_dealer_shares(function: Piecewise, profile: Profile) -> None:
    """Share for share, in the same order, for random masks and extreme ones."""
    count, width = 53, 47
    mask = torch.randint(-(2**62), 2**62, (count,))
    mask[:6] = torch.tensor([0, -1, 1, 1 << 30, (1 << 30) - 1, 1 << 46])
    first = torch.randint(-(2**62), 2**62, (count,))
    halves = first, mask - first
    gate = EvaluatePiecewise(Pair(unknown((count,)), mask, width, dealt=True), function, 16, width, profile)
    kept, drawn = made(gate, halves)
    dealer = _Written([a ^ b for a, b in zip(*drawn, strict=True)])
    gate.deal(dealer)  # type: ignore[arg-type]
    assert len(dealer.shared) == len(kept[0]) == len(kept[1])
    for due, one, other in zip(dealer.shared, *kept, strict=True):
        if due.dtype == torch.uint8:
            found = (one ^ other).reshape(due.shape)
            same = [bits.from_planes(planes, count) for planes in (found, due)]
        else:
            same = [ring.low(one + other, width).reshape(due.shape), due]
        assert torch.equal(*same)
        # Each half looks like nothing: half of its bits are set, but for seven standard deviations.
        for half in (one, other):
            raw = np.unpackbits(half.numpy().view(np.uint8))
            assert abs(raw.mean() - 0.5) < 7 * 0.5 / np.sqrt(raw.size) or raw.size < 500


def program_of(function: Piecewise) -> Callable[[Secret], Secret]:
    return lambda x: piecewise(x, function)


def rows(*near: float, largest: float) -> Tensor:
    """Around each threshold to the last bit, at both ends, and between."""
    around = [t + k * ULP for t in (0.0, *near) for k in (-2, -1, 0, 1, 2)]
    ends = [sign * (largest - k * ULP) for sign in (-1, 1) for k in (1, 2, 3)]
    return torch.cat([torch.tensor([*around, *ends], dtype=torch.float64), 100 * torch.randn(77, dtype=torch.float64)])


def rounded(x: Tensor) -> Tensor:
    return torch.round(x / ULP) * ULP


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (relu_function(16), rows(largest=2.0**13)),
        (STEPS, rows(-2.0, 0.5, 3.0, largest=4096.0)),
    ],
    ids=["relu", "steps"],
)
def test_functions_of_straight_pieces(function: Piecewise, x: Tensor) -> None:
    run = secure(program_of(function), x, garbler="nobody")
    check(run)
    assert torch.equal(run.real, function.reference(rounded(x)))


def test_the_larger_of_two() -> None:
    x, y = (rounded(8191 * (2 * torch.rand(5, 9, dtype=torch.float64) - 1)) for _ in range(2))
    x[0], y[0] = 8191, -8191
    x[1] = y[1]
    run = secure(maximum, x, y, garbler="nobody")
    check(run)
    assert torch.equal(run.real, torch.maximum(x, y))


def test_lifts() -> None:
    """To each size of ring, of numbers at both ends."""
    x = rows(largest=2.0**13)
    for width in (48, 55, 56, 64):
        run = secure(lambda x, width=width: relu(x).protocol.widened(relu(x), width), x, garbler="nobody")  # type: ignore[attr-defined]
        check(run)
        assert torch.equal(run.real, torch.relu(rounded(x)))


def test_sums_bit_by_bit() -> None:
    halves = [torch.randint(-(2**62), 2**62, (19,)) for _ in range(2)]
    session = os.urandom(16)

    def run(index: int, channel: Channel, meter: Meter) -> Tensor:
        protocol = HybridMaker(fresh_stock(index, session, "nobody"), channel, POLICY, meter=meter)
        for sender in (0, 1):
            protocol.carry_out_refills(sender, 24 * 40)
        assert isinstance(protocol.role, Maker)
        protocol.role.begin_gate()
        return torch.from_numpy(bits_of_sum(Crossing(protocol.role), halves[index].numpy().view(np.uint64), 41))

    first, second = both(run).results
    found = bits.from_planes(first ^ second, 19)
    assert torch.equal(found, ring.to_bits(sum(halves), 41).T)  # type: ignore[arg-type]


def test_what_is_not_made_is_refused_by_name() -> None:
    leaky = Piecewise("leaky", (0.0,), (Piece(slope=0.5), Piece(slope=1.0)), torch.relu, (-100.0, 100.0))
    with pytest.raises(ConfigurationError, match="cannot compute leaky with engine"):
        secure(program_of(leaky), torch.zeros(3).double(), garbler="nobody")
