"""A client without processes: the same two programs, run by three threads of this process over queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from secure.models import program
from secure.models.checkpoint.conversion import read_share
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.program import ClientSteps, LoadedModel
from secure.parties.client.client import Prediction
from secure.parties.client.conversation import Costs, RoleReport
from secure.parties.client.run import Progress
from secure.protocols.beaver.protocol import BeaverDealer, BeaverParty
from secure.protocols.core.cost import Meter
from tests.in_process import run_roles

Role = BeaverParty | BeaverDealer
Watch = Callable[[Progress], None] | None


def role_of(protocol: Role) -> str:
    return "dealer" if isinstance(protocol, BeaverDealer) else f"p{protocol.role.index}"


class InProcessClient:
    """What `secure.parties.client.client.Client` does, with the real protocol and no transport."""

    from_stock = False

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

        run_roles(load, [], policy=manifest.policy)
        self.models[manifest.digest] = loaded

    def predict(
        self,
        model_digest: str,
        policy_digest: str,
        request: Request,
        payloads: tuple[bytes, ...],
        progress: Watch = None,
    ) -> Prediction:
        with self.converse(model_digest, policy_digest, request, 1, progress) as conversation:
            outputs = conversation.step(payloads)
        return Prediction(outputs, conversation.costs)

    @contextmanager
    def converse(
        self, model_digest: str, policy_digest: str, request: Request, steps: int, progress: Watch = None
    ) -> Iterator[InProcessConversation]:
        self.requests.append(request)
        conversation = InProcessConversation(self.models[model_digest], request)
        try:
            yield conversation
        finally:
            conversation.end()
        if progress is not None:
            layers = dict.fromkeys(layer for layer, _ in conversation.meters["p0"].rows)
            for index, layer in enumerate(layers):
                progress(Progress("p0", layer, index))

    def unload_model(self, model_digest: str) -> None:
        self.models.pop(model_digest, None)

    def close(self) -> None:
        self.closed += 1


class InProcessConversation:
    """A session that waits for inputs: one thread runs the roles, the caller's thread is the client."""

    def __init__(self, models: Mapping[str, LoadedModel], request: Request) -> None:
        self.meters: dict[str, Meter] = {}
        self._exchanged: list[tuple[tuple[bytes, ...], tuple[bytes, ...]]] = []
        self._steps = {role: WaitingSteps() for role in models}

        def serve(protocol: Any, _: object) -> Any:
            role = role_of(protocol)
            index = None if role == "dealer" else protocol.role.index
            program.serve(protocol, models[role], request, self._steps[role], index)

        self._pool = ThreadPoolExecutor(1)
        self._run = self._pool.submit(run_roles, serve, [], policy=models["p0"].manifest.policy)

    def step(self, payloads: tuple[bytes, ...]) -> tuple[bytes, ...]:
        for role, payload in (("p0", payloads[0]), ("p1", payloads[1]), ("dealer", b"")):
            self._steps[role].inputs.put(payload)
        first, second = (self._answer(role) for role in ("p0", "p1"))
        self._exchanged.append((payloads, (first, second)))
        return first, second

    def _answer(self, role: str) -> bytes:
        while True:
            try:
                return self._steps[role].outputs.get(timeout=0.1)
            except Empty:
                if self._run.done():
                    self._run.result()  # raises what went wrong

    def end(self) -> None:
        for steps in self._steps.values():
            steps.inputs.put(None)
        with self._pool:
            _, self.meters, _ = self._run.result()

    @property
    def costs(self) -> Costs:
        return costs_of(self._exchanged, self.meters)


class WaitingSteps(ClientSteps):
    """A client that answers when it likes; None ends the session."""

    def __init__(self) -> None:
        self.inputs: SimpleQueue[bytes | None] = SimpleQueue()
        self.outputs: SimpleQueue[bytes] = SimpleQueue()

    def receive(self, step: int) -> bytes | None:
        return self.inputs.get()

    def send(self, payload: bytes) -> None:
        self.outputs.put(payload)


def costs_of(exchanged: Sequence[tuple[tuple[bytes, ...], tuple[bytes, ...]]], meters: Mapping[str, Meter]) -> Costs:
    """exchanged: by step, what the client sent to P0 and P1, and what they answered."""
    payloads, outputs = (
        tuple(b"".join(step[side][index] for step in exchanged) for index in (0, 1)) for side in (0, 1)
    )
    answers = {"p0": outputs[0], "p1": outputs[1]}
    return Costs({role: role_report(role, meter, payloads, answers) for role, meter in meters.items()}, seconds=0.25)


def role_report(role: str, meter: Meter, payloads: tuple[bytes, ...], outputs: Mapping[str, bytes]) -> RoleReport:
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
