"""The red team's record in Markdown."""

from __future__ import annotations

from typing import Any, get_args

from bench.attack.record import said_of_runs
from bench.attack.view import Configuration
from bench.tables import table

Record = dict[str, Any]


def verdicts(record: Record) -> str:
    """What holds: tiers by configurations, with the strongest attack's figure."""
    configurations = get_args(Configuration)
    rows = [
        [tier, *(_cell(cells[name], record["rows"]) for name in configurations)]
        for tier, cells in record["verdicts"].items()
    ]
    return (
        f"Red team of encrypted checkpoints (`{record['command']}`, {record['setting']['keys']} keys): the share of "
        "content tokens that the strongest attack reads, beside that of the best constant guess (chance). A tier is "
        "*limited* when only attacks on traffic succeed: it holds up to so many tokens under one key, and no more. T0 "
        "sees ids only, T1 is a server without the base weights, T2 one that has them. What counts as success is "
        f"*{record['threshold']}*.\n\n" + table(["Tier", *configurations], rows)
    )


def attacks(record: Record) -> str:
    """Every attack against everything, beside chance, with its time; the cost of noise."""
    rows = [
        [
            row["tier"],
            row["configuration"],
            f"{row['attack']} {row['name']}",
            f"{row['tokens']:,}" if row["tokens"] else f"{row['leaked']:,} leaked" if row.get("leaked") else "",
            f"{row['recovery']:.1%}",
            f"{row['interval'][0]:.1%} to {row['interval'][1]:.1%}",
            f"{row['chance']:.1%}",
            f"{row['running']:.1%}",
            "" if row["types"] is None else f"{row['types']:.1%}",
            f"{row['seconds']:.1f}",
        ]
        for row in record["rows"]
    ]
    headings = [
        "Tier",
        "Configuration",
        "Attack",
        "Tokens of traffic",
        "Content tokens read",
        "95 % interval",
        "Chance",
    ]
    headings += ["All tokens read", "Vocabulary found", "Seconds"]
    names = list(record["sweep"][0]["recovery"])
    noise = [
        [f"{point['noise']:g}", f"{point['loss']:.3f}", *(f"{point['recovery'][name]:.1%}" for name in names)]
        for point in record["sweep"]
    ]
    text = f"`{record['command']}`; {record['setting']['keys']} keys. Threshold: {record['threshold']}."
    same, other = (record["other_text"]["recovery"][name] for name in ("same topics", "other topics"))
    losses = ", ".join(f"{name} {value:.3f}" for name, value in record["loss"].items())
    return (
        f"## Red team\n\n{text}\n\n{said_of_runs(record)}{table(headings, rows)}\n\n"
        "Noise at T2, full group. Losses on the traffic, nats a "
        f"token, without noise: {losses}. "
        f"A11 with public text on the model's topics: {same:.1%}, on others: {other:.1%}.\n\n"
        + table(["Noise", "Loss", *names], noise)
    )


def _cell(cell: Record, rows: list[Record]) -> str:
    limit, reads = "", f"{cell['attack']} {cell['recovery']:.0%}"
    if cell["tokens"]:
        reads += f" after {cell['tokens']:,} tokens"
    if cell["status"] == "limited":
        limit = f", holds up to {cell['tokens_limit']:,} tokens"
        most = max((row for row in rows if row["attack"] == cell["attack"]), key=lambda row: row["tokens"])
        reads += f", {most['recovery']:.0%} after {most['tokens']:,}"
    return f"{cell['status']}{limit}: {reads}, chance {cell['chance']:.0%}"
