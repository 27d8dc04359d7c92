"""Truncation and comparison on at least ten million numbers, near the bounds too: never a wrap, at most one unit off.

A wrap would be an error of 2^48 units or so. If one number in ten million wrapped, these tests would see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core import ring
from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.primitives import truncate
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.gate import GUARD_BITS, bits_to_drop
from secure.protocols.masked.gates.lift import Lift
from secure.protocols.masked.gates.opening import Open
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise
from tests.in_process import EXACT, POLICY, run_roles
from tests.protocols.arguments import on_grid

CHUNK = 1 << 19
CHUNKS = 20  # 10,485,760 numbers


def numbers(bound: int, count: int, seed: int = 0) -> Tensor:
    """|x| < bound: a quarter each near the ends, near zero, of every magnitude, and spread evenly. Ends first."""
    generator = torch.Generator().manual_seed(seed)
    quarter = count // 4
    near = torch.randint(0, min(bound, 1 << 20), (quarter,), generator=generator)
    signs = torch.randint(0, 2, (quarter,), generator=generator) * 2 - 1
    drop = torch.randint(0, 62, (quarter,), generator=generator)
    parts = [
        (bound - 1 - near) * signs,
        torch.randint(-min(bound, 1 << 17) + 1, min(bound, 1 << 17), (quarter,), generator=generator),
        (torch.randint(0, bound, (quarter,), generator=generator) >> drop) * signs,
        torch.randint(1 - bound, bound, (count - 3 * quarter,), generator=generator),
    ]
    parts[0][:2] = torch.tensor([bound - 1, 1 - bound])
    parts[1][:3] = torch.tensor([0, 1, -1])
    return torch.cat(parts)


def on_shares(x: Tensor, step: Callable[[BeaverProtocol, Tensor], Tensor], bits: int = 64) -> Tensor:
    """What the parties' results of `step` add up to, in Z_2^bits."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        share = shares[0]
        return step(protocol, torch.empty_like(x, device="meta") if share is None else share)

    (first, second), _, _ = run_roles(program, [x])
    return ring.signed(first + second, bits)


def truncate_and_lift(shift: int, bits: int) -> Callable[[BeaverProtocol, Tensor], Tensor]:
    def step(protocol: BeaverProtocol, share: Tensor) -> Tensor:
        pair = protocol.run(Open(share, bits))
        return protocol.run(Lift(pair.shift_right(shift, at_dealer=protocol.at_dealer), 64))

    return step


def units_off(found: Tensor, x: Tensor, shift: int) -> Tensor:
    return found - (x >> shift)


@pytest.mark.slow
def test_ten_million_truncations_from_64_to_48_bits() -> None:
    for seed in range(CHUNKS):
        x = numbers(1 << 62, CHUNK, seed)
        off = units_off(on_shares(x, truncate_and_lift(16, 64)), x, 16)
        assert int(off.min()) == 0 and int(off.max()) == 1, "the floor, or one unit more"


@pytest.mark.parametrize(
    ("shift", "bits"), [(1, 64), (33, 64), (48, 64), (16, 47), (16, 48), (1, 31), (28, 31), (8, 20)]
)
def test_truncations_of_other_rings(shift: int, bits: int) -> None:
    x = numbers(1 << (bits - 2), CHUNK)
    off = units_off(on_shares(x, truncate_and_lift(shift, bits)), x, shift)
    assert int(off.min()) >= 0 and int(off.max()) <= 1


def test_exact_multiples_are_truncated_exactly() -> None:
    x = numbers(1 << 46, CHUNK) << 16
    assert torch.equal(on_shares(x, truncate_and_lift(16, 64)), x >> 16)


@pytest.mark.parametrize(("shift", "bits"), [(16, 64), (33, 64), (29, 48), (17, 48), (16, 47), (11, 32)])
def test_coarser_openings_never_wrap_and_never_give_less(shift: int, bits: int) -> None:
    """Near the bounds, too: the floor of x, or of x and two units of the dropped bits more, or one unit above that."""
    x = numbers(1 << (bits - 2), CHUNK)
    dropped = bits_to_drop(bits, shift)
    assert shift - dropped >= GUARD_BITS and ring.element_bytes(bits - dropped) < ring.element_bytes(bits)

    def step(protocol: BeaverProtocol, share: Tensor) -> Tensor:
        pair = protocol.run(Open(share, bits, dropped=dropped))
        return protocol.run(Lift(pair.shift_right(shift - dropped, at_dealer=protocol.at_dealer), 64))

    inside = x.abs() < (1 << (bits - 2)) - (2 << shift)
    found = on_shares(x, step)[inside]
    assert int((found - (x[inside] >> shift)).min()) == 0
    assert int((found - ((x[inside] + (2 << dropped)) >> shift)).max()) <= 1


@pytest.mark.parametrize("bits", [63, 48, 31, 16])
def test_lift_is_exact_at_the_bounds(bits: int) -> None:
    x = numbers(1 << (bits - 2), CHUNK)
    x[0] = 1 << (bits - 2)  # what a truncation of the largest value may leave

    def step(protocol: BeaverProtocol, share: Tensor) -> Tensor:
        return protocol.run(Lift(protocol.run(Open(share, bits)), 64))

    assert torch.equal(on_shares(x, step), x)


def test_exact_mode_is_the_floor() -> None:
    """A million numbers, through the primitive that programs call."""
    for bound, bits in ((1 << 62, 64), (1 << 45, 47)):
        x = numbers(bound, CHUNK)

        def program(protocol: Protocol, shares: Sequence[Tensor | None], bits: int = bits) -> Tensor:
            secret = protocol.input(shares[0], (CHUNK,), 32, bits)
            return protocol.reveal(truncate(secret, 16))

        (first, second), _, _ = run_roles(program, [x], policy=EXACT)
        assert torch.equal(first + second, x >> 16)


def test_probabilistic_mode_rounds_up_as_often_as_it_should() -> None:
    """The unit is added with the probability of the dropped fraction, so the result is unbiased."""
    for low in (0, 1 << 14, 1 << 15, (1 << 16) - 1):
        x = (numbers(1 << 46, CHUNK) << 16) + low
        off = units_off(on_shares(x, truncate_and_lift(16, 64)), x, 16)
        assert abs(float(off.to(torch.float64).mean()) - low / 2**16) < 6 * 0.5 / CHUNK**0.5


def sign_function(threshold: float, bits: int) -> Piecewise:
    """Of numbers with 16 fraction bits, as far from the threshold as that many compared bits allow."""
    reach = 2.0 ** (bits - 1 - 16) * (1 - 2.0**-40)
    return Piecewise(
        name="below",
        thresholds=(threshold,),
        pieces=(Piece(constant=1.0), None),
        reference=lambda x: (x < threshold).to(torch.float64),
        domain=(threshold - reach, threshold + reach),
        compare_bits=bits,
        output_bits=0,
    )


def below(threshold: float, bits: int) -> Callable[[BeaverProtocol, Tensor], Tensor]:
    def step(protocol: BeaverProtocol, share: Tensor) -> Tensor:
        pair = protocol.run(Open(share, bits))
        return protocol.run(EvaluatePiecewise(pair, sign_function(threshold, bits), 16, bits))

    return step


@pytest.mark.slow
def test_ten_million_comparisons_of_32_bits() -> None:
    """x is anywhere with |x - t| < 2^31 units, and often within a few units of t."""
    threshold = 2.7
    unit_threshold = round(threshold * 2**16)
    for seed in range(CHUNKS):
        x = unit_threshold + numbers(1 << 31, CHUNK, seed)
        assert torch.equal(on_shares(x, below(threshold, 32), 32), (x < unit_threshold).to(torch.int64))


@pytest.mark.parametrize("bits", [20, 31, 47, 63])
def test_comparisons_of_other_widths(bits: int) -> None:
    x = numbers(1 << (bits - 1), CHUNK // 4)
    assert torch.equal(on_shares(x, below(0.0, bits), bits), (x < 0).to(torch.int64))


def test_products_are_within_a_unit() -> None:
    """A million products through the primitive, in both modes; an opening without eight low bits adds two of 2^8."""
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(2, CHUNK, generator=generator, dtype=torch.float64) * 181 - 90.5
    x, y = on_grid(values) * 2**16
    exact = x.to(torch.int64) * y.to(torch.int64)
    for policy, most in ((POLICY, 1), (EXACT, 0)):

        def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
            first, second = (protocol.input(share, (CHUNK,), 16) for share in shares)
            return protocol.reveal(first * second)

        (first, second), _, _ = run_roles(program, [x.to(torch.int64), y.to(torch.int64)], policy=policy)
        off = units_off(first + second, exact, 16)
        assert int(off.min()) == 0 and int((off > 1).sum()) <= CHUNK >> 6
        over = ((first + second) << 16) - exact
        assert int(over.max()) <= most * ((1 << 16) + (2 << 8))
