"""The meters' rows of several roles, added up by op. Imports nothing of ours: it also runs where only torch is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def by_op(rows: Mapping[str, Sequence[Mapping[str, Any]]], layer: str | None = None) -> dict[str, dict[str, float]]:
    """Costs by op, of one layer or of all, from the rows of each role; p1 has to be among them.

    Online bytes are all computing parties'; where p0's rows are not given, it is taken to send what p1 does. With a
    dealer, a third one counts as the two others do. Without one three parties help each other in turn: two of
    them count a gate's rounds, and what the third deals counts there and where it arrives. Each role's figure is its
    seconds within gates, its waiting included.
    """
    three = "p2" in rows and "dealer" not in rows
    ops: dict[str, dict[str, float]] = {}
    for role, of_role in rows.items():
        for row in of_role:
            if layer is not None and row["layer"] != layer:
                continue
            op = ops.setdefault(
                row["op"], {"rounds": 0, "online_bytes": 0, "dealer_bytes": 0} | dict.fromkeys(rows, 0.0)
            )
            op[role] += row["seconds"]
            if three:
                op["rounds"] += row["rounds"] / 2
                op["online_bytes"] += row["online_bytes"] + row["dealer_bytes"] / 2
                continue
            if role in ("p0", "p2"):
                op["online_bytes"] += row["online_bytes"]
            if role == "p2":
                op["dealer_bytes"] += row["dealer_bytes"]
            if role == "p1":
                op["rounds"] += row["rounds"]
                op["online_bytes"] += row["online_bytes"] * (1 if "p0" in rows else 2)
                op["dealer_bytes"] += row["dealer_bytes"]
    return ops
