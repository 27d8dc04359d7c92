"""Self-attention of encoders, in which every token sees every other one.

B batch, T tokens, Q of them ask, D width, H heads.
"""

from __future__ import annotations

from protocols.core.secret import Secret
from protocols.functions.chosen import exponentials

_MOST_UNDIVIDED = 128  # tokens: values up to 64 each may then add up


def self_attention(joined: Secret, heads: int, *, mask: Secret | None = None, queries: int | None = None) -> Secret:
    """Each token's mixture of values, before the output matrix; queries absorbed log2(e) / sqrt(D/H) already.

    joined: queries, keys and values side by side. queries: how many tokens ask, from the first one on; all by default.
    Shapes: [B, T, 3 D], additive mask [B, 1, 1, T] -> [B, Q, D].
    """
    batch, tokens, columns = joined.shape
    width = columns // 3
    parts = joined.reshape(batch, tokens, 3, heads, width // heads)
    q, k, v = (parts[:, :, i].transpose(1, 2) for i in range(3))  # [B, H, T, D/H]
    scores = q[:, :, :queries] @ k.transpose(-1, -2)  # [B, H, Q, T]
    if mask is not None:
        scores = scores + mask
    powers, inverse = exponentials(scores, base_two=True)
    # Dividing after the product takes fewer elements, but the undivided sum must stay below 2^14.
    context = (powers @ v) * inverse if tokens <= _MOST_UNDIVIDED else (powers * inverse) @ v
    return context.transpose(1, 2).reshape(batch, queries or tokens, width)
