"""What a verifier finds, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.tables import table

Record = dict[str, Any]

_NOTE = (
    "*Found*: an alarm. *Unseen*: another class and no alarm. *Told right*: of found answers with another class,\n"
    "those where the verifier names the honest one. *One canary*: a probability differs by more than 0.001 from the\n"
    "honest one, which a query with a stored answer shows. Each figure is a mean over seeds, with least and most\n"
    "in brackets. Microseconds are of one thread's processor time for each input, a hundred at a time."
)


def found(records: Sequence[Record]) -> str:
    """Services and verifiers in one table, and each service's attacks in one of its own."""
    if not records:
        return ""
    headings = [
        "Service",
        "Inputs: service, verifier, test",
        "Weights: service, verifier",
        "Service's accuracy",
        "Networks agree",
        "False alarms, 1 % stated",
        "Microseconds: service, verifier",
        "Run",
    ]
    parts = [table(headings, [_setting(record) for record in records]), _NOTE]
    for record in records:
        parts += [
            f"### {record['source']}",
            table(
                ["Attack", "Class changed", "Found", "Unseen", "Told right", "One canary"],
                [
                    [
                        row["name"],
                        *(_share(row[name]) for name in ("changed", "found", "unseen", "reclassified", "differs")),
                    ]
                    for row in record["attacks"]
                ],
            ),
        ]
    return "\n\n".join(parts)


def _setting(record: Record) -> list[str]:
    figures, inputs = record["figures"], record["inputs"]
    both = [(f"service_{what}", f"verifier_{what}") for what in ("weights", "microseconds")]
    weights, times = (", ".join(f"{figures[name]['mean']:,.0f}" for name in pair) for pair in both)
    return [
        f"{record['source']}, {record['seeds']} seeds",
        f"{inputs['service']:,}, {inputs['verifier']:,}, {inputs['test']:,}",
        weights,
        _share(figures["service_accuracy"]),
        _share(figures["agreement"]),
        _share(figures["false_alarms"]),
        times,
        f"`{record['command']}`",
    ]


def _share(spread: dict[str, float] | None) -> str:
    if spread is None:
        return ""
    return f"{spread['mean']:.1%} ({spread['least']:.1%} to {spread['most']:.1%})"
