"""A client without processes: the same two programs, run by three threads of this process over queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models import program
from models.checkpoint import read_share
from models.manifest import Manifest
from models.program import LoadedModel, Request
from parties.client import Prediction, RoleReport
from parties.run import Progress
from protocols.beaver.protocol import BeaverDealer, BeaverParty
from protocols.core.cost import Meter
from tests.in_process import run_roles

Role = BeaverParty | BeaverDealer
Watch = Callable[[Progress], None] | None


def role_of(protocol: Role) -> str:
    return "dealer" if isinstance(protocol, BeaverDealer) else f"p{protocol.role.index}"


class InProcessClient:
    """What `parties.client.Client` does, with the real protocol and no transport."""

    def __init__(self, served: Path | None = None) -> None:
        """served: the folder that the parties serve their own shares from."""
        self.served = served
        self.models: dict[str, dict[str, LoadedModel]] = {}
        self.requests: list[Request] = []
        self.uploaded: list[Mapping[str, Path] | None] = []
        self.closed = 0

    def load_model(self, manifest: Manifest, shares: Mapping[str, Path] | None = None, progress: Watch = None) -> None:
        self.uploaded.append(shares)
        files = shares
        if files is None:
            assert self.served is not None
            files = {role: self.served / f"{role}.safetensors" for role in ("p0", "p1")}
        loaded: dict[str, LoadedModel] = {}

        def load(protocol: Any, _: object) -> Any:
            role = role_of(protocol)
            tensors = None if role == "dealer" else read_share(files[role], manifest, role)
            loaded[role] = program.load(protocol, manifest, tensors)

        run_roles(load, [])
        self.models[manifest.digest] = loaded

    def predict(
        self,
        model_digest: str,
        policy_digest: str,
        request: Request,
        payloads: tuple[bytes, bytes],
        progress: Watch = None,
    ) -> Prediction:
        models = self.models[model_digest]
        self.requests.append(request)

        def predict(protocol: Any, _: object) -> Any:
            role = role_of(protocol)
            index = None if role == "dealer" else protocol.role.index
            payload = None if index is None else payloads[index]
            return program.predict(protocol, models[role], request, payload, index)

        (first, second), meters, _ = run_roles(predict, [])
        outputs = {"p0": bytes(first), "p1": bytes(second)}  # type: ignore[call-overload]
        if progress is not None:
            layers = dict.fromkeys(layer for layer, _ in meters["p0"].rows)
            for index, layer in enumerate(layers):
                progress(Progress("p0", layer, index))
        reports = {role: role_report(role, meters[role], payloads, outputs) for role in meters}
        return Prediction((outputs["p0"], outputs["p1"]), reports, seconds=0.25)

    def unload_model(self, model_digest: str) -> None:
        self.models.pop(model_digest, None)

    def close(self) -> None:
        self.closed += 1


def role_report(role: str, meter: Meter, payloads: tuple[bytes, bytes], outputs: Mapping[str, bytes]) -> RoleReport:
    """As the transport would count it: the meter's bytes, the seeds, and the client's payloads."""
    online, dealer = meter.total.online_bytes, meter.total.dealer_bytes
    sent = {
        "p0": {"p1": online, "dealer": 0, "client": len(outputs["p0"])},
        "p1": {"p0": online, "dealer": 0, "client": len(outputs["p1"])},
        "dealer": {"p0": 16, "p1": dealer + 16, "client": 0},
    }
    received = {
        "p0": {"p1": online, "dealer": 16, "client": len(payloads[0])},
        "p1": {"p0": online, "dealer": dealer + 16, "client": len(payloads[1])},
        "dealer": {"p0": 0, "p1": 0, "client": 0},
    }
    messages = dict.fromkeys(sent[role], 1)
    return RoleReport(role, meter.snapshot(), sent[role], received[role], messages, 0.2, 1 << 20)
