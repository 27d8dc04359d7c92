"""Modules as users write them, of none of our families."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def settled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module for inference, with norms that are not what a fresh one has: a swapped pair would go unnoticed."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif name.endswith("running_mean") or (tensor.dim() == 1 and tensor.is_floating_point()):
                tensor.add_(0.2 * torch.randn_like(tensor))
    return module.eval()


class Perceptron(nn.Module):
    """Batch norm behind a linear layer, and once more where nothing takes it in."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(13, 21)
        self.norm = nn.BatchNorm1d(21)
        self.second = nn.Linear(21, 11, bias=False)
        self.later = nn.BatchNorm1d(11)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(11, 3)
        self.temperature = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x)))
        x = self.later(functional.silu(self.second(x)))
        return self.last(self.drop(x)) / self.temperature


class Pictures(nn.Module):
    """A small convolutional network with a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.pointwise = nn.Conv2d(6, 8, 1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.classify = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = functional.relu(self.norm(self.stem(image)))
        x = x + functional.relu(self.depthwise(x))
        x = self.pool(functional.gelu(self.pointwise(x)))
        pooled = functional.adaptive_avg_pool2d(x, 1)
        features = functional.adaptive_avg_pool2d(x.flip(3) + 0.5, (1, 2))
        return {"logits": self.classify(torch.flatten(pooled, 1)), "features": features}


class EncoderBlock(nn.Module):
    """Token ids to one logit per text: attention in plain torch, once by hand and once by torch's own function."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(17, 12)
        self.positions = nn.Embedding(9, 12)
        self.qkv = nn.Linear(12, 36)
        self.output = nn.Linear(12, 12)
        self.first_norm = nn.LayerNorm(12)
        self.up = nn.Linear(12, 30)
        self.down = nn.Linear(30, 12)
        self.second_norm = nn.LayerNorm(12)
        self.score = nn.Linear(12, 1)
        self.register_buffer("causal", torch.ones(9, 9, dtype=torch.bool).triu(1))

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        batch, tokens = ids.shape
        x = self.words(ids) + self.positions(torch.arange(tokens))
        q, k, v = self.qkv(x).view(batch, tokens, 3, 3, 4).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(4)
        scores = scores.masked_fill(self.causal[:tokens, :tokens], float("-inf"))
        context = torch.softmax(scores, dim=-1) @ v
        context = context + functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = self.first_norm(x + self.output(context.transpose(1, 2).reshape(batch, tokens, 12)))
        x = self.second_norm(x + self.down(functional.gelu(self.up(x), approximate="tanh")))
        return torch.tanh(self.score(x[:, -1])).squeeze(-1), x
