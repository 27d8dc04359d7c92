"""A replicated share at one party, and the three ways in which a gate looks at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party
from secure.protocols.replicated.roles import Evaluator, Helper

Side = Evaluator | Helper


@dataclass(frozen=True, eq=False)
class Shares:
    """Party i's two of the three parts of x = x_0 + x_1 + x_2 in Z_2^bits. Shapes: both as x.

    own: x_i, which party i - 1 holds too. following: x_{i+1}, which party i + 1 holds too.
    """

    own: Tensor
    following: Tensor
    bits: int

    def map(self, function: Callable[[Tensor], Tensor]) -> Shares:
        """Apply a linear map with integer coefficients to both parts."""
        return Shares(function(self.own), function(self.following), self.bits)

    def plus(self, other: Shares) -> Shares:
        """Shares of the sum, in the smaller of the two rings."""
        return Shares(self.own + other.own, self.following + other.following, min(self.bits, other.bits))

    def low(self, bits: int) -> Shares:
        """These shares modulo 2^bits, which is free."""
        return Shares(self.own, self.following, min(bits, self.bits))


def pair_of(role: Party | Dealer, shares: Shares) -> Pair:
    """x = c - r as this role sees it: c at first and second with a share of r, r at the helper."""
    if isinstance(role, Dealer):
        return Pair(unknown(shares.own.shape), -(shares.own + shares.following), shares.bits, dealt=True)
    opened, other = (shares.following, shares.own) if role.index == 0 else (shares.own, shares.following)
    return Pair(opened, -other, shares.bits, dealt=True)


def additive(role: Party | Dealer, shares: Shares) -> Tensor:
    """A share of x = z_first + z_second; at the helper a shape."""
    if isinstance(role, Dealer):
        return unknown(shares.own.shape)
    return shares.own + shares.following if role.index == 0 else shares.following


def of_opened(party: Evaluator, opened: Tensor, mask: Tensor, bits: int) -> Shares:
    """At first or second: the shares of x = opened - (mask_first + mask_second) from this party's mask."""
    return Shares(-mask, opened, bits) if party.index == 0 else Shares(opened, -mask, bits)


def of_masks(masks: tuple[Tensor, Tensor], bits: int) -> Shares:
    """The helper's shares of what is opened: it knows both masks and not the opened value."""
    return Shares(-masks[1], -masks[0], bits)


def outlined(shape: torch.Size | tuple[int, ...], bits: int) -> Shares:
    """Shares of which the shape is known, and nothing else."""
    return Shares(unknown(shape), unknown(shape), bits)
