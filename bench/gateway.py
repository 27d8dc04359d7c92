"""python -m bench gateway: what many callers of one gateway get, with their texts put together and without."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import typer
from rich.console import Console

from bench import results
from bench.network import parties_on
from secure.api import PrivateModel
from secure.connection import Parties
from secure.demo.sample import DOCUMENTS, model_folder
from secure.gateway.batcher import MOST_ROWS
from secure.gateway.serving import Gateway
from secure.http.host import HttpServer
from secure.parties.client.client import Client
from secure.protocols.core.errors import ConfigurationError

console = Console(highlight=False, soft_wrap=True)
MODEL = "minilm"
INCLUDES = (
    "callers by HTTP on this machine, each with one text at a time and the next as soon as it has an answer; the "
    "gateway, which tokenises; the parties as processes of their own, gRPC with mutual TLS, the dealer on line"
)
EXCLUDES = "start of processes, loading the model, one answer before"
_WAIT_SECONDS = 600.0


def gateway(
    callers: Annotated[str, typer.Option(help="how many ask at a time, comma-separated")] = "1,8,32",
    seconds: Annotated[float, typer.Option(min=1, help="of each run")] = 30.0,
    repeats: Annotated[int, typer.Option(min=1, help="runs of each kind, in turn")] = 2,
    network: Annotated[
        Literal["loopback", "lan", "wan"], typer.Option(help="lan: 1 Gbps, 1 ms; wan: 200 Mbps, 40 ms; there and back")
    ] = "loopback",
) -> None:
    """Embeddings by MiniLM for several callers: texts a second, median and 95th percentile of an answer's time.

    Texts that arrive while a session runs go out together, up to 32; beside that, in turn, one at a time.

    Example: python -m bench gateway

    Example: python -m bench gateway --callers 8 --seconds 60
    """
    record = measure_gateway(numbers_of(callers), seconds, repeats, network)
    for row in record["rows"]:
        alone, together = row["alone"], row["together"]
        console.print(
            f"{row['callers']:>3} callers: {together['rate']:.2f} texts/s, p50 {together['p50']:.2f} s, p95 "
            f"{together['p95']:.2f} s; one at a time {alone['rate']:.2f} texts/s, p50 {alone['p50']:.2f} s, p95 "
            f"{alone['p95']:.2f} s; {together['rate'] / alone['rate']:.2f} times as many"
        )
    console.print(f"[dim]included: {record['includes']}\nexcluded: {record['excludes']}[/dim]")
    name = "gateway" if network == "loopback" else f"gateway-{network}"
    console.print(f"written to bench/results/{results.save(name, record).name}")


def numbers_of(text: str) -> list[int]:
    """Numbers of callers from an option. Raises ConfigurationError."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise ConfigurationError(f"{text!r} is no list of numbers of callers such as 1,8,32")
    return found


def measure_gateway(callers: list[int], seconds: float, repeats: int, network: str) -> dict[str, Any]:
    """The record of the results."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        parties_on(network, Path(scratch)) as running,
        Parties(Client(running.launcher.settings)) as parties,
    ):
        model = PrivateModel.from_pretrained(model_folder(), parties=parties, head=False)
        found: dict[tuple[int, str], list[list[float]]] = {}
        for _ in range(repeats):
            for count in callers:
                for kind, most in (("alone", 1), ("together", MOST_ROWS)):
                    with console.status(f"{count} callers, {kind}"):
                        found.setdefault((count, kind), []).append(_run(model, count, seconds, most))
        label = running.label
    rows = [
        {"callers": count, **{kind: _figures(found[count, kind], seconds) for kind in ("alone", "together")}}
        for count in callers
    ]
    return {
        "kind": "gateway",
        "setting": {"callers": callers, "seconds": seconds, "repeats": repeats, "network": network},
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "network": label,
        "rows": rows,
    }


def _run(model: PrivateModel, callers: int, seconds: float, most_rows: int) -> list[float]:
    """Seconds of each answer that came within the time."""
    with closing(Gateway(model, [MODEL], most_rows=most_rows)) as gateway:
        server = HttpServer(gateway.app, "127.0.0.1:0")
        port = server.start()
        try:
            ask = _asking(port)
            ask(0)
            ends, taken = time.monotonic() + seconds, list[float]()
            threads = [
                threading.Thread(target=_call, args=(ask, number, ends, taken), daemon=True)
                for number in range(callers)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(_WAIT_SECONDS)
        finally:
            server.stop()
    return taken


def _asking(port: int) -> Callable[[int], None]:
    def ask(number: int) -> None:
        body = {"model": MODEL, "input": DOCUMENTS[number % len(DOCUMENTS)]}
        url = f"http://127.0.0.1:{port}/v1/embeddings"
        httpx.post(url, json=body, timeout=_WAIT_SECONDS, trust_env=False).raise_for_status()

    return ask


def _call(ask: Callable[[int], None], number: int, ends: float, taken: list[float]) -> None:
    while (begun := time.monotonic()) < ends:
        ask(number)
        number += 1
        if (now := time.monotonic()) <= ends:
            taken.append(now - begun)


def _figures(runs: list[list[float]], seconds: float) -> dict[str, float]:
    """Of all runs together; the rates of each stand beside."""
    every = sorted(second for run in runs for second in run)
    if len(every) < 2:
        raise ConfigurationError("fewer than two answers came in time; give more --seconds")
    cuts = statistics.quantiles(every, n=100, method="inclusive")
    return {
        "rate": len(every) / (seconds * len(runs)),
        "least_rate": min(len(run) for run in runs) / seconds,
        "most_rate": max(len(run) for run in runs) / seconds,
        "p50": cuts[49],
        "p95": cuts[94],
        "p99": cuts[98],
    }
