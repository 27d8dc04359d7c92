"""python -m bench link: what a round costs besides its computation."""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from bench import results
from bench.gate_engine import NoModel
from bench.link.engine import TalkRequest
from bench.network import parties_on
from secure.parties.client.client import Client
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.fixedpoint import FixedPointPolicy

console = Console(highlight=False, soft_wrap=True)
MODULE = "bench.link.party"
SIZES = "64,4096,100000,1000000"
INCLUDES = (
    "p0 and p1 as processes of their own, gRPC with mutual TLS; both send a message, then receive the other's; "
    "processor time of a whole process, encryption and gRPC's threads included"
)
EXCLUDES = "the dealer and the client, who are silent meanwhile; 50 rounds of warm-up"
_BYTES_A_RUN = 200_000_000


def link(
    sizes: Annotated[str, typer.Option(help="bytes of each message, comma-separated")] = SIZES,
    rounds: Annotated[int, typer.Option(min=1, help="of each run; fewer where messages are large")] = 2000,
    repeats: Annotated[int, typer.Option(min=1, help="runs of each size, in turn")] = 5,
    network: Annotated[
        Literal["loopback", "lan", "wan"], typer.Option(help="lan: 1 Gbps, 1 ms; wan: 200 Mbps, 40 ms; there and back")
    ] = "loopback",
) -> None:
    """What a round costs by itself: microseconds on the clock and of the processor, by size of message.

    Example: python -m bench link

    Example: python -m bench link --sizes 64,1000000 --repeats 9
    """
    record = measure_link(sizes_of(sizes), rounds, repeats, network)
    for row in record["sizes"]:
        console.print(
            f"{row['message_bytes']:>9,} bytes: {row['microseconds']:7.0f} µs a round (least {row['least']:.0f}); "
            f"processor: p0 {row['cpu_microseconds']['p0']:.0f} µs, p1 {row['cpu_microseconds']['p1']:.0f} µs"
        )
    console.print(f"[dim]included: {record['includes']}\nexcluded: {record['excludes']}[/dim]")
    name = "link" if network == "loopback" else f"link-{network}"
    console.print(f"written to bench/results/{results.save(name, record).name}")


def measure_link(sizes: list[int], rounds: int, repeats: int, network: str) -> dict[str, Any]:
    """The record of the results: medians over the runs, the sizes taking turns."""
    runs: dict[int, list[dict[str, dict[str, float]]]] = {size: [] for size in sizes}
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as scratch,
        parties_on(network, Path(scratch), module=MODULE) as running,
        Client(running.launcher.settings) as client,
    ):
        model = NoModel(FixedPointPolicy())
        client.load_model(model)
        for repeat in range(repeats):
            for size in sizes:
                with console.status(f"run {repeat + 1} of {repeats}, {size:,} bytes"):
                    request = TalkRequest(size, _rounds(size, rounds))
                    answer = client.predict(model.digest, model.policy.digest(), request, (b"", b""))
                    runs[size].append({role: answer.costs.reports[role].rows[0] for role in ("p0", "p1")})
        label = running.label
    return {
        "kind": "link",
        "setting": {"sizes": sizes, "rounds": rounds, "repeats": repeats, "network": network},
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "network": label,
        "load": load,
        "sizes": [_row(size, _rounds(size, rounds), runs[size]) for size in sizes],
    }


def sizes_of(text: str) -> list[int]:
    """Sizes of messages from an option. Raises ConfigurationError."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 0:
        raise ConfigurationError(f"{text!r} is no list of sizes in bytes such as {SIZES}")
    return found


def _rounds(size: int, most: int) -> int:
    return max(1, min(most, _BYTES_A_RUN // max(size, 1)))


def _row(size: int, rounds: int, runs: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Microseconds a round. Both parties take the same time on the clock: p0's is shown."""

    def median(role: str, figure: str) -> float:
        return 1e6 * statistics.median(run[role][figure] for run in runs) / rounds

    return {
        "message_bytes": size,
        "rounds": rounds,
        "microseconds": median("p0", "seconds"),
        "least": 1e6 * min(run["p0"]["seconds"] for run in runs) / rounds,
        "cpu_microseconds": {role: median(role, "cpu_seconds") for role in ("p0", "p1")},
        "thread_microseconds": {role: median(role, "thread_seconds") for role in ("p0", "p1")},
    }
