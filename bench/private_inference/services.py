"""A model behind real parties with stocks, as the harness asks them: fill one slot, answer one request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from bench.measure import Setting, prepare
from bench.private_inference.constants import Garbler
from bench.stocked import StockedParties
from secure.models.checkpoint.conversion import Checkpoint, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.program import network
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.protocols.families import family
from tests.protocols.hybrid.networks import ResNet, SmallPictures, captured

Name = Literal["pictures", "resnet20", "resnet32", "minilm-1layer"]
_IMAGES: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "pictures": (SmallPictures, (1, 3, 10, 10)),
    "resnet20": (lambda: ResNet(3), (1, 3, 32, 32)),
    "resnet32": (lambda: ResNet(5), (1, 3, 32, 32)),
}
DESCRIPTIONS = {
    "pictures": "a small network of convolutions, ReLU and pooling, 10 × 10",
    "resnet20": "ResNet-20, 32 × 32",
    "resnet32": "ResNet-32, 32 × 32",
    "minilm-1layer": "one layer of MiniLM, 1 × 4 tokens, public weights",
}
_TOKENS = 4
_ERROR = 2e-2
"""A right answer is so near to what torch computes in the clear, at least."""


@dataclass(frozen=True)
class Answer:
    """One answer. seconds: at the caller. made_bytes: by role, what it sent the other one for the making."""

    seconds: float
    hit: bool
    online_bytes: Mapping[str, int]
    made_bytes: Mapping[str, int]
    rounds: int
    made_rounds: int


class Service:
    """One model at parties with stocks, and one input for it. Safe to use from several threads at a time."""

    def __init__(self, parties: StockedParties, client: Client, work: _Work) -> None:
        self.parties = parties
        self.protocol = parties.settings.protocol
        self._client = client
        self._work = work
        self._network = network(work.manifest)
        self._operator = Operator(parties.settings, "p0" if self.protocol == "hybrid" else "dealer")

    def fill(self) -> float:
        """One making, or one deal, into the stocks; its seconds."""
        began = time.perf_counter()
        self._operator.deal(self._work.manifest.digest, self._work.request.to_json(), 1)
        return time.perf_counter() - began

    def empty(self) -> None:
        """Burn whatever is in stock, at both parties."""
        for role in family(self.protocol).computing:
            Operator(self.parties.settings, role).stock("burn")

    def answer(self) -> Answer:
        """One prediction, from stock if there is something. Raises ValueError where it is not the right answer."""
        work = self._work
        began = time.perf_counter()
        payloads = input_payloads(self._network, work.request, work.inputs, work.checkpoint.embeddings)
        done = self._client.predict(
            work.manifest.digest, work.manifest.policy.digest(), work.request, payloads, lambda event: None
        )
        (found,) = step_outputs(self._network, work.request, done.payloads).values()
        seconds = time.perf_counter() - began
        if (error := float((found - work.due).abs().max())) > _ERROR:
            raise ValueError(f"an answer is off by {error:.1e}")
        reports = done.costs.reports
        made = {role: report.made_ahead for role, report in reports.items() if report.made_ahead is not None}
        hit = all(each.from_stock for each in made.values()) if made else "dealer" not in reports
        computing = family(self.protocol).computing
        sent = {
            role: sum(reports[role].wire_bytes_sent.get(peer, 0) for peer in computing if peer != role)
            for role in computing
        }
        return Answer(
            seconds,
            hit,
            sent,
            {role: each.sent_bytes for role, each in made.items()},
            max(sum(int(row.get("rounds", 0)) for row in reports[role].rows) for role in computing),
            max((each.rounds for each in made.values()), default=0),
        )

    def kept_bytes(self) -> dict[str, float]:
        """What each party keeps on its disk of one making, on average of those in stock. Raises ValueError for none."""
        found = {}
        for role in family(self.protocol).computing:
            rows = [row for row in Operator(self.parties.settings, role).stock("show") if row["state"] == "stock"]
            if not rows:
                raise ValueError(f"nothing is in stock at {role}")
            found[role] = sum(row["size_bytes"] for row in rows) / sum(row["count"] for row in rows)
        return found

    def processor_seconds(self) -> dict[str, float]:
        """By role, and of this process as the client."""
        return self.parties.processor_seconds | {"client": time.process_time()}


@dataclass(frozen=True)
class _Work:
    checkpoint: Checkpoint
    manifest: Manifest
    shares: dict[str, Path]
    request: Request
    inputs: Mapping[str, Tensor]
    due: Tensor


@contextmanager
def running(name: Name, folder: Path, garbler: Garbler = "client") -> Iterator[Service]:
    """Real parties that have the model, with empty stocks. folder: an empty one."""
    hybrid = name in _IMAGES
    work = _of_images(name, folder) if hybrid else _of_text(folder)
    (folder / "parties").mkdir()
    patient = "[limits]\nrendezvous_seconds = 60.0"
    with StockedParties(
        folder / "parties",
        "hybrid" if hybrid else "beaver",
        fallback=True,
        settings=patient,
        garbler=garbler if hybrid else "",
    ) as parties:
        parties.start()
        with Client(parties.settings) as client:
            client.load_model(work.manifest, work.shares)
            yield Service(parties, client, work)


def _of_images(name: str, folder: Path) -> _Work:
    make, shape = _IMAGES[name]
    image = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    module, checkpoint = captured(make(), image)
    manifest = write_split(checkpoint, folder / "split", protocol="hybrid")
    net = network(manifest)
    inputs = {net.graph.inputs[0].name: image}
    with torch.no_grad():
        due = module(image)
    shares = {role: folder / "split" / f"{role}.safetensors" for role in family("hybrid").computing}
    return _Work(checkpoint, manifest, shares, net.request("hidden", inputs), inputs, due)


def _of_text(folder: Path) -> _Work:
    made = prepare(Setting("minilm", _TOKENS, 1, "public", 1, 1, phases=False), folder)
    with torch.inference_mode():
        due = made.plain(input_ids=made.ids).last_hidden_state
    return _Work(made.checkpoint, made.manifest, made.shares, made.request, {"input_ids": made.ids}, due)
