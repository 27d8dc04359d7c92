"""Constants, loads on real parties and simulations of private inference, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.private_inference.comparing import TOLERANCE
from bench.tables import table

Record = dict[str, Any]
_SATURATED = "queue grows"


def constants(records: Sequence[Record]) -> str:
    """One line for each record of constants."""
    if not records:
        return ""
    headings = ["Model", "Protocol", "Making: alone", "processor", "sent", "kept", "Answer: alone", "processor", "Run"]
    rows = [
        [
            record["model"],
            record["protocol"] + (f", {record['garbler']} garbles" if record["garbler"] else ""),
            *_phase(record["offline"]),
            _by_role(record["kept_bytes"], 1e6, "MB"),
            *_phase(record["online"])[:2],
            _run(record),
        ]
        for record in records
    ]
    note = (
        "What one making and one answer from stock take, with real parties: *alone* are seconds at the caller, with\n"
        "nothing else going on; *processor*, seconds of whole processes; *sent* and *kept*, MB by party. The\n"
        "simulator takes its constants from here."
    )
    return f"{note}\n\n{table(headings, rows)}"


def loads(records: Sequence[Record]) -> str:
    """Real parties under load beside the simulator, a line for each run."""
    if not records:
        return ""
    headings = ["Model", "Arrivals", "Slots", "Utilisation", "Requests", "Mean", "simulated", "p95", "simulated"]
    rows = [
        [
            f"{record['constants']['protocol']}: {record['constants']['model']}",
            record["arrivals"],
            str(record["slots"]),
            f"{row['utilisation']:.2f}",
            str(row["requests"]),
            *_compared(row, "mean"),
            *_compared(row, "p95"),
            f"{row['real']['hits']:.0%}, {row['simulated']['hits']:.0%}",
            "yes" if row["within"] else "**no**",
            _run(record),
        ]
        for record in records
        for row in record["rows"]
    ]
    note = (
        "Requests sent to real parties, processes of their own, as they arrive, and the simulator on the very same\n"
        "arrivals, with constants measured on the same parties just before. *Utilisation* is the rate as a part of\n"
        f"what the simulator sustains. *Within*: mean and p95 differ by {TOLERANCE:.0%} at the most. A making that is\n"
        "not in stock is made in the call."
    )
    return f"{note}\n\n{table([*headings, 'Hits, simulated', 'Within', 'Run'], rows)}"


def simulations(records: Sequence[Record]) -> str:
    """All of the tables of simulations."""
    return "\n\n".join(_simulation(record) for record in records)


def _simulation(record: Record) -> str:
    site = record["site"]
    text = (
        f"Simulated: {record['seeds']} seeds of {record['requests']} requests each, the first tenth left out "
        f"({_run(record)}).\n"
        f"The client has {site['client_cores']} cores, the server {site['server_cores']}, and "
        f"{8e-9 * site['bytes_per_second']:g} Gb/s between them, both directions\ntogether, which making and answering "
        "share. Requests are answered one at a time, in order; one\nmaking goes on at a time, and takes its slot when "
        "it begins. With nothing in stock, a request waits for the making that\ncomes next; without a slot all is "
        "made in the call. Cells are mean / p99 seconds from arrival to answer,\nwith half of the mean's 95 % "
        "confidence interval, and hits: requests that found something in stock when their turn came."
    )
    parts = [
        text,
        *(_group(group) for group in record["groups"]),
        _storage(record),
        _optimised(record),
        _policies(record),
    ]
    return "\n\n".join(part for part in parts if part)


def _group(group: Record) -> str:
    headings = ["Engine", "Offline, online alone", "Client, server keep", "Room", "Slots", "Sustained"]
    rows = [
        [
            _name(row),
            f"{_plain(row['offline_seconds'])}, {_plain(row['online_seconds'])} s",
            _gigabytes(row["kept_bytes"]),
            _gigabytes(row["storage_bytes"]),
            f"{row['slots']:,}",
            f"{row['sustainable_rate']:.2g}/s",
            *(_cell(found) for found in row["at"]),
        ]
        for row in group["rows"]
    ]
    bursts = [[_name(row), f"{row['slots']:,}", *(_cell(found) for found in row["in_bursts"])] for row in group["rows"]]
    rates = [f"{rate:g}/s" for rate in group["rates"]]
    return (
        f"### {group['name']}\n\n{table([*headings, *rates], rows)}\n\nIn bursts, of the same mean rates:\n\n"
        + table(["Engine", "Slots", *rates], bursts)
    )


def _storage(record: Record) -> str:
    if not record["storage"]:
        return ""
    slots = [str(each["slots"]) for each in record["storage"][0]["rows"][0]["at"]]
    rows = [
        [_short(group, row), f"{row['rate']:.2g}/s", *(_cell(each["figures"]) for each in row["at"])]
        for group in record["storage"]
        for row in group["rows"]
    ]
    text = (
        f"### By slots\n\nEach at {record['loaded']:g} of the rate that it sustains with room for all; the columns are "
        "numbers of slots."
    )
    return f"{text}\n\n" + table(["Engine", "Rate", *slots], rows)


def _optimised(record: Record) -> str:
    found = record["optimisations"]
    if not found:
        return ""
    rows = [
        [
            row["name"],
            row["left"],
            f"{_plain(row['offline_seconds'])}, {_plain(row['online_seconds'])} s",
            _gigabytes(row["kept_bytes"]),
            f"{row['slots']:,}",
            f"{row['sustainable_rate']:.2g}/s",
            _cell(row["figures"]),
        ]
        for row in found
    ]
    text = (
        f"### Fewer ReLUs, fewer products\n\n{found[0]['network']}, client with 16 GB, from end to end at "
        f"{found[0]['rate']:g}/s."
    )
    headings = ["Engine", "Left", "Offline, online alone", "Client, server keep", "Slots", "Sustained", "At that rate"]
    return f"{text}\n\n" + table(headings, rows)


def _policies(record: Record) -> str:
    found = record["policies"]
    if not found:
        return ""
    rows = [
        [
            str(row["pipelines"]),
            {"wait": "waits for the next making", "demand": "has its own made"}[row["miss"]],
            f"{row['sustainable_rate']:.2g}/s",
            _cell(row["figures"]),
        ]
        for row in found
    ]
    text = (
        f"### Pipelines\n\n{found[0]['name']}, {found[0]['slots']} slots, at {found[0]['rate']:.2g}/s: makings at a "
        "time, and what a request\ndoes that finds nothing. Our parties make one at a time for a stock, and on demand."
    )
    return f"{text}\n\n" + table(["Makings at a time", "A request without", "Sustained", "At that rate"], rows)


def _cell(found: Record | None) -> str:
    if found is None:
        return _SATURATED
    mean, half = found["mean"]["mean"], found["mean"]["half"]
    return f"{_plain(mean)} ± {_plain(half)} / {_plain(found['p99']['mean'])}; {found['hits']['mean']:.0%}"


def _compared(row: Record, figure: str) -> list[str]:
    return [f"{row['real'][figure]:.3f} s", f"{row['simulated'][figure]:.3f} s ({row['off'][figure]:+.0%})"]


def _phase(phase: Record) -> list[str]:
    return [
        f"{phase['median_seconds']:.3f} s",
        _by_role(phase["core_seconds"], 1.0, "s"),
        _by_role(phase["sent_bytes"], 1e6, "MB"),
    ]


def _by_role(values: dict[str, float], unit: float, name: str) -> str:
    return ", ".join(f"{role} {value / unit:,.2f}" for role, value in values.items()) + (f" {name}" if values else "")


def _gigabytes(values: dict[str, float]) -> str:
    names = {"p0": "client", "p1": "server"}
    return ", ".join(f"{names[role]} {_plain(value / 1e9)}" for role, value in values.items()) + " GB"


def _name(row: Record) -> str:
    return row["name"] + ("" if row["how"] == "measured" else f" ({row['how']})")


def _short(group: Record, row: Record) -> str:
    return row["name"] if row["name"] == group["name"] else f"{group['name']}: {row['name']}"


def _plain(value: float) -> str:
    """Three digits, and no exponent where none helps."""
    if value == 0 or value != value:
        return "0" if value == 0 else "?"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else "< 0.001"


def _run(record: Record) -> str:
    load = f", load {record['load_average']:.1f}" if "load_average" in record else ""
    return f"`{record['command']}`{load}"
