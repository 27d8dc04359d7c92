"""`python -m bench ahead`."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from bench import results
from bench.ahead.stocked import COMPUTED, SPENT, Stocked
from bench.measure import Once, Setting, Workload, once, prepare
from secure.models.contract.manifest import WeightVisibility
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.parties.launcher import launch
from secure.parties.roles.working_ahead import WARM

_ROLES = ("p0", "p1")


def ahead(
    name: Annotated[str, typer.Argument(help="minilm, bert-base, bert-large")],
    tokens: Annotated[int, typer.Option(min=1, help="tokens of the input")] = 16,
    weights: Annotated[WeightVisibility, typer.Option(help="who may see the weights")] = "private",
    layers: Annotated[int | None, typer.Option(min=1, help="fewer layers than the model has")] = None,
    turns: Annotated[int, typer.Option(min=1, help="pairs of predictions after the warm-up")] = 5,
) -> None:
    """One model, live and from stock in turns: seconds, and what spending and the own work ahead took.

    Two sets of parties run. One has a dealer on line and no stock. The other one has a stock and its own work ahead
    done, for which each turn waits; the process of its dealer has ended before the first turn.

    Example: python -m bench ahead bert-base --tokens 128
    """
    setting = Setting(name, tokens, 1, weights, layers, turns, phases=False)
    record = measure(setting, Console(highlight=False, soft_wrap=True))
    written = results.save(f"ahead-{name}{f'-{layers}layers' if layers else ''}-{weights}-1x{tokens}", record)
    Console(highlight=False).print(f"written to bench/results/{written.name}")


def measure(setting: Setting, console: Console) -> dict[str, Any]:
    """Launch both sets, deal, end the dealer, and take turns. Returns the record of the result."""
    deals = setting.repeats + 1
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = prepare(setting, Path(folder))
        online = launch()
        stack.callback(online.stop)
        (Path(folder) / "stocked").mkdir()
        stocked = stack.enter_context(Stocked(Path(folder) / "stocked"))
        stocked.start()
        live, from_stock = (stack.enter_context(Client(each.settings)) for each in (online, stocked))
        for client in (live, from_stock):
            client.load_model(work.manifest, work.shares)
        dealt = Operator(stocked.settings, "dealer").deal(work.manifest.digest, work.request.to_json(), deals)
        stocked.stop_dealer()
        found: dict[str, list[Once]] = {"live": [], "stock": []}
        for turn in range(deals):
            if setting.weights == "private":  # public weights have no such half
                stocked.wait_for_own_work(min(turn + WARM, deals))
            runs = {"live": once(live, work), "stock": once(from_stock, work)}
            console.print(f"{turn}: " + ", ".join(f"{kind} {run.seconds:.3f} s" for kind, run in runs.items()))
            if turn:  # the first one warms up
                for kind, run in runs.items():
                    found[kind].append(run)
        record = _record(setting, work, found, dealt)
        record["own_work_seconds"] = {role: stocked.seconds(role, COMPUTED) for role in _ROLES}
        record["spend_seconds"] = {role: stocked.seconds(role, SPENT)[1:] for role in _ROLES}
    record["median_spend_seconds"] = {role: statistics.median(record["spend_seconds"][role]) for role in _ROLES}
    medians, spent = record["median_seconds"], record["median_spend_seconds"]
    console.print(
        f"{setting.model} 1x{setting.tokens} {setting.weights}: live {medians['live']:.3f} s, from stock "
        f"{medians['stock']:.3f} s ({record['stock_of_live']:.2f} of it); a deal is spent in "
        + ", ".join(f"{1000 * spent[role]:.1f} ms at {role}" for role in _ROLES)
    )
    return record


def _record(setting: Setting, work: Workload, found: dict[str, list[Once]], dealt: dict[str, Any]) -> dict[str, Any]:
    assert all(report.deal for run in found["stock"] for report in run.reports.values())
    assert all("dealer" in run.reports for run in found["live"])
    with torch.inference_mode():
        due = work.plain(input_ids=work.ids).last_hidden_state
    seconds = {kind: [run.seconds for run in runs] for kind, runs in found.items()}
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    return {
        "kind": "ahead",
        "setting": asdict(setting),
        "turns": "live, then from stock, again and again; the stock's dealer has ended, and all own work ahead is done",
        "deal_seconds": dealt["seconds"] / dealt["dealt"],
        "deal_bytes": dealt["bytes"],
        "seconds": seconds,
        "median_seconds": medians,
        "stock_of_live": medians["stock"] / medians["live"],
        "processor_seconds": {kind: _processor_seconds(runs) for kind, runs in found.items()},
        "max_error": {
            kind: max(float((run.outputs["last_hidden_state"] - due).abs().max()) for run in runs)
            for kind, runs in found.items()
        },
    }


def _processor_seconds(runs: Sequence[Once]) -> dict[str, float]:
    """Medians by role, of the thread that computes."""
    return {role: statistics.median(run.reports[role].cpu_seconds for run in runs) for role in runs[0].reports}
