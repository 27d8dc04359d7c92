"""Mixtures of values: divided after the product, with powers halved where many tokens add up, or before it."""

from __future__ import annotations

import math

import pytest
import torch

from secure.models.layers.attention import MOST_VALUE, mixture
from secure.protocols.cleartext.protocol import ClearSecret, CleartextProtocol
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.functions.softmax import MASKED
from tests.families import FAMILIES
from tests.in_process import Family, secure

PUMA = FixedPointPolicy(functions="puma")
TOKENS = [1, 2, 128, 129, 256, 257, 512, 513]

by_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def due(scores: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.softmax(scores * math.log(2.0), -1) @ values


@by_family
@pytest.mark.parametrize("tokens", TOKENS)
def test_a_mixture(tokens: int, family: Family) -> None:
    """Rows with one large score, with all alike, with random ones, and with half of them masked."""
    generator = torch.Generator().manual_seed(tokens)
    values = torch.randn(1, tokens, 3, generator=generator, dtype=torch.float64).clamp(-4, 4)
    scores = torch.zeros(1, 4, tokens, dtype=torch.float64)
    scores[0, 0, tokens // 2] = 30.0
    scores[0, 2:] = 4 * torch.randn(2, tokens, generator=generator, dtype=torch.float64)
    scores[0, 3, tokens // 2 + 1 :] += MASKED
    found = secure(mixture, scores, values, family=family).real
    assert float((found - due(scores, values)).abs().max()) < 1.5e-3


@by_family
@pytest.mark.parametrize("tokens", TOKENS)
def test_the_largest_values_add_up(tokens: int, family: Family) -> None:
    """All scores alike, as far above the coarse maximum as can be, and all values at their bound."""
    scores = torch.full((1, 2, tokens), 1 / 4 - 2**-16, dtype=torch.float64)
    values = torch.full((1, tokens, 2), MOST_VALUE, dtype=torch.float64)
    values[..., 1] = -MOST_VALUE
    found = secure(mixture, scores, values, family=family).real
    # A unit of the inverse of up to 128 2^(1/4); of each probability, where they are computed before the product.
    error = 2**-16 * (153 if tokens <= 512 else tokens) + 1e-4
    assert float((found - due(scores, values)).abs().max()) < error * MOST_VALUE


@by_family
@pytest.mark.parametrize("tokens", [129, 257])
def test_by_pumas_functions(tokens: int, family: Family) -> None:
    """Against the same formulas in the clear."""
    values = torch.linspace(-4, 4, tokens, dtype=torch.float64).reshape(1, tokens, 1)
    scores = torch.linspace(-3, 3, tokens, dtype=torch.float64).reshape(1, 1, tokens)
    protocol = CleartextProtocol(PUMA)
    clear = mixture(*(ClearSecret(protocol, 16, x) for x in (scores, values)))
    assert isinstance(clear, ClearSecret)
    found = secure(mixture, scores, values, policy=PUMA, family=family).real
    assert float((found - clear.value).abs().max()) < 1.5e-3
