"""Affine norms that begin where the teacher's layer norms are: one gain serves both kinds of norm, times a scale.

A layer norm divides each row by its own deviation. An affine one divides by nothing, so what it is trained from divides
all rows by what the teacher's rows have in the root of the mean square.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from secure.clear_model import NormByKind, norms_by_layer
from secure.models.layers.plan import NORMS
from secure.search.training import arguments

_INPUTS = 256


def calibrate(model: PreTrainedModel, inputs: Tensor) -> None:
    """Set the scales of all norms that are layer norms, by what they get of the first inputs. Shapes: [N, ...]."""
    norms = [norm for pair in norms_by_layer(model) for norm in pair if norm.kind == NORMS[0]]
    handles = [norm.register_forward_pre_hook(_set_scale) for norm in norms]
    model.train(False)
    with torch.no_grad():
        model(**arguments(model, inputs[:_INPUTS]))
    for handle in handles:
        handle.remove()


def _set_scale(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    assert isinstance(norm, NormByKind)
    (x,) = arguments
    square = (x - x.mean(-1, keepdim=True)).square().mean()
    norm.scale = (square + norm.eps).rsqrt()


def absorb_scales(model: PreTrainedModel) -> None:
    """Put the scale of every affine norm into its gain, as a checkpoint has it."""
    for pair in norms_by_layer(model):
        for norm in pair:
            if norm.kind != NORMS[0]:
                norm.weight.data *= norm.scale
            norm.scale = torch.ones(())
