"""The client's ends of a session: sharing its input between P0 and P1, adding up their shares of the output.

P0 gets a fresh seed and expands its shares from it; P1 gets the corrections. Each alone is uniform.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import SEED_BYTES, Prg
from secure.protocols.core.secret import SecretSpec
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.sharing.payloads import (
    check_names,
    check_size,
    expand,
    pack_difference,
    payload_bytes,
    unpack,
)

_SESSION = b"client input"


def share(tensors: Mapping[str, Tensor], specs: Mapping[str, SecretSpec]) -> tuple[bytes, bytes]:
    """Payloads for P0 and P1. Shapes: int64 tensors as in `specs`. Raises ProtocolError when names or shapes differ."""
    check_names(tensors, specs)
    seed = os.urandom(SEED_BYTES)
    return seed, pack_difference(tensors, expand(seed, _SESSION, specs), specs)


def sent_bytes(specs: Mapping[str, SecretSpec]) -> tuple[int, int]:
    """The sizes of the payloads for P0 and P1."""
    return SEED_BYTES, payload_bytes(specs)


def answer_bytes(specs: Mapping[str, SecretSpec]) -> tuple[int, int]:
    """The sizes of the parties' payloads for the client."""
    return payload_bytes(specs), payload_bytes(specs)


def open_payload(index: int, payload: bytes | memoryview, specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    """A party's shares of the client's input. Raises ProtocolError when the payload has another size."""
    check_size(payload, sent_bytes(specs)[index])
    return expand(bytes(payload), _SESSION, specs) if index == 0 else unpack(payload, specs)


def pack_shares(shares: Mapping[str, Tensor], specs: Mapping[str, SecretSpec]) -> bytes:
    """A party's payload for the client."""
    return torch.cat([ring.pack(shares[name], specs[name].bits) for name in sorted(specs)]).cpu().numpy().tobytes()


def unpack_shares(payload: bytes | memoryview, specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    """Inverse of `pack_shares`."""
    if len(payload) != payload_bytes(specs):
        raise ProtocolError(f"a payload of shares has {len(payload)} bytes, due are {payload_bytes(specs)}")
    return unpack(payload, specs)


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
