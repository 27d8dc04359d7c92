"""A9, KV cache: keys keep the norm of each rotary pair up to a factor that the weights give away.

A cached key of head k is x·W_K·B, B = ⊕ Rot(φ_p)/s_p over rotary pairs p, turned further by its position. Turning keeps
norms, so ‖k'_p‖ = ‖k_p‖/s_p; and ‖W'_K,p‖ = ‖W_K,p‖/s_p, because Q is orthogonal. The ratio is free of the key. In the
first layer x is the token's embedding after its norm: a dictionary of V such fingerprints reads the cache position by
position. Values v' = vU add vᵀ(WᵀW)⁻¹v, which no invertible U alters. Heads are matched by singular values.

Needs: the first layer's cache and weights, base weights. No ids, no other activations. Source: in the design of this
suite; that caches tell their prompts, Luo et al. 2025, "Shadow in the Cache".
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attack.guess import Guess
from bench.attack.matching import assign_near, standardised
from bench.attack.view import View
from bench.attack.weights import Layer


def attack(view: View, numbers: list[int], length: int) -> Guess:
    """A reading of some sessions from the cache of the first layer."""
    heads = view.config.num_key_value_heads
    ours, theirs = view.encrypted.layers[0], view.known.layers[0]
    order = assign_near(_spectra(ours, heads), _spectra(theirs, heads))
    assert view.known.embedding is not None
    rows = view.known.embedding
    normal = rows / (rows.square().mean(1, keepdim=True) + view.config.rms_norm_eps).sqrt()
    dictionary = _fingerprints(_heads(normal @ theirs.key, heads), _heads(normal @ theirs.value, heads), theirs, heads)
    dictionary = dictionary[:, order].flatten(1)
    readings = {}
    for number in numbers:
        symbols = view.traffic.symbols[number][: len(view.template) + length]
        cache = view.encrypted_network(**view.inputs(symbols), use_cache=True).past_key_values.layers[0]
        keys, values = cache.keys[0].double().transpose(0, 1), cache.values[0].double().transpose(0, 1)
        observed = _fingerprints(keys, values, ours, heads).flatten(1)
        near = torch.cdist(*standardised(observed, dictionary)).argmin(1)
        readings[number] = near.tolist()
    return Guess(readings=readings)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.reshape(len(x), heads, -1)


def _pairs(x: Tensor) -> Tensor:
    """Rotary pairs as Hugging Face lays them out, (j, j + d_h/2). Shapes: [..., d_h] -> [..., d_h/2, 2]."""
    return torch.stack(x.chunk(2, dim=-1), dim=-1)


def _pair_scale(layer: Layer, heads: int) -> Tensor:
    """Frobenius norms of the columns of each pair. Shapes: [K, d_h/2]."""
    return _pairs(_heads(layer.key, heads)).square().sum((0, 3)).sqrt()


def _fingerprints(keys: Tensor, values: Tensor, layer: Layer, heads: int) -> Tensor:
    """Shapes: [N, K, d_h] twice -> [N, K, d_h/2 + 1]."""
    norms = _pairs(keys).norm(dim=-1) / _pair_scale(layer, heads)
    weights = _heads(layer.value, heads).transpose(0, 1)
    inverse = torch.linalg.inv(weights.mT @ weights)
    forms = torch.einsum("nki,kij,nkj->nk", values, inverse, values)
    return torch.cat((norms, forms[:, :, None]), dim=2).clamp(min=1e-12).log()


def _spectra(layer: Layer, heads: int) -> Tensor:
    """Of each head's key weights, each pair scaled to norm one: free of Q, angles and scales. Shapes: [K, d_h]."""
    scaled = _pairs(_heads(layer.key, heads)) / _pair_scale(layer, heads)[:, :, None]
    return torch.linalg.svdvals(scaled.transpose(0, 1).flatten(2))
