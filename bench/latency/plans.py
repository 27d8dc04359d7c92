"""Plans of one model, measured on one machine at one time: two constants are fitted to some, and tell the others.

The machine is not the one that the committed constants are of, nor as idle. So one constant is how many times as long
it computes. The other one is the share of what is dealt that does not hide behind the rest; where nobody deals, the
share of its delays that a round waits for. What is left, trips, rounds and bytes, is known exactly.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.latency.runs import Measured, link_of, seconds_of, solved
from secure.models.latency import NETWORKS, Constants, constants, predict, reference_speed
from secure.models.speed import Speed

BUSY = 0.5
"""The load average of a machine that has other things to do."""
FEWEST = 4


@dataclass(frozen=True)
class Told:
    """A plan's seconds, and what the constants say that were fitted to plans that it is not among."""

    run: Measured
    seconds: float

    @property
    def error(self) -> float:
        """Relative."""
        return self.seconds / self.run.seconds - 1


def told(runs: Sequence[Measured]) -> list[Told]:
    """Every run, told by the fit to every second one of all, by seconds, which it is not among.

    runs: of one protocol and network. None are told where there are fewer than `FEWEST`.
    """
    if len(runs) < FEWEST:
        return []
    ordered = sorted(runs, key=lambda run: run.seconds)
    halves = ordered[::2], ordered[1::2]
    return [
        Told(run, predict(run.price, NETWORKS[run.network], fitted).total)
        for here, there in (halves, halves[::-1])
        for fitted in (fit_machine(there),)
        for run in here
    ]


def fit_machine(runs: Sequence[Measured]) -> Constants:
    """The committed constants of a protocol, with two that are of this machine."""
    protocol, base = runs[0].protocol, constants(runs[0].protocol)
    dealt = any(run.price.total.dealer_bytes for run in runs)
    rows = []
    for run in runs:
        amount, link = run.price.total, link_of(run)
        delays = amount.rounds * link.round_trip_seconds / 2
        rows.append(
            (
                base.session_seconds + base.compute_seconds(protocol, amount),
                link.seconds(amount.dealer_bytes) if dealt else delays,
            )
        )
    idle = Constants(0.0, 0.0, 0.0, 0.0, dealer_share=0.0, crossings=base.crossings if dealt else 0.0)
    slower, share = solved(rows, [run.seconds for run in runs], seconds_of(runs, idle))
    found = replace(
        base,
        session_seconds=slower * base.session_seconds,
        round_seconds=slower * base.round_seconds,
        byte_seconds=slower * base.byte_seconds,
        multiplication_seconds=slower * base.multiplication_seconds,
    )
    return replace(found, dealer_share=share) if dealt else replace(found, crossings=share)


def predictor_record(runs: Sequence[Measured], kernels: Mapping[str, float] | None = None) -> Mapping[str, Any] | None:
    """What a record says of the predictor on runs of one protocol and network; None where there are too few.

    kernels: as a `Speed`, of the machine when they were measured: what `secure cost` would say with a network's file
    that has them, without any of the runs.
    """
    found = told(runs)
    if not found:
        return None
    errors = [abs(each.error) for each in found]
    return {
        "how": "compute's factor and a share, fitted to every second plan by seconds, tell the others",
        "median_error": statistics.median(errors),
        "largest_error": max(errors),
        "fitted": asdict(fit_machine(runs)),
        "by_kernels": None if kernels is None else _by_kernels(runs, Speed(**kernels)),
        "plans": {each.run.name: {"seconds": each.run.seconds, "told_seconds": each.seconds} for each in found},
    }


def _by_kernels(runs: Sequence[Measured], speed: Speed) -> Mapping[str, float]:
    """Errors of the committed constants on a machine of that speed."""
    errors = []
    for run in runs:
        found = constants(run.protocol).on([speed], reference_speed())
        errors.append(abs(predict(run.price, NETWORKS[run.network], found).total / run.seconds - 1))
    return {"median_error": statistics.median(errors), "largest_error": max(errors)}


def lines(record: Mapping[str, Any]) -> list[str]:
    """What there is to read of it."""
    found = [
        f"{name}: {plan['seconds']:.3f} s, told {plan['told_seconds']:.3f} s "
        f"({plan['told_seconds'] / plan['seconds'] - 1:+.1%})"
        for name, plan in record["plans"].items()
    ]
    by_kernels = record["by_kernels"]
    if by_kernels is not None:
        found.append(
            f"by kernels, nothing fitted: median error {by_kernels['median_error']:.1%}, largest "
            f"{by_kernels['largest_error']:.1%}"
        )
    return [*found, f"held out: median error {record['median_error']:.1%}, largest {record['largest_error']:.1%}"]
