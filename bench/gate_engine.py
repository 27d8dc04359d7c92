"""The engine of parties that run single gates, so that each is measured between real processes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secure.models.program import ClientSteps
from secure.models.storage.kept_model import Kept
from secure.parties.config import Limits
from secure.parties.roles.engine import Digests, Engine, MeterRows, Tools
from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core.channel import Payload
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import InputError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.profile import Profile
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.gates.largest import MOST, Largest
from tests.protocols.gates import GATES

MEASURED = "gate"
"""Layer to which the meter attributes the calls that count; what makes their inputs and the warm-up is outside."""
_VALUE = 12345  # of every share: small, and what time a gate takes does not depend on it


@dataclass(frozen=True)
class GateRequest:
    """Run one gate `calls` times, after once as a warm-up, on tensors of `elements` elements."""

    gate: str
    elements: int
    calls: int

    def to_json(self) -> str:
        """For the handshake."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class NoModel:
    """In place of a manifest: gates need none."""

    policy: FixedPointPolicy

    def to_json(self) -> str:
        """Text that names the policy."""
        return json.dumps(self.policy.to_dict(), sort_keys=True)

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def gate_names() -> list[str]:
    """Every gate that the tests know, with the ring or kind that it is run in."""
    return [_name(gate, label) for gate, label, _, _ in GATES]


def shapes_of(name: str, elements: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of a gate's arguments, the first of `elements` elements; products of matrices take the next square."""
    (cases,) = [cases for gate, label, _, cases in GATES if _name(gate, label) == name]
    count = len(cases[0])
    if name.startswith(Largest.__name__):
        return ((-(-elements // MOST), MOST),)
    if count == 1 or any(len(case[1]) < 2 or case[0][-1] != case[1][-2] for case in cases):
        return ((elements,),) * count
    side = math.isqrt(elements)
    return ((side, side), (side, side), (side,))[:count]


class GateEngine(Engine):
    """Predictions are runs of one gate; there is nothing to load and no payload."""

    def digests(self, manifest_json: str) -> Digests:
        policy = FixedPointPolicy.from_dict(json.loads(manifest_json))
        return Digests(NoModel(policy).digest, policy.digest())

    def find_share(self, models_dir: Path | None, manifest_json: str, role: str) -> Path:
        return Path("/dev/null")

    def load(self, tools: Tools, manifest_json: str, share: Path | None) -> tuple[object, MeterRows]:
        return FixedPointPolicy.from_dict(json.loads(manifest_json)), []

    def written(self, model: object) -> Iterator[Payload]:
        return iter(())

    def read(self, manifest_json: str, role: str, kept: Kept) -> object:
        return FixedPointPolicy.from_dict(json.loads(manifest_json))

    def working_set_bytes(self, model: object, request_json: str) -> int:
        return 0  # sizes are chosen by whoever measures

    def free_bytes(self) -> int | None:
        return None

    def predict(
        self, tools: Tools, model: object, request_json: str, client: ClientSteps, profile: Profile
    ) -> tuple[bool, MeterRows]:
        request = GateRequest(**json.loads(request_json))
        if request.gate not in gate_names():
            raise InputError(f"unknown gate {request.gate!r}")
        assert isinstance(model, FixedPointPolicy)
        client.receive(0)
        meter = Meter()
        at_dealer = tools.index is None
        protocol = tools.protocol(model, meter, CPU)
        assert isinstance(protocol, BeaverProtocol)
        with torch.inference_mode():
            shares = [_share(shape, at_dealer) for shape in shapes_of(request.gate, request.elements)]
            run_gate(protocol, request.gate, shares)
            for _ in range(request.calls):
                run_gate(protocol, request.gate, shares, MEASURED)
        protocol.finish()
        if not at_dealer:
            client.send(b"")
        return False, [row for row in meter.snapshot() if row["layer"] == MEASURED]


def run_gate(protocol: BeaverProtocol, name: str, shares: list[Tensor], layer: str = "") -> None:
    """Make the inputs of a gate, then run it within `layer`."""
    (build,) = [build for gate, label, build, _ in GATES if _name(gate, label) == name]
    gate = build(protocol, shares)
    with protocol.layer(layer):
        protocol.run(gate)


def gate_engine(limits: Limits, device: str) -> Engine:
    """The engine of a process whose tensor library uses `limits.threads` threads. Gates are measured on the CPU."""
    torch.set_num_threads(limits.threads)
    return GateEngine()


def _name(gate: type[Any], label: str) -> str:
    return f"{gate.__name__} {label}".strip()


def _share(shape: tuple[int, ...], at_dealer: bool) -> Tensor:
    return torch.full(shape, _VALUE, dtype=torch.int64, device="meta" if at_dealer else "cpu")
