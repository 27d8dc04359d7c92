"""Operators on shares against torch's own, with odd sizes; many in one module, so that each is captured once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from secure.models.contract.manifest import WeightVisibility
from secure.models.graph.capture import capture
from secure.models.program import network
from tests.models.graph.test_modules import WEIGHTS, flat, run
from tests.models.runs import secure_steps

ROUNDING = 5e-4


class Of(nn.Module):
    """A function with weights of its own."""

    def __init__(self, function: Callable[..., list[Tensor]], **weights: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, tensor in weights.items():
            self.register_buffer(name, tensor)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.function(*inputs, **dict(self.named_buffers())))


def agree(module: nn.Module, inputs: tuple[Tensor, ...], weights: WeightVisibility, folder: Path, error: float) -> None:
    with torch.no_grad():
        due = flat(module(*inputs))
    for i, (ours, theirs) in enumerate(zip(flat(run(module.eval(), inputs, weights, folder)), due, strict=True)):
        assert ours.shape == theirs.shape, i
        assert float((ours - theirs).abs().max()) < error, i


def convolutions(x: Tensor, w: Tensor, grouped: Tensor, depthwise: Tensor, b: Tensor, even: Tensor) -> list[Tensor]:
    return [
        functional.conv2d(x, w),
        functional.conv2d(x, w, b, stride=2),
        functional.conv2d(x, w, b, stride=(1, 3), padding=(2, 1)),
        functional.conv2d(x, w, padding=2, dilation=2),
        functional.conv2d(x, w, b, stride=2, padding=(3, 0), dilation=(3, 1)),
        functional.conv2d(x, grouped, b, groups=2, padding=1),
        functional.conv2d(x, depthwise, groups=4, stride=2),
        functional.conv2d(x, even, padding="same"),
        functional.conv2d(x, w[:, :, :1, :1], b),
        functional.conv2d(x[0], w, b),
        functional.conv2d(x, w[:, :, :, :2], padding=(0, 1)),
    ]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("weights", WEIGHTS)
def test_convolutions(weights: WeightVisibility, tmp_path: Path) -> None:
    torch.manual_seed(1)
    tensors = {
        "w": torch.randn(6, 4, 3, 3) / 3,
        "grouped": torch.randn(6, 2, 3, 3) / 3,
        "depthwise": torch.randn(8, 1, 3, 3) / 3,
        "b": torch.randn(6),
        "even": torch.randn(3, 4, 2, 4) / 3,
    }
    agree(Of(convolutions, **tensors), (torch.randn(2, 4, 9, 8),), weights, tmp_path, ROUNDING)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_convolutions_of_sequences(weights: WeightVisibility, tmp_path: Path) -> None:
    torch.manual_seed(2)

    def function(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
        return [
            functional.conv1d(x, w, b),
            functional.conv1d(x, w, stride=2, padding=2, dilation=2),
            functional.conv1d(x, w, b, padding="same"),
        ]

    agree(Of(function, w=torch.randn(5, 3, 3), b=torch.randn(5)), (torch.randn(2, 3, 11),), weights, tmp_path, ROUNDING)


def test_a_convolution_opens_its_image_once(tmp_path: Path) -> None:
    """Not every window: nine times as much for kernels of three by three."""
    image, kernels = torch.randn(1, 2, 8, 8), torch.randn(3, 2, 3, 3)
    module = Of(lambda x, w: [functional.conv2d(x, w, padding=1)], w=kernels).eval()
    checkpoint = capture(module, image)
    name = network(checkpoint.manifest).graph.inputs[0].name
    _, meters = secure_steps(checkpoint, tmp_path, "hidden", [{name: image}])
    found = {gate: row.measured.online_bytes for (layer, gate), row in meters["p0"].rows.items() if layer != "load"}
    assert found["open"] == 8 * image.numel()
    assert found["linear"] == 7 * 3 * 8 * 8  # a truncation leaves out low bits


def pools(x: Tensor) -> list[Tensor]:
    return [
        functional.max_pool2d(x, 2),
        functional.max_pool2d(x, 3, stride=2, padding=1),
        functional.max_pool2d(x, (1, 3), stride=1),
        functional.max_pool2d(x, 2, stride=1, dilation=2),
        functional.max_pool2d(x - 50, 3, padding=1),
        functional.max_pool1d(x.flatten(2), 5, padding=2),
        functional.avg_pool2d(x, 3, stride=2),
        functional.avg_pool2d(x, 3, stride=1, padding=1),
        functional.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
        functional.avg_pool1d(x.flatten(2), 4),
        functional.adaptive_avg_pool2d(x, 1),
        functional.adaptive_avg_pool2d(x, (3, None)),
        functional.adaptive_avg_pool1d(x.flatten(2), 9),
        x.amax((2, 3)),
        x.mean((-2, -1)),
    ]


def test_pooling(tmp_path: Path) -> None:
    torch.manual_seed(3)
    agree(Of(pools), (torch.randn(2, 3, 9, 7),), "private", tmp_path, ROUNDING)


def views(x: Tensor, y: Tensor) -> list[Tensor]:
    return [
        x.reshape(6, 7).flatten(),
        x.permute(2, 0, 1).unsqueeze(1).squeeze(),
        x[:, 1:, ::3],
        x[..., -2],
        torch.cat([x, y.expand(2, 3, 5)], -1),
        torch.stack([y, 2 * y], 1),
        x.repeat(1, 2, 2),
        functional.pad(x, (1, 2, 0, 1)),
        torch.cat(x.split([2, 5], -1)[::-1], -1),
        x.chunk(2, 0)[1].transpose(0, 2),
        x.unflatten(2, (7, 1)),
        x.mT,
        x.narrow(1, 1, 2).swapaxes(0, 1).reshape(4, 7),
    ]


def test_means_of_very_many() -> None:
    """No sum has more terms than its truncation allows: one axis follows the other."""
    checkpoint = capture(nn.AdaptiveAvgPool2d(1), torch.randn(1, 2, 80, 90))
    nodes = checkpoint.manifest.config["nodes"]
    assert [node["operation"] for node in nodes] == ["mean", "mean"]


def test_views(tmp_path: Path) -> None:
    agree(Of(views), (torch.randn(2, 3, 7), torch.randn(3, 5)), "private", tmp_path, 2.0**-15)


def arithmetic(x: Tensor, y: Tensor, m: Tensor, v: Tensor, s: Tensor) -> list[Tensor]:
    return [
        x + y,
        x - y * 2.5,
        3 - x,
        m[:4] - x,
        x * y / 3,
        x * m[:4] / s,
        -x + s,
        (x + 1) ** 3,
        torch.add(x, y, alpha=-2),
        torch.where(m[:4] > 0, x, 1.5),
        torch.where(m[:4] > 0, y, x),
        x.masked_fill(m[:4] > 0, 2.0),
        x.clamp(-0.5, 0.25) + x.clamp(min=0.1),
        torch.maximum(x, y),
        torch.minimum(x, y),
        x.abs(),
        x @ m,
        m.T @ x.T,
        x @ v,
        v @ x.T,
        y @ x.T,
        torch.einsum("ij,kj->ik", x, y),
        torch.addmm(v[:4], x, m[:, :4]),
        functional.linear(x, y),
        functional.linear(x[0], m),
        x.sum(),
        x.sum(0),
        x.mean(-1, keepdim=True),
        x.mean(),
        torch.sum(x, (0, 1), keepdim=True),
        x.amax(1),
    ]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_arithmetic(weights: WeightVisibility, tmp_path: Path) -> None:
    torch.manual_seed(4)
    tensors = {"m": torch.randn(5, 5), "v": torch.randn(5), "s": torch.tensor(1.3)}
    tensors["m"] = torch.randn(5, 5)
    agree(Of(arithmetic, **tensors), (torch.randn(4, 5), torch.randn(4, 5)), weights, tmp_path, ROUNDING)


def functions(x: Tensor, mask: Tensor, g: Tensor) -> list[Tensor]:
    normal = functional.layer_norm(x, (4, 6), g.reshape(4, 6), 1 - g.reshape(4, 6))
    grouped = functional.group_norm(x, 2, g[:, 0], g[:, 0] - 1)
    heads = x.unsqueeze(1)
    return [
        functional.relu(x),
        functional.relu6(x * 3),
        functional.leaky_relu(x, 0.2),
        functional.gelu(x),
        functional.gelu(x, approximate="tanh"),
        functional.silu(x),
        x.tanh(),
        x.sigmoid(),
        nn.Hardtanh()(2 * x),
        nn.Hardtanh(-0.5, 0.75)(x),
        functional.softmax(x, -1),
        functional.softmax(x, 1),
        functional.softmax(x.masked_fill(mask == 0, -1e9), -1),
        functional.softmax((x + x) + (1 - mask) * torch.finfo(torch.float32).min, dim=-1),
        normal,
        grouped,
        functional.layer_norm(functional.gelu(x), (6,)),
        functional.softmax(functional.silu(x), -1),
        functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True),
        functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask[:, :4] > 0, scale=0.3),
        functional.dropout(x, 0.3, training=False),
    ]


def test_functions(tmp_path: Path) -> None:
    torch.manual_seed(5)
    mask = torch.ones(4, 6).tril(2)
    module = Of(functions, mask=mask, g=torch.rand(4, 6) + 0.5)
    agree(module, (torch.randn(2, 4, 6),), "private", tmp_path, 2.5e-3)


def test_elu(tmp_path: Path) -> None:
    """Every alpha and scale of torch, on numbers of both sides of zero and on large ones."""
    torch.manual_seed(6)

    def function(x: Tensor) -> list[Tensor]:
        return [
            functional.elu(x),
            nn.ELU(alpha=0.3)(x),
            nn.ELU(alpha=2.5)(x),
            functional.elu(x, alpha=-0.5),
            torch.ops.aten.elu(x, 1.5, 0.7),
            torch.ops.aten.elu(x, 1.5, 0.7, 1.25),
        ]

    x = torch.cat([torch.tensor([0.0, -0.0, 2.0**-16, -(2.0**-16), -9.0, 9.0, -60.0, 60.0]), torch.randn(24) * 3])
    agree(Of(function), (x,), "private", tmp_path, 2e-3)


def test_inputs_of_several_kinds(tmp_path: Path) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(11, 5)
            self.types = nn.Embedding(3, 5, padding_idx=0)

        def forward(self, ids: Tensor, shift: Tensor, kinds: Tensor) -> list[Tensor]:
            return [self.words(ids) + self.types(kinds) * shift, self.words(kinds)]

    inputs = (torch.tensor([[0, 10], [4, 4]]), torch.randn(2, 2, 5), torch.tensor([[0, 1], [2, 2]]))
    for weights in WEIGHTS:
        agree(Mixed(), inputs, weights, tmp_path / weights, ROUNDING)
