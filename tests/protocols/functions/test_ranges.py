"""Results at the ends of declared ranges, and what is added to numbers that are held in small rings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.primitives import truncate
from secure.protocols.core.secret import Secret
from secure.protocols.functions import exp, layernorm, puma, reciprocal_and_root
from secure.protocols.functions.argmax import maximum_along
from secure.protocols.functions.bits import to_bits
from secure.protocols.functions.tanh import tanh
from secure.protocols.masked.gates.triple_product import multiply_three
from tests.families import FAMILIES
from tests.in_process import EXACT, POLICY, Family, RoleFailure, secure
from tests.protocols.arguments import on_grid

COUNT = 400  # random masks: a ring that is too small by a bit shows in some of them

families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@families
@pytest.mark.parametrize(
    ("function", "due", "policy"),
    [
        (lambda x: x * 1e-5 + 600.0, 600.0, POLICY),
        (lambda x: exp.exp_negative(x) + 5.0, 5.6065, POLICY),
        (lambda x: reciprocal_and_root.reciprocal(x) + 100.0, 102.0, POLICY),
        (lambda x: tanh(x) + 5.0, 5.4621, EXACT),
    ],
    ids=["scaled", "exponential", "reciprocal", "tanh"],
)
def test_public_numbers_are_added_to_what_is_in_a_small_ring(
    function: Callable[[Secret], Secret], due: float, policy: FixedPointPolicy, family: Family
) -> None:
    half = torch.full((COUNT,), 0.5, dtype=torch.float64)
    found = secure(function, half, policy=policy, family=family)
    assert float((found.real - due).abs().max()) < 2e-3


@families
def test_pumas_polynomials_take_what_is_in_a_small_ring(family: Family) -> None:
    argument = torch.full((COUNT,), 0.25, dtype=torch.float64)
    found = secure(lambda u: puma.silu(exp.exp_negative(u)), argument, family=family)
    assert float((found.real - 0.5337).abs().max()) < 8e-2


def rows_at_the_top(width: int, mean_square: float) -> Tensor:
    """Rows with a mean of zero and that mean square."""
    generator = torch.Generator().manual_seed(width)
    rows = torch.randn(4, width, generator=generator, dtype=torch.float64)
    rows -= rows.mean(-1, keepdim=True)
    return rows * (mean_square**0.5 / rows.square().mean(-1, keepdim=True).sqrt())


@families
@pytest.mark.parametrize("width", [33, 48, 64, 768])
def test_norms_hold_to_the_top_of_their_range_at_every_width(width: int, family: Family) -> None:
    ones, zeros = torch.ones(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    x = rows_at_the_top(width, 0.98 * 2.0 ** layernorm.VARIANCE_POWERS[1])
    normal = torch.nn.functional.layer_norm(x, (width,))
    for form in (layernorm.layer_norm, puma.layer_norm):
        found = secure(lambda *values, form=form: form(*values, 1e-12), x, ones, zeros, family=family)
        assert float((found.real - normal).abs().max()) < 8e-3  # d 2^-16 is up to 5e-3
    x = rows_at_the_top(width, 0.98 * layernorm.most_mean_square(width))
    normal = x / x.square().mean(-1, keepdim=True).sqrt()
    found = secure(lambda value: layernorm.rms_normalise(value, 1e-12), x, family=family)
    assert float((found.real - normal).abs().max()) < 3e-2  # |x| 2^-17 is up to 2e-2


@pytest.mark.parametrize("width", [1, 64, 768, 4096, 5120, 8192])
def test_sums_of_squares_fit_the_ring(width: int) -> None:
    lowest, highest = layernorm.sum_powers(width, layernorm.SQUARE_POWERS)
    assert 2.0**lowest <= width * layernorm.LEAST_MEAN_SQUARE
    assert width * layernorm.most_mean_square(width) <= 2.0**highest <= 2.0**30


@families
def test_a_number_is_whole_after_its_low_bits_were_asked_for(family: Family) -> None:
    def function(x: Secret) -> Secret:
        to_bits(x, 5)
        reciprocal_and_root.reciprocal(x, lowest=-1, highest=3)
        return truncate(x, 12)

    x = torch.tensor([3.75, 12.5, -2.25, -4000.0], dtype=torch.float64).repeat(COUNT)
    for bits in (32, 64):
        found = secure(function, x, bits=bits, family=family)
        assert float((found.real - x).abs().max()) <= 2.0**-12


def test_a_mask_for_several_values_is_refused_before_anything_is_sent() -> None:
    shapes = (3, 1), (3, 4), (4,)
    values = [torch.ones(shape, dtype=torch.float64) for shape in shapes]
    with pytest.raises(RoleFailure, match=r"values of shape \(3, 4\) and masks of \(3, 1\)"):
        secure(multiply_three, *values)


@families
@pytest.mark.parametrize("fraction_bits", [8, 10])
def test_norms_hold_with_few_fraction_bits(fraction_bits: int, family: Family) -> None:
    policy = FixedPointPolicy(fraction_bits, 13, functions="puma")
    x = rows_at_the_top(64, 9.0)
    found = secure(lambda v: layernorm.rms_normalise(v, 1e-5, wide=True), x, policy=policy, family=family)
    assert float((found.real - x / 3.0).abs().max()) < 2.0 ** (2 - fraction_bits)


@families
@pytest.mark.parametrize(("fraction_bits", "times"), [(8, 3.0), (9, 3.0), (10, 1.0), (12, 1.0), (14, 1.0), (16, 1.0)])
def test_pumas_errors_by_fraction_bits(fraction_bits: int, times: float, family: Family) -> None:
    policy, unit = FixedPointPolicy(fraction_bits, 13, functions="puma"), 2.0**-fraction_bits
    x = on_grid(torch.linspace(-9.0, 9.0, 2001, dtype=torch.float64), fraction_bits)
    for function, due, error in (
        (puma.gelu, torch.nn.functional.gelu(x), 2.1e-2 * times),
        (puma.silu, torch.nn.functional.silu(x), 7.3e-2 * times),
    ):
        assert float((secure(function, x, policy=policy, family=family).real - due).abs().max()) <= error
    found = secure(puma.exp_negative, x.abs(), policy=policy, family=family).real
    assert float((found - (-x.abs()).exp()).abs().max()) <= 9e-3 + 64 * unit


@families
@pytest.mark.parametrize(("fraction_bits", "value_bits"), [(16, 13), (15, 15), (12, 21)])
def test_a_maximum_takes_all_values_of_its_policy(fraction_bits: int, value_bits: int, family: Family) -> None:
    policy = FixedPointPolicy(fraction_bits, value_bits, functions="puma")
    largest = 0.7 * 2.0**value_bits
    rows = largest - torch.arange(3 * COUNT, dtype=torch.float64).reshape(COUNT, 3).remainder(1000.0)
    found = secure(maximum_along, rows, policy=policy, family=family)
    assert float((found.real - rows.amax(-1, keepdim=True)).abs().max()) < 2.0 ** (1 - fraction_bits)
