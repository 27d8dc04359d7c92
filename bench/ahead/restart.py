"""`python -m bench restart`."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import Tensor

from bench import results
from bench.ahead.stocked import TAKEN_UP, Stocked
from bench.measure import Setting, Workload, once, prepare
from secure.models.contract.manifest import WeightVisibility
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator

ERROR = 2e-2
"""A right answer's hidden state is so near to that of transformers in float32, at least."""
_ROLES = ("p0", "p1")


def restart(
    name: Annotated[str, typer.Argument(help="minilm, bert-base, bert-large")],
    tokens: Annotated[int, typer.Option(min=1, help="tokens of the input")] = 16,
    weights: Annotated[WeightVisibility, typer.Option(help="who may see the weights")] = "private",
    layers: Annotated[int | None, typer.Option(min=1, help="fewer layers than the model has")] = None,
    turns: Annotated[int, typer.Option(min=1, help="how often each of P0 and P1 is killed")] = 3,
) -> None:
    """Kill P0 and P1 in turns, start them again, and time the first right answer from stock.

    The key is held outside, the dealer takes no part. Seconds count from the start of the process: its imports, the
    sealed model, the port, and one whole prediction.

    Example: python -m bench restart bert-base --tokens 16
    """
    setting = Setting(name, tokens, 1, weights, layers, turns, phases=False)
    record = measure(setting, Console(highlight=False, soft_wrap=True))
    written = results.save(f"restart-{name}{f'-{layers}layers' if layers else ''}-{weights}-1x{tokens}", record)
    Console(highlight=False).print(f"written to bench/results/{written.name}")


def measure(setting: Setting, console: Console) -> dict[str, Any]:
    """Load and deal; then a kill, a start and a prediction, again and again. Returns the record."""
    with tempfile.TemporaryDirectory() as folder:
        work = prepare(setting, Path(folder))
        with torch.inference_mode():
            due = work.plain(input_ids=work.ids).last_hidden_state
        (Path(folder) / "kept").mkdir()
        with Stocked(Path(folder) / "kept", held=True) as parties:
            parties.start()
            with Client(parties.settings) as client:
                client.load_model(work.manifest, work.shares)
                sealed = {path.parts[-3]: path.stat().st_size for path in Path(folder).glob("kept/stock/*/models/*ed")}
                deals = 1 + len(_ROLES) * setting.repeats
                Operator(parties.settings, "dealer").deal(work.manifest.digest, work.request.to_json(), deals)
                warm = _answered(client, work, due)
                found = []
                for _ in range(setting.repeats):
                    for role in _ROLES:
                        found.append(_restarted(parties, role, client, work, due))
                        console.print(", ".join(f"{key} {value}" for key, value in found[-1].items()))
    return {
        "kind": "restart",
        "setting": asdict(setting),
        "load_average": os.getloadavg()[0],
        "sealed_bytes": sealed,
        "warm_seconds": warm,
        "restarts": found,
        "median_seconds": {
            key: statistics.median(each[key] for each in found) for key in found[0] if key.endswith("seconds")
        },
    }


def _restarted(parties: Stocked, role: str, client: Client, work: Workload, due: Tensor) -> dict[str, Any]:
    """One kill and one start, to the answer. Seconds from the start, and the processor's of that process until then."""
    parties.kill(role)
    began = time.monotonic()
    parties.restart(role)
    serving, spent = time.monotonic() - began, parties.processor_seconds[role]
    _answered(client, work, due)
    return {
        "role": role,
        "reading_seconds": parties.seconds(role, TAKEN_UP)[-1],
        "serving_seconds": serving,
        "serving_processor_seconds": spent,
        "answered_seconds": time.monotonic() - began,
        "answered_processor_seconds": parties.processor_seconds[role],
        "load_average": os.getloadavg()[0],
    }


def _answered(client: Client, work: Workload, due: Tensor) -> float:
    """Seconds of one prediction from stock. Raises ValueError where it is not the right answer."""
    run = once(client, work)
    error = float((run.outputs["last_hidden_state"] - due).abs().max())
    if error > ERROR or not all(report.deal for report in run.reports.values()):
        raise ValueError(f"an answer is off by {error:.1e}, or did not come from stock")
    return run.seconds
