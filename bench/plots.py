"""Plots of figures: time and bytes by op, growth, peers, attacks, requests under load.

SVG, the same bytes for the same records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.attack import plot as attack_plots
from bench.mpcvit import plot as mpcvit_plots
from bench.private_inference import plot as inference_plots

Record = dict[str, Any]
_SETTINGS = {"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9, "figure.facecolor": "white"}
_COLOURS = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
_OURS = "ours"


def draw(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write every plot that the records have something for. Returns the files, in the order to be shown."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}
    stacked = [r for r in records if r.get("kind") == "model" and _network(r) == "loopback" and "card" not in r]
    with matplotlib.rc_context(_SETTINGS):
        for number, record in enumerate(r for r in records if r.get("kind") == "peers"):
            figures[f"peers-{number + 1}" if number else "peers"] = _peers(record)
        if stacked:
            figures["by-op"] = _by_op(stacked)
        for record in (r for r in records if r.get("kind") == "scale"):
            figures[f"scale-{record['dimension']}-{record['setting']['model']}-{record['setting']['weights']}"] = (
                _scale(record)
            )
        for record in (r for r in records if r.get("kind") == "attack"):
            figures["attack-recovery"] = attack_plots.recovery(record)
            figures["attack-traffic"] = attack_plots.traffic(record)
            figures["attack-noise"] = attack_plots.noise(record)
        for record in (r for r in records if r.get("kind") == "inference-simulated"):
            figures["inference-latency"] = inference_plots.latency(record)
            figures["inference-storage"] = inference_plots.storage(record)
        for record in (r for r in records if r.get("kind") == "mpcvit"):
            figures[f"mpcvit-{record['setting']['tokens']}"] = mpcvit_plots.front(record)
        paths = [folder / f"{name}.svg" for name in figures]
        for path, figure in zip(paths, figures.values(), strict=True):
            figure.savefig(path, format="svg", metadata={"Date": None})
    for left_over in set(folder.glob("*.svg")) - set(paths):
        left_over.unlink()
    return paths


def model_name(setting: dict[str, Any]) -> str:
    """A model with what was changed of it."""
    layers = f", {setting['layers']} layer{'s' * (setting['layers'] != 1)}" if setting.get("layers") else ""
    hidden = f", {setting['hidden']} wide" if setting.get("hidden") else ""
    protocol = setting.get("protocol", "beaver")
    return str(setting["model"]) + layers + hidden + ("" if protocol == "beaver" else f", {protocol}")


def title_of(record: Record) -> str:
    """A record's setting in words; what it varies is left open."""
    setting = record["setting"] | ({record["dimension"]: "…"} if "dimension" in record else {})
    where = "" if _network(record) == "loopback" else f", {_network(record)}"
    if "card" in record:
        where += f", {record['card']['name']}"
    return (
        f"{model_name(setting)}, {setting['weights']} weights, {setting['batch']} × {setting['tokens']} tokens{where}"
    )


def _network(record: Record) -> str:
    return str(record.get("network", {}).get("name", "loopback"))


def _by_op(records: Sequence[Record]) -> Figure:
    """Seconds, online and dealer bytes of each model, stacked by op."""
    figure = Figure(figsize=(11, 1.6 + 0.5 * len(records)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    ops = sorted({op for record in records for op in record["ops"]})
    colours = {op: _COLOURS[i % len(_COLOURS)] for i, op in enumerate(ops)}
    names = [title_of(record).replace(" weights", "") for record in records]
    parts = (
        ("seconds (P1; white: outside ops)", "p1", 1.0),
        ("online, MB", "online_bytes", 1e-6),
        ("dealer, MB", "dealer_bytes", 1e-6),
    )
    for panel, (label, key, unit) in zip(panels, parts, strict=True):
        left = [0.0] * len(records)
        for op in ops:
            widths = [unit * record["ops"].get(op, {}).get(key, 0.0) for record in records]
            panel.barh(names, widths, left=left, color=colours[op], label=op)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        if key == "p1":
            rest = [max(record["median_seconds"] - start, 0.0) for record, start in zip(records, left, strict=True)]
            panel.barh(names, rest, left=left, color="white", edgecolor="grey", linewidth=0.5)
        panel.set_xlabel(label)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(ops), 8), fontsize=7)
    return figure


def _scale(record: Record) -> Figure:
    """Seconds and bytes beside the plaintext model's seconds, as multiples of the first point."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    panel: Axes = figure.subplots()
    points = record["points"]
    values = [point["value"] for point in points]
    curves = (
        ("ours, seconds", "median_seconds", "o-"),
        ("plaintext, seconds", "plaintext_seconds", "s--"),
        ("online bytes", "online_bytes", "^:"),
        ("dealer bytes", "dealer_bytes", "v:"),
    )
    for label, key, style in curves:
        panel.plot(values, [point[key] / points[0][key] for point in points], style, label=label)
    panel.plot(values, [value / values[0] for value in values], color="lightgrey", zorder=0, label="in proportion")
    panel.set_xscale("log", base=2)
    panel.set_yscale("log", base=2)
    panel.set_xticks(values, [str(value) for value in values])
    panel.set_xlabel(record["dimension"])
    panel.set_ylabel(f"times the cost at {values[0]}")
    panel.set_title(title_of(record), fontsize=9)
    panel.legend(fontsize=8)
    return figure


def _peers(record: Record) -> Figure:
    """Seconds, and bytes sent by all parties and the dealer, of the systems that ran."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    panels = figure.subplots(1, 2)
    setting = record["setting"]
    done = {name: figures for name, figures in record["systems"].items() if "error" not in figures}
    colours = ["tab:green" if name.startswith(_OURS) else "tab:blue" for name in done]
    _bars(panels[0], done, [figures["median_seconds"] for figures in done.values()], colours, "seconds", "{:.1f}")
    sent = [figures["bytes_sent_per_party"] / 1e6 for figures in done.values()]
    _bars(panels[1], done, sent, colours, "MB sent by each party (grey: by the dealer)", "{:,.0f}")
    dealt = [figures.get("dealer_bytes", 0) / 1e6 for figures in done.values()]
    panels[1].barh(list(done), dealt, left=sent, color="lightgrey")
    failed = [name for name in record["systems"] if name not in done]
    title = f"{model_name(setting)}, {setting['batch']} × {setting['tokens']} tokens"
    figure.suptitle(title + (f" (failed: {', '.join(failed)})" if failed else ""), fontsize=9)
    return figure


def _bars(
    panel: Axes, names: Iterable[str], values: Sequence[float], colours: Sequence[str], label: str, fmt: str
) -> None:
    bars = panel.barh(list(names), values, color=colours)
    panel.bar_label(bars, fmt=fmt, padding=3, fontsize=8)
    panel.margins(x=0.15)
    panel.invert_yaxis()
    panel.set_xlabel(label)
