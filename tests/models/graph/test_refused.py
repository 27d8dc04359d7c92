"""What cannot be captured is said at once, with lines of the user's code, before anything is shared."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from secure.models.graph.capture import capture
from secure.protocols.core.errors import BoundError, CheckpointError

X = torch.randn(3, 4)
IDS = torch.tensor([[1, 2]])


class Fails(nn.Module):
    """One function, called on a line of this file."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(4, 4)
        self.words = nn.Embedding(5, 4)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def refusal(function: Callable[..., Any], *inputs: Any, training: bool = False) -> str:
    with pytest.raises(CheckpointError) as caught:
        capture(Fails(function).train(training), inputs or X)
    return str(caught.value)


def test_all_at_once_with_their_lines() -> None:
    class Several(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.sin(x)
            z = torch.relu(y) + torch.sort(x).values
            w = functional.softplus(z)
            return w / x + torch.erf(x)

    with pytest.raises(CheckpointError) as caught:
        capture(Several(), X)
    found = str(caught.value)
    first = Several.forward.__code__.co_firstlineno
    for offset, operator, code in (
        (1, "aten.sin", "y = torch.sin(x)"),
        (2, "aten.sort", "z = torch.relu(y) + torch.sort(x).values"),
        (4, "aten.erf", "return w / x + torch.erf(x)"),
    ):
        assert re.search(rf"test_refused\.py:{first + offset}: {re.escape(code)}: {operator}", found), found
    # What depends on something unknown is not called unknown itself.
    assert "aten.relu" not in found and "aten.div" not in found


def test_a_module_of_torch_has_no_line_but_a_place() -> None:
    with pytest.raises(CheckpointError, match=r"submodule 1 \(LogSigmoid\): aten\.log1p"):
        capture(nn.Sequential(nn.Linear(4, 4), nn.LogSigmoid()), X)
    with pytest.raises(CheckpointError, match=r"submodule itself \(LogSigmoid\): aten\.log1p"):
        capture(nn.LogSigmoid(), X)


GRAPHS: list[tuple[Callable[..., Any], str]] = [
    (lambda m, x: functional.softplus(x, threshold=1), "softplus with beta 1 and threshold 1"),
    (lambda m, x: x.norm(1, dim=-1), "a norm that is not the Euclidean one"),
    (lambda m, x: x**4, "a power of 4"),
    (lambda m, x: torch.ops.aten.elu(x, 1.0, 1.0, -1.0), r"ELU with input_scale -1\.0"),
    (lambda m, x: x + torch.rand(4), "random numbers"),
    (lambda m, x: torch.where(x > 0, x, 0.0), r"aten\.gt"),
    (lambda m, x: functional.relu(x + torch.tensor([0.0, 0.0, 0.0, -1e9])), "where no softmax follows"),
    (lambda m, x: functional.relu(x.masked_fill(torch.eye(3, 4) > 0, -1e4)), "where no softmax follows"),
    (lambda m, x: functional.dropout(x, 0.5), r"dropout in training mode; call module\.eval\(\)"),
    (lambda m, x: functional.conv_transpose2d(x[None, None], torch.ones(1, 1, 2, 2)), "transposed"),
    (lambda m, x: functional.max_pool2d(x[None], 2, 2, 0, 2, ceil_mode=True), "dilation and windows that leave"),
    (lambda m, x: functional.pad(x, (1, 1), value=2.0), "another number than zero"),
    (lambda m, x: x * 1e5, r"magnitudes of 2\^-24 to 2\^13"),
    (lambda m, x: x.to(torch.int64).float(), "a conversion to torch.int64"),
    (lambda m, x: m.words(x.argmax(0)), r"aten\.argmax"),
    (lambda m, x: functional.embedding(torch.tensor([1]), x), "an embedding of something else"),
    (lambda m, x: functional.layer_norm(x, (4,), x[0]), "a norm whose gain, offset or statistics depend"),
    (lambda m, x: m.linear.weight, "does not depend on real inputs"),
]


def test_operators() -> None:
    """All in one module: each is in the one message."""
    message = refusal(lambda m, x: [function(m, x) for function, _ in GRAPHS])
    for _, due in GRAPHS:
        assert re.search(due, message), f"{due} is not in:\n{message}"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, x: x + torch.tensor(float("-inf")), "NaN or infinite"),
        (lambda m, x: (x, (x, x)), "returns a tuple; served are"),
        (lambda m, x: {"a": x, "b": None}, "returns a dict; served are"),
        (lambda m, x: None, "returns a NoneType"),
        (lambda m, x: x > 0, "returns a Tensor; served are a tensor of real numbers"),
    ],
)
def test_module(function: Callable[..., Any], message: str) -> None:
    assert re.search(message, refusal(function)), refusal(function)


def test_a_return_of_another_kind_hides_nothing() -> None:
    found = refusal(lambda m, x: (torch.erf(x) + torch.sort(x).values).topk(2))
    for due in ("the module returns a topk; served are", r"aten\.erf", r"aten\.sort", r"aten\.topk"):
        assert re.search(due, found), found


BRANCHES: list[Callable[..., Any]] = [
    lambda m, x: m.linear(x) if x.sum() > 0 else x,
    lambda m, x: x[: int(x.abs().max()) + 1],
    lambda m, x: x * float(x.sum()),
]


@pytest.mark.parametrize("branch", BRANCHES)
def test_control_flow_by_values(
    branch: Callable[..., Any], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One sentence of ours with the user's line, and neither a chain of torch's errors nor its pages on the way."""
    with pytest.raises(CheckpointError) as caught:
        capture(Fails(branch), X)
    heading, found = str(caught.value).splitlines()
    line = branch.__code__.co_firstlineno
    assert heading == "this module is not served:"
    assert re.search(rf"test_refused\.py:{line}: lambda m, x: .*depends on what the tensors hold", found), found
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_integers_are_for_embeddings() -> None:
    assert "only embeddings may look up" in refusal(lambda m, ids: m.words(torch.cat([ids, ids])), IDS)
    message = refusal(lambda m, ids: m.words(ids) * ids.unsqueeze(-1), IDS)
    assert "input '" in message and "which only embeddings may look up" in message and "test_refused.py" in message


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "no example inputs"),
        (([X],), "is a list; the module must take tensors alone"),
        ((X, 3), "example input 1 is a int"),
        ((X > 0,), "example input 0 has type torch.bool"),
        ((X[:0],), "no empty tensors"),
        ((X.to(torch.complex64),), "complex64"),
    ],
)
def test_examples(inputs: tuple[Any, ...], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        capture(Fails(lambda m, x: x), inputs)


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.Dropout])
def test_training_mode(kind: type[nn.Module]) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = kind(4)  # type: ignore[call-arg]

        def forward(self, x: Tensor) -> Tensor:
            return self.part(x)

    module = Model() if kind is nn.BatchNorm1d else nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"module\.eval\(\)"):
        capture(module.train(), X)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_half_precision() -> None:
    with pytest.raises(CheckpointError, match=r"weight has type torch.bfloat16; .*module.float\(\)"):
        capture(nn.Linear(4, 4).bfloat16(), X.bfloat16())


def test_a_number_out_of_range_is_named_with_its_line() -> None:
    class Grows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x * 1000
            return x * x

    line = Grows.forward.__code__.co_firstlineno + 2
    with pytest.raises(
        BoundError, match=rf"test_refused\.py:{line}: return x \* x: for the example, .*multiply has magn"
    ):
        capture(Grows(), torch.full((2,), 4.0))

    class Sums(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum()

    with pytest.raises(
        BoundError, match=r"return x.sum\(\): for the example, layer module leaves the range: a result \(Sum\) has magn"
    ):
        capture(Sums(), torch.full((10,), 1000.0))


def test_a_parameter_out_of_range() -> None:
    layer = nn.Linear(2, 2).eval()
    with torch.no_grad():
        layer.weight[0, 0] = 9000.0
    with pytest.raises(BoundError, match="linear has magnitude 9000"):
        capture(layer, torch.zeros(1, 2))


def test_a_module_that_answers_differently_each_time() -> None:
    class Moody(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Moody.calls += 1
            return x * Moody.calls

    with pytest.raises(CheckpointError, match=r"differs from the module's own"):
        capture(Moody(), X)


def test_weights_are_private_or_public() -> None:
    with pytest.raises(CheckpointError, match="'private', 'public' or 'server', not 'secret'"):
        capture(nn.Linear(4, 4), X, weights="secret")  # type: ignore[arg-type]
