"""The client's and the model owner's ends: sharing among three parties, adding up their shares of the output.

x = x_0 + x_1 + x_2, where x_0 and x_1 are expanded from two fresh seeds and x_2 is what is left. Party i is given x_i
and x_{i+1}: P0 both seeds, P1 the second seed and x_2, P2 x_2 and the first seed. Each alone is uniform.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

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

_SESSION = b"client input, part "
_PARTIES = 3


def share(tensors: Mapping[str, Tensor], specs: Mapping[str, SecretSpec]) -> tuple[bytes, bytes, bytes]:
    """Payloads for P0, P1 and P2. Shapes: int64 as in `specs`. Raises ProtocolError when names or shapes differ."""
    check_names(tensors, specs)
    seeds = os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)
    first, second = (_part(seed, part, specs) for part, seed in enumerate(seeds))
    packed = pack_difference(tensors, {name: first[name].add_(second[name]) for name in specs}, specs)
    return seeds[0] + seeds[1], seeds[1] + packed, packed + seeds[0]


def open_payload(index: int, payload: bytes | memoryview, specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    """A party's parts of the client's input. Shapes: int64 [2, *shape] each.

    Raises ProtocolError when the payload has another size.
    """
    check_size(payload, sent_bytes(specs)[index])
    raw = memoryview(payload)
    if index == 0:
        parts = _part(bytes(raw[:SEED_BYTES]), 0, specs), _part(bytes(raw[SEED_BYTES:]), 1, specs)
    elif index == 1:
        parts = _part(bytes(raw[:SEED_BYTES]), 1, specs), unpack(raw[SEED_BYTES:], specs)
    else:
        parts = unpack(raw[:-SEED_BYTES], specs), _part(bytes(raw[-SEED_BYTES:]), 0, specs)
    return {name: torch.stack([part[name] for part in parts]) for name in specs}


def held_by_two(index: int, payload: bytes | memoryview) -> tuple[memoryview, memoryview]:
    """What the next party has of a party's input payload, too, and what the previous one has: a seed, or a part."""
    raw = memoryview(payload)
    end = len(raw) - SEED_BYTES if index == 2 else SEED_BYTES
    return raw[end:], raw[:end]


def splitter() -> Callable[[int, int, Tensor], tuple[tuple[Tensor, Tensor], ...]]:
    """A new sharing of a model: (tensor number, part number, part) -> P_i keeps x_i and x_{i+1}. Shapes: int64 any."""
    generators = [Prg(os.urandom(SEED_BYTES), b"weight shares") for _ in range(_PARTIES - 1)]

    def split(tensor: int, number: int, part: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        first, second = (generator.words(tensor, number, tuple(part.shape), CPU) for generator in generators)
        shares = first, second, part - first - second
        return tuple((shares[i], shares[(i + 1) % _PARTIES]) for i in range(_PARTIES))

    return split


def pack_shares(shares: Mapping[str, Tensor], specs: Mapping[str, SecretSpec]) -> bytes:
    """A party's payload for the client: its own part of everything, then the following one. Shapes: [2, *shape]."""
    packed = [ring.pack(shares[name][part], specs[name].bits) for part in range(2) for name in sorted(specs)]
    return torch.cat(packed).cpu().numpy().tobytes()


class OddAnswer(NamedTuple):
    """What is wrong with the parties' answers. parties: one, or two of whom one computed something else."""

    parties: tuple[str, ...]
    what: str


def odd_answer(payloads: Sequence[bytes | memoryview], specs: Mapping[str, SecretSpec]) -> OddAnswer | None:
    """The first thing that is wrong with answers of which every part comes from two parties; None where nothing is."""
    half = payload_bytes(specs)
    for index, payload in enumerate(payloads):
        if len(payload) != 2 * half:
            return OddAnswer((f"p{index}",), f"a share of the output of {len(payload)} bytes, due are {2 * half}")
    for index in range(_PARTIES):
        after = (index + 1) % _PARTIES
        if memoryview(payloads[index])[half:] != memoryview(payloads[after])[:half]:
            pair = (f"p{index}", f"p{after}")
            return OddAnswer(pair, "different shares of the output where they must be equal")
    return None


def reconstruct(payloads: Sequence[bytes | memoryview], specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    """The outputs as signed ring elements. Shapes: int64 as in `specs`.

    Every part comes from two parties. Raises ProtocolError where they disagree: one of them computed something else.
    """
    if odd := odd_answer(payloads, specs):
        raise ProtocolError(f"{' and '.join(odd.parties)} sent {odd.what}")
    own = [unpack(memoryview(payload)[: payload_bytes(specs)], specs) for payload in payloads]
    return {name: ring.signed(own[0][name] + own[1][name] + own[2][name], specs[name].bits) for name in specs}


def sent_bytes(specs: Mapping[str, SecretSpec]) -> tuple[int, int, int]:
    """The sizes of the payloads for P0, P1 and P2."""
    with_part = SEED_BYTES + payload_bytes(specs)
    return 2 * SEED_BYTES, with_part, with_part


def answer_bytes(specs: Mapping[str, SecretSpec]) -> tuple[int, int, int]:
    """The sizes of the parties' payloads for the client."""
    both = 2 * payload_bytes(specs)
    return both, both, both


def parts_of_zero(common: Prg, number: int, shape: tuple[int, ...], device: torch.device) -> list[Tensor]:
    """Three parts that add up to zero, from a stream that all three have. number: of the sharing, used once.

    Shapes: -> three int64 `shape`.
    """
    first, second = (common.words(number, label, shape, device) for label in range(_PARTIES - 1))
    return [first, second, -(first + second)]


def two_parts_given(share: Tensor | None, shape: Sequence[int]) -> Tensor:
    """The two parts that one of three was given. Shapes: share [2, *shape]. Raises ProtocolError for another shape."""
    if 0 in shape:
        raise ProtocolError(f"a secret of shape {tuple(shape)} has no elements")
    if share is None or tuple(share.shape) != (2, *shape):
        found = "nothing" if share is None else str(tuple(share.shape))
        raise ProtocolError(f"a replicated share has shape {(2, *shape)}, this party was given {found}")
    return share


def _part(seed: bytes, part: int, specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    return expand(seed, _SESSION + bytes([part]), specs)
