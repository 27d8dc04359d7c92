"""What a soak found, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.tables import table

Record = dict[str, Any]


def grown(records: Sequence[Record]) -> str:
    """What whoever lived through each phase holds more at its end than at half of it."""
    return "\n\n".join(_one(record) for record in records)


def _one(record: Record) -> str:
    rows = [
        [
            f"{phase['phase']['lives']} lives",
            name,
            f"{held['memory_bytes'] / 1e6:+.1f} MB",
            f"{held['threads']:+d}",
            f"{held['files']:+d}",
            f"{held['sessions']:+d}",
        ]
        for phase in record["phases"]
        for name, held in phase["grown"].items()
    ]
    answers = sum(phase["answers"] for phase in record["phases"])
    wrong = sum(phase["wrong"] for phase in record["phases"])
    kills = sum(len(phase["phase"]["killed"]) for phase in record["phases"])
    text = (
        f"`{record['command']}`: {answers} predictions by {record['setting']['clients']} clients at a time, {wrong} of "
        f"them wrong, while other roles were killed {kills} times and started again. What is held more at the end of a "
        "phase than at half of it:"
    )
    return f"{text}\n\n" + table(["Phase", "Process", "Memory", "Threads", "Files", "Sessions"], rows)
