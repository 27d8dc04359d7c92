"""What a family of secure computation is to those who take no part in the computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from secure.protocols.core.cost import CostTally
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Parameter, SecretSpec, Visibility
from secure.protocols.core.secret import Protocol as Execution

Payload = bytes | memoryview
Splitter = Callable[[int, int, Tensor], tuple[tuple[Tensor, ...], ...]]
"""(tensor number, part number, part) -> for each computing role what it keeps of this part, each shaped as the part.

A pair of numbers names one part of one tensor in one sharing, and may be used once."""


class KeptBytes(Protocol):
    """How many bytes of memory a role keeps of a parameter, as `prepare` leaves it.

    digits: whether products are computed with digits of numbers: see `secure.protocols.core.factor`.
    """

    def __call__(self, parameter: Parameter, role: str, visibility: Visibility, *, digits: bool) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family: who computes, and how clients and model owners share with them. The rest is behind `Protocol`.

    computing: roles that hold shares, in the order of their payloads. roles: all that run a process.
    security: against whom: "semi-honest" is one role that follows the protocol and looks, "malicious" one evaluator
    that does whatever it likes, or one of two dealers. stocks: whether correlations may be made ahead and kept.
    serves_all: whether it has a program for every primitive; where not, programs are tried on shapes before anything is
    shared. garbles: whether circuits are garbled, so that its parties have to agree who does it.
    sides: programs that a computing role evaluates at a time, one for each part that it holds by itself.
    weights: who may see a model's weights. on_cards: whether its roles may compute on a graphics card.
    share, open_payload, pack_shares, reconstruct: the client's input and output: `masked.sharing` has both ways.
    sent_bytes, answer_bytes: sizes of a client's payloads for the computing parties, and of theirs for it.
    held_by_two: what of a role's input payload others were given, too: for `Protocol.confirm`.
    splitter: begins a new sharing of a model. A tensor in a share file has the axes `parts` before its own.
    outline: an execution on shapes alone, which declares what a program costs: see `masked.outline`.
    other_outline: likewise by the family's other engine, where it has two, for programs that the first does not serve.
    checks_one_hot: whether parties make sure that a client chooses rows of a table as it should.
    kept: classes, besides factors, of what a role keeps of a model; empty where models never outlive a process.
    kept_bytes: what loading leaves. loading_bytes: what it takes for one parameter, at most.
    """

    name: str
    computing: tuple[str, ...]
    roles: tuple[str, ...]
    security: str
    stocks: bool
    serves_all: bool
    garbles: bool
    sides: int
    weights: tuple[Visibility, ...]
    on_cards: bool
    parts: tuple[int, ...]
    share: Callable[[Mapping[str, Tensor], Mapping[str, SecretSpec]], tuple[bytes, ...]]
    open_payload: Callable[[int, Payload, Mapping[str, SecretSpec]], dict[str, Tensor]]
    pack_shares: Callable[[Mapping[str, Tensor], Mapping[str, SecretSpec]], bytes]
    sent_bytes: Callable[[Mapping[str, SecretSpec]], tuple[int, ...]]
    answer_bytes: Callable[[Mapping[str, SecretSpec]], tuple[int, ...]]
    held_by_two: Callable[[int, Payload], tuple[Payload, ...]]
    reconstruct: Callable[[Sequence[Payload], Mapping[str, SecretSpec]], dict[str, Tensor]]
    splitter: Callable[[], Splitter]
    outline: Callable[[FixedPointPolicy, CostTally], Execution]
    other_outline: Callable[[FixedPointPolicy, CostTally], Execution] | None = None
    checks_one_hot: bool = True
    kept: tuple[type, ...] = ()
    kept_bytes: KeptBytes
    loading_bytes: Callable[[Parameter], int]

    @property
    def dealers(self) -> tuple[str, ...]:
        """Roles that hold no shares."""
        return tuple(role for role in self.roles if role not in self.computing)
