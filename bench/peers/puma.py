"""PUMA's approximations (arXiv 2307.12533), over any array namespace: jax.numpy under SPU, numpy in the tests.

Comparisons are taken once and combined by exclusive or, which costs nothing on shares; the paper does the same.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

GELU_CUTS = (-4.0, -1.95, 3.0)
GELU_LEFT = (-0.5054031199708174, -0.42226581151983866, -0.11807612951181953, -0.011034134030615728)
"""Coefficients of 1, x, x^2, x^3 on [-4, -1.95)."""
GELU_MIDDLE = (0.008526321541038084, 0.5, 0.3603292692789629, -0.037688200365904236, 0.0018067462606141187)
"""Coefficients of 1, x, x^2, x^4, x^6 on [-1.95, 3]."""
EXP_LEAST = -14.0
"""Below this, exp is taken as 0: e^-14 is less than half of the last of 18 fraction bits."""
EXP_SQUARINGS = 5
"""exp(x) is (1 + x / 2^5)^(2^5)."""


def gelu(x: Any) -> Any:
    """Four pieces: 0, a cubic, a polynomial of degree six, x. Shapes: any -> same."""
    far_left, left, right = (x < GELU_CUTS[0], x < GELU_CUTS[1], x > GELU_CUTS[2])
    on_left = far_left ^ left
    in_middle = left ^ right ^ True
    x2 = x * x
    x3 = x * x2
    x4 = x2 * x2
    x6 = x3 * x3
    a, b = GELU_LEFT, GELU_MIDDLE
    cubic = a[3] * x3 + a[2] * x2 + a[1] * x + a[0]
    middle = b[4] * x6 + b[3] * x4 + b[2] * x2 + b[1] * x + b[0]
    return right * x + on_left * cubic + in_middle * middle


def negative_exponential(x: Any) -> Any:
    """e^x for x <= 0. Shapes: any -> same."""
    power = 1.0 + x * 2.0**-EXP_SQUARINGS
    for _ in range(EXP_SQUARINGS):
        power = power * power
    return power * (x > EXP_LEAST)


def softmax(x: Any, xp: ModuleType) -> Any:
    """Along the last axis: exponentials below the largest, times the reciprocal of their sum. Shapes: any -> same."""
    powers = negative_exponential(x - xp.max(x, axis=-1, keepdims=True))
    return powers * (1.0 / xp.sum(powers, axis=-1, keepdims=True))


def layer_norm(x: Any, gamma: Any, beta: Any, epsilon: float, xp: ModuleType, rsqrt: Any) -> Any:
    """Along the last axis. Shapes: x [..., D], gamma, beta [D] -> x's."""
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(centred * centred, axis=-1, keepdims=True)
    return centred * rsqrt(variance + epsilon) * gamma + beta
