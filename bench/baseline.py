"""The guard: bytes and rounds of each model, exactly, and a bound on its error, kept in bench/baseline.json.

Bytes and rounds follow from shapes alone, and `secure.models.price` tells them without a socket. Time depends on the
machine and is not kept here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.measure import Setting, prepare
from bench.shapes import DECODERS, config_of, decoder_config, manifest_of
from secure.models import program
from secure.models.checkpoint.conversion import read_share
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.manifest import WeightVisibility
from secure.models.contract.request import Request
from secure.models.price import Price, price
from secure.protocols.beaver.family import BEAVER
from secure.protocols.beaver.protocol import BeaverParty
from secure.protocols.core.secret import Protocol
from secure.protocols.families import family
from secure.protocols.replicated.family import REPLICATED
from secure.protocols.replicated.protocol import ReplicatedParty
from tests.families import FAMILIES
from tests.in_process import GivenSteps

FILE = Path(__file__).parent / "baseline.json"
UPDATE = "python -m bench baseline --update"
_MARGIN = 2.0
"""How much a run may err beyond the run that set the bound: the masks of truncations are random."""


@dataclass(frozen=True)
class Case:
    """One model at one input shape. steps: of a decoder, the prompt's and one for each further token."""

    model: str
    weights: WeightVisibility
    tokens: int
    batch: int = 1
    layers: int | None = None
    protocol: str = BEAVER.name
    steps: int = 1

    @property
    def name(self) -> str:
        """As in the file."""
        depth = f" {self.layers}-layer" if self.layers else ""
        protocol = "" if self.protocol == BEAVER.name else f" {self.protocol}"
        steps = f" {self.steps} steps" if self.steps > 1 else ""
        return f"{self.model}{depth}{protocol} {self.weights} {self.batch}x{self.tokens}{steps}"


@dataclass(frozen=True)
class ModelCost:
    """Of loading a model once, then of one session. Online bytes are what the computing parties send together."""

    rounds: int
    online_bytes: int
    dealer_bytes: int
    load_rounds: int
    load_online_bytes: int
    load_dealer_bytes: int


COST_CASES = (
    Case("minilm", "private", 16),
    Case("minilm", "public", 16),
    Case("minilm", "private", 128),
    Case("bert-base", "private", 128),
    Case("bert-base", "public", 128),
    Case("bert-base", "server", 128),
    Case("minilm", "public", 128),
    Case("minilm", "private", 256, layers=1),
    Case("minilm", "private", 16, protocol=REPLICATED.name),
    Case("gpt2", "private", 32),
    Case("gpt2", "private", 32, steps=2),
    Case("gpt2", "public", 32, steps=2),
    Case("smollm2", "private", 32, layers=1, steps=2),
)
ERROR_CASES = (
    Case("minilm", "private", 16),
    Case("minilm", "public", 16),
    Case("minilm", "private", 64, layers=1),
    Case("minilm", "private", 16, protocol=REPLICATED.name),
)


def measured_case(record: dict[str, Any]) -> Case | None:
    """The case that a measurement is of; None where it is of no whole model on processors."""
    if record["kind"] not in ("model", "generation") or "card" in record:
        return None
    setting = record["setting"]
    shape = setting["weights"], setting["tokens"], setting["batch"], setting["layers"]
    return Case(setting["model"], *shape, protocol=setting.get("protocol", BEAVER.name))


def is_outdated(record: dict[str, Any]) -> bool:
    """Whether a measurement's bytes or rounds are others than are kept of its case, by more than a hundredth.

    Rows of a card say their own commit, and cases that are not kept are never outdated.
    """
    case = measured_case(record)
    costs, prompt = case and read()["costs"].get(case.name), "prompt_" if record["kind"] == "generation" else ""
    figures = ("rounds", "online_bytes", "dealer_bytes")
    return costs is not None and any(abs(record[prompt + name] - costs[name]) > 1e-2 * costs[name] for name in figures)


def price_of(case: Case) -> Price:
    """What a model costs, by layer. Seconds: less than one for twelve layers."""
    decodes = case.model in DECODERS
    config = decoder_config(case.model, case.layers) if decodes else config_of(case.model, case.layers)
    request = Request("next_logits" if decodes else "hidden", case.batch, case.tokens, masked=False, steps=case.steps)
    return price(manifest_of(config, case.weights, case.protocol), request)


def cost_of(case: Case) -> ModelCost:
    """What a model costs, all layers together."""
    found = price_of(case)
    session, load = found.total, found.loading
    return ModelCost(
        session.rounds,
        session.online_bytes,
        session.dealer_bytes,
        load.rounds,
        load.online_bytes,
        load.dealer_bytes,
    )


def error_of(case: Case) -> float:
    """Largest error of the last hidden state against transformers in float32; all roles in this process."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        setting = Setting(
            case.model, case.tokens, case.batch, case.weights, case.layers, repeats=1, protocol=case.protocol
        )
        work = prepare(setting, scratch)
        manifest, request = work.manifest, work.request
        net = program.network(manifest)
        payloads = input_payloads(net, request, {"input_ids": work.ids}, work.checkpoint.embeddings)
        computing = family(case.protocol).computing

        def role(protocol: Protocol, _: Sequence[Tensor | None]) -> Any:
            index = _index_of(protocol)
            shares = None if index is None else read_share(work.shares[computing[index]], manifest, computing[index])
            model = program.load(protocol, manifest, shares)
            client = GivenSteps(b"" if index is None else payloads[index])
            with torch.inference_mode():
                program.serve(protocol, model, request, client, index)
            return b"".join(client.outputs)  # the dealer has none

        (runner,) = (family for family in FAMILIES if family.name == case.protocol)
        outputs, _, _ = runner.run(role, [])
        found = step_outputs(net, request, tuple(outputs))["last_hidden_state"]
        with torch.no_grad():
            return float((found - work.plain(input_ids=work.ids).last_hidden_state).abs().max())


def _index_of(protocol: Protocol) -> int | None:
    """Of a computing party; the dealer has none."""
    if isinstance(protocol, ReplicatedParty):
        return protocol.index
    return protocol.role.index if isinstance(protocol, BeaverParty) else None


def read(path: Path = FILE) -> dict[str, Any]:
    """The file's contents."""
    return json.loads(path.read_text(encoding="utf-8"))


def update(path: Path = FILE, say: Callable[[str], None] = print) -> None:
    """Count and measure everything again, rewrite the file, say what is being done."""
    content: dict[str, dict[str, Any]] = {"costs": {}, "error_bounds": {}}
    for case in COST_CASES:
        say(f"cost of {case.name}")
        content["costs"][case.name] = asdict(cost_of(case))
    for case in ERROR_CASES:
        say(f"error of {case.name}")
        content["error_bounds"][case.name] = float(f"{_MARGIN * error_of(case):.1e}")
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def differences(kept: Mapping[str, Any], say: Callable[[str], None] = print) -> list[str]:
    """Every case compared with the file's contents: one line for each figure that differs."""
    found = []
    for case in COST_CASES:
        say(f"cost of {case.name}")
        found += cost_differences(case, kept, cost_of(case))
    for case in ERROR_CASES:
        say(f"error of {case.name}")
        found += error_differences(case, kept, error_of(case))
    return found


def cost_differences(case: Case, kept: Mapping[str, Any], found: ModelCost) -> list[str]:
    """One line for each figure that is not the one in the file. A case that is not in the file differs as a whole."""
    figures = kept["costs"].get(case.name)
    if figures is None:
        return [f"{case.name}: not in {FILE.name}"]
    return [
        f"{case.name}: {key} is {value:,}, {FILE.name} has {figures[key]:,} ({_change(figures[key], value)})"
        for key, value in asdict(found).items()
        if figures[key] != value
    ]


def error_differences(case: Case, kept: Mapping[str, Any], found: float) -> list[str]:
    """A line when the error is above the file's bound."""
    bound = kept["error_bounds"].get(case.name)
    if bound is None:
        return [f"{case.name}: its error is not in {FILE.name}"]
    return [f"{case.name}: error {found:.1e}, {FILE.name} allows {bound:.1e}"] if found > bound else []


def _change(before: int, after: int) -> str:
    return f"{(after - before) / before:+.1%}" if before else "from zero"
