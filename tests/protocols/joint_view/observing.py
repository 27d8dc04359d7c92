"""Many views of one party, bit by bit, and what is not uniform in them.

Two things are looked at. One is what was *received*. The other is what was *opened*: received bytes XOR those that the
party itself sent in the same round. A bit that was opened is just that, and so is the lowest bit of a sum. As the party
knew what it sent from what it had received before, this is uniform if what was received is. But a value without a
mask, of which each half looks uniform to the other party, is constant here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secure.protocols.core.fixedpoint import FixedPointPolicy
from tests.in_process import POLICY, RoleProgram
from tests.protocols.joint_view.finding import EXTRA, Bits, leanings, relations
from tests.protocols.joint_view.views import Setting, View, generator_of, seed_of, uniform

LEAST_SAMPLES = 350
"""So many show a bit that is the same as another in three quarters of all runs, unless there are very many bits."""
WHOLE_BITS = 256
MOST_BYTES = 600
"""The longest view of which every byte is looked at."""


QUICK = {"whole_bits": 96, "most_bytes": 96, "least_samples": 0}
"""The default run looks for relations alone, in bit 0 of at most so many bytes of all but the shortest views."""


@dataclass(frozen=True)
class Samples:
    """Columns that should be uniform and independent, and what each of them is. Shapes: bits [N, D] each, D names."""

    received: Bits
    opened: Bits
    names: tuple[str, ...]

    def findings(self) -> list[str]:
        """Every set of columns that is not uniform, by the names of its columns."""
        return [
            f"{what} {how} {' ^ '.join(self.names[column] for column in columns)}"
            for what, bits in (("received", self.received), ("opened", self.opened))
            for how, find in (("always", relations), ("mostly", leanings))
            for columns in find(bits)
        ]


def observe(
    setting: Setting,
    program: RoleProgram,
    values: Sequence[Tensor],
    receiver: int,
    *,
    secret: bool = False,
    policy: FixedPointPolicy = POLICY,
    whole_bits: int = WHOLE_BITS,
    least_samples: int = LEAST_SAMPLES,
    most_bytes: int = MOST_BYTES,
) -> Samples | None:
    """The view of one party, `EXTRA` times more often than it has bits; nothing where it receives nothing.

    Inputs have these values; where all are zero, so are all parts, and sums have no carries that hide a relation.
    secret: the part that the party does not hold is uniform instead, and its bits are further columns.
    whole_bits: the longest view of which all bits are looked at; of a longer one it is bit 0 of each byte.
    most_bytes: the longest view of which every byte is looked at; of a longer one it is a random sample of as many.
    """
    hidden, generator = setting.hidden(receiver), generator_of("parts")
    zero = not any(bool(value.any()) for value in values)
    parts = [[value] * len(setting.parties) if zero else setting.split(value, hidden, generator) for value in values]

    def view(number: int) -> View:
        if secret:
            for of_input in parts:
                of_input[hidden] = uniform(of_input[hidden].shape, generator)
        return setting.view(program, parts, receiver, seed_of("other", number), policy)

    def secret_bits() -> Bits:
        raw = b"".join(of_input[hidden].numpy().tobytes() for of_input in parts if secret)
        return np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")

    lengths = _lengths(view(0))
    if not any(map(any, lengths.values())):
        return None
    columns = _columns(lengths, whole_bits, most_bytes)
    names = [name for name, *_ in columns] + [f"secret {i // 64} bit {i % 64}" for i in range(len(secret_bits()))]
    places = np.array([place for _, *place in columns]).T
    count = max(len(names) + EXTRA, least_samples)
    received, opened = np.empty((2, count, len(names)), np.uint8)
    for number in range(count):
        found = view(number)
        assert _lengths(found) == lengths, "lengths tell of masks"
        arrived, own = _bytes(found)
        received[number] = np.concatenate([_bits(arrived, places), secret_bits()])
        opened[number] = np.concatenate([_bits(arrived ^ own, places), secret_bits()])
    return Samples(received, opened, tuple(names))


def _lengths(view: View) -> dict[str, list[int]]:
    return {sender: [len(message.received) for message in messages] for sender, messages in view.items()}


def _bytes(view: View) -> NDArray[np.uint8]:
    """What was received, one message after the other, and what was sent for it. Shapes: -> [2, n]."""
    messages = [message for messages in view.values() for message in messages]
    sent = [message.sent or bytes(len(message.received)) for message in messages]
    both = b"".join(message.received for message in messages) + b"".join(sent)
    return np.frombuffer(both, np.uint8).reshape(2, -1)


def _bits(data: NDArray[np.uint8], places: NDArray[np.int64]) -> Bits:
    """Shapes: [n], bytes and bits [2, D] -> [D]."""
    found: Bits = (data[places[0]] >> places[1].astype(np.uint8)) & np.uint8(1)
    return found


def _columns(lengths: Mapping[str, Sequence[int]], whole_bits: int, most_bytes: int) -> list[tuple[str, int, int]]:
    """Name, byte and bit of what is looked at, for messages of these lengths one after the other.

    A view beyond `most_bytes` is looked at in as many bytes of each sender, drawn at random.
    """
    names = [
        [f"{sender}[{message}] byte {byte}" for message, length in enumerate(sent) for byte in range(length)]
        for sender, sent in lengths.items()
    ]
    count = sum(map(len, names))
    bits = range(8) if 8 * count <= whole_bits else range(1)
    most = most_bytes // sum(map(bool, names)) if count > most_bytes else count
    columns, start = [], 0
    for of_sender in names:
        drawn = torch.randperm(len(of_sender), generator=generator_of("bytes"))[:most].sort().values.tolist()
        columns += [(f"{of_sender[byte]} bit {bit}", start + byte, bit) for byte in drawn for bit in bits]
        start += len(of_sender)
    return columns
