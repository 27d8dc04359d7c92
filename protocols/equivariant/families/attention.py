"""The four spaces of an attention block, from the factors qk, vo and heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.equivariant.action import Action, Blocks, Chain, DeferredAction, Identity, Permutation, Scale
from secure.protocols.equivariant.choice import Choice
from secure.protocols.equivariant.factors import heads, qk, vo


@dataclass(frozen=True)
class AttentionShape:
    """Query heads, KV heads (fewer with grouped queries), and the width of a head.

    rotary: whether queries and keys are turned by their positions; normed: whether each is normalised before that.
    """

    heads: int
    kv_heads: int
    width: int
    rotary: bool
    normed: bool = False

    @property
    def group(self) -> int:
        return self.heads // self.kv_heads


@dataclass(frozen=True)
class AttentionSpaces:
    """What acts on queries and on mixed values [heads·width], on keys and values [kv_heads·width].

    query_gain, key_gain: what acts on the gains of the norms of heads, which are [width], where there are any.
    """

    query: Action
    key: Action
    value: Action
    mixed: Action
    query_gain: Action
    key_gain: Action
    free_key_bias: bool
    """Whether the bias of the keys is set to zero: nothing depends on it without rotary positions."""


def attention_spaces(choice: Choice, layer: int, shape: AttentionShape) -> AttentionSpaces:
    """The spaces of one layer. Nothing is drawn before it is needed."""
    queries, keys = shape.heads * shape.width, shape.kv_heads * shape.width
    compare = DeferredAction(keys, lambda: _compare(choice, layer, shape))
    value = DeferredAction(keys, lambda: _value(choice, layer, shape))
    order = DeferredAction(queries, lambda: _order(choice, layer, shape, kv=False))
    kv_order = DeferredAction(keys, lambda: _order(choice, layer, shape, kv=True))
    return AttentionSpaces(
        query=Chain(DeferredAction(queries, lambda: _for_queries(compare.drawn, shape)), order),
        key=Chain(Dual(compare), kv_order),
        value=Chain(value, kv_order),
        mixed=Chain(DeferredAction(queries, lambda: _for_queries(value.drawn, shape)), order),
        query_gain=DeferredAction(shape.width, lambda: _gain(choice, layer, shape, keys=False)),
        key_gain=DeferredAction(shape.width, lambda: _gain(choice, layer, shape, keys=True)),
        free_key_bias=choice.has("qk") and not choice.permutations and not shape.rotary,
    )


def _compare(choice: Choice, layer: int, shape: AttentionShape) -> Action:
    size = shape.kv_heads * shape.width
    if not choice.has("qk") or (choice.permutations and shape.rotary):
        return Identity(size)
    if choice.permutations:
        return _inside_heads(qk.permutations(choice.key, layer, shape.kv_heads, shape.width))
    if shape.normed:
        drawn = qk.behind_norms(choice.key, layer, shape.kv_heads, shape.width)
        return _inside_heads(drawn.order.expand(shape.kv_heads, -1), drawn.signs)
    draw = qk.rotary if shape.rotary else qk.general
    return Blocks(*draw(choice.key, layer, shape.kv_heads, shape.width))


def _gain(choice: Choice, layer: int, shape: AttentionShape, *, keys: bool) -> Action:
    """What acts on the gain of the norm of every query, or key, when `_compare` acts on what is normalised."""
    if not choice.has("qk") or choice.permutations:
        return Identity(shape.width)
    drawn = qk.behind_norms(choice.key, layer, shape.kv_heads, shape.width)
    return Chain(Permutation(drawn.order), Scale(1 / drawn.scales if keys else drawn.scales))


def _value(choice: Choice, layer: int, shape: AttentionShape) -> Action:
    if not choice.has("vo"):
        return Identity(shape.kv_heads * shape.width)
    if choice.permutations:
        return _inside_heads(vo.permutations(choice.key, layer, shape.kv_heads, shape.width))
    return Blocks(*vo.general(choice.key, layer, shape.kv_heads, shape.width))


def _order(choice: Choice, layer: int, shape: AttentionShape, *, kv: bool) -> Action:
    count = shape.kv_heads if kv else shape.heads
    if not choice.has("heads"):
        return Identity(count * shape.width)
    query_order, kv_order = heads.orders(choice.key, layer, shape.kv_heads, shape.group)
    order = kv_order if kv else query_order
    return Permutation((order[:, None] * shape.width + torch.arange(shape.width)).flatten())


def _inside_heads(orders: Tensor, signs: Tensor | None = None) -> Permutation:
    """Orders inside each head as one order. Shapes: int64 [heads, width], float64 the same."""
    count, width = orders.shape
    order = (orders + width * torch.arange(count)[:, None]).flatten()
    return Permutation(order, None if signs is None else signs.flatten())


def _for_queries(action: Action, shape: AttentionShape) -> Action:
    """The action of each KV head, once for each query head of its group."""
    if isinstance(action, Blocks):
        return action.repeated(shape.group)
    if isinstance(action, Permutation):
        orders, signs = action.order.reshape(shape.kv_heads, shape.width) % shape.width, action.signs
        if signs is not None:
            signs = signs.reshape(shape.kv_heads, shape.width).repeat_interleave(shape.group, 0)
        return _inside_heads(orders.repeat_interleave(shape.group, 0), signs)
    return Identity(shape.heads * shape.width)


class Dual(Action):
    """M⁻ᵀ in place of M: what acts on keys when M acts on queries."""

    def __init__(self, action: Action) -> None:
        self.size = action.size
        self._action = action

    def write(self, x: Tensor) -> Tensor:
        return self._action.read(x)

    def read(self, x: Tensor) -> Tensor:
        return self._action.write(x)

    def inverse(self) -> Action:
        return Dual(self._action.inverse())
