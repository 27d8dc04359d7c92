"""A classifier's right answers on shares and in the clear, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.tables import table

Record = dict[str, Any]


def right(records: Sequence[Record]) -> str:
    """A row for each protocol of every record."""
    if not records:
        return ""
    headings = [
        "Model",
        "Protocol",
        "Right in the clear",
        "Right on shares",
        "Answers that agree",
        "Logits differ, most",
        "in the mean",
        "Run",
    ]
    rows = [
        [
            record["model"],
            row["protocol"],
            _share(record["right_in_the_clear"], record),
            _share(row["right"], record),
            f"{row['agree']} of {record['data']['examples']}",
            f"{row['largest_difference']:.1e}",
            f"{row['mean_difference']:.1e}",
            f"`{record['command']}`",
        ]
        for record in records
        for row in record["rows"]
    ]
    said = [
        f"{record['data']['source']}: {record['data']['train']:,} to train with, {record['data']['examples']:,} to "
        f"test. Included: {record['includes']}."
        for record in records
    ]
    return "\n\n".join([table(headings, rows), *said])


def _share(right: int, record: Record) -> str:
    return f"{right} ({right / record['data']['examples']:.1%})"
