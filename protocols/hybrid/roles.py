"""What a gate may do at the client and at the owner: while correlations are made, and in the session that uses them.

Both are numbered as computing parties: P0 is at the client, P1 at the owner. A *maker* walks through a program on
shapes, with a channel to the other one: P0 knows its own shares of everything there, as they depend on no input, and P1
a shape. A *user* walks through the same program when there is an input: P1 knows its shares then, and P0 needs none.

Rounds are counted as they happen: a message, or several in a row, that the other side waits for. One that goes the
other way begins the next round.
"""

from __future__ import annotations

import secrets

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.core.prg import SEED_BYTES, Prg
from secure.protocols.core.transfer import CPU
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.garbled.engine import LABEL_BYTES
from secure.protocols.hybrid.lattice.scheme import KeyHolder, Owner, Scheme, public_key_bytes
from secure.protocols.hybrid.oblivious.base import POINT_BYTES, BaseReceiver, BaseSender
from secure.protocols.hybrid.oblivious.extension import WIDTH, draw_offset, offset_bits
from secure.protocols.hybrid.oblivious.pool import TransferReceiver, TransferSender
from secure.protocols.hybrid.stock import Stock

_OWN, _SHARED = b"own", b"shared"


class HybridRole:
    """One of the two parties, with nobody to talk to: what loading a model takes."""

    def __init__(self, index: int, garbler: Garbler) -> None:
        self.index = index
        self.garbler: Garbler = garbler
        self.meter = Meter()
        self.gate = -1

    @property
    def knows_shares(self) -> bool:
        """Whether this party has numbers of its shares now, and not their shapes alone."""
        return False


class StockParty(HybridRole):
    """A party in a program that has a stock, to be filled or to be emptied."""

    def __init__(self, stock: Stock, peer: Channel, meter: Meter | None) -> None:
        super().__init__(stock.index, stock.garbler)
        self.meter = meter or Meter()
        self.stock = stock
        self.delta: Array | None = None
        """The garbler's offset, once keys are there. Shapes: uint64 [2]."""
        self._peer = peer
        self._own = Prg(stock.seed, stock.session + _OWN)
        self._sending: bool | None = None

    def expand_labels(self, seed: bytes) -> None:
        """What both parties expand is expanded of this seed."""
        self._shared = Prg(seed, self.stock.session + _SHARED)

    def begin_gate(self) -> None:
        """Move to the next gate's addresses; its first message begins a round."""
        self.gate += 1
        self._sending = None

    def words(self, label: int, shape: tuple[int, ...]) -> Tensor:
        """Uniform words that this party alone has, at one address of the gate. Shapes: int64 `shape`."""
        return self._own.words(self.gate, label, shape, CPU)

    def secret_stream(self, label: int, count: int) -> Array:
        """Bytes that this party alone has, from the addresses of `words`. Shapes: uint8 [count]."""
        return self._own.stream(self.gate, label, count)

    def shared_stream(self, label: int, count: int) -> Array:
        """Bytes that both parties have, and nobody else. Shapes: uint8 [count]."""
        return self._shared.stream(self.gate, label, count)

    def send(self, payload: bytes | memoryview) -> None:
        """A message to the other party."""
        self._peer.send(payload)
        self.meter.exchanged(len(payload), rounds=self._round(sending=True))

    def receive(self, due: int) -> memoryview:
        """The other party's next message. Raises ProtocolError where it has another size."""
        message = self._checked(self._peer.receive(), due)
        self.meter.exchanged(0, rounds=self._round(sending=False))
        return message

    def swap(self, payload: memoryview, due: int) -> memoryview:
        """One round in which each sends: this message, and the other party's. Raises ProtocolError as `receive`."""
        reply = self.exchange(payload, due)
        self.meter.exchanged(len(payload))
        return reply

    def exchange(self, payload: memoryview, due: int) -> memoryview:
        """This is `swap` for whoever counts the round."""
        self._sending = None
        self._peer.send(payload)
        return self._checked(self._peer.receive(), due)

    def _checked(self, message: memoryview, due: int) -> memoryview:
        if len(message) != due:
            raise ProtocolError(
                f"gate {self.gate}: {self._peer.peer} sent {len(message)} bytes where {due} are due; "
                "the two parties run different programs or versions"
            )
        return message

    def _round(self, *, sending: bool) -> int:
        begins, self._sending = sending is not self._sending, sending
        return int(begins)


class Maker(StockParty):
    """A party that makes correlations with the other one. `open` comes before the first gate."""

    client: KeyHolder
    owner: Owner
    sender: TransferSender
    receiver: TransferReceiver

    def __init__(self, stock: Stock, peer: Channel, meter: Meter | None = None) -> None:
        """stock: empty, with a fresh seed, and a session that is the same at both.

        Raises ProtocolError for one that was filled before.
        """
        stock.fill()
        super().__init__(stock, peer, meter)
        self.scheme = Scheme()

    @property
    def knows_shares(self) -> bool:
        return self.index == 0

    def open(self) -> None:
        """Exchange keys: the client's public one, those of base transfers, and the seed of what both expand."""
        if self.index == 0:
            self.client = KeyHolder(self.scheme)
            self.send(self.client.public_key)
        else:
            self.owner = Owner(self.scheme, self.receive(public_key_bytes()))
        senders = senders_of(self.garbler)
        labels = secrets.token_bytes(SEED_BYTES) if self.index == senders[0] else b""
        # P0 has its point replied to first: P1 then sends reply and own point, as many rounds as one direction takes.
        for sender in sorted(senders, reverse=True):
            if self.index == sender:
                delta = draw_offset()
                transfers = BaseReceiver(offset_bits(delta), bytes(self.receive(POINT_BYTES)))
                self.send(transfers.reply + (labels if sender == senders[0] else b""))
                self.sender = TransferSender(delta, transfers.keys)
            else:
                base = BaseSender()
                self.send(base.message)
                seed = SEED_BYTES if sender == senders[0] else 0
                reply = bytes(self.receive(WIDTH * POINT_BYTES + seed))
                self.receiver = TransferReceiver(base.keys(reply[: WIDTH * POINT_BYTES]))
                labels += reply[WIDTH * POINT_BYTES :]
        self.expand_labels(labels)
        kept = labels
        if self.stock.garbles:
            self.delta = self.sender.delta
            kept += self.delta.tobytes()
        self.stock.put(self.gate, np.frombuffer(kept, np.uint8))


class User(StockParty):
    """A party in the session that uses a stock, once."""

    def __init__(self, stock: Stock, peer: Channel, meter: Meter | None = None) -> None:
        """Raises ProtocolError for a stock that was begun before."""
        stock.begin()
        super().__init__(stock, peer, meter)

    @property
    def knows_shares(self) -> bool:
        return self.index == 1

    def open(self) -> None:
        """Take from the stock what keys were exchanged for."""
        kept = self.stock.take(self.gate, kept_of_keys(garbles=self.stock.garbles))
        self.expand_labels(kept[:SEED_BYTES].tobytes())
        if self.stock.garbles:
            self.delta = kept[SEED_BYTES:].view(np.uint64)


def senders_of(garbler: Garbler) -> tuple[int, ...]:
    """The parties that have a Δ, first the one whose seed both expand."""
    return {"client": (0,), "server": (1,), "nobody": (0, 1)}[garbler]


def kept_of_keys(*, garbles: bool) -> int:
    """Bytes that a party keeps of the exchange of keys: the seed of labels and, at the garbler, its offset."""
    return SEED_BYTES + (LABEL_BYTES if garbles else 0)


def as_array(x: Tensor) -> Array:
    """A tensor's words as unsigned ones, in the order of its elements. Shapes: int64 any -> uint64 same."""
    return x.contiguous().numpy().view(np.uint64)


def as_tensor(x: Array) -> Tensor:
    """Inverse of `as_array`."""
    return torch.from_numpy(np.ascontiguousarray(x).view(np.int64))


def payload(x: Array) -> memoryview:
    """An array's bytes as they are sent."""
    return np.ascontiguousarray(x).data.cast("B")
