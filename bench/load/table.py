"""What many clients get, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.tables import table

Record = dict[str, Any]
_HEADS = ["Clients", "Loop", "Texts", "Answers/s", "p50", "p95", "p99", "Errors", "CPU s", "MB", "Cost of 1,000"]


def served(records: Sequence[Record]) -> str:
    """Each record's runs, and how soon a busy party says so."""
    return "\n\n".join(_one(record) for record in records)


def _one(record: Record) -> str:
    rows = [
        _row(row["clients"], loop, kind, run)
        for row in record["rows"]
        for loop in ("closed", "open")
        for kind, run in row.get(loop, {}).items()
    ]
    prices = record["prices"]
    said = [
        f"`{record['command']}`: {record['model']} through {record['through']}. Rates are medians of "
        f"{record['setting']['repeats']} runs, least and most in brackets; bytes cost {prices['gigabyte']} a GB, "
        f"processors {prices['core_hour']} an hour.",
        table(_HEADS, rows),
    ]
    gained = [
        f"{row['clients']} clients get {row['times']['rate']} times as many answers together, with "
        f"{row['times']['p95']} of the 95th percentile"
        for row in record["rows"]
        if "times" in row
    ]
    if gained:
        said.append(f"{'; '.join(gained)}.")
    if "busy" in record:
        busy = record["busy"]["seconds"]
        said.append(
            f"A party whose places are taken refuses a session within {busy['median'] * 1000:.1f} ms (median of "
            f"{record['busy']['asks']}, 95th percentile {busy['p95'] * 1000:.1f} ms)."
        )
    return "\n\n".join(said)


def _row(clients: int, loop: str, kind: str, run: Record) -> list[str]:
    rate, cost = run["rate"], run["cost_per_1000"]
    return [
        str(clients),
        loop,
        kind,
        f"{rate['median']:.2f} ({rate['least']:.2f} to {rate['most']:.2f})",
        *(f"{run['seconds'][name]['all']:.2f} s" for name in ("p50", "p95", "p99")),
        str(sum(run["errors"].values())),
        f"{sum(run['cpu_seconds_an_answer'].values()):.2f}",
        f"{sum(run['link_bytes_an_answer'].values()) / 1e6:.1f}",
        f"{cost['bytes']:.2f} bytes, {cost['cpu']:.3f} CPU",
    ]
