"""Heads: the order of attention heads.

Transforms: KV heads change places together with their groups of query heads; inside a group query heads change places
too. W_Q, W_K and W_V move blocks of columns, W_O blocks of rows.

Exact because heads do not see each other until W_O sums them up. Every value keeps its bits.

Leaves: each head as it is. A head is told from others by anything that the other factors leave of it.
"""

from __future__ import annotations

from torch import Tensor

from secure.protocols.equivariant.key import Key


def orders(key: Key, layer: int, kv_heads: int, group: int) -> tuple[Tensor, Tensor]:
    """Old places of query heads and of KV heads, in the new order. Shapes: int64 [kv_heads·group], [kv_heads]."""
    stream = key.stream("heads", str(layer))
    kv = stream.permutation(kv_heads)
    inside = stream.permutations(group, kv_heads)
    return (kv[:, None] * group + inside).flatten(), kv
