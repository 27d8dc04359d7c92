"""python -m bench numerics: our functions and PUMA's, by error, bytes and rounds, on the replicated protocol.

The three parties are threads of this process, over queues: errors, bytes and rounds are those of real processes,
seconds would not be, and none are given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from protocols.core.channel import queue_channels
from protocols.core.cost import Meter
from protocols.core.fixedpoint import FixedPointPolicy
from protocols.core.prg import SEED_BYTES
from protocols.core.secret import Secret
from protocols.functions import exp, gelu, layernorm, puma, softmax
from protocols.replicated.protocol import ReplicatedParty
from protocols.replicated.seeds import PartySeeds
from protocols.replicated.sharing import splitter

_PARTIES = 3
_COUNT = 1 << 14
_WIDTH = 128
_EPSILON = 1e-12
_POLICY = FixedPointPolicy()


@dataclass(frozen=True)
class Case:
    """One function: its arguments, the exact result, and the two ways to compute it."""

    name: str
    range: str
    arguments: tuple[Tensor, ...]
    exact: Callable[..., Tensor]
    ours: Callable[..., Secret]
    pumas: Callable[..., Secret]


@dataclass(frozen=True)
class Found:
    """Errors over the arguments; bytes for each element, the mean of a party; rounds."""

    max_error: float
    mean_error: float
    bytes_per_party: float
    rounds: int


def cases() -> list[Case]:
    """The functions of an encoder. Random rows have a fixed seed."""
    line = torch.linspace(-8, 8, _COUNT, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    rows = 4 * torch.randn(_COUNT // _WIDTH, _WIDTH, generator=generator, dtype=torch.float64)
    gain, offset = torch.rand(2, _WIDTH, generator=generator, dtype=torch.float64)
    return [
        Case("gelu", "-8 to 8", (line,), gelu.reference, gelu.gelu, puma.gelu),
        Case("exp", "-16 to 0", (line + 8,), lambda u: torch.exp(-u), exp.exp_negative, puma.exp_negative),
        Case(
            "softmax",
            f"rows of {_WIDTH}, deviation 4",
            (rows,),
            lambda x: torch.softmax(x, -1),
            softmax.softmax,
            puma.softmax,
        ),
        Case(
            "layer-norm",
            f"rows of {_WIDTH}, deviation 4",
            (rows, gain, offset),
            lambda x, g, b: torch.nn.functional.layer_norm(x, (_WIDTH,), g, b, _EPSILON),
            lambda x, g, b: layernorm.layer_norm(x, g, b, _EPSILON),
            lambda x, g, b: puma.layer_norm(x, g, b, _EPSILON),
        ),
    ]


def numerics() -> None:
    """Our functions and PUMA's approximations side by side, on the replicated protocol: error, bytes, rounds.

    Example: python -m bench numerics
    """
    console = Console()
    shown = Table(
        title="replicated protocol, 16 fraction bits; bytes: sent by each party for each element, in the mean"
    )
    for heading in ("function", "range", "whose", "largest error", "mean error", "bytes", "rounds"):
        shown.add_column(heading)
    for case in cases():
        for whose, function in (("ours", case.ours), ("PUMA's", case.pumas)):
            found = measure(function, case.arguments, case.exact)
            figures = (f"{found.max_error:.1e}", f"{found.mean_error:.1e}", f"{found.bytes_per_party:.1f}")
            shown.add_row(case.name, case.range, whose, *figures, f"{found.rounds}")
    console.print(shown)


def measure(function: Callable[..., Secret], arguments: tuple[Tensor, ...], exact: Callable[..., Tensor]) -> Found:
    """Run a function on shares of its arguments and compare it with the exact one, on the numbers that were shared."""
    scale = 2.0**_POLICY.fraction_bits
    numbers = [torch.round(argument * scale).to(torch.int64) for argument in arguments]
    split, meters = splitter(), [Meter() for _ in range(_PARTIES)]
    shares = [split(i, 0, number) for i, number in enumerate(numbers)]
    seeds = [os.urandom(SEED_BYTES) for _ in range(_PARTIES + 1)]
    session = os.urandom(SEED_BYTES)
    links = [queue_channels(f"p{i}", f"p{(i + 1) % _PARTIES}") for i in range(_PARTIES)]

    def party(i: int) -> tuple[Tensor, int]:
        own = PartySeeds(seeds[i], seeds[(i - 1) % _PARTIES], seeds[-1])
        to_next, to_previous = links[i][0], links[(i - 1) % _PARTIES][1]
        protocol = ReplicatedParty(i, own, session, to_next, to_previous, _POLICY, meter=meters[i])
        secrets = [
            protocol.input(torch.stack(of_number[i]), tuple(number.shape), _POLICY.fraction_bits)
            for of_number, number in zip(shares, numbers, strict=True)
        ]
        result = function(*secrets)
        return protocol.reveal(result), result.fraction_bits

    with ThreadPoolExecutor(_PARTIES) as pool:
        revealed = list(pool.map(party, range(_PARTIES)))
    total = revealed[0][0][0] + revealed[1][0][0] + revealed[2][0][0]
    error = (total.double() / 2.0 ** revealed[0][1] - exact(*(n.double() / scale for n in numbers))).abs()
    costs = [meter.total for meter in meters]
    # What a helper deals counts there and where it arrives; two of three count a round.
    sent = sum(cost.online_bytes for cost in costs) + sum(cost.dealer_bytes for cost in costs) // 2
    rounds = sum(cost.rounds for cost in costs) // 2
    return Found(float(error.max()), float(error.mean()), sent / _PARTIES / numbers[0].numel(), rounds)
