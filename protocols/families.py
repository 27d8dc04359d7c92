"""The families of secure computation, by name: who computes, and how clients and model owners share with them.

Everything else of a family is behind `Protocol`. A family is one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from secure.protocols.beaver import sharing as beaver
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.secret import SecretSpec
from secure.protocols.replicated import sharing as replicated

Payload = bytes | memoryview
Splitter = Callable[[int, int, Tensor], tuple[tuple[Tensor, ...], ...]]
"""(tensor number, part number, part) -> for each computing role what it keeps of this part, each shaped as the part.

A pair of numbers names one part of one tensor in one sharing, and may be used once."""


@dataclass(frozen=True)
class Family:
    """One family, as those see it who take no part in the computation.

    computing: roles that hold shares, in the order of their payloads. roles: all that run a process.
    share, open_payload, pack_shares, reconstruct: the client's input and output, as in the families' `sharing`.
    splitter: begins a new sharing of a model. A tensor in a share file has the axes `parts` before its own.
    """

    name: str
    computing: tuple[str, ...]
    roles: tuple[str, ...]
    parts: tuple[int, ...]
    share: Callable[[Mapping[str, Tensor], Mapping[str, SecretSpec]], tuple[bytes, ...]]
    open_payload: Callable[[int, Payload, Mapping[str, SecretSpec]], dict[str, Tensor]]
    pack_shares: Callable[[Mapping[str, Tensor], Mapping[str, SecretSpec]], bytes]
    reconstruct: Callable[[Sequence[Payload], Mapping[str, SecretSpec]], dict[str, Tensor]]
    splitter: Callable[[], Splitter]


BEAVER = Family(
    "beaver",
    ("p0", "p1"),
    ("p0", "p1", "dealer"),
    (),
    beaver.share,
    beaver.open_payload,
    beaver.pack_shares,
    lambda payloads, specs: beaver.reconstruct(payloads[0], payloads[1], specs),
    beaver.splitter,
)
REPLICATED = Family(
    "replicated",
    ("p0", "p1", "p2"),
    ("p0", "p1", "p2"),
    (2,),
    replicated.share,
    replicated.open_payload,
    replicated.pack_shares,
    replicated.reconstruct,
    replicated.splitter,
)
FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (BEAVER, REPLICATED)})


def family(name: str) -> Family:
    """The family of that name. Raises ConfigurationError for an unknown one."""
    if name not in FAMILIES:
        raise ConfigurationError(f"unknown protocol {name!r}; known are {', '.join(FAMILIES)}")
    return FAMILIES[name]
