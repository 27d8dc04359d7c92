"""Tensors in the payloads between a client and the parties: what every sharing does with them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import Prg
from secure.protocols.core.secret import SecretSpec
from secure.protocols.core.transfer import CPU


def payload_bytes(specs: Mapping[str, SecretSpec]) -> int:
    """The size of one packed part of everything."""
    return sum(math.prod(spec.shape) * ring.element_bytes(spec.bits) for spec in specs.values())


def pack_difference(
    tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor], specs: Mapping[str, SecretSpec]
) -> bytes:
    """The tensors less the masks, packed. Raises ProtocolError for a tensor of another shape than is due."""
    packed = []
    for name in sorted(specs):
        spec = specs[name]
        if tuple(tensors[name].shape) != spec.shape:
            raise ProtocolError(f"input {name!r} has shape {tuple(tensors[name].shape)}, due is {spec.shape}")
        packed.append(ring.pack_difference(tensors[name], masks[name], spec.bits))
    return torch.cat(packed).numpy().tobytes()


def check_names(tensors: Mapping[str, Tensor], specs: Mapping[str, SecretSpec]) -> None:
    """Raises ProtocolError where the tensors are not those that are due."""
    if set(tensors) != set(specs):
        raise ProtocolError(f"inputs are {sorted(tensors)}, due are {sorted(specs)}")


def check_size(payload: bytes | memoryview, due: int) -> None:
    """Raises ProtocolError when the client's payload has another size."""
    if len(payload) != due:
        raise ProtocolError(f"the client's payload has {len(payload)} bytes, due are {due}")


def expand(seed: bytes, session: bytes, specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    """A uniform part of everything, from a seed."""
    generator = Prg(seed, session)
    return {name: generator.words(i, 0, specs[name].shape, CPU) for i, name in enumerate(sorted(specs))}


def unpack(payload: bytes | memoryview, specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    """One packed part of everything."""
    found, start, raw = {}, 0, memoryview(payload)
    for name in sorted(specs):
        spec = specs[name]
        count = math.prod(spec.shape) * ring.element_bytes(spec.bits)
        found[name] = ring.unpack(raw[start : start + count], spec.shape, spec.bits)
        start += count
    return found
