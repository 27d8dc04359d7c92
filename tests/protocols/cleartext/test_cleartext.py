"""The executable reference: it computes what torch computes, and names the layer whose values leave their range."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from secure.protocols.cleartext.protocol import ClearSecret, CleartextProtocol
from secure.protocols.core.errors import BoundError, ProtocolError
from secure.protocols.core.primitives import linear, multiply_public, square_sum, truncate
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.functions import (
    argmax,
    compare,
    exp,
    gelu,
    layernorm,
    reciprocal_and_root,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.gates.triple_product import multiply_three
from tests.in_process import POLICY, encode
from tests.protocols.arguments import on_grid


def clear(protocol: CleartextProtocol, value: Tensor) -> ClearSecret:
    return protocol.input(encode(value), tuple(value.shape), 16)


def evaluate(function: Callable[..., Secret], *values: Tensor) -> Tensor:
    protocol = CleartextProtocol(POLICY)
    result = function(*(clear(protocol, value) for value in values))
    assert isinstance(result, ClearSecret)
    return result.value


X = on_grid(torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3)
POSITIVE = X.abs() + 0.25
GAIN, OFFSET = X[1].clone(), X[2].clone()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param(gelu.gelu, functional.gelu(X), id="gelu"),
        pytest.param(tanh.tanh, X.tanh(), id="tanh"),
        pytest.param(sigmoid.sigmoid, X.sigmoid(), id="sigmoid"),
        pytest.param(relu.relu, X.relu(), id="relu"),
        pytest.param(softmax.softmax, X.softmax(-1), id="softmax"),
        pytest.param(lambda x: softmax.softmax(x, base_two=True), (2.0**X / (2.0**X).sum(-1, keepdim=True)), id="base"),
        pytest.param(argmax.argmax, X.argmax(-1).to(torch.float64), id="argmax"),
        pytest.param(argmax.maximum_along, X.max(-1, keepdim=True).values, id="max"),
        pytest.param(lambda x: compare.less_than(x, 0.5), (X < 0.5).to(torch.float64), id="less-than"),
        pytest.param(layernorm.l2_normalise, functional.normalize(X, dim=-1), id="l2"),
    ],
)
def test_equals_torch(function: Callable[..., Secret], expected: Tensor) -> None:
    # Results below 2^-16 are zero in softmax; all else is float64.
    assert float((evaluate(function, X) - expected).abs().max()) < 2.0**-16


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param(reciprocal_and_root.reciprocal, 1 / POSITIVE, id="reciprocal"),
        pytest.param(reciprocal_and_root.rsqrt, POSITIVE.rsqrt(), id="rsqrt"),
        pytest.param(exp.exp_negative, (-POSITIVE).exp(), id="exp"),
    ],
)
def test_functions_of_positive_numbers_equal_torch(function: Callable[..., Secret], expected: Tensor) -> None:
    assert float((evaluate(function, POSITIVE) - expected).abs().max()) < 2.0**-16


def test_layer_norm_equals_torch() -> None:
    found = evaluate(lambda x, g, b: layernorm.layer_norm(x, g, b, 1e-5), X, GAIN, OFFSET)
    assert float((found - functional.layer_norm(X, (9,), GAIN, OFFSET, 1e-5)).abs().max()) < 1e-9


LARGE = torch.full((2, 3), 8000.0, dtype=torch.float64)
BOUNDS: list[tuple[str, Callable[[Secret], Secret]]] = [
    ("multiply", lambda x: x * x),
    ("multiply", lambda x: (x + 300.0) * (x - 7999.0)),
    ("matmul", lambda x: x @ x.transpose(0, 1)),
    ("linear", lambda x: linear(x, x.transpose(0, 1), None)),
    ("truncate", lambda x: truncate(x + x, 12)),
    ("multiply_three", lambda x: multiply_three(x, x, x)),
    ("square_sum", lambda x: square_sum(x + x + x)),
    ("gelu", lambda x: gelu.gelu(x + x)),
    ("relu", lambda x: relu.relu(x + x)),
    ("less-than", lambda x: compare.less_than(x, -8400.0)),
    ("exp2_negative", lambda x: exp2_negative(x + x + x)),
    ("exp2_negative", lambda x: exp2_negative(-x)),
    ("reciprocal", lambda x: reciprocal_and_root.reciprocal(-x)),
    ("reciprocal", lambda x: reciprocal_and_root.reciprocal(x, highest=12)),
    ("rsqrt", lambda x: reciprocal_and_root.rsqrt(x, highest=12)),
    ("scale", lambda x: x * 1.5),
    ("multiply_public", lambda x: multiply_public(x, torch.tensor([1.5]))),
]


@pytest.mark.parametrize(("op", "function"), BOUNDS, ids=[f"{op}-{i}" for i, (op, _) in enumerate(BOUNDS)])
def test_what_leaves_its_range_is_named_with_its_layer(op: str, function: Callable[[Secret], Secret]) -> None:
    protocol = CleartextProtocol(POLICY)
    x = clear(protocol, LARGE)
    with protocol.layer("encoder"), protocol.layer("3"), pytest.raises(BoundError, match=f"encoder\\.3.*{op}"):
        function(x)


def test_layers_report_themselves_and_their_largest_value() -> None:
    layers: list[str] = []
    protocol = CleartextProtocol(POLICY, on_layer=layers.append)
    x = clear(protocol, X)
    with protocol.layer("encoder"):
        with protocol.layer("attention"):
            multiply(x, x)
        with protocol.layer("output"):
            truncate(x, 12)
    assert layers == ["encoder", "encoder.attention", "encoder.output"]
    assert protocol.largest["encoder.attention"] == float((X * X).max())
    assert protocol.layer_name == ""


def test_secrets_of_other_protocols_are_refused() -> None:
    protocol, other = CleartextProtocol(POLICY), CleartextProtocol(POLICY)
    with pytest.raises(ProtocolError, match="needs values"):
        protocol.input(None, (1,), 16)
    assert isinstance(clear(protocol, X) + clear(other, X), ClearSecret)
