"""What a client shares to choose rows of a table: honest vectors pass, all others are refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from secure.protocols.core import galois_ring, ring
from secure.protocols.core.errors import InputError
from secure.protocols.core.galois_ring import multiply
from secure.protocols.core.primitives import checked_one_hot
from secure.protocols.core.secret import Protocol
from secure.protocols.masked import one_hot as checking
from secure.protocols.masked.one_hot import Challenge
from tests.families import ALL_FAMILIES
from tests.in_process import BEAVER, Family, RoleFailure
from tests.protocols.joint_view.views import uniform
from tests.three_parties import PARTIES, run_parties

BITS = 24
TOP = 1 << (BITS - 1)
PARTS = (6, 3)
"""Words, and token types behind them."""
TYPE = [0, 1, 0]
WRONG = {
    "a multiple": ([0, 32, 0, 0, 0, 0], TYPE),
    "half the ring": ([0, TOP, 0, 0, 0, 0], TYPE),
    "half the ring beside": ([0, 1, 0, TOP, 0, 0], TYPE),
    "half the ring twice": ([0, 1, 0, TOP, TOP, 0], TYPE),
    "a negative one": ([0, 1, 0, 0, 1, -1], TYPE),
    "a negative": ([0, -1, 0, 0, 0, 0], TYPE),
    "two ones": ([0, 1, 0, 1, 0, 0], TYPE),
    "nothing": ([0, 0, 0, 0, 0, 0], TYPE),
    "two shares of a one": ([0, 1 << 22, 0, 1 - (1 << 22), 0, 0], TYPE),
    "crosswise": ([1, 1, -1, 1, 0, -1], TYPE),
    "two words and no type": ([0, 1, 0, 1, 0, 0], [0, 0, 0]),
    "a multiple of a type": ([0, 1, 0, 0, 0, 0], [0, 0, 3]),
}
each_family = pytest.mark.parametrize("family", ALL_FAMILIES, ids=lambda family: family.name)


def vectors(shape: tuple[int, ...], parts: Sequence[int]) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.cat([one_hot(torch.randint(size, shape, generator=generator), size) for size in parts], -1)


def checked(x: Tensor, parts: Sequence[int], family: Family) -> None:
    """Raises InputError where all computing parties refuse the vectors."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        secret = protocol.input(shares[0], tuple(x.shape), 0, BITS)
        return protocol.reveal(checked_one_hot(secret, parts), BITS)

    try:
        results, _, _ = family.run(program, [x])
    except RoleFailure as failure:
        refused = {role: error for role, error in failure.errors.items() if isinstance(error, InputError)}
        assert set(refused) == ({"p0", "p1"} if family is BEAVER else set(PARTIES)), failure
        raise refused["p0"] from None
    assert torch.equal(ring.low(family.combine(results), BITS), x)


@each_family
@pytest.mark.parametrize("parts", [(1,), PARTS, (1023, 1), (1024,), (2100, 1030)], ids=str)
def test_one_hot_vectors_pass(parts: tuple[int, ...], family: Family) -> None:
    for shape in ((1,), (2, 3)):
        checked(vectors(shape, parts), parts, family)


@each_family
@pytest.mark.parametrize("name", WRONG)
def test_other_vectors_are_refused(name: str, family: Family) -> None:
    x = vectors((3,), PARTS)
    x[1] = torch.tensor([*WRONG[name][0], *WRONG[name][1]])
    with pytest.raises(InputError, match="the client's input is not what it must be: a vector that chooses a row"):
        checked(x, PARTS, family)


@each_family
@pytest.mark.parametrize("place", [0, 1023, 1024, 2099])
def test_one_wrong_entry_among_many_is_found(place: int, family: Family) -> None:
    x = vectors((131,), (2100,))
    x[129, place] += TOP
    with pytest.raises(InputError):
        checked(x, (2100,), family)


@pytest.mark.parametrize("party", range(3))
def test_parts_that_differ_between_parties_are_refused(party: int) -> None:
    """Each of three parts goes to two parties. Here one of them gets another one, and the vectors are right for both.

    The second party's part is zero, so that what is added up does not tell. What the two said of their parts is
    compared before anything of the check is read.
    """
    x = vectors((2,), PARTS)
    parts = [uniform(x.shape, torch.Generator().manual_seed(1)), torch.zeros_like(x)]
    parts.append(x - parts[0])

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        (share,) = shares
        assert share is not None
        protocol.confirm([share[1].numpy().tobytes(), share[0].numpy().tobytes()])
        return protocol.reveal(checked_one_hot(protocol.input(share, tuple(x.shape), 0, BITS), PARTS), BITS)

    held = [torch.stack([parts[i], parts[(i + 1) % 3]]) for i in range(3)]
    held[party] = held[party].clone()
    held[party][1, 0, 2] += TOP
    with pytest.raises(RoleFailure) as failure:
        run_parties(
            program,
            [],
            programs={role: (lambda protocol, _, i=i: program(protocol, [held[i]])) for i, role in enumerate(PARTIES)},
        )
    found = {role for role, error in failure.value.errors.items() if isinstance(error, InputError)}
    assert found >= {f"p{party}", f"p{(party + 1) % 3}"}
    assert all("different shares of its input" in str(failure.value.errors[role]) for role in found)


def accepted(x: Tensor, seed: int) -> Tensor:
    """Which pairs of vectors that nobody shared pass, each tested by itself. Shapes: [N, 9] -> bool [N]."""
    challenge = Challenge(seed.to_bytes(16, "little"), PARTS, BITS, torch.device("cpu"))
    y, squares, sums = challenge.sketch(x)
    weights, of_sums = challenge.weights(len(y)), challenge.weights(len(y))
    terms = multiply(weights, multiply(y, y) - squares) + (sums - 1).unsqueeze(1) * of_sums
    return (ring.low(terms.unflatten(0, (len(PARTS), len(x))).sum(0), BITS) == 0).all(1)


def test_sketches_are_linear() -> None:
    x, share = vectors((3,), (700, 1500)), uniform((3, 2200), torch.Generator().manual_seed(2))
    challenge = Challenge(bytes(16), (700, 1500), BITS, torch.device("cpu"))
    for whole, first, second in zip(*(challenge.sketch(part) for part in (x, x - share, share)), strict=True):
        assert torch.equal(ring.low(whole, BITS), ring.low(first + second, BITS))


@pytest.mark.parametrize(("degree", "terms"), [(3, (0, 1)), (5, (0, 2))])
def test_wrong_vectors_pass_no_more_often_than_is_claimed(
    degree: int, terms: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In extensions so small that some do pass: 5 in 2^degree at the most, and honest vectors always.

    Blocks of two entries, so that every kind of coefficient is there.
    """
    monkeypatch.setattr(galois_ring, "DEGREE", degree)
    monkeypatch.setattr(checking, "DEGREE", degree)
    monkeypatch.setattr(galois_ring, "TERMS", terms)
    monkeypatch.setattr(checking, "_BLOCK", 2)
    tries, bound = 300, 5 / 2**degree
    wrong = torch.tensor([[*words, *types] for words, types in WRONG.values()])
    found = torch.stack([accepted(torch.cat([vectors((2,), PARTS), wrong]), seed) for seed in range(tries)])
    assert bool(found[:, :2].all())
    rates = found[:, 2:].double().mean(0)
    assert float(rates.max()) <= bound + 4 * math.sqrt(bound * (1 - bound) / tries), rates
    assert float(rates.max()) >= 2.0**-degree, "none ever passes: this could not fail"
