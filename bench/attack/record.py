"""Runs of the red team put together: attacks that were added later beside those of an earlier run, each as measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from bench.attack.suite import ATTACKS
from bench.attack.view import TIERS, Configuration
from secure.protocols.core.errors import ConfigurationError

Record = dict[str, Any]
RUN = ("date", "command", "commit", "machine", "versions", "loss", "seconds")
"""What a record says of a run, beside its rows."""
_SAME = ("setting", "model", "threshold")
_APART = 0.05
"""Nats a token by which the losses of a model may differ that another processor has trained by the same recipe."""


def run_of(record: Mapping[str, Any]) -> Record:
    """When, where and how a record was measured, and how good its models were."""
    return {name: record[name] for name in RUN if name in record}


def runs_of(record: Mapping[str, Any]) -> list[Record]:
    """The runs that a record is of; rows name them by number, the first one where they say nothing."""
    found: list[Record] = record.get("runs") or [run_of(record)]
    return found


def merged(old: Record, new: Record) -> Record:
    """The old record with the attacks of the new one, in place of what it had of them.

    Raises ConfigurationError where the two cannot stand side by side: other settings, another recipe, or models that
    came out differently.
    """
    for name in _SAME:
        before, now = _comparable(old[name]), _comparable(new[name])
        if before != now:
            raise ConfigurationError(f"the record has another {name} ({before}, now {now}); run the suite as a whole")
    for name, loss in new["loss"].items():
        if abs(loss - old["loss"][name]) > _APART:
            raise ConfigurationError(
                f"the model {name!r} has a loss of {loss:.3f}, in the record {old['loss'][name]:.3f}: it is another "
                "model; run the suite as a whole"
            )
    runs = [*runs_of(old), run_of(new)]
    replaced = {row["attack"] for row in new["rows"]}
    kept = [{"run": 0, **row} for row in old["rows"] if row["attack"] not in replaced]
    added = [{**row, "run": len(runs) - 1} for row in new["rows"]]
    return {**old, "runs": runs, "rows": sorted((*kept, *added), key=_place)}


def _comparable(value: Any) -> Any:
    """A field of a record, without which attacks were asked for, and what attacks knew that came later."""
    return {k: v for k, v in value.items() if k not in ("only", "leaks")} if isinstance(value, dict) else value


def said_of_runs(record: Mapping[str, Any]) -> str:
    """In Markdown, which rows are of which run; nothing where there was one alone."""
    runs, rows = runs_of(record), record["rows"]
    if len(runs) == 1:
        return ""
    lines = []
    for number, run in enumerate(runs):
        attacks = list(dict.fromkeys(row["attack"] for row in rows if row.get("run", 0) == number))
        if attacks:
            machine = run["machine"]["processor"]
            losses = ", ".join(f"{name} {value:.3f}" for name, value in run["loss"].items())
            lines.append(
                f"- {', '.join(attacks)}: `{run['command']}` at {run['commit'][:9]}, {machine}; losses {losses}"
            )
    return "\n".join(("Rows are of several runs:\n", *lines, "\n"))


def _place(row: Mapping[str, Any]) -> tuple[int, ...]:
    """The order of the suite: by configuration, attack, tier, and how much is known."""
    numbers: Sequence[str] = [attack.number for attack in ATTACKS]
    places = list(get_args(Configuration)).index(row["configuration"]), numbers.index(row["attack"])
    return (*places, list(TIERS).index(row["tier"]), row["tokens"], row.get("leaked", 0))
