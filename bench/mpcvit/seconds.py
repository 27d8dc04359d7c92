"""Seconds of sessions with plans: predicted from their prices, and measured by processes on a network."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from bench import results
from bench.network import parties_on
from secure.models.checkpoint.conversion import read_checkpoint, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.manifest import Manifest
from secure.models.latency import NETWORKS, predict
from secure.models.price import Price
from secure.models.program import network as model_of
from secure.models.speed import measure_speed
from secure.parties.client.client import Client
from secure.protocols.families import family

PROTOCOLS = "beaver", "replicated"


def predicted(found: Price) -> dict[str, Any]:
    """A session's rounds and bytes, exactly, and its seconds on each network."""
    total = found.total
    return {
        "rounds": total.rounds,
        "online_bytes": total.online_bytes,
        "dealer_bytes": total.dealer_bytes,
        "seconds": {name: predict(found, links).total for name, links in NETWORKS.items()},
    }


@dataclass(frozen=True)
class Split:
    """A checkpoint split for the parties, and one image, which each session shares anew."""

    manifest: Manifest
    shares: Mapping[str, Path]
    image: Tensor

    @classmethod
    def of(cls, checkpoint: Path, protocol: str, image: Tensor, scratch: Path) -> Split:
        """image: float [C, H, W]."""
        manifest = write_split(read_checkpoint(checkpoint), scratch, protocol=protocol)
        roles = family(protocol).computing
        return cls(manifest, {role: scratch / f"{role}.safetensors" for role in roles}, image.unsqueeze(0))

    def once(self, client: Client) -> float:
        """Seconds from the client's tensors to its logits."""
        manifest, inputs = self.manifest, {"pixel_values": self.image}
        started = time.perf_counter()
        net = model_of(manifest)
        request = net.request("logits", inputs)
        found = client.predict(
            manifest.digest, manifest.policy.digest(), request, input_payloads(net, request, inputs, {})
        )
        step_outputs(net, request, found.payloads)
        return time.perf_counter() - started


@contextmanager
def serving(
    checkpoints: Mapping[str, Path], protocol: str, network: str, image: Tensor
) -> Iterator[tuple[Client, Mapping[str, Split], dict[str, Any]]]:
    """Processes on a network that have all of the models, by name; and what is to be said about the network."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        models = {
            name: Split.of(folder, protocol, image, scratch / f"model-{number}")
            for number, (name, folder) in enumerate(checkpoints.items())
        }
        with parties_on(network, scratch, protocol=protocol) as running, Client(running.launcher.settings) as client:
            for each in models.values():
                client.load_model(each.manifest, each.shares)
            yield client, models, running.label


def measure(
    checkpoints: Mapping[str, Path], protocol: str, network: str, image: Tensor, repeats: int, console: Console
) -> dict[str, Any]:
    """Seconds of one image by each model, in turns, so that what disturbs the machine disturbs all; after a warm-up."""
    load_before, speed = os.getloadavg()[0], measure_speed()
    runs: dict[str, list[float]] = {name: [] for name in checkpoints}
    with serving(checkpoints, protocol, network, image) as (client, models, label):
        for turn in range(repeats + 1):
            for name, model in models.items():
                seconds = model.once(client)
                if turn:
                    runs[name].append(seconds)
            where = f"{protocol}, {network}, {f'turn {turn} of {repeats}' if turn else 'warm-up'}"
            console.print(
                f"{where}: " + ", ".join(f"{name} {found[-1]:.3f} s" for name, found in runs.items() if found)
            )
    return {
        **{key: value for key, value in results.environment().items() if key in ("date", "commit", "command")},
        "network": label,
        "load_average": [load_before, os.getloadavg()[0]],
        "kernels": asdict(speed),
        "plans": {name: {"seconds": found, "median_seconds": median(found)} for name, found in runs.items()},
    }


def median(values: Sequence[float]) -> float:
    """Of seconds, of which there is one at least."""
    return float(statistics.median(values))
