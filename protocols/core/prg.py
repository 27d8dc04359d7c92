"""Pseudo-random masks: AES-128 in counter mode, addressed by (seed, session, gate, label).

Nothing is consumed from a global stream: whoever holds the seed can expand one address without the others. The key is
SHA-256 of seed and session, the 96-bit nonce is the gate's number and the label, the 32-bit block counter gives
64 GiB per address. An address may be used once: addresses must increase within one `Prg` and one lane of gates (lanes
take turns), so a repetition is an error at once. Seed and session must not be given to a second `Prg` for the same use:
fresh seeds for every session see to it.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core import ring, transfer
from secure.protocols.core.aes import keystream
from secure.protocols.core.errors import ProtocolError

SEED_BYTES = 16
LANE_BITS = 40
"""A gate's number has its lane above these bits: see `secure.protocols.masked.lanes`."""
_DOMAIN = b"secure-inference prg 1"
_BLOCK_BYTES = 16
_LIMIT_BYTES = _BLOCK_BYTES << 32


class Prg:
    """One seed's stream of masks within one session."""

    def __init__(self, seed: bytes, session: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ProtocolError(f"a seed has {SEED_BYTES} bytes, this one has {len(seed)}")
        self._key = hashlib.sha256(_DOMAIN + seed + session).digest()[:16]
        self._streams = {transfer.CPU: keystream(self._key, transfer.CPU)}
        self._last: dict[int, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return "Prg(seed hidden)"

    def stream(self, gate: int, label: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """`count` bytes of address (gate, label)."""
        return self._bytes(gate, label, count, transfer.CPU).numpy()

    def words(
        self, gate: int, label: int, shape: tuple[int, ...], device: torch.device, bits: int = ring.WORD_BITS
    ) -> Tensor:
        """Uniform elements of Z_2^64 (so of every Z_2^k), or of Z_2^32 where `bits` are no more: half the work.

        Shapes: int64, or int32, `shape`.
        """
        dtype = ring.word_type(bits)
        return self._bytes(gate, label, dtype.itemsize * math.prod(shape), device).view(dtype).reshape(shape)

    def planes(self, gate: int, label: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Uniform bits, eight to a byte. Shapes: uint8 `shape`."""
        return self._bytes(gate, label, math.prod(shape), device).reshape(shape)

    def _bytes(self, gate: int, label: int, count: int, device: torch.device) -> Tensor:
        """The beginning of an address's stream. Raises ProtocolError when it was used before."""
        if count > _LIMIT_BYTES:
            raise ProtocolError(f"{count} bytes do not fit one address of the generator")
        lane = gate >> LANE_BITS
        if (gate, label) <= self._last.get(lane, (-1, -1)):
            raise ProtocolError(f"address ({gate}, {label}) of the generator was already used in this session")
        self._last[lane] = (gate, label)
        if device not in self._streams:
            self._streams[device] = keystream(self._key, device)
        return self._streams[device](gate, label, count)
