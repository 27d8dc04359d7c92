"""Modules that are none of our families: captured, run on shares, compared with themselves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secure.models.contract.manifest import WeightVisibility
from secure.models.graph.capture import capture
from secure.models.graph.network import GraphNetwork
from secure.models.program import load, network
from secure.protocols.cleartext.protocol import CleartextProtocol
from tests.in_process import BEAVER, Family
from tests.models.graph.modules import EncoderBlock, Perceptron, Pictures, settled
from tests.models.runs import clear_run, secure_run
from tests.sampling import product_of

WEIGHTS = ("private", "public")
# SiLU is off by up to 1.5e-3, tanh by 8e-4, GeLU by 4e-4; the layers behind them add some of these up.
ERRORS = {"Perceptron": 4e-3, "Pictures": 1e-3, "EncoderBlock": 2e-3}
CASES = {
    "perceptron": (Perceptron, lambda: torch.randn(5, 13)),
    "one row": (Perceptron, lambda: torch.randn(1, 13)),
    "pictures": (Pictures, lambda: torch.randn(2, 3, 15, 17)),
    "encoder block": (EncoderBlock, lambda: torch.randint(0, 17, (2, 7))),
    "one token": (EncoderBlock, lambda: torch.randint(0, 17, (3, 1))),
}


def flat(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


def run(
    module: nn.Module, inputs: tuple[Tensor, ...], weights: WeightVisibility, folder: Path, family: Family = BEAVER
) -> Any:
    """What a client would get."""
    checkpoint = capture(module, inputs, weights=weights)
    net = network(checkpoint.manifest)
    assert isinstance(net, GraphNetwork)
    named = {given.name: tensor for given, tensor in zip(net.graph.inputs, inputs, strict=True)}
    return net.arrange(secure_run(checkpoint, folder, "hidden", named, family))


@product_of(case=list(CASES), weights=(*WEIGHTS, "server"))
def test_on_shares(case: str, weights: WeightVisibility, tmp_path: Path) -> None:
    kind, example = CASES[case]
    torch.manual_seed(5)
    module, inputs = settled(kind()), example()
    with torch.no_grad():
        due = module(inputs)
    found = run(module, (inputs,), weights, tmp_path)
    assert type(found) is type(due)
    if isinstance(due, dict):
        assert list(found) == list(due)
    for ours, theirs in zip(flat(found), flat(due), strict=True):
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) < ERRORS[kind.__name__]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_in_the_clear(weights: WeightVisibility) -> None:
    """Other values than the example's, in exact arithmetic: what is left is the rounding of weights and inputs."""
    module = settled(Pictures())
    checkpoint = capture(module, torch.randn(1, 3, 15, 17), weights=weights)
    image = 3 * torch.randn(1, 3, 15, 17)
    found = clear_run(checkpoint, "hidden", {"image": image})
    with torch.no_grad():
        for ours, theirs in zip(found.values(), flat(module(image)), strict=True):
            assert float((ours - theirs).abs().max()) < 2e-3


def test_torch_own_encoder_layer(tmp_path: Path) -> None:
    """Multi-head attention as torch writes it."""
    module = settled(nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, norm_first=True, activation="gelu"))
    x = torch.randn(2, 5, 12)
    with torch.no_grad():
        due = module(x)
    assert float((run(module, (x,), "private", tmp_path) - due).abs().max()) < 1e-3


def test_odd_names() -> None:
    module = nn.ModuleDict({"né-1": nn.Linear(3, 3), "né_1": nn.Linear(3, 3)})

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = module

        def forward(self, x: Tensor) -> Tensor:
            return self.parts["né_1"](self.parts["né-1"](x))

    checkpoint = capture(Named().eval(), torch.randn(2, 3))
    assert {"parts.n__1.weight", "parts.n__1.weight.2"} < set(checkpoint.tensors)


def test_layers_for_a_progress_bar() -> None:
    ids = torch.randint(0, 17, (1, 3))
    checkpoint = capture(settled(EncoderBlock()), ids)
    begun: list[str] = []
    net, protocol = network(checkpoint.manifest), CleartextProtocol(checkpoint.manifest.policy, begun.append)
    request = net.request("hidden", {"ids": ids})
    weights = load(CleartextProtocol(checkpoint.manifest.policy), checkpoint.manifest, checkpoint.tensors).weights
    specs = net.input_specs(request, 0)
    secrets = {
        name: protocol.input(tensor, specs[name].shape, specs[name].fraction_bits)
        for name, tensor in net.client_inputs(request, {"ids": ids}, {}, specs).items()
    }
    net.forward(protocol, weights, request, secrets)
    assert net.layers == len(begun) + 1  # reveal comes after
    assert begun[:2] == ["embeddings", "module"] and "first_norm" in begun


def test_scores_are_scaled_once() -> None:
    """Attention scales its scores anyway: the softmax in powers of two takes its factor from there, masks or not."""
    nodes = capture(settled(EncoderBlock()), torch.randint(0, 17, (2, 7))).manifest.config["nodes"]
    assert [node["settings"]["base_two"] for node in nodes if node["operation"] == "softmax"] == [True, True]
    factors = [node["settings"]["number"] for node in nodes if node["operation"] == "multiply_number"]
    assert factors == pytest.approx([math.log2(math.e) / 2] * 2)
    nodes = capture(nn.Softmax(-1), torch.randn(2, 3)).manifest.config["nodes"]
    assert [node["settings"] for node in nodes] == [{"base_two": False}]


def test_norms_are_folded_where_nothing_else_reads() -> None:
    checkpoint = capture(settled(Perceptron()), torch.randn(2, 13))
    operations = [node["operation"] for node in checkpoint.manifest.config["nodes"]]
    assert operations[:4] == ["linear", "function", "linear", "function"]
    assert operations.count("linear") == 3

    class Sequences(nn.Module):
        """A linear layer has its columns last, where batch norm of sequences has no channels."""

        def __init__(self) -> None:
            super().__init__()
            self.linear, self.first = nn.Linear(4, 4), nn.BatchNorm1d(4)
            self.convolution, self.second = nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.convolution(self.first(self.linear(x))))

    checkpoint = capture(settled(Sequences()), torch.randn(2, 4, 4))
    operations = [node["operation"] for node in checkpoint.manifest.config["nodes"]]
    assert operations == ["linear", "gain", "multiply", "offset", "add", "reshape", "convolution", "reshape"]

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(2, 3, 3)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.convolution(x)
            return x + self.norm(x)

    operations = [
        node["operation"] for node in capture(settled(Both()), torch.randn(1, 2, 5, 5)).manifest.config["nodes"]
    ]
    assert operations.count("convolution") == 1 and "multiply" in operations


def test_no_tensor_of_the_module_is_in_the_manifest() -> None:
    """Constants of the code and buffers are parameters like weights; numbers of the code are public."""

    class Constants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor(0.7654321))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.scale + torch.tensor([0.1234567, 0.2])) / 1.7070707

    checkpoint = capture(Constants().eval(), torch.randn(3, 2))
    text = checkpoint.manifest.to_json()
    assert "1234567" not in text and "7654321" not in text
    assert [round(1 / node["settings"]["number"], 7) for node in checkpoint.manifest.config["nodes"][-1:]] == [
        1.7070707
    ]
    assert len(checkpoint.tensors) == 2


def test_a_tensor_that_is_used_twice_is_shared_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(torch.relu(self.layer(x)))

    assert set(capture(Tied().eval(), torch.randn(2, 4)).tensors) == {"layer.weight", "layer.bias"}
