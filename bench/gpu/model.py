"""BERT with all three roles on one device: random weights at real shapes, one prediction, everything timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bench.gpu.crossing import Crossing
from bench.gpu.reference import RandomCheckpoint, last_hidden_state
from bench.gpu.roles import ROLES, Around, Outcome, Session, run_roles, split
from bench.ops import by_op
from secure.models import program
from secure.models.contract.manifest import Manifest, WeightVisibility
from secure.models.contract.request import Request
from secure.models.families.bert import BertConfig
from secure.models.families.registry import architecture
from secure.models.program import LoadedModel, network
from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy, decode, encode
from secure.protocols.masked.roles import Party

_SEED = 11


@dataclass(frozen=True)
class Setting:
    """Sizes; those of BERT-base by default."""

    layers: int = 12
    tokens: int = 128
    hidden: int = 768
    heads: int = 12
    vocabulary: int = 30522

    @property
    def config(self) -> BertConfig:
        """Everything else as BERT-base has it."""
        return BertConfig(
            self.vocabulary, self.hidden, self.layers, self.heads, 4 * self.hidden, 512, 2, 1e-12, pooler=True
        )


@dataclass(frozen=True)
class Model:
    """A model split for the parties, one input, and what floats make of it."""

    setting: Setting
    manifest: Manifest
    shares: tuple[dict[str, Tensor], dict[str, Tensor]]
    embeddings: dict[str, Tensor]
    ids: Tensor
    due: Tensor


@dataclass(frozen=True)
class Loaded:
    """By role what it keeps of a model; how long loading took and what was sent."""

    models: Mapping[str, LoadedModel]
    seconds: float
    meters: dict[str, Meter]
    sent: dict[str, list[bytes]]


def make_model(setting: Setting, weights: WeightVisibility = "private") -> Model:
    """Random weights in fixed point, shared; a random input; the float result."""
    policy, kind, config = FixedPointPolicy(), architecture("bert"), setting.config
    checkpoint = RandomCheckpoint(_SEED)
    floats = kind.from_checkpoint(config, checkpoint.take)
    specs = kind.parameters(config, policy.fraction_bits, public=weights == "public")
    first, second = {}, {}
    for number, (name, spec) in enumerate(specs.items()):
        tensor = encode(floats[name], spec.fraction_bits, bound_bits=policy.value_bits, what=name)
        if weights != "server":
            first[name], second[name] = (tensor, tensor) if weights == "public" else split(tensor, number)
        else:
            second[name] = tensor
    generator = torch.Generator().manual_seed(_SEED)
    ids = torch.randint(0, setting.vocabulary, (1, setting.tokens), generator=generator)
    due = last_hidden_state(config, checkpoint.tensors, ids)
    embeddings = {name: floats[name].to(torch.float32) for name in set(floats) - set(specs)}
    manifest = Manifest("bert", config.to_dict(), policy, weights, specs)
    return Model(setting, manifest, (first, second), embeddings, ids, due)


def load(model: Model, device: torch.device, *, record: bool = False, around: Around | None = None) -> Loaded:
    """All roles prepare their part of the model."""

    def prepare(protocol: BeaverProtocol, shares: Any) -> LoadedModel:
        return program.load(protocol, model.manifest, shares[0])

    started = time.perf_counter()
    outcome = run_roles(prepare, [model.shares], device, Session.number(2), record=record, around=around)
    return Loaded(outcome.results, time.perf_counter() - started, outcome.meters, outcome.sent)


def predict(
    model: Model,
    loaded: Loaded,
    device: torch.device,
    session: Session,
    *,
    record: bool = False,
    around: Around | None = None,
) -> Outcome:
    """One prediction; a party returns its shares of the last hidden state and of the pooler's output, on the host."""
    request = Request("hidden", 1, model.setting.tokens, masked=False)
    net = network(model.manifest)
    found = net.input_specs(request, 0)
    tensors = net.client_inputs(request, {"input_ids": model.ids}, model.embeddings, found)
    specs = sorted(found.items())
    inputs = [split(tensors[name], number) for number, (name, _) in enumerate(specs)]

    def evaluate(protocol: BeaverProtocol, shares: Sequence[Tensor | None]) -> list[Tensor]:
        secrets = {
            name: protocol.input(share, spec.shape, spec.fraction_bits, spec.bits)
            for (name, spec), share in zip(specs, shares, strict=True)
        }
        outputs, _ = net.forward(protocol, loaded.models[_role(protocol)].weights, request, secrets)
        revealed = [protocol.reveal(secret) for _, secret in sorted(outputs.items())]
        return [] if protocol.at_dealer else [share.cpu() for share in revealed]

    return run_roles(evaluate, inputs, device, session, record=record, around=around)


def error(model: Model, outcome: Outcome) -> float:
    """Largest difference of the last hidden state from the float result."""
    first, second = outcome.results["p0"][0], outcome.results["p1"][0]
    return float((decode(first + second, model.manifest.policy.fraction_bits) - model.due).abs().max())


def measure_model(setting: Setting, device: torch.device, repeats: int) -> dict[str, Any]:
    """The record of one model: load, warm up, repeat. Seconds are from the client's tensors to its result."""
    model = make_model(setting)
    on_card = device.type == "cuda"
    if on_card:
        torch.cuda.reset_peak_memory_stats(device)
    loaded = load(model, device)
    crossing = Crossing()
    predict(model, loaded, device, Session.number(100), around=crossing.counted)
    seconds = []
    for repeat in range(repeats):
        started = time.perf_counter()
        outcome = predict(model, loaded, device, Session.number(101 + repeat))
        seconds.append(time.perf_counter() - started)
    ops = by_op({role: outcome.meters[role].snapshot() for role in ROLES})
    return {
        "setting": asdict(setting) | {"weights": "private", "batch": 1},
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "load_seconds": loaded.seconds,
        "rounds": sum(op["rounds"] for op in ops.values()),
        "online_bytes": sum(op["online_bytes"] for op in ops.values()),
        "dealer_bytes": sum(op["dealer_bytes"] for op in ops.values()),
        "max_error": error(model, outcome),
        "error_of": "last hidden state against plain torch in float64",
        "crossing_bytes": crossing.bytes if on_card else None,
        "peak_card_bytes": torch.cuda.max_memory_allocated(device) if on_card else None,
        "ops": ops,
    }


def _role(protocol: BeaverProtocol) -> str:
    return f"p{protocol.role.index}" if isinstance(protocol.role, Party) else "dealer"
