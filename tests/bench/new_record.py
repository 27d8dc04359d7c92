"""What every record has, with figures that are easy to find again."""

from __future__ import annotations

from typing import Any

COMMIT = "0123456789" * 4
MACHINE = {"processor": "Example CPU", "cores": 2, "memory_gib": 8.0}


def new_record(kind: str, **fields: Any) -> dict[str, Any]:
    """A record of a kind, of no command in particular."""
    return {"kind": kind, "command": f"python -m bench {kind} …", "commit": COMMIT, "machine": MACHINE} | fields
