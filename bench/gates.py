"""Every gate between three real processes: time and bytes per element, by size."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.gate_engine import GateRequest, NoModel, gate_names, shapes_of
from bench.network import parties_on
from secure.parties.client.client import Client
from secure.parties.client.conversation import RoleReport
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.fixedpoint import FixedPointPolicy

MODULE = "bench.gate_party"
INCLUDES = (
    "three processes, gRPC with mutual TLS; a party's time is within the gate, with its waiting for the other party "
    "and for the dealer, which works at the same time; a gate's inputs are there before"
)
_ELEMENTS_A_SESSION = 1 << 16
_MOST_CALLS = 16


def measure_gates(sizes: Sequence[int], repeats: int, network: str, only: str, console: Console) -> dict[str, Any]:
    """Every gate whose name contains `only`, at every size: the record of the results.

    Raises ConfigurationError when no gate has such a name.
    """
    names = [name for name in gate_names() if only.lower() in name.lower()]
    if not names:
        raise ConfigurationError(f"no gate is named {only!r}; known: {', '.join(gate_names())}")
    rows = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        parties_on(network, Path(scratch), module=MODULE) as running,
        Client(running.launcher.settings) as client,
    ):
        model = NoModel(FixedPointPolicy())
        client.load_model(model)
        for name in names:
            for size in sizes:
                with console.status(f"{name}, {size:,} elements"):
                    rows.append(_measure(client, model, name, size, repeats))
                row = rows[-1]
                console.print(
                    f"{name:32} {row['elements']:>9,} elements: {row['microseconds']:8.4f} µs, "
                    f"dealer {row['dealer_microseconds']:8.4f} µs, {row['rounds']} rounds, "
                    f"online {row['online_bytes']:8.2f} B, dealer {row['dealer_bytes']:8.2f} B per element"
                )
        label = running.label
    return {
        "kind": "gates",
        "setting": {"sizes": list(sizes), "repeats": repeats, "network": network},
        "includes": INCLUDES,
        "network": label,
        "gates": rows,
    }


def _measure(client: Client, model: NoModel, name: str, size: int, repeats: int) -> dict[str, Any]:
    """One gate at one size; figures per element of the first argument, online bytes of both parties together."""
    calls = max(1, min(_MOST_CALLS, _ELEMENTS_A_SESSION // size))
    request = GateRequest(name, size, calls)
    elements = math.prod(shapes_of(name, size)[0])
    runs = [
        client.predict(model.digest, model.policy.digest(), request, (b"", b"")).costs.reports
        for _ in range(repeats + 1)
    ][1:]

    def per_element(role: str, figure: str) -> float:
        return statistics.median(_sum(run[role], figure) / calls / elements for run in runs)

    return {
        "gate": name,
        "elements": elements,
        "calls": calls,
        "microseconds": 1e6 * per_element("p1", "seconds"),
        "dealer_microseconds": 1e6 * per_element("dealer", "seconds"),
        "rounds": int(_sum(runs[0]["p1"], "rounds")) // calls,
        "online_bytes": per_element("p0", "online_bytes") + per_element("p1", "online_bytes"),
        "dealer_bytes": per_element("p1", "dealer_bytes"),
    }


def _sum(report: RoleReport, figure: str) -> float:
    return float(sum(row[figure] for row in report.rows))
