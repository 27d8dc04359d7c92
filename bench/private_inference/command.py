"""`python -m bench private-inference`: constants, a load on real parties, one simulation, and all of the tables'."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console

from bench import baseline, results
from bench.private_inference import campaign, measuring
from bench.private_inference.arrivals import Arrivals
from bench.private_inference.comparing import TOLERANCE
from bench.private_inference.constants import Constants, Garbler, measured, one_machine, seconds_alone, system
from bench.private_inference.loading import Load, arrivals_of, run
from bench.private_inference.services import DESCRIPTIONS, Name
from bench.private_inference.simulate import System, simulate
from bench.private_inference.summary import FIGURES, SEEDS, figures, summary, sustainable_rate, with_slots
from secure.protocols.core.errors import ConfigurationError

app = typer.Typer(
    no_args_is_help=True,
    help="Requests that arrive, what is made ahead, where it is kept, and how long they wait.\n\n"
    "Example: python -m bench private-inference tables",
)
console = Console(highlight=False, soft_wrap=True)

What = Annotated[Name, typer.Argument(help=", ".join(DESCRIPTIONS))]
Garbles = Annotated[Garbler, typer.Option(help="which party garbles, in protocol hybrid")]
Turns = Annotated[int, typer.Option(min=1, help="makings and answers that constants are of")]
Slots = Annotated[int, typer.Option(min=1, help="makings in stock, in the making or in use, at most")]
How = Annotated[str, typer.Option("--arrivals", help="poisson, bursts, or a file of seconds, one a line")]


@app.command("constants")
def measure_constants(what: What, turns: Turns = 5, garbler: Garbles = "client") -> None:
    """What one making and one answer from stock take, by real parties; written to bench/results.

    Example: python -m bench private-inference constants resnet32 --turns 3
    """
    results.commit()  # files may change while it goes on
    record = measuring.measure(what, turns, garbler)
    for phase in ("offline", "online"):
        found = record[phase]
        cores = ", ".join(f"{role} {seconds:.3f}" for role, seconds in found["core_seconds"].items())
        console.print(f"{phase}: {found['median_seconds']:.3f} s; processor seconds {cores}")
    console.print(f"kept: {', '.join(f'{role} {size:,.0f} B' for role, size in record['kept_bytes'].items())}")
    _save(f"inference-constants-{what}{_suffix(record)}", record)


@app.command("load")
def load_parties(
    what: What = "pictures",
    utilisations: Annotated[str, typer.Option(help="parts of the rate that the simulator sustains")] = "0.3,0.5,0.7",
    seconds: Annotated[float, typer.Option(min=1, help="of each run")] = 100.0,
    slots: Slots = 4,
    turns: Turns = 10,
    garbler: Garbles = "client",
    arrivals: How = "poisson",
) -> None:
    """Send requests to real parties as they arrive, and compare with the simulator on the same arrivals.

    Constants are measured first, on the same parties; then there is a run for each utilisation. The machine should do
    nothing else.

    Example: python -m bench private-inference load pictures
    """
    results.commit()
    record = run(Load(what, garbler, slots, _numbers(utilisations), seconds, turns, arrivals))
    for row in record["rows"]:
        real, model = row["real"], row["simulated"]
        console.print(
            f"utilisation {row['utilisation']:.2f}, {row['requests']} requests: mean {real['mean']:.3f} s, simulated "
            f"{model['mean']:.3f}; p95 {real['p95']:.3f} s, simulated {model['p95']:.3f}; hits {real['hits']:.0%}, "
            f"simulated {model['hits']:.0%}" + ("" if row["within"] else f"  [red]not within {TOLERANCE:.0%}[/red]")
        )
    kind = "" if arrivals == "poisson" else "-bursts" if arrivals == "bursts" else "-trace"
    _save(f"inference-load-{what}{_suffix(record['constants'])}{kind}", record)


@app.command("simulate")
def simulate_one(
    what: Annotated[str, typer.Argument(help="what a record of `constants` is of")],
    rate: Annotated[float, typer.Option(min=1e-9, help="requests a second, on average")] = 0.1,
    slots: Slots = 4,
    pipelines: Annotated[int, typer.Option(min=1, help="makings at a time")] = 1,
    sessions: Annotated[int, typer.Option(min=1, help="answers at a time")] = 1,
    miss: Annotated[
        Literal["demand", "wait"], typer.Option(help="with nothing in stock: made in the call, or waited for")
    ] = "demand",
    arrivals: How = "poisson",
    requests: Annotated[int, typer.Option(min=20, help="of each seed")] = 1000,
    seeds: Annotated[int, typer.Option(min=2, help="runs with arrivals of their own")] = SEEDS,
    garbler: Garbles = "client",
) -> None:
    """One setting on one machine, with constants of a record: seconds from arrival to answer, and hits.

    Example: python -m bench private-inference simulate pictures --rate 0.5 --slots 2
    """
    constants, site = _constants(what, garbler), one_machine(os.cpu_count() or 1)
    served = system(constants, site, {}, pipelines=pipelines, sessions=sessions, miss=miss)
    found = _with(served, slots, arrivals_of(arrivals, rate, requests), seeds, trace=arrivals not in KINDS)
    console.print(
        f"{constants.name}: {seconds_alone(constants.offline, site):.3f} s offline, "
        f"{seconds_alone(constants.online, site):.3f} s online, each alone"
    )
    for line in found:
        console.print(line)


@app.command("tables")
def simulate_all(
    seeds: Annotated[int, typer.Option(min=2, help="runs of each setting")] = SEEDS,
) -> None:
    """All simulations of the tables and plots, from the records in bench/results; written there.

    Example: python -m bench private-inference tables
    """
    results.commit()
    record = campaign.simulated(results.load_all(), baseline.read()["costs"], seeds, console.print)
    _save("inference-simulated", campaign.as_json(record))


KINDS = ("poisson", "bursts")
"""Arrivals that are drawn; any other is a file."""


def _with(system: System, slots: int, arrivals: Arrivals, seeds: int, *, trace: bool) -> list[str]:
    """Lines that say what comes of it. A trace is the same for every seed, so it is run once."""
    from_room = with_slots(system, slots)
    sustained = sustainable_rate(from_room)
    lines = [f"sustained: {sustained:.4g} requests a second"]
    if trace:
        found = {name: {"mean": value} for name, value in _once(from_room, arrivals).items()}
    else:
        found = summary(from_room, arrivals, seeds)
    for name in FIGURES:
        half = f" ± {found[name]['half']:.2g}" if "half" in found[name] else ""
        unit = "" if name == "hits" else " s"
        lines.append(f"{name}: {found[name]['mean']:.4g}{half}{unit}")
    return lines


def _once(system: System, arrivals: Arrivals) -> dict[str, float]:
    return figures(simulate(system, arrivals(np.random.default_rng(0))))


def _constants(what: str, garbler: Garbler) -> Constants:
    """Raises ConfigurationError where there is no such record."""
    found = [each for each in results.load_all() if each["kind"] == "inference-constants"]
    for record in found:
        if record["what"] == what and record["garbler"] in (garbler, None):
            return measured(record)
    names = ", ".join(sorted({record["what"] for record in found})) or "nothing yet"
    raise ConfigurationError(
        f"bench/results has no constants of {what!r} (of {names}); measure them: python -m bench private-inference "
        f"constants {what}"
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < each < 1 for each in found):
        raise ConfigurationError(f"{text!r} is no list of utilisations between 0 and 1 such as 0.3,0.5,0.7")
    return found


def _suffix(record: dict[str, Any]) -> str:
    return f"-{record['garbler']}" if record["garbler"] == "server" else ""


def _save(name: str, record: dict[str, Any]) -> None:
    console.print(f"written to bench/results/{results.save(name, record).name}")
