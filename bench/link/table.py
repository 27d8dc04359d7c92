"""The table of what a round costs, for the report."""

from __future__ import annotations

from typing import Any


def rounds(record: dict[str, Any]) -> str:
    """Markdown: one line for each size of message."""
    lines = [
        f"A round by itself, {record['network']['name']}, medians of {record['setting']['repeats']} runs in turn, load "
        f"{record['load']:.1f} at the start. Included: {record['includes']}. Excluded: {record['excludes']}.",
        "",
        "| message | µs | least | p0 CPU µs | of the thread | p1 CPU µs | of the thread |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in record["sizes"]:
        whole, own = row["cpu_microseconds"], row["thread_microseconds"]
        figures = row["microseconds"], row["least"], whole["p0"], own["p0"], whole["p1"], own["p1"]
        lines.append(f"| {row['message_bytes']:,} B | {' | '.join(f'{figure:,.0f}' for figure in figures)} |")
    return "\n".join(lines)
