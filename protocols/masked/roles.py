"""What a gate may do at a computing party and at the dealer: draw masks, obtain correlations, open.

Both classes hand out randomness by the same addresses in the same order, so a gate's `deal` and `evaluate` stay in
step as long as they make their calls in the same order. P0's half of every correlation is expanded from the seed that
it shares with the dealer; P1 receives its half as a correction.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from secure.protocols.core import ring, transfer
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import Prg
from secure.protocols.core.secret import Secret
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.pair import check_masks

_FLUSH_BYTES = 1 << 18


@dataclass
class Place:
    """Where a role is in its program: at a gate, a label of its addresses, and on a device.

    gates_beside: how many gates branches beside the program had so far. layer: where costs go, if not to the layer that
    the program is in. own: what branches that share rounds make of a secret which they share, for none but themselves.
    At a party also what is left of a message of corrections, what gives the next one, whether the gate had to wait for
    a message yet, and how a round is made if not by the role's own exchange: a role that its place led back to would
    stay in memory after its session, with all that it holds.
    """

    device: torch.device
    gate: int = -1
    gates_beside: int = 0
    label: int = 0
    layer: str = ""
    own: dict[Secret, Secret] | None = None
    left: memoryview = field(default_factory=lambda: memoryview(b""))
    next_dealt: Callable[[], memoryview] | None = None
    meet: Meet | None = None
    waited: bool = False


Meet = Callable[[memoryview | None, int], memoryview]
"""One round: what goes to the peer, None for a round without an exchange, and how many bytes are due."""


class GateRole:
    """Where a role computes, and at which gate of its session it is."""

    def __init__(self, meter: Meter, device: torch.device) -> None:
        self.meter = meter
        self.place = Place(device)

    @property
    def device(self) -> torch.device:
        """Where the gate computes."""
        return self.place.device

    @property
    def _gate(self) -> int:
        return self.place.gate

    def begin_gate(self) -> None:
        """Move to the next gate's addresses."""
        self.place.gate += 1
        self.place.label = 0
        self.place.waited = False

    def _next_label(self) -> int:
        self.place.label += 1
        return self.place.label

    @contextmanager
    def on_host(self) -> Iterator[None]:
        """Whatever a gate draws and receives meanwhile is on the host."""
        place, device = self.place, self.place.device
        place.device = CPU
        try:
            yield
        finally:
            place.device = device


class MeetingRole(GateRole, ABC):
    """A role that meets others in rounds."""

    dealer_name: ClassVar[str] = "the dealer"

    @abstractmethod
    def exchange(self, payload: memoryview | None, due: int) -> memoryview:
        """One round: what goes out, None for nothing, and how many bytes are due."""


class Party(MeetingRole):
    """Computing party 0 or 1 within one session."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        session: bytes,
        peer: Channel,
        dealer: Channel | None,
        meter: Meter,
        device: torch.device,
        ahead: dict[int, Tensor] | None = None,
    ) -> None:
        """ahead: what this party has of products already, by gate; it is taken from there."""
        if (dealer is None) != (index == 0):
            raise ProtocolError("P1 has a channel from the dealer, P0 has none")
        super().__init__(meter, device)
        self.index = index
        self._expands = index == 0
        """Whether its half of a correlation follows from its seed, and is not sent."""
        self._ahead = {} if ahead is None else ahead
        self._prg = Prg(seed, session)
        self._peer = peer
        self.place.next_dealt = None if dealer is None else dealer.receive

    def mask(self, shape: tuple[int, ...], bits: int = ring.WORD_BITS) -> Tensor:
        """This party's share of a mask r, uniform in Z_2^bits."""
        return self._prg.words(self._gate, self._next_label(), shape, self.device, bits).to(torch.int64)

    def mask_planes(self, shape: tuple[int, ...]) -> Tensor:
        """This party's XOR share of uniform bits."""
        return self._prg.planes(self._gate, self._next_label(), shape, self.device)

    def mask_of(self, index: int, shape: tuple[int, ...]) -> Tensor:
        """A mask that P_index alone draws; the other party's share of it is zero, a view without memory of its own."""
        label = self._next_label()
        if self.index != index:
            return torch.zeros((), dtype=torch.int64, device=self.device).expand(shape)
        return self._prg.words(self._gate, label, shape, self.device)

    def correlation(self, shape: tuple[int, ...], bits: int, *, short: bool = False) -> Tensor:
        """This party's additive share, in Z_2^bits, of what the dealer passes to `share` at this point.

        In int64, or, `short`, in half words where those suffice.
        """
        label, dtype = self._next_label(), ring.word_type(bits) if short else torch.int64
        if self._expands:
            return self._prg.words(self._gate, label, shape, self.device, bits).to(dtype)
        correction = self._correction(math.prod(shape) * ring.element_bytes(bits))
        return ring.unpack(correction, shape, bits, self.device, dtype)

    def correlation_planes(self, shape: tuple[int, ...]) -> Tensor:
        """This party's XOR share of the planes that the dealer passes to `share_planes` at this point."""
        label = self._next_label()
        if self._expands:
            return self._prg.planes(self._gate, label, shape, self.device)
        return transfer.received(self._correction(math.prod(shape)), self.device).reshape(shape)

    def made_ahead(self) -> Tensor | None:
        """What this party computed of the gate's product before there was an input, once. None where it did not."""
        return self._ahead.pop(self._gate, None)

    def open(self, x: Tensor, mask: Tensor, bits: int) -> Tensor:
        """Reveal x + r, x = x_0 + x_1, to both parties: one round. Shapes: int64, both the same -> in [0, 2^bits)."""
        return self.open_all((x, mask, bits))[0]

    def open_all(self, *values: tuple[Tensor, Tensor, int]) -> list[Tensor]:
        """Several values as by `open`, all in one round: x, mask and bits of each."""
        return self.open_together(values, ())[0]

    def open_together(
        self, values: Sequence[tuple[Tensor, Tensor, int]], planes: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Values as by `open_all` and planes as by `open_planes`, all in one round.

        Raises ProtocolError as `check_masks` does, before anything is sent.
        """
        check_masks(values)
        sums = [ring.pack_sum(*value) for value in values]
        reply = self._exchange([packed for _, packed in sums] + [part.reshape(-1) for part in planes])
        start, opened = 0, []
        for (mine, packed), (_, _, bits) in zip(sums, values, strict=True):
            opened.append(ring.unpack_added(reply[start : start + packed.numel()], mine, bits))
            start += packed.numel()
        if not planes:
            return opened, []
        pieces = transfer.received(reply[start:], self.device).split([part.numel() for part in planes])
        return opened, [mine ^ piece.reshape(mine.shape) for mine, piece in zip(planes, pieces, strict=True)]

    def open_to_one(self, masked: Tensor, sender: int, bits: int) -> memoryview:
        """P_sender sends its masked share, the other party only the word that it has come so far: one round.

        Shapes: int64 any; at the sender it goes out in Z_2^bits. Returns what came: at the sender nothing.
        """
        count = masked.numel() * ring.element_bytes(bits)
        if self.index == sender:
            return self._exchange([ring.pack(masked, bits)], expected=0)
        return self._exchange([], expected=count)

    def swap(self, payload: bytes) -> bytes:
        """Tell the other party, and hear from it as many bytes: one round."""
        return bytes(self._round(memoryview(payload), len(payload)))

    def open_planes(self, *planes: Tensor) -> list[Tensor]:
        """Reveal XOR-shared planes, all in one round."""
        return self.open_together((), planes)[1]

    def finish(self) -> None:
        """The program is over. Raises ProtocolError when corrections are left."""
        if self.place.left:
            raise ProtocolError(
                f"{self.dealer_name} sent {len(self.place.left)} bytes more than were used; "
                "it runs a different program or version"
            )

    def exchange(self, payload: memoryview | None, due: int) -> memoryview:
        """Send a message to the peer and receive the peer's, which must have that many bytes. None: neither."""
        if payload is None:
            return memoryview(b"")
        self._peer.send(payload)
        reply = self._peer.receive()
        if len(reply) != due:
            raise ProtocolError(
                f"gate {self._gate}: {self._peer.peer} sent {len(reply)} bytes where {due} are due; "
                "the two parties run different programs or versions"
            )
        return reply

    def _exchange(self, parts: list[Tensor], expected: int | None = None) -> memoryview:
        """One round. expected: bytes of the peer's message; None for as many as go out."""
        payload = transfer.payload_of(parts) if parts else memoryview(b"")
        return self._round(payload, len(payload) if expected is None else expected)

    def _round(self, payload: memoryview | None, due: int) -> memoryview:
        self.place.waited = True
        reply = (self.place.meet or self.exchange)(payload, due)
        self.meter.exchanged(len(payload or b""))
        return reply

    def _correction(self, count: int) -> memoryview:
        if count == 0:
            return memoryview(b"")
        place, left = self.place, self._message()
        if len(left) < count:
            raise ProtocolError(
                f"gate {self._gate}: {self.dealer_name}'s message has {len(left)} bytes left where {count} "
                f"are due; {self.dealer_name} runs a different program or version"
            )
        taken, place.left = left[:count], left[count:]
        self.meter.dealt(count)
        return taken

    def _message(self) -> memoryview:
        """What is left of the dealer's message, or the next one."""
        if not self.place.left:
            self.place.left = self._next_message()
        return self.place.left

    def _next_message(self) -> memoryview:
        assert self.place.next_dealt is not None
        return self.place.next_dealt()


class Dealer(GateRole):
    """The dealer within one session. It knows both seeds, hence every mask, and nothing that depends on data."""

    receivers: ClassVar[int] = 1
    """Parties to which all that is dealt goes."""

    def __init__(
        self, seeds: tuple[bytes, bytes], session: bytes, to_p1: Channel, meter: Meter, device: torch.device
    ) -> None:
        super().__init__(meter, device)
        self._prgs = (Prg(seeds[0], session), Prg(seeds[1], session))
        self._to_p1 = to_p1
        self._buffer: list[Tensor] = []
        self._buffered_bytes = 0

    def mask(self, shape: tuple[int, ...], bits: int = ring.WORD_BITS) -> Tensor:
        """r = r_0 + r_1, the sum of what the parties draw at this point."""
        label = self._next_label()
        first, second = (prg.words(self._gate, label, shape, self.device, bits) for prg in self._prgs)
        return first.add_(second).to(torch.int64)

    def halves(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """P0's share of a mask and the whole: r_0, and r as `mask` gives it."""
        label = self._next_label()
        first, second = (prg.words(self._gate, label, shape, self.device) for prg in self._prgs)
        return first, second.add_(first)

    def mask_of(self, index: int, shape: tuple[int, ...]) -> Tensor:
        """What P_index alone draws at this point."""
        return self._prgs[index].words(self._gate, self._next_label(), shape, self.device)

    def mask_planes(self, shape: tuple[int, ...]) -> Tensor:
        """The XOR of the planes that the parties draw at this point."""
        label = self._next_label()
        first, second = (prg.planes(self._gate, label, shape, self.device) for prg in self._prgs)
        return first.bitwise_xor_(second)

    def share(self, value: Tensor, bits: int) -> None:
        """Share `value` additively in Z_2^bits: P0 expands its half, P1 is sent the other."""
        self._send(ring.pack_difference(value, self._first_of(value, bits), bits))

    def share_mask(self, mask: Tensor, bits: int) -> Tensor:
        """Share a mask in the same way. Returns P0's half."""
        first = self._first_of(mask, bits).to(torch.int64)
        self._send(ring.pack_difference(mask, first, bits, keep=True))
        return first

    def _first_of(self, value: Tensor, bits: int) -> Tensor:
        """P0's half of what is shared at this point, in half words where they suffice."""
        return self._prgs[0].words(self._gate, self._next_label(), tuple(value.shape), self.device, bits)

    def share_planes(self, planes: Tensor) -> None:
        """Share bit planes by XOR."""
        first = self._prgs[0].planes(self._gate, self._next_label(), tuple(planes.shape), self.device)
        self._send(first.bitwise_xor_(planes).reshape(-1))

    def _send(self, part: Tensor) -> None:
        if part.numel() == 0:
            return
        self.meter.dealt(self.receivers * part.numel())
        # A large part goes as it is, and what lies on the card not in one message with what does not.
        if part.numel() >= _FLUSH_BYTES or (self._buffer and self._buffer[-1].device != part.device):
            self.flush()
        self._buffer.append(part)
        self._buffered_bytes += part.numel()
        if self._buffered_bytes >= _FLUSH_BYTES:
            self.flush()

    def end_lane(self) -> None:
        """What was dealt so far is all of a lane: an empty message says so, as corrections never are."""
        self.flush()
        self._to_p1.send(b"")

    def flush(self) -> None:
        """Send what is buffered. Called by itself as the buffer fills; call it once at the end of a program."""
        if self._buffer:
            self._to_p1.send(transfer.payload_of(self._buffer))
            self._buffer = []
            self._buffered_bytes = 0
