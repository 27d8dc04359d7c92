"""The client's ends of a session: sharing its input between P0 and P1, adding up their shares of the output.

P0 gets a fresh seed and expands its shares from it; P1 gets the corrections. Each alone is uniform.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import SEED_BYTES, Prg
from secure.protocols.core.secret import SecretSpec
from secure.protocols.core.transfer import CPU

_SESSION = b"client input"


def share(tensors: Mapping[str, Tensor], specs: Mapping[str, SecretSpec]) -> tuple[bytes, bytes]:
    """Payloads for P0 and P1. Shapes: int64 tensors as in `specs`. Raises ProtocolError when names or shapes differ."""
    if set(tensors) != set(specs):
        raise ProtocolError(f"inputs are {sorted(tensors)}, due are {sorted(specs)}")
    seed = os.urandom(SEED_BYTES)
    corrections = []
    for name, first in _expand(seed, specs).items():
        if tuple(tensors[name].shape) != specs[name].shape:
            raise ProtocolError(f"input {name!r} has shape {tuple(tensors[name].shape)}, due is {specs[name].shape}")
        corrections.append(ring.pack_difference(tensors[name], first, specs[name].bits))
    return seed, torch.cat(corrections).numpy().tobytes()


def open_payload(index: int, payload: bytes | memoryview, specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    """A party's shares of the client's input. Raises ProtocolError when the payload has another size."""
    expected = SEED_BYTES if index == 0 else payload_bytes(specs)
    if len(payload) != expected:
        raise ProtocolError(f"the client's payload has {len(payload)} bytes, due are {expected}")
    return _expand(bytes(payload), specs) if index == 0 else unpack_shares(payload, specs)


def pack_shares(shares: Mapping[str, Tensor], specs: Mapping[str, SecretSpec]) -> bytes:
    """A party's payload for the client."""
    return torch.cat([ring.pack(shares[name], specs[name].bits) for name in sorted(specs)]).cpu().numpy().tobytes()


def unpack_shares(payload: bytes | memoryview, specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    """Inverse of `pack_shares`."""
    if len(payload) != payload_bytes(specs):
        raise ProtocolError(f"a payload of shares has {len(payload)} bytes, due are {payload_bytes(specs)}")
    shares, start, raw = {}, 0, memoryview(payload)
    for name in sorted(specs):
        spec = specs[name]
        count = math.prod(spec.shape) * ring.element_bytes(spec.bits)
        shares[name] = ring.unpack(raw[start : start + count], spec.shape, spec.bits)
        start += count
    return shares


def reconstruct(
    payload0: bytes | memoryview, payload1: bytes | memoryview, specs: Mapping[str, SecretSpec]
) -> dict[str, Tensor]:
    """The outputs as signed ring elements. Shapes: int64 as in `specs`."""
    first, second = unpack_shares(payload0, specs), unpack_shares(payload1, specs)
    return {name: ring.signed(first[name] + second[name], specs[name].bits) for name in specs}


def splitter() -> Callable[[int, int, Tensor], tuple[tuple[Tensor], tuple[Tensor]]]:
    """A new sharing of a model: (tensor number, part number, part) -> what P0 and P1 keep of it. Shapes: int64 any."""
    generator = Prg(os.urandom(SEED_BYTES), b"weight shares")

    def split(tensor: int, number: int, part: Tensor) -> tuple[tuple[Tensor], tuple[Tensor]]:
        mask = generator.words(tensor, number, tuple(part.shape), CPU)
        return (mask,), (part - mask,)

    return split


def payload_bytes(specs: Mapping[str, SecretSpec]) -> int:
    """Size of P1's input payload, or of an output payload."""
    return sum(math.prod(spec.shape) * ring.element_bytes(spec.bits) for spec in specs.values())


def _expand(seed: bytes, specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    generator = Prg(seed, _SESSION)
    return {name: generator.words(i, 0, specs[name].shape, CPU) for i, name in enumerate(sorted(specs))}
