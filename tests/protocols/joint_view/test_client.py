"""What a client receives is its output, and otherwise uniform: nothing tells of the masks of the gates before.

All parts of an output but one are looked at, as the last one follows from these and the output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core import ring
from secure.protocols.core.primitives import truncate
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.masked.dealt.secret import DealtSecret
from secure.protocols.replicated.secret import ReplicatedSecret
from secure.protocols.replicated.seeds import PartySeeds
from tests.in_process import RoleProgram, run_roles
from tests.protocols.joint_view.finding import EXTRA, leanings, relations
from tests.protocols.joint_view.views import SESSION, seed_of
from tests.three_parties import PARTIES, run_parties

X = torch.tensor([5 << 16, -3 << 16])
BITS = (64, 20)
"""Rings of outputs. In 20 bits the whole bytes that are sent have four more, which must be zero."""


def beaver_parts(program: RoleProgram, number: int) -> list[Tensor]:
    """P0's part. The client's own sharing is the same each time, and the parties' seeds are not."""
    return _beaver_parts(program, (seed_of("p0", number), seed_of("p1", number)), number)


def parts_beside_the_dealer(program: RoleProgram, number: int) -> list[Tensor]:
    """P0's part to a client that has the dealer's seeds: they are the same each time, and P0's and P1's own is not."""
    return _beaver_parts(program, (seed_of("p0", 0), seed_of("p1", 0)), number)


def _beaver_parts(program: RoleProgram, seeds: tuple[bytes, bytes], number: int) -> list[Tensor]:
    shares = {"p0": X * 0 + 77, "p1": X - 77, "dealer": None}
    programs = {role: _with_share(program, share) for role, share in shares.items()}
    common_seed = seed_of("p0 and p1", number)
    results, _, _ = run_roles(program, [], programs=programs, seeds=seeds, common_seed=common_seed, session=SESSION)
    return results[:1]


def replicated_parts(program: RoleProgram, number: int) -> list[Tensor]:
    """P0's two parts of three."""
    parts = [X * 0 + 77, X * 0 - 99, X + 22]
    programs = {
        role: _with_share(program, torch.stack([parts[i], parts[(i + 1) % 3]])) for i, role in enumerate(PARTIES)
    }
    pairwise = [seed_of(i, number) for i in range(3)]
    seeds = [PartySeeds(pairwise[i], pairwise[i - 1], seed_of("common", number)) for i in range(3)]
    results, _, _ = run_parties(program, [], programs=programs, seeds=seeds, session=SESSION)
    return list(results[0])


def _with_share(program: RoleProgram, share: Tensor | None) -> RoleProgram:
    return lambda protocol, _: program(protocol, [share])


def findings(parts_of: Callable[[RoleProgram, int], list[Tensor]], program: RoleProgram, bits: int) -> list[str]:
    """The finder's on exactly the bits of the output's ring; those above must be zero."""
    names = tuple(
        f"part {i} element {j} bit {k}" for i in range(len(parts_of(program, 0))) for j in range(2) for k in range(bits)
    )
    rows = []
    for number in range(len(names) + EXTRA):
        parts = torch.stack(parts_of(program, number))
        assert torch.equal(ring.low(parts, bits), parts)
        rows.append(ring.to_bits(parts, bits).reshape(-1).to(torch.uint8).numpy())
    bits_received = np.stack(rows)
    return [
        f"{how} {' ^ '.join(names[column] for column in columns)}"
        for how, find in (("always", relations), ("mostly", leanings))
        for columns in find(bits_received)
    ]


FAMILIES = [
    pytest.param(beaver_parts, id="beaver"),
    pytest.param(parts_beside_the_dealer, id="beaver-dealer"),
    pytest.param(replicated_parts, id="replicated"),
]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("function", [lambda x: x, lambda x: truncate(x, 0)], ids=["input", "truncated"])
@pytest.mark.parametrize("parts_of", FAMILIES)
def test_an_output_tells_a_client_nothing_else(
    parts_of: Callable[[RoleProgram, int], list[Tensor]], function: Callable[[Secret], Secret], bits: int
) -> None:
    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        return protocol.reveal(function(protocol.input(shares[0], (2,), 16)), bits)

    assert findings(parts_of, program, bits) == []


@pytest.mark.parametrize("parts_of", FAMILIES)
def test_an_output_without_a_fresh_zero_is_found(parts_of: Callable[[RoleProgram, int], list[Tensor]]) -> None:
    """A client that gets its own shares back sees what the parties did to them."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        x = protocol.input(shares[0], (2,), 16)
        if isinstance(x, ReplicatedSecret):
            return torch.stack([x.shares.own, x.shares.following])
        assert isinstance(protocol, BeaverProtocol) and isinstance(x, DealtSecret)
        return protocol.share(x, 64)[0]

    found = findings(parts_of, program, 64)
    assert {f"always part 0 element 1 bit {k}" for k in range(64)} <= set(found)
