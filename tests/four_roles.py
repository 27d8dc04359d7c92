"""Three evaluators and their dealer, or two dealers, in one process, for unit tests only: threads and queues."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from secure.protocols.core.channel import Channel, queue_channels
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.masked.ahead import Ahead
from secure.protocols.masked.sharing.three_parts import splitter
from secure.protocols.witnessed.protocol import WitnessedDealer, WitnessedParty
from secure.protocols.witnessed.two_dealers import Confirmed, FirstDealer, SecondDealer
from tests.in_process import POLICY, RoleProgram, SendOnly, closing, raise_failures
from tests.three_parties import circle

EVALUATORS = ("p0", "p1", "p2")
FOUR_ROLES = (*EVALUATORS, "dealer")
DEALERS = ("dealer", "dealer2")
Wrap = Callable[[Channel], Channel]


def run_evaluators(
    program: RoleProgram,
    inputs: Sequence[Tensor],
    *,
    policy: FixedPointPolicy = POLICY,
    timeout_seconds: float = 60.0,
    programs: Mapping[str, RoleProgram] | None = None,
    wrap: Mapping[str, Wrap] | None = None,
    parts: Sequence[Sequence[Tensor]] | None = None,
    session: bytes | None = None,
    seeds: Sequence[bytes] | None = None,
    common_seed: bytes | None = None,
    dealt_under: Sequence[bytes] | None = None,
    ahead: Mapping[int, Sequence[Ahead]] | None = None,
    dealers: int = 1,
) -> tuple[list[Tensor], dict[str, Meter], dict[str, list[bytes]]]:
    """Run `program(protocol, shares)` as p0, p1, p2 and the dealer at once; as `in_process.run_roles`.

    wrap: replaces a role's channels, each of which knows its peer. parts: what each evaluator is given of all inputs,
    in the place of fresh parts. dealt_under: the name by which each evaluator takes what was dealt, and by whose first
    the dealer deals; None where that is the session. ahead: what evaluators have computed before.

    dealers: two where a second one confirms what the first one deals.

    Messages are recorded by sender; an evaluator's those to the next one first.
    """
    seeds, session = seeds or [os.urandom(16) for _ in EVALUATORS], session or os.urandom(16)
    common = common_seed or os.urandom(16)
    to_next, to_previous = circle(EVALUATORS, timeout_seconds)
    dealing = DEALERS[:dealers]
    deals = {
        name: [queue_channels(name, role, timeout_seconds=timeout_seconds) for role in EVALUATORS[1:]]
        for name in dealing
    }
    recorded = {role: (to_next[i].record(), to_previous[i].record()) for i, role in enumerate(EVALUATORS)}
    dealt = {name: [end.record() for end, _ in ends] for name, ends in deals.items()}
    meters = {role: Meter() for role in (*EVALUATORS, *dealing)}
    under = dealt_under or [session] * len(EVALUATORS)
    split = splitter()
    held = [split(i, 0, x) for i, x in enumerate(inputs)]
    given = parts or [[torch.stack(of_input[index]) for of_input in held] for index in range(len(EVALUATORS))]

    def program_of(role: str) -> RoleProgram:
        return programs[role] if programs and role in programs else program

    def wrapped(role: str, end: Channel) -> Channel:
        return wrap[role](end) if wrap and role in wrap else end

    def dealer(name: str) -> None:
        to_p1, to_p2 = (SendOnly(wrapped(name, end)) for end, _ in deals[name])
        kinds = {"dealer": WitnessedDealer if dealers == 1 else FirstDealer, "dealer2": SecondDealer}
        protocol = kinds[name]((seeds[0], seeds[1], seeds[2]), under[0], to_p1, to_p2, policy, meter=meters[name])
        program_of(name)(protocol, [None] * len(given[0]))
        protocol.end_step()
        protocol.finish()

    def from_dealers(index: int) -> Channel:
        """What reaches an evaluator of what is dealt: confirmed, where there is who confirms it."""
        first, *second = (deals[name][index - 1][1] for name in dealing)
        return Confirmed(first, second[0], under[index], index) if second else first

    def evaluator(index: int) -> Tensor:
        role = EVALUATORS[index]
        protocol = WitnessedParty(
            index,
            (seeds[index], seeds[(index + 1) % len(seeds)]),
            session,
            wrapped(role, to_next[index]),
            wrapped(role, to_previous[index]),
            None if index == 0 else from_dealers(index),
            policy,
            common_seed=common,
            deal=under[index],
            ahead=ahead[index] if ahead else None,
            meter=meters[role],
        )
        result = program_of(role)(protocol, list(given[index]))
        protocol.end_step()
        protocol.finish()
        return result

    with ThreadPoolExecutor(len(EVALUATORS) + dealers) as pool:
        futures = {
            role: pool.submit(closing, [to_next[i], to_previous[i]], partial(evaluator, i))
            for i, role in enumerate(EVALUATORS)
        }
        for name in dealing:
            futures[name] = pool.submit(closing, [end for end, _ in deals[name]], partial(dealer, name))
    raise_failures(futures)
    sent = {role: [*following, *previous] for role, (following, previous) in recorded.items()}
    sent |= {name: [message for messages in to_each for message in messages] for name, to_each in dealt.items()}
    return [futures[role].result() for role in EVALUATORS], meters, sent
