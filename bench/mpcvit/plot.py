"""Accuracy of plans over their seconds, by network."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from bench.mpcvit.figures import measured, predicted, spread

Record = dict[str, Any]
_PROTOCOL = "beaver"
_NETWORKS = ("wan", "lan")


def front(record: Record) -> Figure:
    """A panel for each of two networks. Seconds are measured ones where every plan has them, or else predicted."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, len(_NETWORKS), sharey=True)
    plans = record["plans"]
    for panel, network in zip(panels, _NETWORKS, strict=True):
        taken = {plan["name"]: measured(plans, plan["name"], _PROTOCOL, network) for plan in plans}
        of = "measured"
        if None in taken.values():
            taken, of = (
                {plan["name"]: predicted(plans, plan["name"], _PROTOCOL, network) for plan in plans},
                "predicted",
            )
        for plan in plans:
            mean, least, most = spread(plan)
            found = plan["name"].startswith("found")
            panel.errorbar(
                taken[plan["name"]],
                100 * mean,
                yerr=[[100 * (mean - least)], [100 * (most - mean)]],
                fmt="o" if found else "s",
                color="tab:green" if found else "tab:blue",
                capsize=3,
            )
            panel.annotate(
                plan["name"], (taken[plan["name"]], 100 * mean), xytext=(5, 4), textcoords="offset points", fontsize=7
            )
        panel.set_xlabel(f"seconds of one image, {network}, {of}")
    panels[0].set_ylabel("test accuracy, %")
    seeds = len(record["seeds"])
    tokens = record["setting"]["tokens"]
    title = f"Fashion-MNIST, {tokens} tokens, {_PROTOCOL}: plans found (round) and baselines (square), "
    figure.suptitle(f"{title}{seeds} seed{'s' * (seeds != 1)}, bars: least to most", fontsize=9)
    return figure
