"""One model, measured: three real processes, gRPC, mutual TLS, the dealer's work included.

Two series of runs, each with processes of its own. In the first the dealer works while the parties compute, as in
use: its times are the end-to-end times. In the second, phases are apart: p1 takes in all that the dealer sends
(offline), only then does the client send its input (online). Work that the parties could do before the input comes,
such as expanding their own masks, counts as online.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from transformers import BertModel

from bench.network import parties_on
from bench.ops import by_op
from bench.shapes import checkpoint_folder, reference
from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.manifest import Manifest, WeightVisibility
from secure.models.contract.request import Request
from secure.models.program import network
from secure.parties.client.client import Client
from secure.parties.client.conversation import RoleReport
from secure.parties.client.run import Progress
from secure.protocols.beaver.family import BEAVER
from secure.protocols.core.transfer import CPU, find_device
from secure.protocols.families import DEFAULT, family

INCLUDES = (
    "three processes and the client on one machine, gRPC with mutual TLS, sharing the input, the dealer's work, "
    "reconstructing the output"
)
EXCLUDES = "starting the processes, reading and splitting the checkpoint, loading the model (given apart)"
PHASES = (
    "a launch of its own, in which p1 takes in all that the dealer sends (offline) before the client sends its input "
    "(online); the client's seconds are sharing the input and reconstructing the output"
)
_SEED = 7
_PLAIN_RUNS = 5
_PLAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Setting:
    """What to measure. `hidden`: another width than the model's; `layers`: fewer; `phases`: whether apart as well.

    device: what the parties compute on; on a card, the CPU is measured beside it.
    """

    model: str
    tokens: int
    batch: int
    weights: WeightVisibility
    layers: int | None
    repeats: int
    hidden: int | None = None
    network: str = "loopback"
    phases: bool = True
    protocol: str = DEFAULT.name
    device: str = CPU.type

    @property
    def apart(self) -> bool:
        """Whether phases are measured apart: where a party takes in all that is dealt before the input is there."""
        return self.phases and self.protocol == BEAVER.name


@dataclass(frozen=True)
class Workload:
    """A model split for the parties, one input, and the same model in transformers."""

    checkpoint: Checkpoint
    manifest: Manifest
    shares: dict[str, Path]
    ids: Tensor
    request: Request
    plain: BertModel


@dataclass(frozen=True)
class Once:
    """One prediction: seconds from the client's tensors to its result, of the phases, and of each layer at p1."""

    seconds: float
    offline_seconds: float | None
    session_seconds: float
    layer_seconds: dict[str, float]
    reports: Mapping[str, RoleReport]
    outputs: Mapping[str, Tensor]


@dataclass(frozen=True)
class Series:
    """The runs of one launch after its warm-up, and what its parties took: seconds to load the model, and memory.

    processor_seconds: of each role's process in all runs, those of its threads that move messages included.
    """

    load_seconds: float
    peak_memory_bytes: dict[str, int]
    processor_seconds: dict[str, float]
    runs: list[Once]
    network: dict[str, Any]


def measure(setting: Setting, console: Console, layer: str | None = None) -> dict[str, Any]:
    """Launch, load, warm up once, repeat; the same with phases apart. Returns the record of the result.

    With `layer`, the record is that layer's: its seconds beside those of the whole run, and costs by op of it alone.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        with console.status(f"{setting.model}: making, reading and splitting the checkpoint"):
            workload = prepare(setting, scratch)
        together = _series(setting, workload, scratch, console, offline_first=False)
        apart = _series(setting, workload, scratch, console, offline_first=True) if setting.apart else None
        beside = replace(setting, device=CPU.type)
        on_cpu = _series(beside, workload, scratch, console, offline_first=False) if setting != beside else None
        with torch.inference_mode():
            due = workload.plain(input_ids=workload.ids).last_hidden_state
        plaintext = plaintext_seconds(workload.plain, workload.ids)
    last = together.runs[-1]
    ops = by_op({role: report.rows for role, report in last.reports.items()}, layer)
    record = {
        "kind": "model" if layer is None else "layer",
        "setting": asdict(setting),
        "includes": INCLUDES if "dealer" in last.reports else INCLUDES.replace("the dealer's work, ", ""),
        "excludes": EXCLUDES,
        "network": together.network,
        "load_seconds": together.load_seconds,
        "seconds": [run.seconds for run in together.runs],
        "median_seconds": statistics.median(run.seconds for run in together.runs),
        "plaintext_seconds": plaintext,
        "plaintext": f"transformers in float32 on the same machine, {torch.get_num_threads()} threads, this very input",
        **{key: sum(op[key] for op in ops.values()) for key in ("rounds", "online_bytes", "dealer_bytes")},
        "peak_memory_bytes": together.peak_memory_bytes,
        "effort": effort_of(together),
        "ops": ops,
        "max_error": float((last.outputs["last_hidden_state"] - due).abs().max()),
        "error_of": "last hidden state against transformers in float32",
        "input_upload_bytes": sum(last.reports[role].wire_bytes_received["client"] for role in workload.shares),
        "layer_seconds": _median_layers(together),
    }
    if on_cpu is not None:
        card = torch.cuda.get_device_name(find_device(setting.device))
        record["card"] = {"name": card, "all_roles_on_it": True}
        record["cpu_seconds"] = [run.seconds for run in on_cpu.runs]
        record["median_cpu_seconds"] = statistics.median(record["cpu_seconds"])
    if apart is not None:
        record["phases"] = phases_of(apart)
    if layer is not None:
        record["layer"] = layer
    return record


def effort_of(series: Series) -> dict[str, Any]:
    """By role: median processor time of the thread that computes, that of its process in a run, and median waiting."""
    return {
        role: {
            "cpu_seconds": statistics.median(run.reports[role].cpu_seconds for run in series.runs),
            "process_cpu_seconds": series.processor_seconds[role] / len(series.runs),
            "waiting_seconds": {
                peer: statistics.median(run.reports[role].waiting_seconds[peer] for run in series.runs)
                for peer in report.waiting_seconds
                if peer != "client"
            },
        }
        for role, report in series.runs[-1].reports.items()
    }


def prepare(setting: Setting, scratch: Path) -> Workload:
    """The model and the input of a setting. Raises ConfigurationError for a model that is not known."""
    folder = checkpoint_folder(setting.model, scratch, setting.layers, setting.hidden)
    checkpoint = read_checkpoint(folder, weights=setting.weights)
    manifest = write_split(checkpoint, scratch / "split", protocol=setting.protocol)
    plain = reference(folder)
    generator = torch.Generator().manual_seed(_SEED)
    ids = torch.randint(0, plain.config.vocab_size, (setting.batch, setting.tokens), generator=generator)
    shares = {role: scratch / "split" / f"{role}.safetensors" for role in family(setting.protocol).computing}
    return Workload(checkpoint, manifest, shares, ids, network(manifest).request("hidden", {"input_ids": ids}), plain)


def plaintext_seconds(plain: BertModel, ids: Tensor) -> float:
    """Median seconds of transformers on the same input, after a warm-up, over a second or a few runs."""
    seconds: list[float] = []
    with torch.inference_mode():
        while len(seconds) <= _PLAIN_RUNS or sum(seconds) < _PLAIN_SECONDS:
            started = time.perf_counter()
            plain(input_ids=ids)
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def phases_of(series: Series) -> dict[str, Any]:
    """The phases of runs that were measured apart; in each run they add up to its seconds."""
    offline = [run.offline_seconds or 0.0 for run in series.runs]
    online = [run.session_seconds - (run.offline_seconds or 0.0) for run in series.runs]
    client = [run.seconds - run.session_seconds for run in series.runs]
    return {
        "how": PHASES,
        "offline_seconds": offline,
        "online_seconds": online,
        "client_seconds": client,
        "seconds": [run.seconds for run in series.runs],
        "median_offline_seconds": statistics.median(offline),
        "median_online_seconds": statistics.median(online),
        "layer_seconds": _median_layers(series),
        "peak_memory_bytes": series.peak_memory_bytes,
    }


def _series(setting: Setting, workload: Workload, scratch: Path, console: Console, *, offline_first: bool) -> Series:
    what = f"{'phases apart' if offline_first else 'end to end'}, {setting.device}"
    with (
        parties_on(
            setting.network, scratch, offline_first=offline_first, protocol=setting.protocol, device=setting.device
        ) as running,
        Client(running.launcher.settings) as client,
    ):
        with console.status(f"{what}: loading the model"):
            started = time.perf_counter()
            client.load_model(workload.manifest, workload.shares)
            load_seconds = time.perf_counter() - started
        console.print(f"{what}: loaded in {load_seconds:.1f} s")
        runs, before = [], dict[str, float]()
        for repeat in range(setting.repeats + 1):
            before = before if repeat > 1 else running.launcher.processor_seconds
            label = f"{what}: {f'run {repeat} of {setting.repeats}' if repeat else 'warm-up'}"
            with console.status(label):
                runs.append(once(client, workload))
            offline = runs[-1].offline_seconds
            console.print(
                f"{label}: {runs[-1].seconds:.3f} s" + ("" if offline is None else f", offline {offline:.3f} s")
            )
        took = {role: after - before[role] for role, after in running.launcher.processor_seconds.items()}
        return Series(load_seconds, running.launcher.peak_memory_bytes, took, runs[1:], running.label)


def once(client: Client, workload: Workload) -> Once:
    """One prediction, timed."""
    begun: list[tuple[str, float]] = []

    def progress(event: Progress) -> None:
        if event.role == "p1":
            begun.append((event.layer, time.perf_counter()))

    started = time.perf_counter()
    manifest, request = workload.manifest, workload.request
    net = network(manifest)
    payloads = input_payloads(net, request, {"input_ids": workload.ids}, workload.checkpoint.embeddings)
    prediction = client.predict(manifest.digest, manifest.policy.digest(), request, payloads, progress)
    answered = time.perf_counter()
    outputs = step_outputs(net, request, prediction.payloads)
    ended = time.perf_counter()
    layers: dict[str, float] = {}
    for (layer, begin), (_, end) in zip(begun, [*begun[1:], ("", answered)], strict=True):
        layers[layer] = layers.get(layer, 0.0) + end - begin
    costs = prediction.costs
    return Once(ended - started, costs.offline_seconds, costs.seconds, layers, costs.reports, outputs)


def _median_layers(series: Series) -> dict[str, float]:
    """Seconds from the beginning of each layer at p1 to that of the next."""
    layers = series.runs[0].layer_seconds
    return {layer: statistics.median(run.layer_seconds[layer] for run in series.runs) for layer in layers}
