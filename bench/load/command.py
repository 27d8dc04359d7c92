"""`python -m bench load`."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from bench import results
from bench.load.figures import Prices
from bench.load.measuring import BUSY_SECONDS, Loop, Plan, measure, measure_busy
from bench.load.targets import Target, gateway_at, gateway_here, parties_here
from secure.demo.sample import model_folder
from secure.http.api_keys import find_api_key
from secure.protocols.core.errors import ConfigurationError

console = Console(highlight=False, soft_wrap=True)
Through = Literal["gateway", "parties"]
KEY = "SECURE_GATEWAY_API_KEY"
INCLUDES = (
    "one text a request; clients in one process on this machine; the gateway, which tokenises, in another; the parties "
    "as processes of their own, gRPC with mutual TLS, the dealer on line"
)
EXCLUDES = "start of processes, loading the model, one answer before; bytes are payload in sessions, without TLS"


def load(
    clients: Annotated[str, typer.Option(help="how many ask at a time, comma-separated")] = "1,8,32",
    seconds: Annotated[float, typer.Option(min=1, help="of each run")] = 30.0,
    repeats: Annotated[int, typer.Option(min=1, help="runs of each kind, in turn")] = 2,
    loop: Annotated[
        Loop, typer.Option(help="closed: each client again when it has an answer, for rates; open: Poisson arrivals")
    ] = "both",
    rate: Annotated[float | None, typer.Option(min=0.001, help="arrivals a second of open loops")] = None,
    utilisation: Annotated[
        float, typer.Option(min=0.01, help="without --rate: this part of the closed rate, of texts sent alone")
    ] = 0.7,
    through: Annotated[
        Through, typer.Option(help="gateway: texts together and, in turn, alone; parties: a session for each text")
    ] = "gateway",
    network: Annotated[
        Literal["loopback", "lan", "wan"], typer.Option(help="lan: 1 Gbps, 1 ms; wan: 200 Mbps, 40 ms; there and back")
    ] = "loopback",
    model: Annotated[Path | None, typer.Option(help="a checkpoint that embeds; without it MiniLM")] = None,
    url: Annotated[str, typer.Option(help=f"a gateway that runs, with /v1; its key is in {KEY}")] = "",
    name: Annotated[str, typer.Option(help="of the model, with --url")] = "model",
    price_gb: Annotated[float, typer.Option(min=0, help="of 10^9 bytes between organisations")] = 0.05,
    price_core_hour: Annotated[float, typer.Option(min=0, help="of one core")] = 0.04,
    busy: Annotated[int, typer.Option(min=0, help="so often a busy party is asked; 0: never")] = 50,
    save: Annotated[bool, typer.Option(help="write bench/results")] = True,
) -> None:
    """Embeddings for many clients: answers a second, percentiles, errors, processors, memory, bytes by link, and costs.

    Example: python -m bench load

    Example: python -m bench load --clients 8 --seconds 60 --loop open --rate 2

    Example: python -m bench load --url http://127.0.0.1:8081/v1 --name shares --clients 8
    """
    results.commit()
    plan = Plan(numbers_of(clients), seconds, repeats, loop, rate, utilisation)
    prices = Prices(price_gb, price_core_hour)
    folder = model or model_folder()
    with ExitStack() as ending:
        scratch = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        target = ending.enter_context(_target(url, name, through, folder, network, scratch))
        rows = measure(target, plan, prices, console.print)
        label = target.network
    record: dict[str, Any] = {
        "kind": "load",
        "through": "a gateway that runs" if url else through,
        "model": folder.name if not url else name,
        "setting": {**vars(plan), "clients": list(plan.clients)},
        "prices": vars(prices),
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "network": label,
        "rows": rows,
    }
    if busy and not url:
        with tempfile.TemporaryDirectory() as folder_of_busy:
            record["busy"] = measure_busy(folder, Path(folder_of_busy), busy)
    for line in lines(record):
        console.print(line)
    if save:
        console.print(f"written to bench/results/{results.save(_file(record, network, url), record).name}")


def numbers_of(text: str) -> list[int]:
    """Numbers of clients from an option. Raises ConfigurationError."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise ConfigurationError(f"{text!r} is no list of numbers of clients such as 1,8,32")
    return found


def lines(record: dict[str, Any]) -> list[str]:
    """The record in words."""
    found = []
    for row in record["rows"]:
        for loop in ("closed", "open"):
            for kind, run in row.get(loop, {}).items():
                waits = ", ".join(f"{name} {value['all']:.2f} s" for name, value in run["seconds"].items())
                cost = run["cost_per_1000"]
                errors = f"; errors {run['errors']}" if run["errors"] else ""
                found.append(
                    f"{row['clients']:>3} clients, {loop}, {kind}: {run['rate']['median']:.2f} answers/s, {waits}; "
                    f"per 1,000: {cost['bytes']:.3f} for bytes, {cost['cpu']:.4f} for processors{errors}"
                )
        if "times" in row:
            times = row["times"]
            goal = "" if "within" not in row else ": as aimed at" if row["within"] else ": [red]not as aimed at[/red]"
            found.append(
                f"{row['clients']:>3} clients: {times['rate']} times the rate, {times['p95']} of the p95{goal}"
            )
    if "busy" in record:
        busy = record["busy"]
        goal = f"within {BUSY_SECONDS * 1000:.0f} ms" if busy["within"] else "[red]too late[/red]"
        found.append(f"busy, said after {busy['seconds']['median'] * 1000:.1f} ms, p95 {goal}")
    return found


def _target(
    url: str, name: str, through: Through, folder: Path, network: str, scratch: Path
) -> AbstractContextManager[Target]:
    if url:
        return gateway_at(url.rstrip("/"), name, find_api_key(None, KEY))
    here = gateway_here if through == "gateway" else parties_here
    return here(folder, network, scratch)


def _file(record: dict[str, Any], network: str, url: str) -> str:
    where = "-url" if url else "" if record["through"] == "gateway" else "-parties"
    return f"load{where}" + ("" if network == "loopback" else f"-{network}")
