"""The harness's simulations: engines beside each other, over arrival rates and storage. Its record is all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.private_inference.arrivals import bursts, poisson
from bench.private_inference.constants import (
    Constants,
    Site,
    apart,
    best_up_share,
    measured,
    seconds_alone,
    slots_of,
    system,
)
from bench.private_inference.published import RESNET18, RESNET32, Network, cryptonite, dealt_ahead, ours
from bench.private_inference.simulate import System
from bench.private_inference.summary import SEEDS, summary, sustainable_rate, with_slots

Record = Mapping[str, Any]
GB = 1e9
CLIENT_CORES, SERVER_CORES = 4, 32
LINK = 125e6
"""Bytes a second: 1 Gb/s, both directions together, as in CryptoNite's artifact."""
SERVER_STORAGE = 10_000 * GB
REQUESTS = 300
_BURST = 4.0
_LEFT = (
    ("as it is", 1.0, 1.0),
    ("a quarter of the ReLUs", 0.25, 1.0),
    ("half of the products", 1.0, 0.5),
    ("both", 0.25, 0.5),
)
_SLOTS = (0, 1, 2, 4, 8, 16)
_LOADED = 0.7
"""The rate of a sweep over slots, as a part of what is sustained with room for all."""


@dataclass(frozen=True)
class Case:
    """One engine at one site."""

    constants: Constants
    site: Site


@dataclass(frozen=True)
class Group:
    """Engines that do one task. storages: room by party; each engine is shown with every one. rates: a second."""

    name: str
    cases: tuple[Case, ...]
    storages: tuple[Mapping[str, float], ...]
    rates: tuple[float, ...]


def groups(records: Sequence[Record], costs: Mapping[str, Any]) -> list[Group]:
    """What the records have constants for. costs: of models, as in bench/baseline.json.

    Raises ConfigurationError where a record of a gate or of ResNet-20 is missing.
    """
    found = [
        Group(
            network.name,
            tuple(_engines(network, records)),
            tuple({"p0": client * GB, "p1": SERVER_STORAGE} for client in (16, 64)),
            rates,
        )
        for network, rates in (
            (RESNET32, (1e-3, 3e-3, 6e-3, 1e-2, 3e-2)),
            (RESNET18, (1e-4, 3e-4, 6e-4, 1e-3, 3e-3)),
        )
    ]
    rates = {"minilm": (0.1, 0.3, 0.6, 0.9), "bert-base": (0.005, 0.015, 0.03, 0.045)}
    for record in records:
        if record.get("kind") == "ahead":
            setting = record["setting"]
            name = f"{setting['model']} {setting['weights']} {setting['batch']}x{setting['tokens']}"
            constants = dealt_ahead(record, costs[name])
            storages = tuple({"p1": slots * constants.kept_bytes["p1"]} for slots in (1, 16))
            case = Case(constants, apart(CLIENT_CORES, SERVER_CORES, LINK))
            found.append(Group(constants.name, (case,), storages, rates[setting["model"]]))
    return found


def simulated(
    records: Sequence[Record], costs: Mapping[str, Any], seeds: int = SEEDS, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """The record of the result. costs: as for `groups`. say: told of each group as it begins."""
    found = groups(records, costs)
    parts = []
    for group in found:
        say(group.name)
        parts.append(
            {
                "name": group.name,
                "rates": group.rates,
                "rows": [_row(case, storage, group.rates, seeds) for case in group.cases for storage in group.storages],
            }
        )
    say("storage")
    sweeps = [
        {"name": group.name, "rows": [_over_slots(case, seeds) for case in group.cases]}
        for group in (found[0], *found[2:])
    ]
    say("optimisations")
    return {
        "kind": "inference-simulated",
        "seeds": seeds,
        "requests": REQUESTS,
        "site": {"client_cores": CLIENT_CORES, "server_cores": SERVER_CORES, "bytes_per_second": LINK},
        "groups": parts,
        "storage": sweeps,
        "loaded": _LOADED,
        "optimisations": list(_optimised(records, found[1].rates[1], seeds)),
        "policies": list(_policies(found[0].cases[-1], seeds)),
        "burst": _BURST,
    }


def _engines(network: Network, records: Sequence[Record]) -> Iterator[Case]:
    """CryptoNite's artifact with either garbler and with its three remedies, and ours."""
    half = apart(CLIENT_CORES, SERVER_CORES, LINK)
    yield Case(cryptonite(network, "server"), half)
    yield Case(cryptonite(network, "client"), half)
    best = cryptonite(network, "client", parallel=True)
    fitted = replace(best, name=f"{best.name}, the link divided by bytes")
    yield Case(fitted, replace(half, up_share=best_up_share(best)))
    for garbler in _GARBLERS:
        yield Case(ours(network, records, garbler), half)
    for record in records:
        if record.get("kind") == "inference-constants" and record["what"] == _WHAT.get(network):
            yield Case(measured(record), half)


_GARBLERS: tuple[Literal["client", "server"], ...] = ("server", "client")
_WHAT = {RESNET32: "resnet32"}


def _row(case: Case, storage: Mapping[str, float], rates: Sequence[float], seeds: int) -> dict[str, Any]:
    """One engine with some room, at every rate. A rate that is not sustained has no figures: its queue only grows."""
    served = system(case.constants, case.site, storage)
    sustained = sustainable_rate(served)
    return {
        **_described(case, storage),
        "sustainable_rate": sustained,
        "at": [summary(served, poisson(rate, REQUESTS), seeds) if rate < sustained else None for rate in rates],
        "in_bursts": [
            summary(served, bursts(rate, REQUESTS, factor=_BURST), seeds) if rate < sustained else None
            for rate in rates
        ],
    }


def _described(case: Case, storage: Mapping[str, float]) -> dict[str, Any]:
    constants = case.constants
    return {
        "name": constants.name,
        "source": constants.source,
        "how": constants.how,
        "storage_bytes": dict(storage),
        "kept_bytes": dict(constants.kept_bytes),
        "slots": slots_of(constants, storage),
        "offline_seconds": seconds_alone(constants.offline, case.site),
        "online_seconds": seconds_alone(constants.online, case.site),
    }


def _over_slots(case: Case, seeds: int) -> dict[str, Any]:
    """Hits and seconds by the number of slots, all at one rate."""
    roomy = system(case.constants, case.site, {})
    rate = _LOADED * sustainable_rate(roomy)
    found = []
    for slots in _SLOTS:
        served = with_slots(roomy, slots)
        sustained = sustainable_rate(served)
        figures = summary(served, poisson(rate, REQUESTS), seeds) if rate < sustained else None
        found.append({"slots": slots, "sustainable_rate": sustained, "figures": figures})
    return {"name": case.constants.name, "rate": rate, "at": found}


def _optimised(records: Sequence[Record], rate: float, seeds: int) -> Iterator[dict[str, Any]]:
    """Fewer ReLUs, fewer products, and both, by every engine, for ResNet-18."""
    site = apart(CLIENT_CORES, SERVER_CORES, LINK)
    storage = {"p0": 16 * GB, "p1": SERVER_STORAGE}
    for garbler in _GARBLERS:
        for engine in ("CryptoNite", "hybrid"):
            for what, relus, products in _LEFT:
                if engine == "CryptoNite":
                    constants = cryptonite(RESNET18, garbler, relus=relus, products=products)
                else:
                    constants = ours(RESNET18, records, garbler, relus=relus, products=products)
                case = Case(constants, site)
                served = system(constants, site, storage)
                sustained = sustainable_rate(served)
                figures = summary(served, poisson(rate, REQUESTS), seeds) if rate < sustained else None
                yield {
                    **_described(case, storage),
                    "left": what,
                    "network": RESNET18.name,
                    "rate": rate,
                    "sustainable_rate": sustained,
                    "figures": figures,
                }


def _policies(case: Case, seeds: int) -> Iterator[dict[str, Any]]:
    """What several pipelines change, and whether a request without a making waits for the next one or has its own."""
    few = {role: 4 * kept for role, kept in case.constants.kept_bytes.items()}
    rate = _LOADED * sustainable_rate(system(case.constants, case.site, few))
    for pipelines in (1, 2, 4):
        for miss in _MISSES:
            served: System = system(case.constants, case.site, few, pipelines=pipelines, miss=miss)
            yield {
                "name": case.constants.name,
                "slots": served.slots,
                "pipelines": pipelines,
                "miss": miss,
                "rate": rate,
                "sustainable_rate": sustainable_rate(served),
                "figures": summary(served, poisson(rate, REQUESTS), seeds),
            }


_MISSES: tuple[Literal["demand", "wait"], ...] = ("wait", "demand")


def as_json(record: Record) -> dict[str, Any]:
    """The record with figures to six digits, which is more than seeds agree on."""
    rounded: dict[str, Any] = json.loads(json.dumps(record), parse_float=lambda text: float(f"{float(text):.6g}"))
    return rounded
