"""Models in another one's place: what a server may save, change or exchange."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Change = Callable[[nn.Module], nn.Module]


def _each(change: Callable[[Tensor], Tensor], least_axes: int = 2) -> Change:
    def changed(model: nn.Module) -> nn.Module:
        copied = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in copied.parameters():
                if parameter.dim() >= least_axes:
                    parameter.copy_(change(parameter))
        return copied

    return changed


def rounded(dtype: torch.dtype) -> Change:
    """All weights in a shorter floating-point format; sums stay in float32."""
    return _each(lambda weights: weights.to(dtype).float(), least_axes=1)


def quantised(bits: int) -> Change:
    """Matrices in signed integers of so many bits, with a scale for each row."""
    most = 2 ** (bits - 1) - 1

    def change(weights: Tensor) -> Tensor:
        scale = weights.abs().amax(-1, keepdim=True).clamp_min(1e-12) / most
        return (weights / scale).round() * scale

    return _each(change)


def moved(share: float) -> Change:
    """Every matrix plus noise whose spread is a share of its own: what a little more training does."""

    def change(model: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        return _each(lambda w: w + share * w.std() * torch.randn(w.shape, generator=generator))(model)

    return change


def without_last_layer(model: nn.Module) -> nn.Module:
    """One layer less."""
    copied = copy.deepcopy(model)
    layers = max((module for module in copied.modules() if isinstance(module, nn.ModuleList)), key=len)
    del layers[-1]
    copied.config.num_hidden_layers = len(layers)
    return copied


def another_row(token: int) -> Change:
    """One token's embedding exchanged for its opposite: a change that shows only where the token stands."""

    def change(model: nn.Module) -> nn.Module:
        copied = copy.deepcopy(model)
        with torch.no_grad():
            rows = copied.get_input_embeddings().weight
            rows[token] = -rows[token]
        return copied

    return change


SUBSTITUTES: Mapping[str, Change] = {
    "weights in bfloat16": rounded(torch.bfloat16),
    "weights in float16": rounded(torch.float16),
    "weights of 8 bits, a scale for each row": quantised(8),
    "weights of 4 bits, a scale for each row": quantised(4),
    "the last layer left out": without_last_layer,
    "matrices moved by 1 % of their spread": moved(1e-2),
    "matrices moved by 10⁻⁷ of their spread": moved(1e-7),
}
