"""What a party receives of a program, many times over: its own seed, shares and inputs stay, all other seeds change.

The seeds of the others come from a stream of this file's own, so every run of a test sees the same bits.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.replicated.seeds import PartySeeds
from tests.in_process import POLICY, RoleProgram, run_roles
from tests.protocols.joint_view.finding import EXTRA, Bits, leanings, relations
from tests.three_parties import PARTIES, run_parties

View = Mapping[str, Sequence[bytes]]
"""What a party received in one run: messages in order, by sender."""

SESSION = bytes(16)
WHOLE_BITS = 256
"""The longest view of which every bit is looked at."""
MOST_BYTES = 1200
"""The longest view of which every byte is looked at."""


def seed_of(*names: object) -> bytes:
    """A seed that belongs to these names."""
    return hashlib.sha256(repr(names).encode()).digest()[:SEED_BYTES]


def generator_of(*names: object) -> torch.Generator:
    """A stream of numbers that belongs to these names."""
    return torch.Generator().manual_seed(int.from_bytes(seed_of(*names)[:7], "little"))


def uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Uniform elements of Z_2^64. Shapes: -> int64 `shape`."""
    high, low = torch.randint(1 << 32, (2, *shape), generator=generator)
    return (high << 32) ^ low


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
        own = seed_of("own")
        _, _, sent = run_roles(
            program,
            [],
            policy=policy,
            seeds=(own, seed) if receiver == 0 else (seed, own),
            session=SESSION,
            programs={role: _with_shares(program, held) for role, held in shares.items()},
        )
        return {role: sent[role] for role in (("p1",), ("p0", "dealer"))[receiver]}


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
        received: dict[str, list[bytes]] = {}
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
            wrap={PARTIES[receiver]: lambda channel: _Listening(channel, received.setdefault(channel.peer, []))},
        )
        return received


BEAVER, REPLICATED = Beaver(), Replicated()


class _Listening(Channel):
    """A channel that keeps what it received."""

    def __init__(self, inner: Channel, received: list[bytes]) -> None:
        self.peer = inner.peer
        self._inner = inner
        self._received = received

    def send(self, payload: Payload) -> None:
        self._inner.send(payload)

    def receive(self) -> memoryview:
        message = self._inner.receive()
        self._received.append(bytes(message))
        return message


def _with_shares(program: RoleProgram, shares: Sequence[Tensor | None]) -> RoleProgram:
    return lambda protocol, _: program(protocol, shares)


@dataclass(frozen=True)
class Samples:
    """Columns that should be uniform and independent, and what each of them is. Shapes: bits [N, D], D names."""

    bits: Bits
    names: tuple[str, ...]

    def findings(self) -> list[str]:
        """Every set of columns that is not uniform, by the names of its columns."""
        exact = [f"always {' ^ '.join(self._named(found))}" for found in relations(self.bits)]
        return exact + [f"mostly {' ^ '.join(self._named(found))}" for found in leanings(self.bits)]

    def _named(self, columns: Sequence[int]) -> list[str]:
        return [self.names[column] for column in columns]


def observe(
    setting: Setting,
    program: RoleProgram,
    values: Sequence[Tensor],
    receiver: int,
    *,
    secret: bool = False,
    policy: FixedPointPolicy = POLICY,
    least_samples: int = 0,
) -> Samples | None:
    """The view of one party, `EXTRA` times more often than it has bits; nothing where it receives nothing.

    Inputs have these values; where all are zero, so are all parts, and sums have no carries that hide a relation.
    secret: the part that the party does not hold is uniform instead, and its bits are further columns.
    """
    hidden = setting.hidden(receiver)
    generator = generator_of("parts")
    zero = not any(bool(value.any()) for value in values)
    parts = [[value] * len(setting.parties) if zero else setting.split(value, hidden, generator) for value in values]

    def view(number: int) -> tuple[View, Bits]:
        if secret:
            for of_input in parts:
                of_input[hidden] = uniform(of_input[hidden].shape, generator)
        found = setting.view(program, parts, receiver, seed_of("other", number), policy)
        secrets = [of_input[hidden].numpy().tobytes() for of_input in parts if secret]
        return found, np.unpackbits(np.frombuffer(b"".join(secrets), np.uint8), bitorder="little")

    first, secrets = view(0)
    if not any(map(any, first.values())):
        return None
    lengths = {sender: [len(message) for message in messages] for sender, messages in first.items()}
    columns = _columns(lengths)
    names = [name for name, *_ in columns] + [f"secret {i // 64} bit {i % 64}" for i in range(len(secrets))]
    bytes_at, bits_at = (np.array(places) for places in zip(*(place for _, *place in columns), strict=True))
    rows = np.empty((max(len(names) + EXTRA, least_samples), len(names)), np.uint8)
    for number, row in enumerate(rows):
        found, secrets = view(number)
        assert {s: [len(m) for m in messages] for s, messages in found.items()} == lengths, "lengths tell of masks"
        received = np.frombuffer(b"".join(message for messages in found.values() for message in messages), np.uint8)
        row[: len(columns)] = received[bytes_at] >> bits_at & 1
        row[len(columns) :] = secrets
    return Samples(rows, tuple(names))


def _columns(lengths: Mapping[str, Sequence[int]]) -> list[tuple[str, int, int]]:
    """Name, byte and bit of what is looked at, for messages of these lengths one after the other.

    All bits of a short view, bit 0 of each byte of a longer one. If that is too much, it is so many bytes of each
    sender, drawn at random.
    """
    names = [
        [f"{sender}[{message}] byte {byte}" for message, length in enumerate(sent) for byte in range(length)]
        for sender, sent in lengths.items()
    ]
    count = sum(map(len, names))
    bits = range(8) if 8 * count <= WHOLE_BITS else range(1)
    most = MOST_BYTES // sum(map(bool, names)) if count > MOST_BYTES else count
    columns, start = [], 0
    for of_sender in names:
        drawn = torch.randperm(len(of_sender), generator=generator_of("bytes"))[:most].sort().values.tolist()
        columns += [(f"{of_sender[byte]} bit {bit}", start + byte, bit) for byte in drawn for bit in bits]
        start += len(of_sender)
    return columns
