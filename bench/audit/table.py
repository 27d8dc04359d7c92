"""What canaries find, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.tables import table

Record = dict[str, Any]

_NOTE = (
    "*Distance*: of embeddings the length of the difference, of a language model the largest difference of a\n"
    "log-probability among the 20 likeliest next tokens. The threshold is ten times the largest honest distance on\n"
    "texts of their own. *Found*: the share of canaries that show the other model, each by itself."
)


def found(records: Sequence[Record]) -> str:
    """Thresholds and false alarms in one table, and what each audit finds in one of its own."""
    if not records:
        return ""
    headings = ["Audit", "Noise: texts, largest", "Threshold", "False alarms", "Largest honest", "Run"]
    parts = [table(headings, [_setting(record) for record in records]), _NOTE]
    for record in records:
        rows = [
            [row["name"], f"{row['least']:.1e}", f"{row['median']:.1e}", f"{row['found']:.0%}"]
            for row in record["rows"]
        ]
        headings = ["In the model's place", "Least distance", "Median", "Found by one canary"]
        parts += [f"### {record['model']}, {record['server']}", table(headings, rows)]
    return "\n\n".join(parts)


def _setting(record: Record) -> list[str]:
    return [
        f"{record['model']}, {record['server']}",
        f"{record['noise_texts']}, {record['largest_noise']:.1e}",
        f"{record['threshold']:.1e}",
        f"{record['false_alarms']} of {record['honest']:,}, {record['honest_how']}",
        f"{record['largest_honest']:.1e}",
        f"`{record['command']}`",
    ]
