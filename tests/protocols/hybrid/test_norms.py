"""Squares, norms and products with the owner's tensors elementwise from what two parties made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

pytest.importorskip("tenseal")

from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.primitives import multiply_weight, square_sum
from secure.protocols.core.secret import Secret
from secure.protocols.functions.layernorm import full_range_layer_norm, layer_norm
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.gates.triple_product import multiply_three
from tests.protocols.hybrid.test_costs import check
from tests.protocols.hybrid.test_transferred import rounded
from tests.protocols.hybrid.two_parties import secure

ULP = 2.0**-16
LARGEST = 8191.0


def numbers(*shape: int, largest: float) -> Tensor:
    """At both ends in the first row, zero and single units in the second, all of the range in others."""
    x = rounded(largest * (2 * torch.rand(shape, dtype=torch.float64) - 1))
    x[0], x[1] = largest, 0.0
    x[0, ::2], x[1, ::2] = -largest, ULP
    return rounded(x)


def squares(x: Tensor) -> list[int]:
    """Sums of squares of units along the last axis, which floats have no digits for."""
    return [sum(int(number) ** 2 for number in row) for row in (x * 2.0**16).to(torch.int64)]


def test_sums_of_squares_are_exact() -> None:
    x = numbers(5, 33, largest=1000.0)
    run = secure(square_sum, x, garbler="nobody")
    check(run)
    assert [int(found) for found in run.result] == squares(x)


def test_sums_of_squares_that_are_rounded_are_so_once() -> None:
    """As wide rows of numbers of the whole range: many groups, and one unit in all."""
    x = numbers(3, 701, largest=LARGEST)
    run = secure(lambda a: square_sum(a, fraction_bits=24), x, garbler="nobody")
    check(run)
    assert run.fraction_bits == 24
    assert all(abs(int(found) * 2**8 - due) <= 2**8 for found, due in zip(run.result, squares(x), strict=True))


@pytest.mark.parametrize("shape", [(33,), (1,)], ids=["whole", "broadcast"])
def test_products_with_the_owners_tensors(shape: tuple[int, ...]) -> None:
    """Exact, and nothing is sent for them when there is an input."""
    x, w = numbers(4, 33, largest=90.0), numbers(2, *shape, largest=90.0)[1]
    w[0] = -90.0

    def product(x: Secret, w: object) -> Secret:
        return multiply_weight(x, w)

    run = secure(product, x, weights={"w": w}, garbler="nobody")
    check(run)
    assert torch.equal(run.real, x * w)
    assert run.used.meters[0].rows["", "weight"].measured.online_bytes == 0
    assert run.used.meters[1].rows["", "weight"].measured.online_bytes == 0


def test_products_of_three() -> None:
    x, y, z = numbers(4, 9, largest=90.0), numbers(4, 9, largest=15.9), rounded(torch.randn(9).clamp(-2, 2).double())
    run = secure(lambda a, b, c: multiply_three(a, b, c), x, y, z, garbler="nobody")
    check(run)
    assert (run.real - x * y * z).abs().max() <= ULP


@pytest.mark.parametrize(("norm", "scale"), [(layer_norm, 1.0), (layer_norm, 50.0), (full_range_layer_norm, 4000.0)])
def test_layer_norms(norm: Callable[..., Secret], scale: float) -> None:
    x = rounded((scale * torch.randn(5, 64, dtype=torch.float64)).clamp(-LARGEST, LARGEST))
    gain, offset = (rounded(torch.randn(64, dtype=torch.float64).clamp(-1, 1)) for _ in range(2))

    def normalised(x: Secret, gain: object, offset: object) -> Secret:
        bind = x.protocol.bind  # type: ignore[attr-defined]
        return norm(x, bind(gain), bind(offset), 1e-12)

    run = secure(normalised, x, weights={"gain": gain, "offset": offset}, garbler="nobody")
    check(run)
    due = torch.nn.functional.layer_norm(x, (64,), gain, offset, 1e-12)
    deviation, distance = x.std(-1, keepdim=True, correction=0), (x - x.mean(-1, keepdim=True)).abs()
    bound = 1.5 * (ULP + x.mean(-1, keepdim=True).abs() * 2.0**-21) / deviation
    bound = bound + 2.0**-17 * distance + 4e-5 * distance / deviation + 2.0**-15
    assert ((run.real - due).abs() <= bound).all()


@pytest.mark.parametrize("function", [square_sum, exp2_negative])
def test_circuits_have_none_of_it(function: Callable[[Secret], Secret]) -> None:
    with pytest.raises(ConfigurationError, match='with engine = "transfer" alone'):
        secure(function, torch.zeros(2, 2).double())
