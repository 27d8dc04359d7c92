"""Plots of the red team: every attack by tier and configuration, traffic, noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

Record = dict[str, Any]
_CONFIGURATIONS = ("permutation", "full", "noise", "finetuned", "split")
_TIERS = ("T1", "T2")


def recovery(record: Record) -> Figure:
    """Share of content tokens read without traffic: one panel a tier, a group of bars for each attack."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    rows = [row for row in record["rows"] if not row["tokens"]]
    numbers = list(dict.fromkeys(row["attack"] for row in rows))
    for panel, tier in zip(figure.subplots(2, 1, sharex=True), _TIERS, strict=True):
        for place, configuration in enumerate(_CONFIGURATIONS):
            found = {row["attack"]: row for row in rows if _is(row, tier, configuration)}
            at = [index + 0.16 * (place - 2) for index, number in enumerate(numbers) if number in found]
            shown = [found[number] for number in numbers if number in found]
            panel.bar(at, [row["recovery"] for row in shown], 0.15, label=configuration, yerr=_whiskers(shown))
        panel.axhline(rows[0]["chance"], color="black", linestyle="--", linewidth=0.8, label="chance")
        panel.set_xticks(range(len(numbers)), numbers)
        panel.set_ylim(0, 1.05)
        panel.set_ylabel(f"{tier}: content tokens read")
    panel.legend(ncols=6, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return figure


def traffic(record: Record) -> Figure:
    """Share of content tokens read against tokens under one key."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    panel = figure.subplots()
    rows = sorted((row for row in record["rows"] if row["tokens"]), key=lambda row: row["tokens"])
    for attack, configuration in dict.fromkeys((row["attack"], row["configuration"]) for row in rows):
        line = [row for row in rows if (row["attack"], row["configuration"]) == (attack, configuration)]
        values = [row["recovery"] for row in line]
        mode = "vectors (split)" if configuration == "split" else "ids"
        label = f"{attack}, {line[0]['name']}, {mode}"
        panel.errorbar([row["tokens"] for row in line], values, _whiskers(line), marker="o", capsize=2, label=label)
    if rows:
        panel.axhline(rows[0]["chance"], color="black", linestyle="--", linewidth=0.8, label="chance")
    panel.set_xscale("log")
    panel.set_ylim(0, 1.05)
    panel.set_xlabel("tokens under one key")
    panel.set_ylabel("content tokens read")
    panel.legend(fontsize=8)
    return figure


def noise(record: Record) -> Figure:
    """What noise takes from attacks at T2, and what it takes from the model."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    panel = figure.subplots()
    points = record["sweep"]
    levels = [point["noise"] for point in points]
    for number in points[0]["recovery"]:
        panel.plot(levels, [point["recovery"][number] for point in points], "o-", label=number)
    panel.set_xscale("log")
    panel.set_ylim(0, 1.05)
    panel.set_xlabel("noise, of each weight's root mean square")
    panel.set_ylabel("content tokens read at T2")
    beside = panel.twinx()
    beside.plot(levels, [point["loss"] for point in points], "k--", label="loss")
    beside.axhline(record["loss"]["base"], color="grey", linestyle=":", linewidth=0.8)
    beside.set_ylabel("model's loss, nats a token (dotted: without noise)")
    panel.legend(fontsize=8, loc="center left")
    return figure


def _is(row: Record, tier: str, configuration: str) -> bool:
    # A secret drift leaves T2 with what T1 has.
    wanted = "T1" if configuration == "finetuned" else tier
    return bool(row["configuration"] == configuration and row["tier"] == wanted)


def _whiskers(rows: Sequence[Record]) -> list[list[float]]:
    low = [max(row["recovery"] - row["interval"][0], 0.0) for row in rows]
    high = [max(row["interval"][1] - row["recovery"], 0.0) for row in rows]
    return [low, high]
