"""Plots of private inference under load: seconds over the rate of arrivals, and over the number of slots."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Record = dict[str, Any]


def latency(record: Record) -> Figure:
    """One panel a task: mean and 99th percentile over the rate, each engine with the most room it is shown with."""
    groups = record["groups"]
    figure = Figure(figsize=(11, 3.6 * ((len(groups) + 1) // 2)), layout="constrained")
    panels = list(figure.subplots((len(groups) + 1) // 2, 2, squeeze=False).flat)
    for panel, group in zip(panels, groups, strict=False):
        for row in _roomiest(group["rows"]):
            points = [(rate, at) for rate, at in zip(group["rates"], row["at"], strict=True) if at is not None]
            rates = [rate for rate, _ in points]
            means = [at["mean"]["mean"] for _, at in points]
            (line, *_) = panel.errorbar(
                rates, means, [at["mean"]["half"] for _, at in points], marker="o", capsize=2, label=row["name"]
            )
            panel.plot(rates, [at["p99"]["mean"] for _, at in points], ":", color=line.get_color())
            panel.axvline(row["sustainable_rate"], color=line.get_color(), linewidth=0.6, alpha=0.6)
        _label(panel, group["name"], "arrivals a second (lines across: what is sustained)", "seconds (dotted: p99)")
        panel.set_xscale("log")
        panel.set_yscale("log")
    for panel in panels[len(groups) :]:
        panel.set_axis_off()
    return figure


def storage(record: Record) -> Figure:
    """Mean seconds, in answers of their own, and hits over the number of slots, each at one part of its own rate."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    means, hits = figure.subplots(1, 2)
    for group in record["storage"]:
        for row in group["rows"]:
            found = [(each["slots"], each["figures"]) for each in row["at"] if each["figures"] is not None]
            slots = [each for each, _ in found]
            name = row["name"] if row["name"] == group["name"] else f"{group['name']}: {row['name']}"
            least = min(figures["mean"]["mean"] for _, figures in found)
            means.plot(slots, [figures["mean"]["mean"] / least for _, figures in found], "o-", label=name)
            hits.plot(slots, [figures["hits"]["mean"] for _, figures in found], "o-")
    title = f"at {record['loaded']:g} of the rate that is sustained"
    _label(means, title, "slots", "mean seconds, as a multiple of the least")
    means.set_yscale("log")
    hits.set_xlabel("slots")
    hits.set_ylabel("requests that find something in stock")
    hits.set_ylim(-0.05, 1.05)
    return figure


def _roomiest(rows: list[Record]) -> list[Record]:
    """Each engine once, with the last of its rooms."""
    return list({row["name"]: row for row in rows}.values())


def _label(panel: Axes, title: str, x: str, y: str) -> None:
    panel.set_title(title, fontsize=9)
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.legend(fontsize=6)
