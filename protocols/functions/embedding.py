"""Rows of a table, chosen by a secret index."""

from __future__ import annotations

from typing import Any

from protocols.core.secret import Secret


def embedding(one_hot: Secret, table: Any) -> Secret:
    """Row `index` of the table, from a one-hot vector that the client shared.

    Shapes: one_hot [..., V] with no fraction bits, table [V, D] -> [..., D] at the table's scale. Exact.
    Reveals nothing: neither the index nor the row.
    """
    return one_hot.protocol.linear(one_hot, table, None)
