"""Small networks: weights from a generator, so that a seed fixes them, and Adam."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

_FIRST_DECAY, _SECOND_DECAY, _LEAST_ROOT = 0.9, 0.999, 1e-8
"""Adam's own numbers (Kingma, Ba, 2015)."""


def fresh(make: Callable[[], Network], generator: torch.Generator) -> Network:
    """A network with weights from the generator alone: the program's other randomness is neither read nor moved."""
    network = untouched(make)
    for parameter in network.parameters():
        scale = 1 / math.sqrt(parameter[0].numel()) if parameter.dim() > 1 else 0.0
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return network


def untouched(make: Callable[[], Network]) -> Network:
    """A network whose making leaves the program's randomness as it was; what its weights are is left open."""
    with torch.random.fork_rng(devices=[]):
        return make()


def fit(
    network: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    count: int,
    generator: torch.Generator,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> None:
    """Lower the mean loss over `count` examples, in batches drawn at random, by Adam with steps that shrink to 0.

    Adam stands here in its formula, as torch's would import torch's compiler, which takes seconds.

    loss_of: places int64 [batch] -> the loss of the examples there, which can be differentiated.
    """
    parameters = list(network.parameters())
    first, second = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
    for step in range(1, steps + 1):
        loss = loss_of(torch.randint(count, (batch,), generator=generator))
        gradients = torch.autograd.grad(loss, parameters)
        rate = learning_rate * (1 - (step - 1) / steps)
        corrected = rate * math.sqrt(1 - _SECOND_DECAY**step) / (1 - _FIRST_DECAY**step)
        with torch.no_grad():
            for parameter, gradient, mean, square in zip(parameters, gradients, first, second, strict=True):
                mean.lerp_(gradient, 1 - _FIRST_DECAY)
                square.mul_(_SECOND_DECAY).addcmul_(gradient, gradient, value=1 - _SECOND_DECAY)
                parameter.mul_(1 - rate * weight_decay).addcdiv_(
                    mean, square.sqrt().add_(_LEAST_ROOT), value=-corrected
                )


def weights_of(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())
