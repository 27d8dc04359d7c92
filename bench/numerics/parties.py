"""The three parties of the replicated protocol as threads of this process, over queues.

Numbers, bytes and rounds are those of real processes; seconds would not be, and none are taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from secure.protocols.core.channel import queue_channels
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.replicated.protocol import ReplicatedParty
from secure.protocols.replicated.seeds import PartySeeds

_PARTIES = 3
Result = TypeVar("Result")


@dataclass(frozen=True)
class Traffic:
    """Bytes that a party sends, in the mean of the three, and rounds."""

    bytes_per_party: float
    rounds: int


def run(program: Callable[[ReplicatedParty], Result], policy: FixedPointPolicy) -> tuple[list[Result], Traffic]:
    """Run `program` at each party. Raises what the first of them that failed raised."""
    seeds = [os.urandom(SEED_BYTES) for _ in range(_PARTIES + 1)]
    session = os.urandom(SEED_BYTES)
    links = [queue_channels(f"p{i}", f"p{(i + 1) % _PARTIES}") for i in range(_PARTIES)]
    meters = [Meter() for _ in range(_PARTIES)]

    def party(i: int) -> Result:
        own = PartySeeds(seeds[i], seeds[(i - 1) % _PARTIES], seeds[-1])
        to_next, to_previous = links[i][0], links[(i - 1) % _PARTIES][1]
        protocol = ReplicatedParty(i, own, session, to_next, to_previous, policy, meter=meters[i])
        with torch.inference_mode():
            result = program(protocol)
        protocol.finish()
        return result

    with ThreadPoolExecutor(_PARTIES) as pool:
        results = list(pool.map(party, range(_PARTIES)))
    costs = [meter.total for meter in meters]
    # What a helper deals counts there and where it arrives; two of three count a round.
    sent = sum(cost.online_bytes for cost in costs) + sum(cost.dealer_bytes for cost in costs) // 2
    return results, Traffic(sent / _PARTIES, sum(cost.rounds for cost in costs) // 2)
