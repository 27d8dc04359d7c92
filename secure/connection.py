"""From `parties.toml`, or from nothing, to parties that a model can be loaded on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol

from models.manifest import Manifest
from models.request import Request
from parties import launcher
from parties.client import Client, Prediction
from parties.config import load_settings
from parties.conversation import Costs
from parties.run import Progress


class Steps(Protocol):
    """What generation needs of a session. `parties.conversation.Conversation` is the real one."""

    def step(self, payloads: tuple[bytes, bytes]) -> tuple[bytes, bytes]: ...

    @property
    def costs(self) -> Costs: ...


class SessionClient(Protocol):
    """What a private model needs of a client. `parties.client.Client` is the real one."""

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
        payloads: tuple[bytes, bytes],
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
    """P0, P1 and the dealer, as a client sees them. A context manager; `close` does the same.

    Closing ends the connections, and the processes too when `launch` started them.
    """

    def __init__(self, client: SessionClient, stop: Callable[[], None] | None = None) -> None:
        self.client = client
        self._stop = stop

    def close(self) -> None:
        """End the connections and whatever `launch` started. Does nothing the second time."""
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


def launch(config: Path | str | None = None, *, log: Callable[[str, str], None] | None = None) -> Parties:
    """Start all three parties on this machine and connect to them. For trying and measuring: it protects nothing here.

    Args:
        config: a parties.toml with addresses of this machine; None takes free ports and fresh certificates, in a
            private temporary folder that is removed at the end.
        log: called with a role and one line of its log, from another thread; None drops the logs.

    Raises ConfigurationError (a port in use, a wrong setting) and PartyUnreachable (a party that does not come up).
    """
    started = launcher.launch(None if config is None else Path(config), log=log)
    try:
        return Parties(Client(started.settings), started.stop)
    except BaseException:
        started.stop()
        raise


def connect(config: Path | str) -> Parties:
    """Connect to parties that run already, at the addresses in a parties.toml. Connections are opened at first use.

    Raises ConfigurationError when the file or the client's certificate is wrong.
    """
    return Parties(Client(load_settings(Path(config))))
