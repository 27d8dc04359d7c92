"""What came of faults, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.tables import table

Record = dict[str, Any]
OUTCOMES = ("caught", "ended", "unchanged", "wrong")


def caught(records: Sequence[Record]) -> str:
    """The counts of a campaign by kind of fault, its honest sessions, and what cheaters heard."""
    return "\n\n".join(_campaign(record) for record in records)


def _campaign(record: Record) -> str:
    rows = [[kind, *(f"{found.get(outcome, 0):,}" for outcome in OUTCOMES)] for kind, found in record["totals"].items()]
    sums = [sum(found.get(outcome, 0) for found in record["totals"].values()) for outcome in OUTCOMES]
    honest = record["honest"]
    text = (
        "One evaluator of three, or one of two dealers, deviates at one message of one gate, at each message of\n"
        f"{len(record['gates'])} gates (`{record['command']}`). *Caught*: an honest evaluator or the client says so.\n"
        "*Ended*: a role fell silent and there is no result. *Unchanged*: nobody noticed, and the result is as it is\n"
        "without the fault, as with a bit that the ring does not have. *Wrong*: a wrong result was accepted.\n"
        f"Of {sum(honest.values()):,} sessions in which nobody deviates, every other one with two dealers, "
        f"{honest.get('alarms', 0)} ended with an alarm\nand {honest.get('wrong', 0)} with a wrong result."
    )
    if record["heard"]:
        least = min(found["p_value"] for found in record["heard"])
        size = sum(found["bytes"] for found in record["heard"])
        text += (
            f" What an evaluator hears after its fault, in {len(record['heard'])} places,\n"
            f"{size / 1e6:.1f} MB together: the least p-value of uniform bytes is {least:.2g}."
        )
    whole = ["**all**", *(f"**{count:,}**" for count in sums)]
    return f"{text}\n\n" + table(["Fault", *(outcome.capitalize() for outcome in OUTCOMES)], [*rows, whole])
