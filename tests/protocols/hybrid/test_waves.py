"""Functions with trigonometric sums, and powers of two, from what two parties made: the shares, and the results."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("tenseal")

from secure.protocols.core import integer_functions, ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.kernels import harmonics, powers
from secure.protocols.core.secret import Secret
from secure.protocols.functions import gelu, reciprocal_and_root, softmax, tanh
from secure.protocols.hybrid.protocol import HybridMaker, fresh_stock
from secure.protocols.hybrid.roles import Maker
from secure.protocols.hybrid.transfer import powers as made_powers
from secure.protocols.hybrid.transfer.crossing import Crossed, Crossing
from secure.protocols.hybrid.transfer.lifting import crossed_lift, lifted
from secure.protocols.hybrid.transfer.making import Making
from secure.protocols.hybrid.transfer.waves import Waves
from secure.protocols.masked.gates.exponential import FACTOR_BITS, RANGE_BITS, RING_BITS, exp2_negative
from tests.in_process import POLICY
from tests.protocols.hybrid.test_costs import check
from tests.protocols.hybrid.test_transferred import rounded, rows
from tests.protocols.hybrid.two_parties import both, secure

ULP = 2.0**-16
PERIODS = harmonics.Harmonics(((2**20 - 1, 0, 4), (2**30 - 1, 6, 0)), (1, 2, 5))
"""One whose units are coarser than those of angles, and one whose units are finer."""


def halves(*special: int, count: int = 301) -> tuple[Tensor, Tensor]:
    """Random masks and those that are special, in two parts of which the first is special, too, now and then."""
    mask, first = torch.randint(-(2**62), 2**62, (2, count))
    mask[: len(special)] = torch.tensor(special)
    first[2 : 2 + len(special)] = torch.tensor(special)
    return first, mask - first


def crossing_of(made: Crossed, run: Callable[[Maker], Any]) -> list[Any]:
    """What run gives both parties, once there are transfers; what it sends is what is declared."""
    session = os.urandom(16)

    def party(index: int, channel: Channel, meter: Meter) -> Any:
        protocol = HybridMaker(fresh_stock(index, session, "nobody"), channel, POLICY, meter=meter)
        for sender, count in enumerate(made.transfers):
            protocol.carry_out_refills(sender, count)
        assert isinstance(protocol.role, Maker)
        protocol.role.begin_gate()
        with meter.gate("", "making", made.cost):
            found = run(protocol.role)
        row = meter.rows["", "making"]
        assert row.measured == row.declared.at(f"p{index}")
        return found

    return both(party).results


@pytest.mark.parametrize(("basis_bits", "bits"), [(14, 43), (22, 64), (26, 64)])
def test_waves_are_the_dealers_to_a_unit_or_so(basis_bits: int, bits: int) -> None:
    parts = halves(0, -1, 1, 2**18, 2**19, 2**29)
    waves = Waves(PERIODS, len(parts[0]), basis_bits, bits)

    def run(maker: Maker) -> np.ndarray:  # type: ignore[type-arg]
        return waves.make(Crossing(maker), parts[maker.index].numpy().view(np.uint64))

    first, second = crossing_of(waves.crossed(), run)
    found = ring.signed(torch.from_numpy((first + second).view(np.int64)), bits)
    due = harmonics.basis(parts[0] + parts[1], PERIODS, integer_functions.SCALE_BITS - basis_bits)
    # What dropping and rounding are off by; and in units of the tables, the fifth harmonic of three floors of angles of
    # 2^-24 turns, and ten of the tables' own on each side.
    most = 1.2 + 0.5 + 2.0 ** (basis_bits - integer_functions.SCALE_BITS) * (5 * 3 * 4 * 2 * torch.pi + 20)
    assert (found - due).abs().max() <= most
    for half in (first, second):
        low = half & np.uint64(2 ** (basis_bits - 2) - 1)
        assert abs(low.mean() / 2.0 ** (basis_bits - 2) - 0.5) < 7 / np.sqrt(12 * low.size)


def test_lifts_of_shares() -> None:
    values = torch.cat([torch.tensor([0, 1, -1, 2**14 - 1, 1 - 2**14]), torch.randint(-(2**14) + 1, 2**14, (300,))])
    first, _ = halves(0, -1, 2**15, 2**15 - 1, count=len(values))
    parts = first, values - first

    def run(maker: Maker) -> np.ndarray:  # type: ignore[type-arg]
        return lifted(Crossing(maker), parts[maker.index].numpy().view(np.uint64), 16, 50)

    one, other = crossing_of(crossed_lift(len(values), 16, 50), run)
    assert torch.equal(ring.signed(torch.from_numpy((one + other).view(np.int64)), 50), values)


def test_powers_are_the_dealers_to_a_unit_or_so() -> None:
    parts = halves(0, -1, 1, 2**20 - 1, 2**20, 2**19, 2**16)
    count, kept = len(parts[0]), [[], []]  # type: ignore[var-annotated]

    class Recording(Making):
        def keep_words(self, words: Any, width: int) -> None:
            kept[self.index].append(words.copy())

    def run(maker: Maker) -> None:
        made_powers.make(Recording(maker), parts[maker.index].numpy().view(np.uint64))

    crossing_of(made_powers.crossed(count), run)
    found = [ring.low(torch.from_numpy((a + b).view(np.int64)), RING_BITS) for a, b in zip(*kept, strict=True)]
    due = powers.power_of_mask(parts[0] + parts[1], RANGE_BITS, FACTOR_BITS)
    assert ((found[0] - due).abs() <= 1.5 + due * 2.0**-15).all()
    # Bit masks times it: nothing, or exactly that; each for about half of all.
    for masked in found[1:]:
        chosen = masked != 0
        assert torch.equal(masked[chosen], found[0][chosen]) and 0.3 < chosen.double().mean() < 0.7


FUNCTIONS: dict[str, tuple[Callable[[Secret], Secret], Any, Tensor]] = {
    "gelu": (gelu.gelu, gelu.GELU, torch.cat([rows(-4.25, 4.25, largest=8187.0), torch.linspace(-4.5, 4.5, 181)])),
    "tanh": (tanh.tanh, tanh.TANH, torch.cat([rows(-4.0, 4.0, largest=2.0**13), torch.linspace(-4.5, 4.5, 181)])),
    "reciprocal": (
        reciprocal_and_root.reciprocal,
        reciprocal_and_root.reciprocal_function(-4, 13),
        torch.cat([2.0 ** torch.linspace(-4, 12.999, 181), torch.tensor([0.0, ULP, 2.0**-4 - ULP, 0.125 - ULP])]),
    ),
    "rsqrt": (
        reciprocal_and_root.rsqrt,
        reciprocal_and_root.inverse_root_function(1, -8, 13, input_bits=16),
        torch.cat([2.0 ** torch.linspace(-8, 12.999, 181), torch.tensor([0.0, 2.0**-8 - ULP, 0.25 - ULP, 0.25])]),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_with_waves(name: str) -> None:
    function, pieces, x = FUNCTIONS[name]
    run = secure(function, x.double(), garbler="nobody")
    check(run)
    exact = pieces.reference(rounded(x.double()))
    assert ((run.real - exact).abs() <= pieces.max_error + pieces.relative_error * exact.abs()).all()


def test_exponentials() -> None:
    """At both ends, around every whole number, where results become zero, and as far as arguments go."""
    near = [k + j * ULP for k in (0, 1, 2, 8, 15, 15.25, 15.5, 16, 32) for j in (-2, -1, 0, 1, 2)]
    far = [-0.25 + ULP, 4096.0, 8191.0]
    u = torch.cat([torch.tensor([*near, *far]).double(), torch.linspace(-0.24, 16, 300).double()])
    run = secure(exp2_negative, u, garbler="nobody")
    check(run)
    u = rounded(u)
    between = (u >= 15.25) & (u < 15.5)
    error = torch.where(between, run.real.abs() - 2.0**-15.25, (run.real - torch.where(u < 15.5, 2.0**-u, 0.0)).abs())
    assert error.max() < 1.1e-4


def test_softmax() -> None:
    """Equal scores, one that is far above all others, masked ones, and some at random."""
    scores = 3 * torch.randn(6, 9, dtype=torch.float64)
    scores[0], scores[1, 3], scores[2, 4:] = 7.0, 60.0, scores[2, 4:] + softmax.MASKED
    run = secure(softmax.softmax, scores, garbler="nobody")
    check(run)
    assert (run.real - torch.softmax(rounded(scores), -1)).abs().max() < 1e-4 + 3.1e-5 * 8
