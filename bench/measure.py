"""One model, measured: three real processes, gRPC, mutual TLS, the dealer's work included."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bench.shapes import checkpoint_folder, reference
from models.checkpoint import Checkpoint, read_checkpoint, write_split
from models.client_inputs import client_inputs, decode_outputs, make_request
from models.manifest import Manifest, WeightVisibility
from models.program import Request, input_specs, output_specs
from parties.client import Client, Prediction
from parties.launcher import launch
from protocols.beaver.sharing import reconstruct, share

INCLUDES = (
    "three processes and the client on one machine, gRPC with mutual TLS over loopback, sharing the input, "
    "the dealer's work, reconstructing the output"
)
EXCLUDES = "starting the processes, reading and splitting the checkpoint, loading the model (given apart)"
_SEED = 7


@dataclass(frozen=True)
class Setting:
    """What to measure."""

    model: str
    tokens: int
    batch: int
    weights: WeightVisibility
    layers: int | None
    repeats: int


def measure(setting: Setting, console: Console) -> dict[str, Any]:
    """Launch, load, warm up once, repeat. Returns the record of the result."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = checkpoint_folder(setting.model, Path(scratch), setting.layers)
        plain = reference(folder)
        checkpoint = read_checkpoint(folder, weights=setting.weights)
        manifest = write_split(checkpoint, Path(scratch) / "split")
        ids = _ids(setting, plain.config.vocab_size)
        request = make_request("hidden", ids, None)
        with launch() as launcher:
            client = Client(launcher.settings)
            started = time.perf_counter()
            client.load_model(
                manifest, {role: Path(scratch) / "split" / f"{role}.safetensors" for role in ("p0", "p1")}
            )
            load_seconds = time.perf_counter() - started
            console.print(f"loaded in {load_seconds:.1f} s")
            seconds = []
            for repeat in range(setting.repeats + 1):
                started = time.perf_counter()
                prediction, outputs = _predict(client, checkpoint, manifest, request, ids)
                seconds.append(time.perf_counter() - started)
                console.print(f"{'warm-up' if repeat == 0 else f'run {repeat}'}: {seconds[-1]:.3f} s")
            client.close()
    with torch.no_grad():
        due = plain(input_ids=ids).last_hidden_state
    return _record(setting, load_seconds, seconds[1:], prediction) | {
        "max_error": float((outputs["last_hidden_state"] - due).abs().max()),
        "error_of": "last hidden state against transformers in float32",
        "input_upload_bytes": sum(prediction_bytes(prediction, "client")),
    }


def _ids(setting: Setting, vocabulary: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randint(0, vocabulary, (setting.batch, setting.tokens), generator=generator)


def _predict(
    client: Client, checkpoint: Checkpoint, manifest: Manifest, request: Request, ids: torch.Tensor
) -> tuple[Prediction, dict[str, torch.Tensor]]:
    inputs = client_inputs(manifest, request, ids, embeddings=checkpoint.embeddings)
    payloads = share(inputs, input_specs(manifest, request))
    prediction = client.predict(manifest.digest, manifest.policy.digest(), request, payloads)
    specs = output_specs(manifest, request)
    return prediction, decode_outputs(reconstruct(*prediction.payloads, specs), specs)


def prediction_bytes(prediction: Prediction, peer: str) -> list[int]:
    """What p0 and p1 received from a peer."""
    return [prediction.reports[role].wire_bytes_received.get(peer, 0) for role in ("p0", "p1")]


def _record(setting: Setting, load_seconds: float, seconds: list[float], prediction: Prediction) -> dict[str, Any]:
    reports = prediction.reports
    ops: dict[str, dict[str, float]] = {}
    for role in ("p1", "dealer"):
        for row in reports[role].rows:
            op = ops.setdefault(
                row["op"], {"rounds": 0, "online_bytes": 0, "dealer_bytes": 0, "p1": 0.0, "dealer": 0.0}
            )
            op[role] += row["seconds"]
            if role == "p1":
                op["rounds"] += row["rounds"]
                op["online_bytes"] += 2 * row["online_bytes"]
                op["dealer_bytes"] += row["dealer_bytes"]
    return {
        "kind": "model",
        "setting": vars(setting),
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "load_seconds": load_seconds,
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "rounds": int(sum(op["rounds"] for op in ops.values())),
        "online_bytes": int(sum(op["online_bytes"] for op in ops.values())),
        "dealer_bytes": int(sum(op["dealer_bytes"] for op in ops.values())),
        "peak_memory_bytes": {role: report.peak_memory_bytes for role, report in reports.items()},
        "ops": ops,
    }
