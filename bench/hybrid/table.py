"""What a client and a model's owner take, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.tables import table

Record = dict[str, Any]

_NOTE = (
    "Both parties are threads of one process. *Seconds* are medians of the processor time of each party's thread, P0\n"
    "and P1; other work on the machine lengthens them, so its load stands with each run. *Made* is before there is an\n"
    "input, *used* after. *Sent* and *kept* are MB by P0 and by P1, which follow from shapes."
)


def taken(records: Sequence[Record]) -> str:
    """One line for each record."""
    if not records:
        return ""
    headings = ["What", "Garbler", "Made: seconds", "sent", "kept", "Used: seconds", "sent", "rounds", "Run"]
    rows = [
        [
            _what(record),
            record["garbler"],
            _both(record["made"]["median_seconds"], 1, 3),
            _both(record["made"]["sent_bytes"], 1e6, 2),
            _both(record["kept_bytes"], 1e6, 2),
            _both(record["used"]["median_seconds"], 1, 3),
            _both(record["used"]["sent_bytes"], 1e6, 2),
            f"{record['used']['rounds']}",
            f"`{record['command']}`, load {record['load_average']:.0f}",
        ]
        for record in sorted(records, key=lambda record: (record["what"], record["garbler"]))
    ]
    return "\n\n".join([table(headings, rows), _NOTE])


def _what(record: Record) -> str:
    if record["what"] == "relu":
        return f"ReLU of {record['relus']:,} numbers"
    if record["what"] == "linear":
        return f"{record['width']} × {record['width']}, {record['rows']:,} rows"
    return "ResNet-20, one image of 32 × 32"


def _both(figures: Sequence[float], unit: float, digits: int) -> str:
    return ", ".join(f"{figure / unit:,.{digits}f}" for figure in figures)
