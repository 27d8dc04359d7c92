"""What a process computes, as seen from the transport: two calls, on opaque bytes and opaque models.

Servers know sessions, streams and errors; an `Engine` knows manifests, shares and protocols. Tests use a small one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from secure.models.program import ClientSteps
from secure.models.storage.kept_model import Kept
from secure.protocols.core.channel import Payload
from secure.protocols.core.cost import CostTally, Meter
from secure.protocols.core.family import Family
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.profile import Profile
from secure.protocols.core.secret import Protocol

MeterRows = list[dict[str, Any]]


@dataclass(frozen=True)
class Digests:
    """What a manifest commits to: hex digests of itself and of its fixed-point policy."""

    model: str
    policy: str


class Tools(ABC):
    """What one role computes with in one session: seeds, and channels to its peers."""

    family: ClassVar[Family]
    """The family whose protocol it is for."""

    @property
    @abstractmethod
    def index(self) -> int | None:
        """The number of a computing party; None for a role that holds no shares."""

    @abstractmethod
    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> Protocol:
        """This role's execution."""

    apart = False
    """Whether factors of products are kept apart, so that a party can compute halves of products ahead."""


@dataclass(frozen=True)
class MadeAhead:
    """What the correlations of a session took one computing party that made them with the others.

    from_stock: whether that was before the session. seconds: of the making. kept_bytes: by this party, until their use.
    """

    from_stock: bool
    seconds: float
    rounds: int
    sent_bytes: int
    kept_bytes: int


class SessionTools(Tools):
    """The tools of a role that has met its peers."""

    def make_ready(self, walk: Callable[[Tools], object]) -> None:
        """Make what the session takes of correlations, where the parties do that themselves and it is not in stock.

        walk: runs the session's program with other tools, without an input.
        """

    @property
    def makes(self) -> bool:
        """Whether `make_ready` has something to make."""
        return False

    def outline(self, policy: FixedPointPolicy, tally: CostTally) -> Protocol:
        """An execution on shapes alone that declares what a session with such tools costs."""
        return self.family.outline(policy, tally)

    @property
    def made_ahead(self) -> MadeAhead | None:
        """What making took, after the session; None where the parties made nothing."""
        return None


class Engine(ABC):
    """The computation of one role. One engine serves all sessions of a process, also at the same time."""

    @abstractmethod
    def digests(self, manifest_json: str) -> Digests:
        """Read a manifest. Raises CheckpointError when it is none."""

    @abstractmethod
    def find_share(self, models_dir: Path | None, manifest_json: str, role: str) -> Path:
        """The share file of `role` on its own disk. Raises CheckpointError when it is not there."""

    @abstractmethod
    def load(self, tools: Tools, manifest_json: str, share: Path | None) -> tuple[object, MeterRows]:
        """Run the loading program; the model that stays in memory, and the meter's rows.

        `share` is a file for the time of this call; an uploaded one lies in memory. The dealer has none.
        """

    @abstractmethod
    def written(self, model: object) -> Iterator[Payload]:
        """What this role keeps of a model, to be read again by another process.

        Raises CheckpointError where its disk fails, and ProtocolError for what cannot be kept.
        """

    @abstractmethod
    def read(self, manifest_json: str, role: str, kept: Kept) -> object:
        """A model that was written by that role: nothing is computed for it, and nobody is asked.

        Raises what `kept` raises, DamagedFile for what this process does not take, and CheckpointError where neither
        memory nor disk has room.
        """

    @abstractmethod
    def working_set_bytes(self, model: object, request_json: str) -> int:
        """What this role will hold for a request, at most, estimated from its shapes before anything is allocated.

        Raises InputError when the model cannot serve it.
        """

    def making_bytes(self, tools: SessionTools, model: object, request_json: str) -> int:
        """What this role will keep, beside that, of correlations that the parties make for a request in its session."""
        return 0

    @abstractmethod
    def free_bytes(self) -> int | None:
        """What this role may still take where it computes. None where nothing is known."""

    @abstractmethod
    def predict(
        self, tools: Tools, model: object, request_json: str, client: ClientSteps, profile: Profile
    ) -> tuple[bool, MeterRows]:
        """Run the steps of one session; whether the client ended it early, and the meter's rows.

        profile: by which the program chooses among gates, the same at every role.
        """
