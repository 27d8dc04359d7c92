"""The roles of three evaluators and their dealer: a part of what an evaluator holds, and the dealer of three parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from greenlet import getcurrent
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import Prg
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.pair import check_masks
from secure.protocols.masked.roles import Dealer, Party

PARTS = 3
SENT_PART = 2
"""The part that the dealer sends of what it deals; the others follow from seeds."""
_COINS = b"secure-inference coins 2"


@dataclass(frozen=True, eq=False)
class Said:
    """What one part says in one round: its parts of ring elements, each with its ring, and of planes."""

    values: list[tuple[Tensor, int]]
    planes: list[Tensor]

    @property
    def size_bytes(self) -> int:
        """What it takes on the wire."""
        words = sum(value.numel() * ring.element_bytes(bits) for value, bits in self.values)
        return words + sum(part.numel() for part in self.planes)


@dataclass(frozen=True, eq=False)
class Opened:
    """What a round opened: ring elements, reduced, and planes."""

    values: list[Tensor]
    planes: list[Tensor]


class PartOf(Party):
    """One of the two parts that an evaluator holds, as a gate sees it: a party whose peer is whoever has the others.

    Public terms belong to part 0. Where a gate has a round to make, it is suspended: see `lockstep`.

    deal: the name under which the part was dealt. beginning: what all evaluators have, and is of this session alone.
    judge: takes the verdict on a client's input, which is not acted on before digests are compared.
    ahead: what was computed of this part before, as for `Party`.
    """

    def __init__(
        self,
        part: int,
        seed: bytes,
        deal: bytes,
        beginning: bytes,
        meter: Meter,
        judge: Callable[[bool], None],
        ahead: dict[int, Tensor] | None = None,
    ) -> None:
        super().__init__(0, seed, deal, _NoPeerOfPart(), None, meter, CPU, ahead)
        self.part = part
        self.index = int(part != 0)
        self._expands = part != SENT_PART
        self._coins = hashlib.sha256(_COINS + beginning).digest()
        self.judge = judge
        self.gate_name = ""

    def open_together(
        self, values: Sequence[tuple[Tensor, Tensor, int]], planes: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        check_masks(values)
        opened = self._say(Said([(value + mask, bits) for value, mask, bits in values], list(planes)))
        return opened.values, opened.planes

    def open_unmasked(self, share: Tensor, bits: int) -> Tensor:
        """The sum of all parts, for what may be known: it tells the sum, as whoever hears a part has the two others."""
        # Bits above the ring depend on masks, and whole bytes are sent.
        return self._say(Said([(ring.low(share, bits), bits)], [])).values[0]

    def wait_for_all(self) -> None:
        """A round in which nothing is opened."""
        self._say(Said([], []))

    def draw(self) -> bytes:
        """A seed that all evaluators know from now on, and that nobody knew before. One round, 16 bytes.

        It is the hash of two words that nobody but the dealer knew, as each evaluator has two of the three masks that
        they are the sum of, and of a secret that the dealer does not have.
        """
        words = self.mask((2,))
        (opened,) = self._say(Said([(words, ring.WORD_BITS)], [])).values
        return hashlib.sha256(self._coins + opened.numpy().tobytes()).digest()[:16]

    def mask_of(self, index: int, shape: tuple[int, ...]) -> Tensor:
        raise self._refused()

    def open_to_one(self, masked: Tensor, sender: int, bits: int) -> memoryview:
        raise self._refused()

    def swap(self, payload: bytes) -> bytes:
        raise self._refused()

    def _refused(self) -> ProtocolError:
        return ProtocolError(f"{self.gate_name} is a gate of two parties; three evaluators do not compute it")

    def _say(self, opening: Said) -> Opened:
        opened: Opened = getcurrent().parent.switch(opening)
        self.meter.exchanged(opening.size_bytes)
        return opened


class ThreePartDealer(Dealer):
    """The dealer of three parts. Two of each follow from seeds, the third goes to both evaluators that hold it."""

    receivers = 2

    def __init__(
        self, seeds: tuple[bytes, bytes, bytes], session: bytes, to_holders: tuple[Channel, Channel], meter: Meter
    ) -> None:
        super().__init__(seeds[:2], session, _Both(to_holders), meter, CPU)
        self._all = tuple(Prg(seed, session) for seed in seeds)
        self._prgs = self._all[0], self._all[1]

    def mask(self, shape: tuple[int, ...], bits: int = ring.WORD_BITS) -> Tensor:
        label = self._next_label()
        first, second, third = (prg.words(self._gate, label, shape, self.device, bits) for prg in self._all)
        return first.add_(second).add_(third).to(torch.int64)

    def halves(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The whole mask twice: no gate of three evaluators asks what one of them holds of it."""
        total = self.mask(shape)
        return total, total

    def mask_of(self, index: int, shape: tuple[int, ...]) -> Tensor:
        raise ProtocolError("a mask that one party draws is for gates of two parties; this dealer serves three")

    def mask_planes(self, shape: tuple[int, ...]) -> Tensor:
        label = self._next_label()
        first, second, third = (prg.planes(self._gate, label, shape, self.device) for prg in self._all)
        return first.bitwise_xor_(second).bitwise_xor_(third)

    def share_planes(self, planes: Tensor) -> None:
        label = self._next_label()
        first, second = (prg.planes(self._gate, label, tuple(planes.shape), self.device) for prg in self._prgs)
        self._send(first.bitwise_xor_(second).bitwise_xor_(planes).reshape(-1))

    def _first_of(self, value: Tensor, bits: int) -> Tensor:
        """The sum of the parts that are not sent."""
        label = self._next_label()
        first, second = (prg.words(self._gate, label, tuple(value.shape), self.device, bits) for prg in self._prgs)
        return first.add_(second)


class _Both(Channel):
    """The dealer's way to both holders of the part that it sends."""

    def __init__(self, ends: tuple[Channel, Channel]) -> None:
        self.peer = " and ".join(end.peer for end in ends)
        self._ends = ends

    def send(self, payload: Payload) -> None:
        for end in self._ends:
            end.send(payload)

    def receive(self) -> memoryview:
        raise ProtocolError("nobody answers the dealer")


class _NoPeerOfPart(Channel):
    """The peer of a part, which speaks through its evaluator alone."""

    peer = "nobody"

    def send(self, payload: Payload) -> None:
        raise ProtocolError("a part of an evaluator has sent something by itself")

    def receive(self) -> memoryview:
        raise ProtocolError("a part of an evaluator waits for something by itself")
