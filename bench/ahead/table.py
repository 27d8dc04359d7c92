"""Predictions from stock beside those with a dealer on line, and parties that are started again, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.plots import model_name
from bench.tables import table

Record = dict[str, Any]


def from_stock(records: Sequence[Record]) -> str:
    """One line for each record of kind "ahead"."""
    if not records:
        return ""
    headings = ["Model", "Weights", "Batch × tokens", "Live", "From stock", "of live", "Processor live", "from stock"]
    rows = [
        [
            *_model(record),
            f"{record['median_seconds']['live']:.3f} s",
            f"{record['median_seconds']['stock']:.3f} s",
            f"{record['stock_of_live']:.2f}",
            _by_role(record["processor_seconds"]["live"], 1.0, 2) + " s",
            _by_role(record["processor_seconds"]["stock"], 1.0, 2) + " s",
            f"{record['deal_seconds']:.2f} s, {record['deal_bytes'] / 1e6:.1f} MB",
            _by_role(record["median_spend_seconds"], 1e-3, 1) + " ms",
            f"`{record['command']}`",
        ]
        for record in records
    ]
    text = (
        "In turns, with a dealer on line (*live*) and from a stock whose dealer has ended: medians, from the client's\n"
        "tensors to its result. All of the parties' own work ahead is done before a turn. *A deal* is what the dealer\n"
        "took for one, and its bytes; *spent* is what it takes a party to commit, before its first byte, that a deal\n"
        "is used. *Processor*: seconds of each role's thread that computes."
    )
    return f"{text}\n\n" + table([*headings, "A deal", "Spent", "Run"], rows)


def restarted(records: Sequence[Record]) -> str:
    """One line for each record of kind "restart"."""
    if not records:
        return ""
    headings = "Model|Weights|Batch × tokens|Sealed model|Read|Serves|First answer|Processor|Warm|Run"
    rows = [
        [
            *_model(record),
            _by_role(record["sealed_bytes"], 1e6, 0) + " MB",
            *(f"{record['median_seconds'][f'{name}_seconds']:.2f} s" for name in ("reading", "serving", "answered")),
            f"{record['median_seconds']['answered_processor_seconds']:.2f} s",
            f"{record['warm_seconds']:.2f} s",
            f"`{record['command']}`, load {record['load_average']:.1f}",
        ]
        for record in records
    ]
    text = (
        "P0 and P1 are killed in turns and started again; the key of their stocks is held outside, and the dealer\n"
        "takes no part. Medians: reading the sealed model by itself; and, from the start of the process, until the\n"
        "party serves, and until the first answer from stock is there, with the processor time of the process until\n"
        "then. *Warm* is an answer of parties that run."
    )
    return f"{text}\n\n" + table(headings.split("|"), rows)


def _model(record: Record) -> list[str]:
    setting = record["setting"]
    return [model_name(setting), setting["weights"], f"{setting['batch']} × {setting['tokens']}"]


def _by_role(values: Mapping[str, float], unit: float, digits: int) -> str:
    return ", ".join(f"{role} {value / unit:,.{digits}f}" for role, value in values.items())
