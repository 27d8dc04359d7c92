"""The three parties of the replicated family in one process, for unit tests only: threads and in-memory channels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from secure.protocols.core.channel import Channel, QueueChannel, queue_channels
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.masked.sharing.three_parts import splitter
from secure.protocols.replicated.protocol import ReplicatedParty
from secure.protocols.replicated.seeds import PartySeeds
from tests.in_process import POLICY, RoleProgram, closing, raise_failures

PARTIES = ("p0", "p1", "p2")


def party_seeds() -> list[PartySeeds]:
    """Fresh seeds for each party: those of party i and i + 1 are equal."""
    pairwise, common = [os.urandom(16) for _ in PARTIES], os.urandom(16)
    return [PartySeeds(pairwise[i], pairwise[i - 1], common) for i in range(len(PARTIES))]


def combine(results: Sequence[Tensor]) -> Tensor:
    """What revealed parts add up to. Every part must be the same at both parties that have it."""
    for i, result in enumerate(results):
        assert bool((result[1] == results[(i + 1) % len(results)][0]).all()), "replicated parts differ"
    return sum((result[0] for result in results[1:]), results[0][0])


def circle(roles: Sequence[str], timeout_seconds: float) -> tuple[dict[int, QueueChannel], dict[int, QueueChannel]]:
    """Each role's channel to the one after it, and to the one before it."""
    to_next: dict[int, QueueChannel] = {}
    to_previous: dict[int, QueueChannel] = {}
    for i, role in enumerate(roles):
        after = (i + 1) % len(roles)
        to_next[i], to_previous[after] = queue_channels(role, roles[after], timeout_seconds=timeout_seconds)
    return to_next, to_previous


def run_parties(
    program: RoleProgram,
    inputs: Sequence[Tensor],
    *,
    policy: FixedPointPolicy = POLICY,
    timeout_seconds: float = 60.0,
    programs: Mapping[str, RoleProgram] | None = None,
    wrap: Mapping[str, Callable[[Channel], Channel]] | None = None,
    seeds: Sequence[PartySeeds] | None = None,
    session: bytes | None = None,
) -> tuple[list[Tensor], dict[str, Meter], dict[str, list[bytes]]]:
    """Run `program(protocol, shares)` as p0, p1 and p2 at once; as `in_process.run_roles`, whose arguments these are.

    `wrap` replaces both channels of a role. Messages are recorded by sender, those to the next party first.
    """
    seeds, session = seeds or party_seeds(), session or os.urandom(16)
    to_next, to_previous = circle(PARTIES, timeout_seconds)
    recorded = {role: (to_next[i].record(), to_previous[i].record()) for i, role in enumerate(PARTIES)}
    meters = {role: Meter() for role in PARTIES}
    split = splitter()
    held = [split(i, 0, x) for i, x in enumerate(inputs)]
    shares = [[torch.stack(of_input[index]) for of_input in held] for index in range(len(PARTIES))]

    def party(index: int) -> Tensor:
        role = PARTIES[index]
        ends: list[Channel] = [to_next[index], to_previous[index]]
        if wrap and role in wrap:
            ends = [wrap[role](end) for end in ends]
        protocol = ReplicatedParty(index, seeds[index], session, *ends, policy, meter=meters[role])
        chosen = programs[role] if programs and role in programs else program
        result = chosen(protocol, list(shares[index]))
        protocol.finish()
        return result

    with ThreadPoolExecutor(len(PARTIES)) as pool:
        futures = {
            role: pool.submit(closing, [to_next[i], to_previous[i]], partial(party, i))
            for i, role in enumerate(PARTIES)
        }
    raise_failures(futures)
    sent = {role: [*following, *previous] for role, (following, previous) in recorded.items()}
    return [future.result() for future in futures.values()], meters, sent
