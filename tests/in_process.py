"""All three roles in one process, for unit tests only: threads and in-memory channels."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from protocols.beaver.protocol import BeaverDealer, BeaverParty
from protocols.beaver.secret import BeaverSecret
from protocols.core.channel import queue_channels
from protocols.core.cost import Meter
from protocols.core.fixedpoint import FixedPointPolicy
from protocols.core.secret import Protocol, Secret

POLICY = FixedPointPolicy()
Program = Callable[..., Secret]


@dataclass
class Run:
    """What a run left behind: the result in the ring, meters by role, and every message by sender."""

    result: Tensor
    meters: dict[str, Meter] = field(default_factory=dict)
    sent: dict[str, list[bytes]] = field(default_factory=dict)
    fraction_bits: int = 16

    @property
    def real(self) -> Tensor:
        return self.result.to(torch.float64) / 2.0**self.fraction_bits


def split(x: Tensor, bits: int = 64) -> tuple[Tensor, Tensor]:
    first = torch.frombuffer(bytearray(os.urandom(8 * max(x.numel(), 1))), dtype=torch.int64)[: x.numel()]
    first = first.reshape(x.shape)
    return first, x - first


def encode(x: Tensor, fraction_bits: int = 16) -> Tensor:
    return torch.round(x.to(torch.float64) * 2.0**fraction_bits).to(torch.int64)


def run_roles(
    program: Callable[[Protocol, list[Tensor | None]], Tensor],
    inputs: list[Tensor],
    *,
    policy: FixedPointPolicy = POLICY,
    timeout_seconds: float = 60.0,
) -> tuple[list[Tensor], dict[str, Meter], dict[str, list[bytes]]]:
    """Run `program(protocol, shares)` as p0, p1 and the dealer at once. Returns what the parties returned."""
    seeds, session = (os.urandom(16), os.urandom(16)), os.urandom(16)
    p0_end, p1_end = queue_channels("p0", "p1", timeout_seconds=timeout_seconds)
    dealer_end, p1_dealer = queue_channels("dealer", "p1", timeout_seconds=timeout_seconds)
    sent = {"p0": p0_end.record(), "p1": p1_end.record(), "dealer": dealer_end.record()}
    meters = {role: Meter() for role in sent}
    shares = [split(x) for x in inputs]

    def dealer() -> None:
        protocol = BeaverDealer(seeds, session, dealer_end, policy, meter=meters["dealer"])
        program(protocol, [None] * len(inputs))
        protocol.flush()

    def party(index: int) -> Tensor:
        role = f"p{index}"
        channel, corrections = (p0_end, None) if index == 0 else (p1_end, p1_dealer)
        protocol = BeaverParty(index, seeds[index], session, channel, corrections, policy, meter=meters[role])
        return program(protocol, [pair[index] for pair in shares])

    with ThreadPoolExecutor(3) as pool:
        dealing = pool.submit(dealer)
        parties = [pool.submit(party, i) for i in (0, 1)]
        errors = [f.exception() for f in (dealing, *parties)]
        first = next((e for e in errors if e is not None), None)
        if first is not None:
            raise first
        return [f.result() for f in parties], meters, sent


def secure(
    function: Program,
    *values: Tensor,
    scales: tuple[int, ...] | None = None,
    bits: int = 64,
    policy: FixedPointPolicy = POLICY,
) -> Run:
    """function(*secrets) on shares of real-valued tensors, revealed."""
    scales = scales or (policy.fraction_bits,) * len(values)
    found: list[int] = []

    def program(protocol: Protocol, shares: list[Tensor | None]) -> Tensor:
        secrets = [
            protocol.input(share, tuple(value.shape), scale, bits)
            for share, value, scale in zip(shares, values, scales, strict=True)
        ]
        result = function(*secrets)
        found.append(result.fraction_bits)
        return protocol.reveal(result)

    inputs = [encode(value, scale) for value, scale in zip(values, scales, strict=True)]
    (first, second), meters, sent = run_roles(program, inputs, policy=policy)
    return Run(first + second, meters, sent, found[0])


def as_pair(x: Secret) -> Secret:
    """x, carrying a pair of a smaller ring as a truncated product does."""
    assert isinstance(x, BeaverSecret)
    return x
