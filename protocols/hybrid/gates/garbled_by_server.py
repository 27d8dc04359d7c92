"""Garbled circuits with the model's owner as garbler: the client keeps and evaluates them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.garbled.engine import LABEL_BYTES, pack_bits
from secure.protocols.hybrid.gates.garbled import Garbled, by_chunks, read_colours
from secure.protocols.hybrid.gates.gate import Made
from secure.protocols.hybrid.oblivious import pool
from secure.protocols.hybrid.roles import Maker, User, as_tensor, payload


@dataclass(frozen=True, eq=False)
class GarbledByServer(Garbled):
    """P1 garbles, P0 evaluates, and hands back the colours of the outputs, which P1 alone can read.

    Made: P0 sends transfers of the bits of u and r, P1 the tables. Used: P1 sends a label for each bit of v, P0 the
    colours. Cost: 2 rounds; with w bits of v and n instances, P1 sends 16 w n bytes, P0 ceil(result_bits/8) n. P0 keeps
    the tables and the labels of u and r; P1 the colours of the outputs' zero labels.
    """

    name = "garbled-by-server"

    def _ordered(self, transferred: Array, late: Array, expanded: Array) -> tuple[Array, ...]:
        return late, transferred

    def cost(self) -> Cost:
        labels = LABEL_BYTES * self.of.share_bits * self._instances
        rounds = 2 * len(list(self.batches()))
        return Cost(rounds, p0_bytes=self._colour_bytes * self._instances, p1_bytes=labels)

    def made(self) -> Made:
        batches = list(self.batches())
        transfers = sum(self._transfers(batch) for batch in batches)
        tables = self._table_bytes(self._instances)
        cost = Cost(2 * len(batches), p0_bytes=pool.message_bytes(transfers), p1_bytes=tables)
        return Made(cost, tables + LABEL_BYTES * transfers, self._colour_bytes * self._instances)

    def make(self, maker: Maker) -> Tensor:
        if maker.index == 1:
            for batch in self.batches():
                count = self._transfers(batch)
                zero = maker.sender.extend(maker.receive(pool.message_bytes(count)), count)
                message = np.empty(self._table_bytes(batch.instances), dtype=np.uint8)
                colours = self._garble(maker, batch, zero, None, message)
                maker.stock.put(maker.gate, ring.pack(as_tensor(colours), self.of.result_bits).numpy())
                maker.send(payload(message))
            return self.outcome
        masks = self._masks(maker)
        bits = np.concatenate([pack_bits(self._values(), self.of.width), pack_bits(masks[None], self.of.result_bits)])
        for batch in self.batches():
            choices = np.zeros(self._transfers(batch) // 8, dtype=np.uint8)
            own = by_chunks(batch, bits)
            choices[: len(own)] = own
            message, labels = maker.receiver.extend(choices)
            maker.send(payload(message))
            maker.stock.put(maker.gate, labels)
            maker.stock.put(maker.gate, np.frombuffer(maker.receive(self._table_bytes(batch.instances)), np.uint8))
        return self._share(np.uint64(0) - masks)

    def use(self, user: User) -> Tensor:
        if user.index == 0:
            for batch in self.batches():
                chosen, tables = self._taken(user, batch, self._table_bytes(batch.instances))
                labels = user.receive(LABEL_BYTES * self.of.share_bits * batch.instances)
                own = np.frombuffer(labels, np.uint64).reshape(-1, 2)
                active = self._evaluate(user, batch, chosen, own, tables.view(np.uint64))
                user.send(payload(ring.pack(as_tensor(active), self.of.result_bits).numpy()))
            return self.outcome
        packed, found = pack_bits(self._values(), self.of.width), []
        for batch in self.batches():
            user.send(payload(self.active(user, batch, by_chunks(batch, packed))))
            reply = np.frombuffer(user.receive(self._colour_bytes * batch.instances), np.uint8)
            kept = user.stock.take(user.gate, self._colour_bytes * batch.instances)
            found.append(
                read_colours(reply, batch, self.of.result_bits) ^ read_colours(kept, batch, self.of.result_bits)
            )
        return self._share(np.concatenate(found))
