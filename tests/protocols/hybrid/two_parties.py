"""Both parties of protocol "hybrid" in one process, for tests: a making, then the session that uses it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from secure.protocols.core.channel import Channel, QueueChannel, queue_channels
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Parameter, Protocol, Secret, Visibility
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.protocol import HybridLoader, HybridMaker, HybridParty, fresh_stock
from secure.protocols.hybrid.stock import Stock
from tests.in_process import POLICY, closing, encode, split

Result = TypeVar("Result")
Program = Callable[[Protocol, Sequence[Tensor | None]], Tensor]


@dataclass
class Pass:
    """What one pass of a program left behind, by party."""

    results: list[Any]
    meters: list[Meter]
    sent: list[list[bytes]] = field(default_factory=list)


def both(run: Callable[[int, Channel, Meter], Any], *, timeout_seconds: float = 120.0) -> Pass:
    """run(index, channel to the other one, meter) as both parties at once. Raises what the first failing one raised."""
    ends = queue_channels("p0", "p1", timeout_seconds=timeout_seconds)
    sent, meters = [end.record() for end in ends], [Meter(), Meter()]

    def party(index: int) -> Any:
        end: QueueChannel = ends[index]
        return closing([end], lambda: run(index, end, meters[index]))

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(party, index) for index in (0, 1)]
    for future in futures:
        if (error := future.exception()) is not None:
            raise error
    return Pass([future.result() for future in futures], meters, sent)


def make(
    program: Program, inputs: int, *, policy: FixedPointPolicy = POLICY, garbler: Garbler = "client"
) -> tuple[list[Stock], Pass]:
    """The stocks of both parties, for a program of so many inputs."""
    session = os.urandom(16)

    def run(index: int, channel: Channel, meter: Meter) -> Stock:
        stock = fresh_stock(index, session, garbler)
        protocol = HybridMaker(stock, channel, policy, meter=meter)
        program(protocol, [None] * inputs)
        protocol.finish()
        return stock

    made = both(run)
    return made.results, made


def use(
    program: Program,
    stocks: Sequence[Stock],
    shares: Sequence[tuple[Tensor, Tensor]],
    policy: FixedPointPolicy = POLICY,
) -> Pass:
    """A session with those stocks. The results are both parties' shares."""

    def run(index: int, channel: Channel, meter: Meter) -> Tensor:
        protocol = HybridParty(stocks[index], channel, policy, meter=meter)
        result = program(protocol, [pair[index] for pair in shares])
        protocol.finish()
        return result

    return both(run)


@dataclass
class Run:
    """A result, its scale, and both passes."""

    result: Tensor
    fraction_bits: int
    made: Pass
    used: Pass

    @property
    def real(self) -> Tensor:
        return self.result.to(torch.float64) / 2.0**self.fraction_bits


def secure(
    function: Callable[..., Secret],
    *values: Tensor,
    weights: Mapping[str, Tensor] | None = None,
    policy: FixedPointPolicy = POLICY,
    garbler: Garbler = "client",
) -> Run:
    """function(*secrets, **weights) of real values, with weights that the owner alone has."""
    f, scales = policy.fraction_bits, []
    prepared = [
        {
            name: HybridLoader(index, policy).prepare(
                Parameter(tuple(w.shape), f, opened=True), encode(w, f), Visibility.SERVER
            )
            for name, w in (weights or {}).items()
        }
        for index in (0, 1)
    ]

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        given = zip(shares, values, strict=True)
        secrets = [protocol.input(share, tuple(value.shape), f) for share, value in given]
        assert isinstance(protocol, HybridMaker | HybridParty)
        result = function(*secrets, **prepared[protocol.role.index])
        scales.append(result.fraction_bits)
        return protocol.reveal(result)

    stocks, made = make(program, len(values), policy=policy, garbler=garbler)
    used = use(program, stocks, [split(encode(value, f)) for value in values], policy)
    return Run(used.results[0] + used.results[1], scales[0], made, used)
