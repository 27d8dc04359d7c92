"""Products of factors in too small rings are exact over all that those rings hold, ends included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core import ring
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.gates.lift import Lift
from secure.protocols.masked.gates.lifted import LiftedProduct, LiftedSquare
from secure.protocols.masked.gates.opening import Open, ShareMask
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Party
from tests.in_process import run_roles

COUNT = 4096


def numbers(bits: int, seed: int) -> Tensor:
    """|x| < 2^(bits - 2): the ends, zero and its neighbours, numbers of all sizes."""
    bound, generator = 1 << (bits - 2), torch.Generator().manual_seed(seed)
    spread = torch.randint(1 - bound, bound, (COUNT,), generator=generator)
    small = spread >> torch.randint(0, bits, (COUNT,), generator=generator)
    ends = torch.tensor([bound - 1, 1 - bound, 0, 1, -1, bound >> 1, -bound >> 1, 2 - bound])
    return torch.cat([ends.repeat(64), spread, small])


def on_shares(step: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """The sum of what the parties have in the end."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        given = [
            torch.empty(x.shape, dtype=torch.int64, device="meta") if share is None else share
            for share, x in zip(shares, values, strict=True)
        ]
        return step(protocol, *given)

    (first, second), _, _ = run_roles(program, list(values))
    return first + second


def lifted(protocol: BeaverProtocol, share: Tensor, bits: int, target: int) -> tuple[Pair, Tensor]:
    pair = protocol.run(Open(share, bits))
    return (pair, share) if bits >= target else (replace(pair, dealt=False), protocol.run(Lift(pair, target)))


@pytest.mark.parametrize(
    ("x_bits", "y_bits", "bits"), [(31, 20, 64), (31, 64, 64), (64, 20, 64), (31, 23, 48), (19, 48, 48), (40, 40, 64)]
)
@pytest.mark.parametrize("column", [False, True])
def test_products_are_exact(x_bits: int, y_bits: int, bits: int, column: bool) -> None:
    x = numbers(min(x_bits, bits - 8), 1).reshape(-1, 8)
    y = numbers(min(y_bits, bits - 8), 2).roll(3).reshape(-1, 8)
    if column:
        y = y[:, :1]

    def step(protocol: BeaverProtocol, *shares: Tensor) -> Tensor:
        (of_x, x_share), (of_y, y_share) = (
            lifted(protocol, share, own, bits) for share, own in zip(shares, (x_bits, y_bits), strict=True)
        )
        found = protocol.run(LiftedProduct(of_x, x_share, of_y, y_share, bits))
        mask = protocol.run(ShareMask(found)).mask
        assert mask is not None
        if not isinstance(protocol.role, Party):
            return torch.zeros(1)
        return found.opened - mask if protocol.role.index == 0 else -mask

    assert torch.equal(ring.low(on_shares(step, x, y), bits), ring.low(x * y, bits))


@pytest.mark.parametrize(("x_bits", "bits"), [(31, 64), (31, 56), (23, 48), (62, 64), (40, 64)])
def test_sums_of_squares_are_exact(x_bits: int, bits: int) -> None:
    x = numbers(x_bits, 3).reshape(-1, 8)

    def step(protocol: BeaverProtocol, share: Tensor) -> Tensor:
        pair, own = lifted(protocol, share, x_bits, bits)
        found = protocol.run(LiftedSquare(pair, own, bits))
        return torch.zeros(1) if protocol.at_dealer else found

    assert torch.equal(ring.low(on_shares(step, x), bits), ring.low((x * x).sum(-1, keepdim=True), bits))
