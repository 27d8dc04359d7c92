"""The client's side of sessions: load a model, predict, unload, ask for health. Payloads are opaque bytes here."""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from secure.parties.client.conversation import Conversation, Costs
from secure.parties.client.patience import Patience
from secure.parties.client.run import Progress, Run
from secure.parties.config import PartiesSettings
from secure.parties.session.handshake import CALLERS, KIND_NAMES, PROTOCOL_VERSION, new_session_id
from secure.parties.session.tracing import SessionTracer
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.wire_pb2 import Hello, Kind
from secure.protocols.core.errors import (
    CheckpointError,
    ConfigurationError,
    HandshakeError,
    ModelNotLoaded,
    ServerBusy,
    SessionError,
)
from secure.protocols.core.profile import AUTO, PROFILES


class PolicyView(Protocol):
    """What the client needs of a fixed-point policy."""

    def digest(self) -> str: ...


class ManifestView(Protocol):
    """What the client needs of a `secure.models.contract.manifest.Manifest`."""

    @property
    def digest(self) -> str: ...
    @property
    def policy(self) -> PolicyView: ...
    def to_json(self) -> str: ...


class RequestView(Protocol):
    """What the client needs of a `secure.models.contract.request.Request`."""

    def to_json(self) -> str: ...


@dataclass(frozen=True)
class Prediction:
    """The computing parties' output payloads, and what the session cost."""

    payloads: tuple[bytes, ...]
    costs: Costs


class Client:
    """Connections of a client (or model owner) to the three parties. Safe to use from several threads at a time."""

    def __init__(self, settings: PartiesSettings, role: str = "client", tracer: SessionTracer | None = None) -> None:
        """tracer: hears of each session, and what it is part of is said to all roles; None traces nothing.

        Raises ConfigurationError when `role` has no certificate in the settings' folder. Connects at first use."""
        if role not in CALLERS["Run"]:
            raise ConfigurationError(f"role {role!r} cannot run sessions; use {' or '.join(CALLERS['Run'])}")
        self.settings = settings
        self.role = role
        self._tracer = tracer or SessionTracer()
        self._dialer = Dialer(settings, role)
        self._load_ids: dict[str, str] = {}
        self._on_disks: dict[str, ManifestView] = {}
        """Models that the parties serve from their own disks, and can therefore load again."""
        self._profiles: dict[str, str] = {}
        """The network profile of sessions, by model, since p0 named it."""
        self._reloading = threading.Lock()

    @property
    def from_stock(self) -> bool:
        """Whether sessions ask for a deal from stock."""
        return self.settings.stock is not None

    def load_model(
        self,
        manifest: ManifestView,
        shares: Mapping[str, Path] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Make the model resident at all three roles; cheap when it already is.

        Args:
            shares: {"p0": path, "p1": path, ...} uploads the files; None lets each party serve its own from its disk.

        Raises CheckpointError for a share that does not fit the manifest, and SessionError and its kinds.
        """
        if shares is None:
            self._on_disks[manifest.digest] = manifest
        files = {role: _map_file(path) for role, path in (shares or {}).items()}
        policy_digest = manifest.policy.digest()
        hello = self._hello(Kind.KIND_LOAD, manifest.digest, policy_digest)
        hello.load_id = hello.session
        hello.uploads_share = shares is not None
        with self._run(hello, progress) as run:
            hello = run.hello
            self._profiles[manifest.digest] = self._profile(run.accepts["p0"].profile)
            known = {accept.load_id for accept in run.accepts.values()}
            if len(known) == 1 and "" not in known:
                for link in run.links.values():
                    link.post_end()
                run.listen()
                run.collect(None)
                self._load_ids[manifest.digest] = known.pop()
                return
            for role in run.links:
                run.send(role, manifest.to_json().encode())
                if role in files:
                    run.send(role, files[role])
            run.finish()
            run.listen()
            run.collect(progress)
        self._load_ids[manifest.digest] = hello.session

    def predict(
        self,
        model_digest: str,
        policy_digest: str,
        request: RequestView,
        payloads: tuple[bytes, ...],
        progress: Callable[[Progress], None] | None = None,
    ) -> Prediction:
        """One prediction of a single step: `payloads` go to the computing parties, and theirs come back.

        A model that the parties serve from their disks is loaded again, once, where one of them no longer has it.

        Raises ModelNotLoaded when a party no longer has a model that was uploaded, PartyUnreachable, PartyLost, or the
        error that a party reports.
        """
        with self.converse(model_digest, policy_digest, request, 1, progress) as conversation:
            outputs = conversation.step(payloads)
        return Prediction(outputs, conversation.costs)

    @contextmanager
    def converse(
        self,
        model_digest: str,
        policy_digest: str,
        request: RequestView,
        steps: int,
        progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Conversation]:
        """A session of up to `steps` steps, in which each step's input may depend on the outputs before.

        Leaving the block before the last step ends the session in good order. Raises what `predict` does.
        """
        load_id = self._load_ids.get(model_digest)
        if load_id is None:
            raise SessionError(f"model {model_digest[:12]} was not loaded through this client; call load_model first")
        started = time.monotonic()
        try:
            opened = self._open(model_digest, policy_digest, request, progress)
        except ModelNotLoaded:
            # No input was sent yet. The new load has masks of its own, and an id that all roles compare.
            if model_digest not in self._on_disks:
                raise
            self._load_again(model_digest, load_id)
            opened = self._open(model_digest, policy_digest, request, progress)
        with opened as run:
            conversation = Conversation(
                run,
                steps,
                progress,
                started=started,
                offline_first=self.settings.measure.offline_first,
                trust=self._dialer.certificates.current().trust,
            )
            yield conversation
            conversation.end()

    def _open(
        self,
        model_digest: str,
        policy_digest: str,
        request: RequestView,
        progress: Callable[[Progress], None] | None = None,
    ) -> Run:
        hello = self._hello(Kind.KIND_PREDICT, model_digest, policy_digest)
        hello.load_id = self._load_ids[model_digest]
        hello.request = request.to_json()
        hello.from_stock = self.from_stock
        hello.profile = self._profiles[model_digest]
        return self._run(hello, progress)

    def _run(self, hello: Hello, progress: Callable[[Progress], None] | None) -> Run:
        """The streams of a session, after a wait for its turn where the parties are busy. Raises ServerBusy."""
        patience = Patience(self._dialer, self.settings.limits.busy_seconds, progress)
        while True:
            try:
                trace = self._tracer.begin(self.role, KIND_NAMES.get(hello.kind, ""), hello.session)
                return Run(self._dialer, hello, self.settings.family, trace)
            except ServerBusy as busy:
                hello = patience.awaited(hello, busy)

    def _load_again(self, model_digest: str, load_id: str) -> None:
        """Load a model from the parties' disks, unless another thread has done so since `load_id` was read."""
        with self._reloading:
            if self._load_ids.get(model_digest) == load_id:
                self.load_model(self._on_disks[model_digest])

    def unload_model(self, model_digest: str) -> None:
        """Leave the model, which every role frees with its last user; an owner takes it from all.

        Unloading one that is not there is no error.
        """
        self._load_ids.pop(model_digest, None)
        self._on_disks.pop(model_digest, None)
        hello = self._hello(Kind.KIND_UNLOAD, model_digest, "")
        with self._run(hello, None) as run:
            run.finish()
            run.listen()
            run.collect(None)

    def health(self, timeout_seconds: float = 5.0, roles: Sequence[str] | None = None) -> dict[str, str]:
        """Role → 'serving', or why it does not answer, within `timeout_seconds`. roles: all, unless some are named."""
        roles = roles or self.settings.family.roles
        with futures.ThreadPoolExecutor(len(roles)) as pool:
            answers = pool.map(lambda role: self._health_of(role, timeout_seconds), roles)
            return dict(zip(roles, answers, strict=True))

    def close(self) -> None:
        """Close all connections; sessions that still run are cancelled, and later calls raise SessionError at once."""
        self._dialer.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _profile(self, p0_names: str) -> str:
        """The profile of this client's settings, or where they leave it open, p0's. Raises HandshakeError for none."""
        if self.settings.profile != AUTO:
            return self.settings.profile
        if p0_names not in PROFILES:
            raise HandshakeError("network profile", AUTO, p0_names, f"{self.role} with p0")
        return p0_names

    def _hello(self, kind: Kind.ValueType, model_digest: str, policy_digest: str) -> Hello:
        return Hello(
            protocol_version=PROTOCOL_VERSION,
            session=new_session_id(),
            role=self.role,
            kind=kind,
            model_digest=model_digest,
            policy_digest=policy_digest,
            family=self.settings.protocol,
        )

    def _health_of(self, role: str, timeout_seconds: float) -> str:
        stub = health_pb2_grpc.HealthStub(self._dialer.channel(role))
        request = health_pb2.HealthCheckRequest()
        try:
            answer = stub.Check(request, timeout=timeout_seconds, wait_for_ready=True)
        except grpc.RpcError:
            return self._why_not(stub, request)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)).lower()

    def _why_not(self, stub: health_pb2_grpc.HealthStub, request: health_pb2.HealthCheckRequest) -> str:
        """Waiting hides the reason why no connection comes about; a call that does not wait tells it."""
        try:
            stub.Check(request, timeout=1.0)
        except grpc.RpcError as error:
            details = error.details() if isinstance(error, grpc.Call) else ""
            return f"unreachable: {' '.join((details or 'no answer').split())[:300]}"
        return "serving"


def _map_file(path: Path) -> memoryview:
    """The file's bytes, read as they are sent rather than held in memory."""
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"share file {path} cannot be read: {error}") from None
