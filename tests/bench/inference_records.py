"""Records of private inference under load, with figures that are easy to find again."""

from __future__ import annotations

from typing import Any

from tests.bench.new_record import new_record

Record = dict[str, Any]


def _estimate(mean: float, half: float = 0.25) -> Record:
    return {"mean": mean, "half": half}


def _figures(mean: float) -> Record:
    times = {"mean": mean, "p50": mean, "p95": 2 * mean, "p99": 3 * mean}
    return {name: _estimate(value) for name, value in times.items()} | {"hits": _estimate(0.875)}


def constants_record() -> Record:
    phase = {"seconds": [1.5], "median_seconds": 1.5, "rounds": 9, "sent_bytes": {"p0": 3_500_000, "p1": 1_250_000}}
    return new_record(
        "inference-constants",
        what="pictures",
        model="a small network",
        protocol="hybrid",
        garbler="client",
        turns=3,
        load_average=0.25,
        offline=phase | {"core_seconds": {"p0": 0.5, "p1": 0.75, "client": 0.125}},
        online=phase | {"median_seconds": 0.5, "core_seconds": {"p0": 0.25, "p1": 0.25, "client": 0.125}},
        kept_bytes={"p0": 500.0, "p1": 4_250_000.0},
    )


def load_record() -> Record:
    real = {"mean": 1.0, "p50": 0.75, "p95": 2.0, "p99": 3.0, "hits": 0.75}
    near, far = {"mean": 0.125, "p95": -0.0625}, {"mean": 0.25, "p95": 0.0}
    row = {"rate": 0.3, "requests": 40, "seconds": 99.0, "load_average": 0.5, "real": real}
    rows = [
        row | {"utilisation": 0.5, "simulated": real | {"mean": 1.125}, "off": near, "within": True},
        row | {"utilisation": 0.7, "simulated": real | {"mean": 1.25}, "off": far, "within": False},
    ]
    return new_record(
        "inference-load",
        what="pictures",
        arrivals="poisson",
        slots=4,
        load_average=0.25,
        sustainable_rate=0.6,
        constants=constants_record(),
        rows=rows,
    )


def simulated_record() -> Record:
    row = {
        "name": "an engine",
        "source": "somewhere",
        "how": "published",
        "storage_bytes": {"p0": 16e9},
        "kept_bytes": {"p0": 8e9, "p1": 4e10},
        "slots": 2,
        "offline_seconds": 1234.5,
        "online_seconds": 76.5,
        "sustainable_rate": 0.0005,
    }
    at = [_figures(91.5), None]
    swept = {"name": "an engine", "rate": 0.0003, "at": [{"slots": n, "figures": _figures(100 - n)} for n in (0, 4)]}
    return new_record(
        "inference-simulated",
        seeds=30,
        requests=300,
        site={"client_cores": 4, "server_cores": 32, "bytes_per_second": 125e6},
        groups=[{"name": "a network", "rates": [0.0001, 0.001], "rows": [row | {"at": at, "in_bursts": at}]}],
        storage=[{"name": "a network", "rows": [swept]}],
        loaded=0.7,
        optimisations=[row | {"left": "both", "network": "a network", "rate": 0.0003, "figures": _figures(19.5)}],
        policies=[row | {"pipelines": 2, "miss": "wait", "rate": 0.0003, "figures": _figures(7.5)}],
        burst=4.0,
    )
