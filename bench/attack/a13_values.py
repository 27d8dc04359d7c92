"""A13, a dictionary of value norms at the first layer: one number for each head reads the cache of values alone.

A cached value of head k in the first layer is v' = xW_V·U, x the token's embedding after its norm. U is any invertible
matrix, so that ‖v'‖ tells nothing; but v'(W'ᵀW')⁻¹v'ᵀ = v(WᵀW)⁻¹vᵀ, with W' the server's own weights: its norm in their
metric is the base's. The values of V tokens give a dictionary, and each position is looked up alone. Values have no
positions in them, so no prompt is needed before.

Needs: the first layer's values and weights, base weights, its embedding; no keys, no ids. Source: as A9.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attack.guess import Guess
from bench.attack.matching import standardised
from bench.attack.view import View
from bench.attack.weights import Layer


def attack(view: View, numbers: list[int], length: int) -> Guess:
    """A reading of some sessions from values of the first layer."""
    heads = view.config.num_key_value_heads
    ours, theirs, rows = view.encrypted.layers[0], view.known.layers[0], view.known.embedding
    assert rows is not None
    normal = rows / (rows.square().mean(1, keepdim=True) + view.config.rms_norm_eps).sqrt()
    dictionary = _norms((normal @ theirs.value).reshape(len(rows), heads, -1), theirs)
    readings = {}
    for number in numbers:
        symbols = view.traffic.symbols[number][: len(view.template) + length]
        cache = view.encrypted_network(**view.inputs(symbols), use_cache=True).past_key_values.layers[0]
        observed = _norms(cache.values[0].double().transpose(0, 1), ours)
        readings[number] = torch.cdist(*standardised(observed, dictionary)).argmin(1).tolist()
    return Guess(readings=readings)


def _norms(values: Tensor, layer: Layer) -> Tensor:
    """Logarithms of v(WᵀW)⁻¹vᵀ, in ascending order, as heads are permuted. Shapes: [N, K, d_h] -> [N, K]."""
    weights = layer.value.reshape(len(layer.value), values.shape[1], -1).transpose(0, 1)
    metric = torch.linalg.inv(weights.mT @ weights)
    return torch.einsum("nki,kij,nkj->nk", values, metric, values).clamp(min=1e-12).log().sort(1).values
