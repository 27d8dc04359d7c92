"""Garbled circuits with the client as garbler: it keeps nothing of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.garbled.engine import LABEL_BYTES, pack_bits
from secure.protocols.hybrid.gates.garbled import Garbled, Portion, by_chunks, read_colours
from secure.protocols.hybrid.gates.gate import Made
from secure.protocols.hybrid.oblivious import pool
from secure.protocols.hybrid.roles import Maker, User, as_tensor, payload


@dataclass(frozen=True, eq=False)
class GarbledByClient(Garbled):
    """P0 garbles, P1 evaluates. P1's share is v = p ⊕ d: it chooses random p when this is made, and d is sent later.

    Made: P1 sends transfers of the bits of p, P0 the tables and the colours of the outputs' zero labels, so that P1
    learns f + r. Used: P1 sends the bits d = v ⊕ p, uniform as p is, and P0 one label for each.
    Cost: 2 rounds; with w bits of v and n instances, a multiple of eight, P1 sends w n / 8 bytes, P0 16 w n. P1 keeps
    tables, colours and the labels of p; P0 keeps nothing.
    """

    name = "garbled-by-client"

    def _ordered(self, transferred: Array, late: Array, expanded: Array) -> tuple[Array, ...]:
        return transferred, late, expanded

    def cost(self) -> Cost:
        bits = self.of.share_bits * self._instances
        return Cost(rounds=2, p0_bytes=LABEL_BYTES * bits, p1_bytes=bits // 8)

    def made(self) -> Made:
        batches = list(self.batches())
        transfers = sum(self._transfers(batch) for batch in batches)
        sent = self._table_bytes(self._instances) + self._colour_bytes * self._instances
        cost = Cost(2 * len(batches), p0_bytes=sent, p1_bytes=pool.message_bytes(transfers))
        return Made(cost, p1_kept=sent + LABEL_BYTES * transfers)

    def make(self, maker: Maker) -> Tensor:
        if maker.index == 1:
            for batch in self.batches():
                message, labels = maker.receiver.extend(self._choices(maker, batch))
                maker.send(payload(message))
                due = self._table_bytes(batch.instances) + self._colour_bytes * batch.instances
                maker.stock.put(maker.gate, labels)
                maker.stock.put(maker.gate, np.frombuffer(maker.receive(due), np.uint8))
            return self.outcome
        masks = self._masks(maker)
        known = np.concatenate([pack_bits(self._values(), self.of.width), pack_bits(masks[None], self.of.result_bits)])
        for batch in self.batches():
            count = self._transfers(batch)
            zero = maker.sender.extend(maker.receive(pool.message_bytes(count)), count)
            split = self._table_bytes(batch.instances)
            message = np.empty(split + self._colour_bytes * batch.instances, dtype=np.uint8)
            colours = self._garble(maker, batch, zero, known, message)
            message[split:] = ring.pack(as_tensor(colours), self.of.result_bits).numpy()
            maker.send(payload(message))
        return self._share(np.uint64(0) - masks)

    def use(self, user: User) -> Tensor:
        if user.index == 0:
            return self._open(user)
        packed, found = pack_bits(self._values(), self.of.width), []
        batches = list(self.batches())
        late = [by_chunks(batch, packed) for batch in batches]
        for batch, bits in zip(batches, late, strict=True):
            bits ^= self._choices(user, batch)[: len(bits)]
        user.send(b"".join(bits.tobytes() for bits in late))
        for batch in batches:
            split = self._table_bytes(batch.instances)
            chosen, tables = self._taken(user, batch, split + self._colour_bytes * batch.instances)
            labels = user.receive(LABEL_BYTES * self.of.share_bits * batch.instances)
            own = np.frombuffer(labels, np.uint64).reshape(-1, 2)
            active = self._evaluate(user, batch, chosen, own, tables[:split].view(np.uint64))
            found.append(active ^ read_colours(tables[split:], batch, self.of.result_bits))
        return self._share(np.concatenate(found))

    def _open(self, user: User) -> Tensor:
        """P0's side when this is used: a label for each bit."""
        message = np.frombuffer(user.receive(self.of.share_bits * self._instances // 8), np.uint8)
        for batch in self.batches():
            start, stop = (self.of.share_bits * n // 8 for n in (batch.first, batch.first + batch.instances))
            user.send(payload(self.active(user, batch, message[start:stop])))
        return self.outcome

    def _choices(self, party: Maker | User, batch: Portion) -> Array:
        """The bits p, at P1. Shapes: uint8 [transfers / 8]."""
        return party.secret_stream(batch.label, self._transfers(batch) // 8)
