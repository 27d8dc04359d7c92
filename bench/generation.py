"""One decoder, measured while it generates: three real processes, gRPC, mutual TLS, the dealer's work included.

The client takes the likeliest token at each step and sends it back. The first step takes the prompt; what each later
one costs is the difference of a session with all steps and one with the first alone, over the number of steps.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from bench.network import parties_on
from bench.ops import by_op
from bench.shapes import decoder_config, decoder_folder
from secure.models.checkpoint.conversion import read_checkpoint, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.manifest import Manifest, WeightVisibility
from secure.models.contract.request import Output
from secure.models.program import network
from secure.parties.client.client import Client
from secure.parties.client.conversation import Costs
from secure.parties.client.run import Progress
from secure.protocols.core.errors import ConfigurationError

INCLUDES = (
    "three processes and the client on one machine, gRPC with mutual TLS, sharing each token, the dealer's work, "
    "reconstructing the logits of every next token and choosing the likeliest"
)
EXCLUDES = "starting the processes, reading and splitting the checkpoint, loading the model (given apart)"
HOW = (
    "rounds and bytes of a token: a session with all steps less one with the first alone, divided by the steps between"
)
_SEED = 7


@dataclass(frozen=True)
class Setting:
    """What to measure. tokens: of the prompt. generate: new tokens. reveal: logits, or only the likeliest token.

    memory_gb: what each party may take, which then serves its share from disk.
    """

    model: str
    tokens: int
    generate: int
    batch: int
    weights: WeightVisibility
    layers: int | None
    repeats: int
    reveal: str = "logits"
    network: str = "loopback"
    memory_gb: float | None = None


@dataclass(frozen=True)
class Session:
    """Seconds of each step, logits of each where they are revealed, every row's tokens, and what the session cost.

    layer_seconds: of one decoder layer in each step, their mean, from when p1 begins the first to when it begins the
    head.
    """

    seconds: list[float]
    layer_seconds: list[float]
    logits: list[Tensor]
    ids: Tensor
    costs: Costs


@dataclass(frozen=True)
class Workload:
    """A model split for the parties, the prompts, and the model in transformers."""

    manifest: Manifest
    tables: Mapping[str, Tensor]
    ids: Tensor
    plain: PreTrainedModel


def measure_generation(setting: Setting, console: Console) -> dict[str, Any]:
    """Launch, load, warm up, repeat. Returns the record of the result."""
    if setting.generate < 2:
        raise ConfigurationError("--generate takes 2 or more: a token is told from the prompt by the steps after it")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        with console.status(f"{setting.model}: making, reading and splitting the checkpoint"):
            work = _prepare(setting, scratch)
        with (
            # Uploaded shares would be in memory twice for a while, next to all roles of a large model.
            parties_on(
                setting.network, scratch, models_dir=scratch / "split", memory_bytes=_memory_bytes(setting)
            ) as running,
            Client(running.launcher.settings) as client,
        ):
            with console.status("loading the model"):
                started = time.perf_counter()
                client.load_model(work.manifest)
                load_seconds = time.perf_counter() - started
            console.print(f"loaded in {load_seconds:.1f} s")
            first = _session(client, work, setting, 1)  # the warm-up, too
            runs, before = [], disk_bytes_read(running.launcher.process_ids)
            for repeat in range(setting.repeats):
                with console.status(f"run {repeat + 1} of {setting.repeats}"):
                    runs.append(_session(client, work, setting, setting.generate))
                console.print(
                    f"run {repeat + 1}: prompt {runs[-1].seconds[0]:.3f} s, "
                    f"each token {statistics.median(runs[-1].seconds[1:]):.3f} s"
                )
            read = disk_bytes_read(running.launcher.process_ids)
            label, peaks = running.label, running.launcher.peak_memory_bytes
        plaintext = _plaintext(work.plain, work.ids, setting.generate)
        steps = setting.repeats * setting.generate
        return _record(setting, work, first, runs, load_seconds, plaintext) | {
            "network": label,
            "peak_memory_bytes": peaks,
            "step_disk_bytes": {role: (count - before[role]) / steps for role, count in read.items()},
        }


def extrapolate(setting: Setting, console: Console) -> dict[str, Any]:
    """A model with some of its layers: what a layer takes, and what all of them come to."""
    layers = decoder_config(setting.model, None).num_hidden_layers
    if setting.layers is None:
        raise ConfigurationError("--extrapolate wants --layers: how many are measured")
    record = measure_generation(setting, console)
    found: dict[str, float] = {}
    for figure in ("token_seconds", "prompt_seconds", "token_rounds", "token_online_bytes", "token_dealer_bytes"):
        a_layer = record[f"layer_{figure}"]
        found[f"layer_{figure}"] = a_layer
        found[f"whole_{figure}"] = record[figure] + (layers - setting.layers) * a_layer
    how = (
        f"{setting.layers} of {layers} layers with embeddings and head were measured; each of the others is taken to "
        "cost as much as the mean of these"
    )
    return record | {"extrapolated": found | {"layers": layers, "how": how}}


def _memory_bytes(setting: Setting) -> int | None:
    """What each party may take."""
    if setting.memory_gb is None:
        return None
    if setting.network != "loopback":
        raise ConfigurationError("--memory-gb is measured on the loopback network")
    return round(setting.memory_gb * 1e9)


def disk_bytes_read(processes: Mapping[str, int]) -> dict[str, int]:
    """What each role's process has read from disks so far, as Linux counts it; the page cache's hits are not in it."""
    found = {}
    for role, process in processes.items():
        lines = Path(f"/proc/{process}/io").read_text(encoding="ascii").splitlines()
        found[role] = next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))
    return found


def _prepare(setting: Setting, scratch: Path) -> Workload:
    folder = decoder_folder(setting.model, scratch, setting.layers)
    checkpoint = read_checkpoint(folder, weights=setting.weights)
    manifest = write_split(checkpoint, scratch / "split")
    plain = AutoModelForCausalLM.from_pretrained(folder).float().eval()
    generator = torch.Generator().manual_seed(_SEED)
    ids = torch.randint(0, plain.config.vocab_size, (setting.batch, setting.tokens), generator=generator)
    return Workload(manifest, checkpoint.embeddings, ids, plain)


def _session(client: Client, work: Workload, setting: Setting, steps: int) -> Session:
    net = network(work.manifest)
    output: Output = "next_logits" if setting.reveal == "logits" else "next_token"
    inputs, ids = {"input_ids": work.ids}, work.ids
    request = net.request(output, inputs, steps=steps)
    seconds, layer_seconds, found = [], [], []
    begun: dict[str, float] = {}

    def note(progress: Progress) -> None:
        if progress.role == "p1":
            begun[progress.layer] = time.perf_counter()

    digest, policy = work.manifest.digest, work.manifest.policy.digest()
    with client.converse(digest, policy, request, steps, note) as conversation:
        for step in range(steps):
            started = time.perf_counter()
            payloads = conversation.step(input_payloads(net, request, inputs, work.tables, step))
            outputs = step_outputs(net, request, payloads, step)
            token = outputs["logits"].argmax(-1) if "logits" in outputs else outputs["token"].long()
            seconds.append(time.perf_counter() - started)
            layer_seconds.append((begun["head"] - begun["layer.0"]) / _layers_of(work))
            found += [outputs["logits"]] if "logits" in outputs else []
            inputs = {"input_ids": token.unsqueeze(1)}
            ids = torch.cat([ids, inputs["input_ids"]], 1)
    return Session(seconds, layer_seconds, found, ids, conversation.costs)


def _plaintext(plain: PreTrainedModel, ids: Tensor, steps: int) -> float:
    """Median seconds of a token in transformers, with its cache."""
    seconds = []
    with torch.inference_mode():
        result = plain(input_ids=ids, use_cache=True)
        for _ in range(steps):
            token = result.logits[:, -1:].argmax(-1)
            started = time.perf_counter()
            result = plain(input_ids=token, past_key_values=result.past_key_values, use_cache=True)
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _record(
    setting: Setting, work: Workload, first: Session, runs: Sequence[Session], load_seconds: float, plaintext: float
) -> dict[str, Any]:
    last, more = runs[-1], setting.generate - 1
    whole, prompt = (_ops(session.costs) for session in (last, first))
    token = {
        op: {figure: (value - prompt.get(op, {}).get(figure, 0)) / more for figure, value in cost.items()}
        for op, cost in whole.items()
    }
    record = {
        "kind": "generation",
        "setting": asdict(setting),
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "how": HOW,
        "load_seconds": load_seconds,
        "step_seconds": [run.seconds for run in runs],
        "prompt_seconds": statistics.median(run.seconds[0] for run in runs),
        "token_seconds": statistics.median(second for run in runs for second in run.seconds[1:]),
        "layer_prompt_seconds": statistics.median(run.layer_seconds[0] for run in runs),
        "layer_token_seconds": statistics.median(second for run in runs for second in run.layer_seconds[1:]),
        "plaintext_token_seconds": plaintext,
        **{f"prompt_{key}": _sum(prompt, key) for key in ("rounds", "online_bytes", "dealer_bytes")},
        **{f"token_{key}": _sum(token, key) for key in ("rounds", "online_bytes", "dealer_bytes")},
        **{
            f"layer_token_{key}": (_in_layers(last.costs, key) - _in_layers(first.costs, key)) / more / _layers_of(work)
            for key in ("rounds", "online_bytes", "dealer_bytes")
        },
        "token_upload_bytes": (_upload(last.costs) - _upload(first.costs)) / more,
        "token_embedding": {
            key: (_within("embeddings", last.costs, key) - _within("embeddings", first.costs, key)) / more
            for key in ("online_bytes", "dealer_bytes", "rounds")
        },
        "token_ops": token,
    }
    return record | _agreement(setting, work, last)


def _agreement(setting: Setting, work: Workload, run: Session) -> dict[str, Any]:
    """Against transformers in float32 on the very tokens that were generated."""
    with torch.inference_mode():
        due = work.plain(input_ids=run.ids[:, :-1]).logits[:, setting.tokens - 1 :]
    best = due.topk(2).values
    chosen = run.ids[:, setting.tokens :]
    found: dict[str, Any] = {
        "tokens_equal": float((due.argmax(-1) == chosen).double().mean()),
        "least_margin": float((best[..., 0] - best[..., 1]).min()),
        "error_of": "logits of every new token against transformers in float32, on the same tokens",
    }
    if run.logits:
        found["max_error"] = float((torch.stack(run.logits, 1) - due).abs().max())
    return found


def _ops(costs: Costs) -> dict[str, dict[str, float]]:
    return by_op({role: report.rows for role, report in costs.reports.items() if role in ("p1", "dealer")})


def _sum(ops: Mapping[str, Mapping[str, float]], key: str) -> float:
    return sum(cost[key] for cost in ops.values())


def _upload(costs: Costs) -> int:
    """What the client sends to p0 and p1."""
    return sum(costs.reports[role].wire_bytes_received["client"] for role in ("p0", "p1"))


def _layers_of(work: Workload) -> int:
    return int(work.plain.config.num_hidden_layers)


def _in_layers(costs: Costs, key: str) -> float:
    """Of all decoder layers."""
    return _within("layer.", costs, key)


def _within(layer: str, costs: Costs, key: str) -> float:
    """Of all layers whose names begin so. Online bytes are of both parties, which send the same."""
    return sum(
        (2 if key == "online_bytes" else 1) * row[key]
        for row in costs.reports["p1"].rows
        if row["layer"].startswith(layer)
    )
