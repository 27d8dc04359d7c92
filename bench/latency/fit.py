"""The constants of `secure.models.latency`, fitted to what was measured, and how well they say what they did not see.

Each measurement gives one linear equation in a family's constants, and is divided by its seconds, so that errors are
relative. None of the constants is negative, and the sum of all errors is the least one: not of their squares, as some
measurements are of a machine that had other things to do, which then count no more than others. The two-party family
has all of the constants; of three parties too few runs were measured for that, so they share everything but two: how
much longer they compute, and how many of their rounds a delay is waited for.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.baseline import measured_case, price_of
from bench.latency.runs import Measured, link_of, seconds_of, solved
from bench.mpcvit import shapes
from secure.models.latency import NETWORKS, Constants, incoming_bytes, predict
from secure.models.price import Amount
from secure.protocols.beaver.family import BEAVER
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.replicated.family import REPLICATED

_WHOLE = "the whole session"
_UNKNOWN = 5


def measured(record: dict[str, Any], name: str) -> list[Measured]:
    """What a result on disk says of whole models on processors, with all of their weights there.

    Rounds and bytes are those that were counted then, as gates have changed since; multiplications follow from shapes.
    """
    if record["kind"] == shapes.KIND:
        where = itertools.product(record["shapes"], (BEAVER.name, REPLICATED.name), NETWORKS)
        return [run for each in where if shapes.is_quiet(record, *each) for run in shapes.runs_of(record, *each)]
    found = _of_model(record, name)
    return [] if found is None else [found]


def _of_model(record: dict[str, Any], name: str) -> Measured | None:
    """None where it is of none."""
    case, setting = measured_case(record), record.get("setting", {})
    if case is None or setting.get("hidden") is not None or setting.get("memory_gb") is not None:
        return None
    prompt = "prompt_" if record["kind"] == "generation" else ""
    now = price_of(case)
    counted = Amount(
        int(record[f"{prompt}rounds"]),
        int(record[f"{prompt}online_bytes"]),
        int(record[f"{prompt}dealer_bytes"]),
        now.total.multiplications,
    )
    seconds = record["prompt_seconds" if prompt else "median_seconds"]
    return Measured(name, replace(now, layers={_WHOLE: counted}), record["network"]["name"], seconds)


def fit(runs: Sequence[Measured]) -> dict[str, Constants]:
    """Constants by family. Raises ConfigurationError where there are too few runs of one."""
    by_family = {family.name: [run for run in runs if run.protocol == family.name] for family in (BEAVER, REPLICATED)}
    for family, few in ((BEAVER.name, _UNKNOWN + 1), (REPLICATED.name, 3)):
        if len(by_family[family]) < few:
            raise ConfigurationError(f"{len(by_family[family])} measurements of {family}; {few} are needed to fit it")
    two = _fit_two(by_family[BEAVER.name])
    return {BEAVER.name: two, REPLICATED.name: _fit_three(by_family[REPLICATED.name], two)}


_NO_CONSTANTS = Constants(0.0, 0.0, 0.0, 0.0, dealer_share=0.0, crossings=0.0)


def _fit_two(runs: Sequence[Measured]) -> Constants:
    rows = []
    for run in runs:
        amount, link = run.price.total, link_of(run)
        incoming, dealt = incoming_bytes(run.protocol, amount), link.seconds(amount.dealer_bytes)
        rows.append((1.0, amount.rounds, incoming, amount.multiplications, dealt))
    # With two parties nothing is sent while a round is waited for: each takes one delay.
    known = seconds_of(runs, replace(_NO_CONSTANTS, crossings=1.0))
    return Constants(*solved(rows, [run.seconds for run in runs], known), crossings=1.0)


def _fit_three(runs: Sequence[Measured], two: Constants) -> Constants:
    rows = [
        (
            two.compute_seconds(run.protocol, run.price.total),
            run.price.total.rounds * link_of(run).round_trip_seconds / 2,
        )
        for run in runs
    ]
    known = seconds_of(runs, replace(_NO_CONSTANTS, session_seconds=two.session_seconds))
    slower, crossings = solved(rows, [run.seconds for run in runs], known)
    return replace(
        two,
        round_seconds=slower * two.round_seconds,
        byte_seconds=slower * two.byte_seconds,
        multiplication_seconds=slower * two.multiplication_seconds,
        crossings=crossings,
    )


@dataclass(frozen=True)
class Check:
    """A measurement, what constants say that were fitted to it and all others, and what those without it say."""

    run: Measured
    fitted_seconds: float
    held_out_seconds: float | None

    @property
    def held_out_error(self) -> float | None:
        """Relative; None where too few others are left to fit."""
        return None if self.held_out_seconds is None else self.held_out_seconds / self.run.seconds - 1


def check(runs: Sequence[Measured]) -> list[Check]:
    """Every measurement, predicted from all others."""
    whole, found = fit(runs), []
    for run in runs:
        others = [other for other in runs if other is not run]
        try:
            without = _predicted(run, fit(others))
        except ConfigurationError:
            without = None
        found.append(Check(run, _predicted(run, whole), without))
    return found


def _predicted(run: Measured, constants: dict[str, Constants]) -> float:
    return predict(run.price, NETWORKS[run.network], constants[run.protocol]).total


def summary(checks: Sequence[Check], constants: dict[str, Constants]) -> dict[str, Any]:
    """What latency.json holds beside where it comes from."""
    errors = [abs(each.held_out_error) for each in checks if each.held_out_error is not None]
    return {
        "families": {name: asdict(of_family) for name, of_family in constants.items()},
        "held_out": {
            "how": "each measurement predicted by constants that were fitted to all others",
            "median_error": statistics.median(errors),
            "largest_error": max(errors),
        },
        "measurements": [
            {
                "name": each.run.name,
                "network": each.run.network,
                "seconds": each.run.seconds,
                "fitted_seconds": each.fitted_seconds,
                "held_out_seconds": each.held_out_seconds,
            }
            for each in checks
        ],
    }
