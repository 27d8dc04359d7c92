"""Ours in a comparison: three real processes behind gRPC with mutual TLS, and the dealer's work, as always."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import torch

from bench.ops import by_op
from bench.peers.errors import PeerError
from bench.peers.interleave import OURS
from bench.peers.system import Figures, Run
from secure.models.checkpoint.conversion import read_checkpoint, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.program import network
from secure.parties.client.client import Client
from secure.parties.launcher import Launcher, launch
from secure.protocols.beaver.family import BEAVER
from secure.protocols.core.errors import SecureInferenceError
from secure.protocols.families import family
from secure.protocols.replicated.family import REPLICATED
from secure.protocols.witnessed.family import TWO_DEALERS, WITNESSED

INCLUDES = (
    "{processes} processes and a client, gRPC with mutual TLS over loopback, the dealer's work during the run, "
    "sharing the input, reconstructing the output; and, unlike the others, the lookup and norm of the embeddings on "
    "private tables"
)
EXCLUDES = "starting the processes and loading the model"
_COUNTS = {3: "three", 4: "four", 5: "five"}
_WORDS = {
    BEAVER.name: "two parties and a dealer, gRPC and mutual TLS",
    REPLICATED.name: "three parties with replicated shares, gRPC and mutual TLS",
    WITNESSED.name: "three evaluators, any one of which may deviate (abort), and a dealer, gRPC and mutual TLS",
    TWO_DEALERS.name: "three evaluators and two dealers, any one of which may deviate (abort), gRPC and mutual TLS",
}


class Ours:
    """Private weights, from token ids to the last hidden state."""

    excludes = EXCLUDES

    def __init__(self, folder: Path, ids: torch.Tensor, scratch: Path, protocol: str = BEAVER.name) -> None:
        """folder: a checkpoint. ids: int64 [B, T]. scratch: where the split weights go."""
        self._family = family(protocol)
        self.name = OURS if protocol == BEAVER.name else f"{OURS}-{protocol}"
        self.includes = INCLUDES.format(processes=_COUNTS[len(self._family.roles)])
        if "dealer" not in self._family.roles:
            self.includes = self.includes.replace("the dealer's work during the run, ", "")
        self._folder = folder
        self._ids = ids
        self._split = scratch / f"split-{protocol}"
        self._launcher: Launcher | None = None
        self._client: Client | None = None

    def start(self) -> Figures:
        """Launch the parties and load the model."""
        started = time.perf_counter()
        try:
            self._manifest = write_split(
                read_checkpoint(self._folder, weights="private"), self._split, protocol=self._family.name
            )
            self._network, self._inputs = network(self._manifest), {"input_ids": self._ids}
            self._request = self._network.request("hidden", self._inputs)
            self._launcher = launch(protocol=self._family.name)
            self._client = Client(self._launcher.settings)
            shares = {role: self._split / f"{role}.safetensors" for role in self._family.computing}
            self._client.load_model(self._manifest, shares)
        except SecureInferenceError as error:
            raise PeerError(f"{type(error).__name__}: {error}") from error
        packages = ("torch", "numpy", "numba", "grpcio")
        return {
            "prepare_seconds": time.perf_counter() - started,
            "versions": {"python": python_version()} | {name: version(name) for name in packages},
            "configuration": {"protocol": _WORDS[self._family.name], "weights": "private"},
        }

    def run(self) -> Run:
        """One prediction."""
        if self._client is None or self._launcher is None:
            raise PeerError("not started")
        started, processors = time.perf_counter(), self._launcher.processor_seconds
        try:
            payloads = input_payloads(self._network, self._request, self._inputs, {})
            digests = self._manifest.digest, self._manifest.policy.digest()
            prediction = self._client.predict(*digests, self._request, payloads)
            outputs = step_outputs(self._network, self._request, prediction.payloads)
        except SecureInferenceError as error:
            raise PeerError(f"{type(error).__name__}: {error}") from error
        seconds = time.perf_counter() - started
        reports = prediction.costs.reports
        computing, dealers = self._family.computing, self._family.dealers
        spent = {role: seconds - processors[role] for role, seconds in self._launcher.processor_seconds.items()}
        sent = {
            role: sum(report.wire_bytes_sent.get(peer, 0) for peer in computing) for role, report in reports.items()
        }
        ops = by_op({role: report.rows for role, report in reports.items()})
        figures = {
            "seconds": seconds,
            "bytes_sent_per_party": sum(sent[role] for role in computing) / len(computing),
            **({"dealer_bytes": sum(sent[role] for role in dealers)} if dealers else {}),
            "all_bytes": sum(sent.values()),
            "party_cpu_seconds": max(spent[role] for role in computing),
            "rounds": int(sum(op["rounds"] for op in ops.values())),
            "peak_memory_bytes": self._launcher.peak_memory_bytes,
        }
        return Run(figures, outputs["last_hidden_state"].numpy())

    def stop(self) -> None:
        """End the parties."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._launcher is not None:
            self._launcher.stop()
            self._launcher = None
