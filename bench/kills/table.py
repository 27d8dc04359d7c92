"""What came of killed parties, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.tables import table

Record = dict[str, Any]


def killed(records: Sequence[Record]) -> str:
    """The counts of a campaign, and where its kills struck."""
    return "\n\n".join(_campaign(record) for record in records)


def _campaign(record: Record) -> str:
    struck: Counter[str] = Counter()
    for place, count in record["kills"].items():
        role, point = place.split(", ", 1)
        struck[f"{role}, {'a random instant' if 'random' in point else 'a named step'}"] += count
    rows = [
        ["kills", f"{record['kills_total']:,}"],
        *([f"of {place}", f"{count:,}"] for place, count in sorted(struck.items())),
        ["deals of which something was sent", f"{record['sent']:,}"],
        ["deals used twice", f"{record['used_twice']:,}"],
        ["deals that p0 and p1 used in different sessions", f"{record['unpaired']:,}"],
        ["deals lost", f"{record['lost']:,} of {record['dealt']:,}"],
        ["most deals lost by one kill", f"{record['most_lost']:,}"],
        ["answers, and wrong ones", f"{record['answers']:,}, {record['wrong']:,}"],
    ]
    text = (
        "P0 or P1 is killed, at a random instant or just before or after a named step, while a deal is made or used,\n"
        f"and started again (`{record['command']}`). A deal is used when a byte under its masks was sent."
    )
    return f"{text}\n\n" + table(["Count", ""], rows)
