"""Comparison and selection in one round: every pair for small widths, edges of those in use, bits that are opened."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core import bits, ring
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.profile import Profile
from secure.protocols.core.secret import Protocol
from secure.protocols.functions import compare, gelu, reciprocal_and_root, relu, silu
from secure.protocols.masked.comparison import at_once
from secure.protocols.masked.comparison.at_once import Choice, Choosing, Payload
from secure.protocols.masked.comparison.comparing import Thresholds
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.gates.piecewise import piecewise
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer
from tests.families import FAMILIES
from tests.in_process import BYTES_FIRST, EXACT, POLICY, ROUNDS_FIRST, Family, run_roles, secure
from tests.protocols.core.test_ring import random_words

NUMBER = 12345
"""A φ, and another one is its negative."""


def products(choice: Choice, opened: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
    """b φ of each payload from the protocol, and the leaves' bits that it opened. Checks the cost on the way."""
    count, cost = mask.numel(), choice.cost(mask.numel())
    leaves: list[Tensor] = []

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        role = protocol.role
        role.begin_gate()
        numbers = [torch.full((count,), NUMBER * (-1) ** i) for i in range(len(choice.payloads))]
        with role.meter.gate("", "choice", cost):
            if isinstance(role, Dealer):
                choice.deal(role, Pair(opened, mask, 64, dealt=True), numbers)
                return mask
            choosing = Choosing(role, choice, Pair(opened, None, 64, dealt=True))
            (found,) = role.open_planes(choosing.masked)
            leaves.append(found)
            wholes = [number if role.index == 0 else torch.zeros_like(number) for number in numbers]
            return torch.stack(choosing.finish(found, wholes))

    (first, second), meters, _ = run_roles(program, [])
    assert meters["p1"].total == cost
    total = first + second
    return [ring.signed(t, each.bits) for t, each in zip(total, choice.payloads, strict=True)], leaves[0]


def check(choice: Choice, x: Tensor, mask: Tensor) -> None:
    found, _ = products(choice, x + mask, mask)
    for i, (payload, each) in enumerate(zip(choice.payloads, found, strict=True)):
        below = x < choice.thresholds.values[payload.threshold]
        assert torch.equal(each, below * (NUMBER * (-1) ** i)), payload


def two_thresholds(width: int, low: int, high: int) -> Choice:
    return Choice(Thresholds((low, high), width), (Payload(0, 64), Payload(1, 40), Payload(1, 64)))


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_every_number_under_every_mask(digits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All x with |x - t| < 2^(width - 1), under all masks: so c = r, r = 0 and r = 2^k - 1 meet every digit."""
    monkeypatch.setattr(at_once, "_DIGITS", (digits,))
    choice = two_thresholds(6, -3, 2)
    masks = torch.arange(1 << choice.width)
    x = torch.arange(2 - 31, -3 + 32)
    check(choice, x.repeat(len(masks)), masks.repeat_interleave(len(x)))


@pytest.mark.parametrize("digits", [2, 3, 4])
@pytest.mark.parametrize("width", [17, 24])
def test_edges(width: int, digits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ends of the range, thresholds and their neighbours, under masks with long carries, and any."""
    monkeypatch.setattr(at_once, "_DIGITS", (digits,))
    choice = two_thresholds(width, -5, 5)
    end = (1 << (width - 1)) - 6
    x = torch.tensor([-end, -end + 1, -256, -6, -5, -4, -1, 0, 1, 4, 5, 6, 255, 256, end - 1, end])
    every = [0, 1, -1, (1 << choice.width) - 1, *(1 << j for j in range(choice.width))]
    masks = torch.cat([torch.tensor(every), x, random_words(50, seed=width)])
    check(choice, x.repeat(len(masks)), masks.repeat_interleave(len(x)))


@pytest.mark.parametrize("x", [0, -5, 4])
def test_opened_bits_are_uniform(x: int) -> None:
    """Fresh seeds for a fixed x, under masks of all kinds: each leaf's bit, and each two of them, by chi-square."""
    choice, count = two_thresholds(17, -5, 5), 1 << 14
    mask = torch.cat([torch.zeros(count // 2, dtype=torch.int64), random_words(count // 2, seed=1)])
    _, leaves = products(choice, torch.full((count,), x) + mask, mask)
    found = bits.from_planes(leaves.flatten(0, 1), count)
    for i in range(len(found)):
        for other in found[:i]:
            table = torch.bincount(2 * found[i] + other, minlength=4).to(torch.float64)
            statistic = float(((table - count / 4) ** 2).sum() / (count / 4))
            assert statistic < 35, "one in ten million with three degrees of freedom"


@pytest.mark.parametrize("profile", [ROUNDS_FIRST, BYTES_FIRST], ids=lambda profile: profile.name)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_gates_of_both_kinds(family: Family, profile: Profile) -> None:
    """The same functions, within the same errors, by one round or by two."""
    at_once, usual = (("smooth-at-once", "exp2-at-once"), ("smooth", "exp2-negative"))
    due = at_once if profile is ROUNDS_FIRST else usual
    edges = torch.tensor([8187.0, -8187.0, *(s * (4.25 + d / 2**16) for s in (1, -1) for d in (-1, 0, 1))])
    x = torch.cat([torch.linspace(-20, 20, 601), edges]).mul(2**16).round().div(2**16).to(torch.float64)
    u = torch.cat([torch.linspace(-0.25, 17, 701), torch.tensor([15.25, 15.5, 16.0, 4096.0, 16382.0])])
    u = u.mul(2**16).round().div(2**16).to(torch.float64)
    for policy in (POLICY, EXACT):
        for function, name in ((gelu.gelu, due[0]), (silu.silu, due[0]), (exp2_negative, due[1])):
            values = u if function is exp2_negative else x
            run = secure(
                lambda s, function=function: function(s), values, family=family, policy=policy, profile=profile
            )
            assert ("", name) in run.meters["p0"].rows
            if function is exp2_negative:
                error = (run.real - torch.where(u < 15.5, 2.0**-u, 0.0)).abs()
                assert float(error.max()) < 5e-5
            else:
                piecewise = gelu.GELU if function is gelu.gelu else silu.SILU
                assert float((run.real - piecewise.reference(x)).abs().max()) < piecewise.max_error


REFERENCES = [
    pytest.param(reciprocal_and_root.reciprocal_function(-1, 5, 16), id="reciprocal"),
    pytest.param(reciprocal_and_root.inverse_root_function(768, -11, 22, 17, input_bits=16), id="inverse-root"),
    pytest.param(reciprocal_and_root.fine_inverse_root(48, -5, 8, 40, input_bits=16), id="fine-inverse-root"),
    pytest.param(relu.relu_function(16), id="relu"),
    pytest.param(compare.NEGATIVE, id="negative"),
]


@pytest.mark.parametrize("profile", [ROUNDS_FIRST, BYTES_FIRST], ids=lambda profile: profile.name)
@pytest.mark.parametrize("function", REFERENCES)
def test_pieces_of_both_kinds(function: Piecewise, profile: Profile) -> None:
    """At every threshold, on both sides of it, and over the range: the same function by one round or by two."""
    low, high = function.domain
    unit = 2.0**-16
    ends = [t + d * unit for t in function.thresholds for d in (-1, 0, 1)]
    spread = torch.logspace(-11, 22, 600, base=2.0, dtype=torch.float64)
    x = torch.cat([torch.tensor([0.0, *ends], dtype=torch.float64), spread, -spread])
    x = x.mul(2**16).round().div(2**16)
    x = x[(x >= max(low, function.least)) & (x < high)]
    assert len(x) > 3 * len(function.thresholds)
    run = secure(lambda s: piecewise(s, function), x, profile=profile)
    due = "piecewise-at-once" if profile is ROUNDS_FIRST else "piecewise"
    assert ("", due) in run.meters["p0"].rows
    reference = function.reference(x)
    excess = (run.real - reference).abs() - function.max_error - function.relative_error * reference.abs()
    assert float(excess.max()) <= 2 * unit
    for meter in run.meters.values():
        assert all(row.measured.rounds in (0, row.declared.rounds) for row in meter.rows.values())
