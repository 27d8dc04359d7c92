"""python -m bench verifier: false alarms, attacks found and missed, by `secure.Verifier` on three services."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console

from bench import results
from bench.verifier.kept import KEPT, KeptRun, measured_with
from bench.verifier.services import KINDS, Kind, served, trained
from secure.verifier.attacks import ALL, Substitution, pruned, quantised
from secure.verifier.inputs import Inputs, chosen
from secure.verifier.training import weights_of
from secure.verifier.verifier import Verifier

console = Console(highlight=False, soft_wrap=True)
SMALLER = 7
"""The service has so many times the verifier's weights, or more."""
FALSE_ALARMS = 0.01
_TIMED = 100
_REPEATS = 30

ServiceName = Literal["digits", "fashion-mnist", "texts", "named-texts"]


def verifier(
    data: Annotated[ServiceName, typer.Argument(help="what the service classifies")] = "digits",
    seeds: Annotated[int, typer.Option(min=2, help="services, verifiers and splits of the data, each by its seed")] = 5,
) -> None:
    """A verifier of a seventh of a service's weights: false alarms, attacks found and missed, time of both.

    Example: python -m bench verifier digits. What is interrupted goes on with the seeds that are missing, as long as
    data and measuring code are the same.
    """
    results.commit()  # as it is now: files may change while this runs
    kind = KINDS[data]
    labelled = kind.data()
    runs = []
    for seed in range(seeds):
        kept = KeptRun(KEPT, data, seed, measured_with(labelled))
        if (found := kept.read()) is None:
            kept.write(found := run(kind, labelled, seed))
        runs.append(found)
        console.print(f"seed {seed}: {runs[-1]['shown']}")
    record = {
        "kind": "verifier",
        "data": data,
        "source": labelled.source,
        "sha256": labelled.digest,
        "threads": torch.get_num_threads(),
        "seeds": seeds,
        "inputs": {"service": kind.train, "verifier": kind.verifier, "test": kind.test},
        "false_alarms_stated": FALSE_ALARMS,
        "figures": {name: spread([each[name] for each in runs]) for name in _FIGURES},
        "attacks": [
            {"name": name} | {figure: spread([each["attacks"][name][figure] for each in runs]) for figure in _SHARES}
            for name in runs[0]["attacks"]
        ],
    }
    console.print(f"written to bench/results/{results.save(f'verifier-{data}', record).name}")


_FIGURES = (
    "service_weights",
    "verifier_weights",
    "service_accuracy",
    "agreement",
    "false_alarms",
    "service_microseconds",
    "verifier_microseconds",
    "distil_seconds",
)
_SHARES = ("changed", "found", "unseen", "reclassified", "differs")


def run(kind: Kind, labelled: Any, seed: int) -> dict[str, Any]:
    """One service and its verifier, on five parts of the data: for service, network, detector, threshold and test."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labelled.labels), generator=generator)
    train, given, test = order.split([kind.train, kind.verifier, len(order) - kind.train - kind.verifier])
    test = test[: kind.test]
    inputs, labels = chosen(labelled.inputs, train), labelled.labels[train]
    model = trained(kind.service, inputs, labels, kind, generator)
    smaller = served(trained(kind.smaller, inputs, labels, kind, generator))
    service = served(model)
    began = time.process_time()
    found = Verifier.distil(
        service,
        chosen(labelled.inputs, given),
        weights=weights_of(model) // SMALLER,
        false_alarms=FALSE_ALARMS,
        variations=kind.variations,
        seed=seed,
    )
    seconds = time.process_time() - began
    unseen = chosen(labelled.inputs, test)
    others = [
        *(Substitution(f"weights of {bits} bits", served(quantised(model, bits))) for bits in (8, 4, 3)),
        Substitution("60 % of the weights pruned", served(pruned(model, 0.6))),
        Substitution("a smaller model", smaller),
    ]
    measured = found.measure(service, unseen, attacks=[*ALL, *others], seed=seed)
    few = chosen(unseen, torch.arange(_TIMED))
    answers = service(few)
    return {
        "shown": str(measured),
        "service_weights": weights_of(model),
        "verifier_weights": found.weights,
        "service_accuracy": float((service(unseen).argmax(-1) == labelled.labels[test]).double().mean()),
        "agreement": measured.agreement,
        "false_alarms": measured.false_alarms,
        "service_microseconds": microseconds(service, few),
        "verifier_microseconds": microseconds(lambda asked: found.judge(asked, answers), few),
        "distil_seconds": seconds,
        "attacks": {row.name: {figure: getattr(row, figure) for figure in _SHARES} for row in measured.attacks},
    }


def microseconds(compute: Callable[[Inputs], Any], inputs: Inputs) -> float:
    """Processor time for each of a hundred inputs at a time: the median of 30, after a first one."""
    compute(inputs)
    times = []
    for _ in range(_REPEATS):
        began = time.process_time()
        compute(inputs)
        times.append(time.process_time() - began)
    return statistics.median(times) / len(inputs) * 1e6


def spread(values: list[float | None]) -> dict[str, float] | None:
    """Mean, least and most over the seeds that have a value; None where none has."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"mean": statistics.fmean(known), "least": min(known), "most": max(known)}
