"""Each function: error against the exact one, bytes and rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.numerics import parties
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Secret
from secure.protocols.functions import exp, gelu, layernorm, puma, silu, softmax
from secure.protocols.masked.sharing.three_parts import splitter
from secure.protocols.replicated.protocol import ReplicatedParty

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
    """The functions of encoders and decoders. Random rows have a fixed seed."""
    line = torch.linspace(-10, 10, _COUNT, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    rows = 4 * torch.randn(_COUNT // _WIDTH, _WIDTH, generator=generator, dtype=torch.float64)
    gain, offset = torch.rand(2, _WIDTH, generator=generator, dtype=torch.float64)
    in_rows = f"rows of {_WIDTH}, deviation 4"
    return [
        Case("gelu", "-10 to 10", (line,), gelu.reference, gelu.gelu, puma.gelu),
        Case("silu", "-10 to 10", (line,), silu.reference, silu.silu, puma.silu),
        Case("exp", "-20 to 0", (line + 10,), lambda u: torch.exp(-u), exp.exp_negative, puma.exp_negative),
        Case("softmax", in_rows, (rows,), lambda x: torch.softmax(x, -1), softmax.softmax, puma.softmax),
        Case(
            "layer-norm",
            in_rows,
            (rows, gain, offset),
            lambda x, g, b: torch.nn.functional.layer_norm(x, (_WIDTH,), g, b, _EPSILON),
            lambda x, g, b: layernorm.layer_norm(x, g, b, _EPSILON),
            lambda x, g, b: puma.layer_norm(x, g, b, _EPSILON),
        ),
    ]


def measure(function: Callable[..., Secret], arguments: tuple[Tensor, ...], exact: Callable[..., Tensor]) -> Found:
    """Run a function on shares of its arguments and compare it with the exact one, on the numbers that were shared."""
    scale = 2.0**_POLICY.fraction_bits
    numbers = [torch.round(argument * scale).to(torch.int64) for argument in arguments]
    split = splitter()
    shares = [split(i, 0, number) for i, number in enumerate(numbers)]

    def program(protocol: ReplicatedParty) -> tuple[Tensor, int]:
        secrets = [
            protocol.input(torch.stack(of_number[protocol.index]), tuple(number.shape), _POLICY.fraction_bits)
            for of_number, number in zip(shares, numbers, strict=True)
        ]
        result = function(*secrets)
        return protocol.reveal(result), result.fraction_bits

    revealed, traffic = parties.run(program, _POLICY)
    total = revealed[0][0][0] + revealed[1][0][0] + revealed[2][0][0]
    error = (total.double() / 2.0 ** revealed[0][1] - exact(*(n.double() / scale for n in numbers))).abs()
    each = traffic.bytes_per_party / numbers[0].numel()
    return Found(float(error.max()), float(error.mean()), each, traffic.rounds)
