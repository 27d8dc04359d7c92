"""Plans with their accuracy and their seconds, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.mpcvit.figures import measured, predicted, spread
from bench.tables import table

Record = dict[str, Any]
FIRST = "softmax"
"""The plan that seconds are compared with."""
_NOTE = (
    "*Accuracy*: of 10,000 test images, the mean over seeds, with least and most in brackets. *On shares*: how many\n"
    "test images get the label that the same student gives in the clear, parties as threads of one process. Rounds,\n"
    "MB and *predicted* seconds follow from the plan, on the commit of the run; *measured* ones are medians by three\n"
    "processes for one image, beside them in brackets the part of the softmax plan's. All plans are trained as long\n"
    "from the same teacher."
)


def fronts(records: Sequence[Record]) -> str:
    """A table for each record and protocol."""
    parts = [_of(record, protocol) for record in records for protocol in record["plans"][0]["predicted"]]
    return "\n\n".join([*parts, _NOTE]) if parts else ""


_SHAPES_NOTE = (
    "Random weights: what a session takes follows from shapes. *Predicted, measured*: seconds of one image, in\n"
    "brackets how many times faster than softmax. *The paper*: MPCViT's own seconds, in SPU's two-party protocol on\n"
    "its authors' machines, where nobody deals: another setting and another model of trust, for scale alone."
)


def shapes(records: Sequence[Record]) -> str:
    """A table for each of the paper's shapes and protocol."""
    parts = []
    for record in records:
        for name, shape in record["shapes"].items():
            for protocol, found in shape["protocols"].items():
                parts += [
                    f"### The paper's shape {name}, {protocol}\n\n{shape['tokens']} tokens x "
                    f"{shape['setting']['hidden_size']}, {shape['setting']['num_hidden_layers']} layers, "
                    f"{shape['setting']['num_attention_heads']} heads. `{record['command']}`",
                    _shape(shape, found),
                ]
    return "\n\n".join([*parts, _SHAPES_NOTE]) if parts else ""


def _shape(shape: Record, found: Record) -> str:
    plans, networks = found["plans"], list(found["plans"][FIRST]["seconds"])
    rows = []
    for name, plan in plans.items():
        cells = []
        for network in networks:
            runs = found["measured"].get(network, {"plans": {}})["plans"]
            measured = _faster(runs[name]["median_seconds"], runs[FIRST]["median_seconds"]) if name in runs else "-"
            cells.append(f"{_faster(plan['seconds'][network], plans[FIRST]['seconds'][network])}, {measured}")
        paper = shape["paper_seconds"].get(name)
        rows.append(
            [
                f"{name}: {_short(plan['plan'])}",
                f"{plan['rounds']}",
                f"{plan['online_bytes'] / 1e6:.1f}",
                f"{plan['dealer_bytes'] / 1e6:.1f}",
                *cells,
                "" if paper is None else f"{paper:.0f} s",
            ]
        )
    headings = ["Plan", "Rounds", "Online MB", "Dealer MB", *(f"{name}: predicted, measured" for name in networks)]
    return table([*headings, "The paper"], rows)


def _faster(seconds: float, first: float) -> str:
    return f"{seconds:.2f} s ({first / seconds:.1f} ×)"


def _of(record: Record, protocol: str) -> str:
    plans, networks = record["plans"], list(record["plans"][0]["predicted"][protocol]["seconds"])
    headings = ["Plan", "Accuracy", "On shares", "Rounds", "Online MB", "Dealer MB"]
    headings += [f"{name}: predicted, measured" for name in networks]
    first = {
        name: (predicted(plans, FIRST, protocol, name), measured(plans, FIRST, protocol, name)) for name in networks
    }
    rows = []
    for plan in sorted(plans, key=lambda plan: -plan["predicted"][protocol]["seconds"]["wan"]):
        price = plan["predicted"][protocol]
        rows.append(
            [
                f"{plan['name']}: {_short(plan['plan'])}",
                accuracy_text(plan),
                _agreed(plan["agreement"].get(protocol)),
                f"{price['rounds']}",
                f"{price['online_bytes'] / 1e6:.2f}",
                f"{price['dealer_bytes'] / 1e6:.2f}",
                *(
                    f"{_part(price['seconds'][name], first[name][0])}, "
                    f"{_part(measured([plan], plan['name'], protocol, name), first[name][1])}"
                    for name in networks
                ),
            ]
        )
    seeds, setting = record["seeds"], record["setting"]
    teachers = ", ".join(f"{record['teachers'][str(seed)]['accuracy']:.2%}" for seed in seeds)
    text = (
        f"### {setting['tokens']} tokens, {protocol}\n\n{record['data']}. {len(seeds)} seed{'s' * (len(seeds) != 1)}, "
        f"whose teachers have {teachers} after {setting['teacher_epochs']} epochs; {setting['search_epochs']} epochs "
        f"of the network of all plans, {setting['epochs']} of every student. `{record['command']}`"
    )
    return f"{text}\n\n{table(headings, rows)}"


def accuracy_text(plan: Record) -> str:
    """Mean and range."""
    mean, least, most = spread(plan)
    return f"{mean:.2%}" if least == most else f"{mean:.2%} ({least:.2%} to {most:.2%})"


def _part(seconds: float | None, first: float | None) -> str:
    if seconds is None:
        return "not measured"
    return f"{seconds:.2f} s" + ("" if not first else f" ({seconds / first:.2f})")


def _agreed(found: Record | None) -> str:
    return "not compared" if found is None else f"{found['agree']:,} of {found['images']:,}"


def _short(plan: str) -> str:
    """A plan whose layers are all alike is said once."""
    words = plan.split()
    return f"{words[0]} everywhere" if len(set(words)) == 1 else plan
