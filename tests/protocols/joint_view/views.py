"""What a party receives of a program, many times over: its own seed, shares and inputs stay, all other seeds change.

The seeds of the others come from a stream of this file's own, so every run of a test sees the same bits.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.replicated.seeds import PartySeeds
from tests.in_process import POLICY, RoleProgram, run_roles
from tests.three_parties import PARTIES, run_parties

SESSION = bytes(16)


@dataclass(frozen=True)
class Message:
    """What a party received, and what it sent in the same round where both sent as much: halves of what was opened."""

    received: bytes
    sent: bytes


View = Mapping[str, Sequence[Message]]
"""What a party received in one run: messages in order, by sender."""


def seed_of(*names: object) -> bytes:
    """A seed that belongs to these names."""
    return hashlib.sha256(repr(names).encode()).digest()[:SEED_BYTES]


def generator_of(*names: object) -> torch.Generator:
    """A stream of numbers that belongs to these names."""
    return torch.Generator().manual_seed(int.from_bytes(seed_of(*names)[:7], "little"))


def uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Uniform elements of Z_2^64. Shapes: -> int64 `shape`."""
    halves = torch.randint(1 << 32, (2, *shape), generator=generator)
    return (halves[0] << 32) + halves[1]


class Setting(ABC):
    """The parties of a family, and what one of them receives."""

    parties: ClassVar[tuple[str, ...]]

    @abstractmethod
    def hidden(self, receiver: int) -> int:
        """The number of the part, of every input, that this party does not hold."""

    @abstractmethod
    def view(
        self,
        program: RoleProgram,
        parts: Sequence[Sequence[Tensor]],
        receiver: int,
        seed: bytes,
        policy: FixedPointPolicy = POLICY,
    ) -> View:
        """What the party receives where the seed that it does not hold is `seed`.

        parts: of each input as many as there are parties, which add up to it.
        """

    def split(self, value: Tensor, hidden: int, generator: torch.Generator) -> list[Tensor]:
        """Parts that add up to the value: uniform, but for the hidden one, which follows."""
        parts = [uniform(value.shape, generator) for _ in self.parties]
        parts[hidden] = parts[hidden] + value - sum(parts)
        return parts


class Beaver(Setting):
    """P0 and P1. The dealer has nothing to receive by: `run_roles` gives it a channel that only sends."""

    parties = ("p0", "p1")

    def hidden(self, receiver: int) -> int:
        return 1 - receiver

    def view(
        self,
        program: RoleProgram,
        parts: Sequence[Sequence[Tensor]],
        receiver: int,
        seed: bytes,
        policy: FixedPointPolicy = POLICY,
    ) -> View:
        shares: dict[str, Sequence[Tensor | None]] = {
            role: [of_input[i] for of_input in parts] for i, role in enumerate(self.parties)
        }
        shares["dealer"] = [None] * len(parts)
        own, role, heard = seed_of("own"), self.parties[receiver], list[Message]()
        _, _, sent = run_roles(
            program,
            [],
            policy=policy,
            seeds=(own, seed) if receiver == 0 else (seed, own),
            session=SESSION,
            programs={role: _with_shares(program, held) for role, held in shares.items()},
            wrap={role: lambda channel: _Listening(channel, heard)},
        )
        peers = {self.parties[1 - receiver]: heard}
        return peers if receiver == 0 else {**peers, "dealer": [Message(each, b"") for each in sent["dealer"]]}


class Replicated(Setting):
    """P0, P1 and P2. Party i holds the parts i and i + 1, and the seeds that it has with either other one."""

    parties = PARTIES

    def hidden(self, receiver: int) -> int:
        return (receiver + 2) % len(PARTIES)

    def view(
        self,
        program: RoleProgram,
        parts: Sequence[Sequence[Tensor]],
        receiver: int,
        seed: bytes,
        policy: FixedPointPolicy = POLICY,
    ) -> View:
        count = len(PARTIES)
        # Number i is that of parties i and i + 1.
        pairwise = [seed if i == (receiver + 1) % count else seed_of("own", i) for i in range(count)]
        heard: dict[str, list[Message]] = {}
        run_parties(
            program,
            [],
            policy=policy,
            seeds=[PartySeeds(pairwise[i], pairwise[i - 1], seed_of("common")) for i in range(count)],
            session=SESSION,
            programs={
                role: _with_shares(
                    program, [torch.stack([of_input[i], of_input[(i + 1) % count]]) for of_input in parts]
                )
                for i, role in enumerate(PARTIES)
            },
            wrap={PARTIES[receiver]: lambda channel: _Listening(channel, heard.setdefault(channel.peer, []))},
        )
        return heard


BEAVER, REPLICATED = Beaver(), Replicated()


class _Listening(Channel):
    """A channel that keeps what it received, and what it sent just before."""

    def __init__(self, inner: Channel, heard: list[Message]) -> None:
        self.peer = inner.peer
        self._inner = inner
        self._heard = heard
        self._sent = b""

    def send(self, payload: Payload) -> None:
        self._sent = bytes(payload)
        self._inner.send(payload)

    def receive(self) -> memoryview:
        message = self._inner.receive()
        self._heard.append(Message(bytes(message), self._sent if len(self._sent) == len(message) else b""))
        self._sent = b""
        return message


def _with_shares(program: RoleProgram, shares: Sequence[Tensor | None]) -> RoleProgram:
    return lambda protocol, _: program(protocol, shares)
