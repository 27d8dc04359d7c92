"""From `parties.toml`, or from nothing, to parties that a model can be loaded on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

from secure.arguments import checked
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.parties import launcher
from secure.parties.client.client import Client, Prediction
from secure.parties.client.conversation import Costs
from secure.parties.client.run import Progress
from secure.parties.config import EngineName, ProfileName
from secure.parties.session.tracing import SessionTracer
from secure.parties.settings_file import load_settings
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.families import DEFAULT, chosen


class Steps(Protocol):
    """What generation needs of a session. `secure.parties.client.conversation.Conversation` is the real one."""

    def step(self, payloads: tuple[bytes, ...]) -> tuple[bytes, ...]: ...

    @property
    def costs(self) -> Costs: ...


class SessionClient(Protocol):
    """What a private model needs of a client. `secure.parties.client.client.Client` is the real one."""

    @property
    def from_stock(self) -> bool:
        """Whether it asks for deals from stock."""

    def load_model(
        self,
        manifest: Manifest,
        shares: Mapping[str, Path] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None: ...

    def predict(
        self,
        model_digest: str,
        policy_digest: str,
        request: Request,
        payloads: tuple[bytes, ...],
        progress: Callable[[Progress], None] | None = None,
    ) -> Prediction: ...

    def converse(
        self,
        model_digest: str,
        policy_digest: str,
        request: Request,
        steps: int,
        progress: Callable[[Progress], None] | None = None,
    ) -> AbstractContextManager[Steps]: ...

    def unload_model(self, model_digest: str) -> None: ...

    def close(self) -> None: ...


class Parties:
    """The parties of one protocol, as a client sees them. A context manager; `close` does the same.

    Closing ends the connections, and the processes too when `launch` started them.
    """

    def __init__(
        self, client: SessionClient, stop: Callable[[], None] | None = None, *, protocol: str = DEFAULT.name
    ) -> None:
        self.client = client
        self.protocol = protocol
        self._stop = stop

    def close(self) -> None:
        """End the connections and whatever `launch` started; models there raise SessionError from now on.

        Does nothing the second time.
        """
        stop, self._stop = self._stop, None
        try:
            self.client.close()
        finally:
            if stop is not None:
                stop()

    def __enter__(self) -> Parties:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@checked
def launch(
    config: Path | str | None = None,
    *,
    protocol: str | None = None,
    security: str | None = None,
    dealers: int | None = None,
    log: Callable[[str, str], None] | None = None,
    memory_bytes: int | None = None,
    device: str | None = None,
    profile: ProfileName | None = None,
    engine: EngineName | None = None,
) -> Parties:
    """Start all parties on this machine and connect to them. For trying and measuring: it protects nothing here.

    Args:
        config: a parties.toml with addresses of this machine; None takes free ports and fresh certificates, in a
            private temporary folder that is removed at the end.
        protocol: "beaver", two computing parties and a dealer (the default); "replicated", three computing parties;
            "witnessed", three evaluators and a dealer; "witnessed-two-dealers"; "hybrid", a client and a model's
            owner alone. A config has its own; naming another one is an error.
        security: "malicious" for a protocol in which one evaluator may do whatever it likes, which is "witnessed";
            "semi-honest" for the default one. A config has its own here, too.
        dealers: 2 with security="malicious" for a second dealer, so that one of the two may deviate as well.
        log: called with a role and one line of its log, from another thread; None drops the logs.
        memory_bytes: what each party's process may take; the weights that do not fit lie encrypted on a disk and are
            read at each use. None leaves it to the config, or to what the system has available.
        device: what the parties compute on: "cpu", "cuda" or "cuda:1". The arithmetic is the same, bit for bit; a
            model has to fit into a card's memory. None leaves it to the config, or to the CPU.
        profile: how far the parties are from each other: "near" (the default), "far" or "auto"; see docs/deploy.md. A
            config has its own; naming another one is an error.
        engine: of protocol "hybrid", by what is computed that is not linear: "garbled", circuits (the default), or
            "transfer", oblivious transfers, which take transformers, too. A config has its own.

    Raises ConfigurationError (a port in use, a wrong setting, no such device) and PartyUnreachable (a party that does
    not come up).
    """
    path = None if config is None else Path(config)
    wanted, asked = chosen(protocol, security, dealers).name, (protocol, security, dealers) != (None, None, None)
    if path is not None and asked and wanted != (given := load_settings(path).protocol):
        raise ConfigurationError(f"{path} is for the protocol {given!r}, {wanted!r} is asked for")
    if path is not None and profile not in (None, held := load_settings(path).profile):
        raise ConfigurationError(f"{path} is for the network profile {held!r}, {profile!r} is asked for")
    if path is not None and engine is not None:
        raise ConfigurationError(f"{path} says itself by what engine its parties compute; leave the engine out")
    started = launcher.launch(
        path,
        protocol=wanted,
        log=log,
        memory_bytes=memory_bytes,
        device=device,
        profile=profile or "near",
        engine=engine,
    )
    try:
        return Parties(Client(started.settings), started.stop, protocol=started.settings.protocol)
    except BaseException:
        started.stop()
        raise


@checked
def connect(config: Path | str, *, profile: ProfileName | None = None, tracer: SessionTracer | None = None) -> Parties:
    """Connect to parties that run already, at the addresses in a parties.toml. Connections are opened at first use.

    profile: in place of the file's network profile. Parties whose own files say "auto" take each, others refuse any but
    theirs, when a session begins. tracer: hears of each session, such as `secure.parties.process.spans.SpanTracer`, and
    roles that trace hear which trace it is part of; None traces nothing.

    Raises ConfigurationError when the file or the client's certificate is wrong.
    """
    settings = load_settings(Path(config))
    settings = replace(settings, profile=profile or settings.profile)
    return Parties(Client(settings, tracer=tracer), protocol=settings.protocol)
