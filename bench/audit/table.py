"""What canaries find, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.tables import table

Record = dict[str, Any]

SERVERS = {
    "minilm": "MiniLM, encrypted",
    "tiny": "a tiny LLaMA, encrypted",
    "minilm-private": "MiniLM on shares, protocol beaver",
}
_NOTE = (
    "*Distance*: of embeddings the length of the difference, of a language model the largest difference of a\n"
    "log-probability among the 20 likeliest next tokens. The threshold is ten times the largest honest distance on\n"
    "texts of their own. False alarms are counted among further honest answers that were computed, and among ones\n"
    "drawn from a distribution as wide. *Found*: the share of canaries that show the other model, each by itself."
)


def found(records: Sequence[Record]) -> str:
    """Thresholds and false alarms in one table, and what each audit finds in one of its own."""
    if not records:
        return ""
    headings = ["Audit", "Noise: texts, largest", "Threshold", "False alarms", "Of drawn ones", "Run"]
    parts = [table(headings, [_setting(record) for record in records]), _NOTE]
    for record in records:
        rows = [
            [row["name"], f"{row['least']:.1e}", f"{row['median']:.1e}", f"{row['found']:.0%}"]
            for row in record["rows"]
        ]
        headings = ["In the model's place", "Least distance", "Median", "Found by one canary"]
        parts += [f"### {SERVERS[record['model']]}", table(headings, rows)]
    return "\n\n".join(parts)


def _setting(record: Record) -> list[str]:
    return [
        SERVERS[record["model"]],
        f"{record['noise_texts']}, {record['largest_noise']:.1e}",
        f"{record['threshold']:.1e}",
        *(_alarms(record[how]) for how in ("computed", "drawn")),
        f"`{record['command']}`",
    ]


def _alarms(count: dict[str, Any]) -> str:
    return f"{count['false_alarms']} of {count['honest']:,}, largest {count['largest']:.1e}"
