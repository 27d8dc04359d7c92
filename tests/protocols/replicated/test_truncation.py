"""The replicated family: truncations, lifts, comparisons and products near their bounds, never a wrap.

The default run tries half a million numbers each; the runs over ten million are marked slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.primitives import truncate
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise
from secure.protocols.replicated.gates.resharing import LiftShares, Reshare, Truncate
from secure.protocols.replicated.protocol import ReplicatedParty
from secure.protocols.replicated.secret import ReplicatedSecret
from secure.protocols.replicated.shares import Shares, Side, pair_of
from tests.in_process import EXACT, POLICY
from tests.protocols.arguments import on_grid
from tests.protocols.beaver.test_truncation import CHUNK, CHUNKS, numbers, sign_function, units_off
from tests.three_parties import combine, run_parties

Step = Callable[[ReplicatedParty, Side, Shares], Shares]


def on_shares(x: Tensor, step: Step, bits: int, helper: int = 0) -> Tensor:
    """What the parties' results of `step` add up to, where x is given in Z_2^bits. The result's ring is read off."""
    rings: list[int] = []

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, ReplicatedParty)
        secret = protocol.input(shares[0], tuple(x.shape), 16, bits)
        assert isinstance(secret, ReplicatedSecret)
        protocol.helper = helper
        found = step(protocol, protocol.role, secret.shares)
        rings.append(found.bits)
        return ring.low(torch.stack([found.own, found.following]), found.bits)

    results, _, _ = run_parties(program, [x])
    return ring.signed(combine(results), rings[0])


def dropping(shift: int) -> Step:
    return lambda protocol, role, shares: protocol.run(Truncate(pair_of(role, shares), shift))


@pytest.mark.parametrize(
    ("shift", "bits"), [(16, 64), (1, 64), (33, 64), (48, 64), (16, 47), (16, 48), (1, 31), (28, 31), (8, 20)]
)
def test_truncations_are_off_by_a_unit_at_most(shift: int, bits: int) -> None:
    x = numbers(1 << (bits - 2), CHUNK)
    off = units_off(on_shares(x, dropping(shift), bits, helper=shift % 3), x, shift)
    assert int(off.min()) >= 0 and int(off.max()) <= 1


def test_exact_multiples_are_truncated_exactly() -> None:
    x = numbers(1 << 46, CHUNK) << 16
    assert torch.equal(on_shares(x, dropping(16), 64), x >> 16)


def test_the_unit_is_added_as_often_as_it_should() -> None:
    """With the probability of the dropped fraction, so the result is unbiased."""
    for low in (0, 1 << 14, 1 << 15, (1 << 16) - 1):
        x = (numbers(1 << 46, CHUNK) << 16) + low
        off = units_off(on_shares(x, dropping(16), 64), x, 16)
        assert abs(float(off.to(torch.float64).mean()) - low / 2**16) < 6 * 0.5 / CHUNK**0.5


@pytest.mark.parametrize(("bits", "larger"), [(63, 64), (48, 64), (31, 64), (31, 48), (19, 48), (16, 64), (4, 21)])
def test_lift_is_exact_at_the_bounds(bits: int, larger: int) -> None:
    x = numbers(1 << (bits - 2), CHUNK)
    x[0] = 1 << (bits - 2)  # what a truncation of the largest value may leave

    def step(protocol: ReplicatedParty, role: Side, shares: Shares) -> Shares:
        return protocol.run(LiftShares(shares, pair_of(role, shares), larger))

    assert torch.equal(on_shares(x, step, bits, helper=bits % 3), x)


def below(threshold: float, bits: int) -> Step:
    def step(protocol: ReplicatedParty, role: Side, shares: Shares) -> Shares:
        gate = EvaluatePiecewise(pair_of(role, shares), sign_function(threshold, bits), 16, bits)
        return protocol.run(Reshare(protocol.run(gate), bits))

    return step


@pytest.mark.parametrize("bits", [20, 31, 32, 47, 63])
def test_comparisons_near_the_threshold_and_at_the_bounds(bits: int) -> None:
    x = numbers(1 << (bits - 1), CHUNK)
    assert torch.equal(on_shares(x, below(0.0, bits), bits, helper=bits % 3), (x < 0).to(torch.int64))


def _products(policy: FixedPointPolicy, seed: int) -> Tensor:
    """How many units products of two numbers are too large by."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2, CHUNK, generator=generator, dtype=torch.float64) * 181 - 90.5
    x, y = (on_grid(values) * 2**16).to(torch.int64)

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        first, second = (protocol.input(share, (CHUNK,), 16) for share in shares)
        return protocol.reveal(first * second)

    results, _, _ = run_parties(program, [x, y], policy=policy)
    return units_off(combine(results), x * y, 16)


@pytest.mark.parametrize(("policy", "most"), [(POLICY, 1), (EXACT, 0)], ids=["probabilistic", "exact"])
def test_products_are_within_a_unit(policy: FixedPointPolicy, most: int) -> None:
    off = _products(policy, 3)
    assert int(off.min()) == 0 and int(off.max()) == most


def test_exact_mode_is_the_floor() -> None:
    for bound, bits in ((1 << 62, 64), (1 << 45, 47)):
        x = numbers(bound, CHUNK)

        def program(protocol: Protocol, shares: Sequence[Tensor | None], bits: int = bits) -> Tensor:
            return protocol.reveal(truncate(protocol.input(shares[0], (CHUNK,), 32, bits), 16))

        results, _, _ = run_parties(program, [x], policy=EXACT)
        assert torch.equal(combine(results), x >> 16)


@pytest.mark.slow
def test_ten_million_truncations_from_64_to_48_bits() -> None:
    for seed in range(CHUNKS):
        x = numbers(1 << 62, CHUNK, seed)
        off = units_off(on_shares(x, dropping(16), 64, helper=seed % 3), x, 16)
        assert int(off.min()) == 0 and int(off.max()) == 1, "the floor, or one unit more"


@pytest.mark.slow
def test_ten_million_comparisons_of_32_bits() -> None:
    """x is anywhere with |x - t| < 2^31 units, and often within a few units of t."""
    threshold = 2.7
    unit_threshold = round(threshold * 2**16)
    for seed in range(CHUNKS):
        x = unit_threshold + numbers(1 << 31, CHUNK, seed)
        found = on_shares(x, below(threshold, 32), 33, helper=seed % 3)
        assert torch.equal(found, (x < unit_threshold).to(torch.int64))


@pytest.mark.slow
def test_ten_million_products() -> None:
    for seed in range(CHUNKS):
        off = _products(POLICY, seed)
        assert int(off.min()) == 0 and int(off.max()) == 1
