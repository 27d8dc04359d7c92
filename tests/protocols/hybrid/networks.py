"""Networks of convolutions, ReLU and pooling, captured and run by both parties in this process."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from secure.models.checkpoint.conversion import Checkpoint
from secure.models.graph.capture import capture
from secure.models.program import load, network
from secure.protocols.core.secret import Protocol
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.protocol import HybridMaker, HybridParty
from secure.protocols.hybrid.stock import Stock
from tests.in_process import split
from tests.models.graph.modules import settled
from tests.protocols.hybrid.two_parties import Pass, make, use


class SmallPictures(nn.Module):
    """Every kind of layer that a network of images has: strides, padding, pooling of both kinds, a skip, a clamp."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.same = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.wide = nn.Conv2d(4, 5, 1)
        self.classify = nn.Linear(5, 3)

    def forward(self, image: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(image)))
        x = self.pool(functional.relu(self.same(x) + x))
        x = functional.relu6(self.wide(x))
        return self.classify(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


class Block(nn.Module):
    """Two convolutions and what they are added to."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer)
        self.second, self.second_norm = nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer)
        self.skip: nn.Module = nn.Identity()
        if stride > 1:
            self.skip = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.skip(x))


class ResNet(nn.Module):
    """He and others' network for images of 32 x 32: 6 n + 2 layers, 16, 32 and 64 channels."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = [16] * n + [32] * n + [64] * n
        before = [16, *widths]
        self.blocks = nn.Sequential(*(Block(i, o, 1 if i == o else 2) for i, o in zip(before, widths, strict=False)))
        self.classify = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(functional.relu(self.norm(self.stem(image))))
        return self.classify(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


@dataclass
class Predicted:
    """A prediction, what torch says, and what both passes took."""

    outputs: Tensor
    expected: Tensor
    stocks: list[Stock]
    kept_bytes: list[int]
    made: Pass
    used: Pass


def captured(module: nn.Module, image: Tensor) -> tuple[nn.Module, Checkpoint]:
    ready = settled(module)
    return ready, capture(ready, image, weights="server")


def predict(module: nn.Module, image: Tensor, *, garbler: Garbler = "client") -> Predicted:
    """One prediction, with correlations made for it."""
    ready, checkpoint = captured(module, image)
    manifest = checkpoint.manifest
    net = network(manifest)
    request = net.request("hidden", {net.graph.inputs[0].name: image})
    specs = net.input_specs(request, 0)
    (name,) = specs
    encoded = net.client_inputs(request, {name: image}, {}, specs)[name]

    def program(protocol: Protocol, shares: list[Tensor | None]) -> Tensor:
        assert isinstance(protocol, HybridMaker | HybridParty)
        model = load(protocol, manifest, checkpoint.tensors if protocol.role.index == 1 else None)
        spec = specs[name]
        secret = protocol.input(shares[0], spec.shape, spec.fraction_bits)
        outputs, _ = net.forward(protocol, model.weights, request, {name: secret})
        (output,) = outputs.values()
        return protocol.reveal(output)

    stocks, made = make(program, 1, policy=manifest.policy, garbler=garbler)
    kept = [stock.size_bytes for stock in stocks]
    used = use(program, stocks, [split(encoded)], manifest.policy)
    with torch.no_grad():
        expected = ready(image)
    real = (used.results[0] + used.results[1]).double() / 2.0**manifest.policy.fraction_bits
    return Predicted(real, expected, stocks, kept, made, used)
