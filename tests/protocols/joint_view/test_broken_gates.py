"""Gates that are broken on purpose: each must be found, with the bits that tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.roles import Dealer, Party
from secure.protocols.replicated.protocol import ReplicatedParty
from secure.protocols.replicated.secret import ReplicatedSecret
from secure.protocols.replicated.shares import additive
from tests.in_process import RoleProgram
from tests.protocols.joint_view.observing import observe
from tests.protocols.joint_view.views import BEAVER, REPLICATED, Setting

SHAPE = (1,)
ZEROS = [torch.zeros(SHAPE, dtype=torch.int64)] * 2
ODD = [torch.tensor([5]), torch.tensor([-3])]


class Broken(Gate[None]):
    """Two shares, and what a party does with them."""

    name = "broken"

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def cost(self) -> Cost:
        return Cost()

    def deal(self, dealer: Dealer) -> None:
        """The dealer sends nothing."""

    def outline(self) -> None:
        """There is no result."""


class MaskOfTwoValues(Broken):
    def evaluate(self, party: Party) -> None:
        mask = party.mask(SHAPE)
        party.open_all((self.x, mask, 64), (self.y, mask, 64))


class MaskOfTwoBits(Broken):
    def evaluate(self, party: Party) -> None:
        mask = party.mask_planes(SHAPE)
        party.open_planes(_plane(self.x) ^ mask)
        party.open_planes(_plane(self.y) ^ mask)


class CorrelationOfTwoValues(Broken):
    def deal(self, dealer: Dealer) -> None:
        dealer.share(dealer.mask(SHAPE), 64)

    def evaluate(self, party: Party) -> None:
        party.mask(SHAPE)
        mask = party.correlation(SHAPE, 64)
        party.open(self.x, mask, 64)
        party.open(self.y, mask, 64)


class Difference(Broken):
    """x and y under masks of their own, and then x - y under the difference of these."""

    def evaluate(self, party: Party) -> None:
        r, s = party.mask(SHAPE), party.mask(SHAPE)
        party.open_all((self.x, r, 64), (self.y, s, 64))
        party.open(self.x - self.y, r - s, 64)


class EvenMask(Broken):
    def evaluate(self, party: Party) -> None:
        party.open(self.x, party.mask(SHAPE) << 1, 64)


class ShortMask(Broken):
    def evaluate(self, party: Party) -> None:
        party.open(self.x, ring.low(party.mask(SHAPE), 63), 64)


class HalfWordMask(Broken):
    """A mask of 32 bits, extended by its sign."""

    def evaluate(self, party: Party) -> None:
        party.open(self.x, party.mask(SHAPE, 32), 40)


class BarePadding(Broken):
    """One bit in a byte of its own, of which only that bit is masked."""

    def evaluate(self, party: Party) -> None:
        party.open_planes(_plane(self.x) ^ (party.mask_planes(SHAPE) & 1))


class BareProduct(Broken):
    """A product whose opening has no mask of its own."""

    def evaluate(self, party: Party) -> None:
        r, s = party.mask(SHAPE), party.mask(SHAPE)
        c, d = party.open_all((self.x, r, 64), (self.y, s, 64))
        party.open(c * self.y - r * d, torch.zeros_like(r), 64)


class BareAnd(Broken):
    """A product of bits, by a triple, whose opening has no mask of its own."""

    def deal(self, dealer: Dealer) -> None:
        dealer.share_planes(dealer.mask_planes(SHAPE) & dealer.mask_planes(SHAPE))

    def evaluate(self, party: Party) -> None:
        a, b = party.mask_planes(SHAPE), party.mask_planes(SHAPE)
        v, w = party.open_planes(_plane(self.x) ^ a, _plane(self.y) ^ b)
        product = (v & b) ^ (w & a) ^ party.correlation_planes(SHAPE)
        party.open_planes(product ^ (v & w) if party.index == 0 else product)


class Bare(Broken):
    def evaluate(self, party: Party) -> None:
        party.open(self.x, torch.zeros_like(self.x), 64)


def _plane(share: Tensor) -> Tensor:
    return (share & 1).to(torch.uint8)


def program_of(kind: type[Broken]) -> RoleProgram:
    """The gate in either family; the first party helps among three."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        if isinstance(protocol, BeaverProtocol):
            x, y = (torch.empty(SHAPE, device="meta") if share is None else share for share in shares)
            protocol.run(kind(x, y))
        else:
            assert isinstance(protocol, ReplicatedParty)
            protocol.helper = 0
            role = protocol.role
            secrets = [protocol.input(share, SHAPE, 16) for share in shares]
            x, y = (additive(role, s.shares) for s in secrets if isinstance(s, ReplicatedSecret))
            protocol.run(kind(x, y))
        return torch.zeros(1)

    return program


def bits_of(message: int, first_byte: int, *bits: int) -> list[str]:
    """Names of bits of a number that p1 sends."""
    return [f"p1[{message}] byte {first_byte + bit // 8} bit {bit % 8}" for bit in bits]


def same(first: Sequence[str], *others: Sequence[str]) -> list[str]:
    return [" ^ ".join(each) for each in zip(first, *others, strict=True)]


WORD = range(64)
# What is found of each gate, with inputs for which it shows: sums of numbers that are not zero have carries, so that
# only their lowest bits tell.
ALWAYS: list[tuple[type[Broken], list[Tensor], list[str]]] = [
    (MaskOfTwoValues, ZEROS, same(bits_of(0, 0, *WORD), bits_of(0, 8, *WORD))),
    (MaskOfTwoValues, ODD, same(bits_of(0, 0, 0), bits_of(0, 8, 0))),
    (MaskOfTwoBits, ODD, same(bits_of(0, 0, *range(8)), bits_of(1, 0, *range(8)))),
    (CorrelationOfTwoValues, ZEROS, same(bits_of(0, 0, *WORD), bits_of(1, 0, *WORD))),
    (CorrelationOfTwoValues, ODD, same(bits_of(0, 0, 0), bits_of(1, 0, 0))),
    (Difference, ODD, same(bits_of(0, 0, 0), bits_of(0, 8, 0), bits_of(1, 0, 0))),
    (EvenMask, ODD, bits_of(0, 0, 0)),
    (ShortMask, ZEROS, bits_of(0, 0, 63)),
    (HalfWordMask, ZEROS, same(bits_of(0, 0, *[31] * 8), bits_of(0, 0, *range(32, 40)))),
    (BarePadding, ODD, bits_of(0, 0, *range(1, 8))),
    (Bare, ODD, bits_of(0, 0, *WORD)),
]
SETTINGS = [pytest.param(BEAVER, 0, id="beaver"), pytest.param(REPLICATED, 2, id="replicated")]
"""Both receivers hear from p1."""


def findings(setting: Setting, kind: type[Broken], values: list[Tensor], receiver: int, **options: Any) -> set[str]:
    samples = observe(setting, program_of(kind), values, receiver, **options)
    assert samples is not None
    return set(samples.findings())


@pytest.mark.parametrize(
    ("kind", "values", "due"), [pytest.param(*row, id=f"{row[0].__name__}-{row[1][0].item()}") for row in ALWAYS]
)
def test_a_relation_is_found(kind: type[Broken], values: list[Tensor], due: list[str]) -> None:
    assert {f"received always {each}" for each in due} <= findings(BEAVER, kind, values, 0)


@pytest.mark.parametrize(("kind", "values", "due"), [row for row in ALWAYS if row[0] is CorrelationOfTwoValues])
def test_a_relation_is_found_among_three(kind: type[Broken], values: list[Tensor], due: list[str]) -> None:
    assert {f"received always {each}" for each in due} <= findings(REPLICATED, kind, values, 2)


def test_a_product_without_a_mask_is_found() -> None:
    """There is no affine relation: its lowest bit is the product of two others. But it is one in a quarter of runs."""
    found = findings(BEAVER, BareProduct, ZEROS, 0, least_samples=512)
    assert f"received mostly {bits_of(1, 0, 0)[0]}" in found
    assert not any(" always " in each for each in found)


def test_a_bit_without_a_mask_is_found() -> None:
    """The other's half is no affine function of what was received before, but with one's own half it is the bit."""
    found = findings(BEAVER, BareAnd, ODD, 0)
    assert {f"opened always {each}" for each in bits_of(1, 0, *range(8))} <= found
    assert not any("received always" in each for each in found)


@pytest.mark.parametrize(("setting", "receiver"), SETTINGS)
def test_a_secret_that_is_sent_is_found(setting: Setting, receiver: int) -> None:
    """Where the secret changes from run to run, too, what is sent looks uniform by itself."""
    found = findings(setting, Bare, ZEROS, receiver, secret=True)
    sent, secret = bits_of(0, 0, *WORD), [f"secret 0 bit {bit}" for bit in WORD]
    assert {f"received always {each}" for each in same(sent, secret)} <= found
