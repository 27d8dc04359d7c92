"""From shares in a small ring to shares in a larger one, by one transfer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from secure.protocols.core import bits, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.gates.gate import HybridGate, Made
from secure.protocols.hybrid.oblivious.hashing import hashed
from secure.protocols.hybrid.oblivious.pool import bits_of
from secure.protocols.hybrid.roles import Maker, User, as_array, as_tensor, payload

_OWN = _START = 1


@dataclass(frozen=True, eq=False)
class Lifted(HybridGate):
    """x = u + v in Z_2^k, |x| < 2^(k-2), as shares in Z_2^m. P0's u is known before there is an input.

    With u' = u mod 2^k and v' = v + 2^(k-2) mod 2^k, their sum is x + 2^(k-2) < 2^(k-1) or 2^k more, and it is more
    exactly where one of the top bits a of u' and b of v' is set: x = u' + v' - 2^(k-2) - 2^k (a or b). Of a or b, P1
    gets W = (a or b) + s in Z_2^(m-k) with a mask s of P0: one of a + s and 1 + s, by a transfer of which b chooses. A
    transfer of a random bit z is made before, of which P0 keeps H(q) and H(q ⊕ Δ), P1 H(q ⊕ z Δ). P1 sends d = b ⊕ z,
    and P0 both words, each under the hash that d says. P0's share is u' + 2^k s, known before, too.

    Shapes: any. Encoding: shares in Z_2^width or larger -> in Z_2^bits, same fraction bits.
    Cost: two rounds, P1 sends a bit and P0 2 ceil((m-k)/8) bytes per element. Making is one transfer and no message; P0
    keeps as much as it sends and a bit, P1 half of it and a bit. Error: none.
    Reveals: nothing: d is uniform to P0 as z is, and P1 has one of the words, under a mask.
    """

    name = "lift"
    x: Tensor
    width: int
    bits: int

    @property
    def _word_bytes(self) -> int:
        return self.x.numel() * ring.element_bytes(self.bits - self.width)

    @property
    def _bit_bytes(self) -> int:
        return bits.plane_bytes(self.x.numel())

    def cost(self) -> Cost:
        return Cost(2, p0_bytes=2 * self._word_bytes, p1_bytes=self._bit_bytes)

    def made(self) -> Made:
        return Made(p0_kept=2 * self._word_bytes + self._bit_bytes, p1_kept=self._word_bytes + self._bit_bytes)

    @property
    def transfers(self) -> tuple[int, int]:
        return self.x.numel(), 0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape)

    def make(self, maker: Maker) -> Tensor:
        start, count = maker.shared_stream(_START, 16).tobytes(), self.x.numel()
        if maker.index == 1:
            labels = maker.receiver.take(count)
            self._keep(maker, hashed(labels, start))
            maker.stock.put(maker.gate, bits_of(labels))
            return self.outcome
        zero, share = maker.sender.take(count), ring.low(self.x.reshape(-1), self.width)
        for offset in (None, maker.sender.delta):
            self._keep(maker, hashed(zero, start, offset))
        maker.stock.put(maker.gate, _packed(as_array(ring.top_bit(share, self.width))))
        mask = maker.words(_OWN, (count,))
        return ring.low(share + (mask << self.width), self.bits).reshape(self.shape)

    def use(self, user: User) -> Tensor:
        if user.index == 0:
            self._answer(user)
            return self.outcome
        pad, random = self._taken(user), user.stock.take(user.gate, self._bit_bytes)
        share = ring.low(self.x.reshape(-1) + (1 << (self.width - 2)), self.width)
        top = as_array(ring.top_bit(share, self.width))
        user.send(payload(_packed(top) ^ random))
        first, second = (self._words(part) for part in self._halves(user.receive(2 * self._word_bytes)))
        wrapped = np.where(top.astype(bool), second, first) - pad
        result = share - (1 << (self.width - 2)) - (as_tensor(wrapped) << self.width)
        return ring.low(result, self.bits).reshape(self.shape)

    def _answer(self, user: User) -> None:
        """P0's side when this is used: both words, each under its hash."""
        pads = np.stack([self._taken(user), self._taken(user)])
        tops = _unpacked(user.stock.take(user.gate, self._bit_bytes), self.x.numel())
        mask = as_array(user.words(_OWN, (self.x.numel(),)))
        swapped = _unpacked(np.frombuffer(user.receive(self._bit_bytes), np.uint8), self.x.numel())
        words = np.where(swapped.astype(bool), pads[::-1], pads) + mask
        words[0] += tops
        words[1] += np.uint64(1)
        user.send(payload(ring.pack(as_tensor(words), self.bits - self.width).numpy()))

    def _keep(self, maker: Maker, hashes: Array) -> None:
        words = as_tensor(np.ascontiguousarray(hashes[:, 0]))
        maker.stock.put(maker.gate, ring.pack(words, self.bits - self.width).numpy())

    def _taken(self, user: User) -> Array:
        return self._words(user.stock.take(user.gate, self._word_bytes).data)

    def _words(self, packed: memoryview) -> Array:
        return as_array(ring.unpack(packed, (self.x.numel(),), self.bits - self.width))

    def _halves(self, message: memoryview) -> tuple[memoryview, memoryview]:
        return message[: self._word_bytes], message[self._word_bytes :]


def _packed(values: Array) -> Array:
    """Zeros and ones, eight to a byte. Shapes: uint64 [n] -> uint8 [ceil(n / 8)]."""
    found: Array = np.packbits(values.astype(np.uint8), bitorder="little")
    return found


def _unpacked(packed: Array, count: int) -> Array:
    """Inverse of `_packed`."""
    return np.unpackbits(packed, count=count, bitorder="little").astype(np.uint64)
