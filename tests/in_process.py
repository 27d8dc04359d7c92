"""All three roles in one process, for unit tests only: threads and in-memory channels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from secure.models.program import ClientSteps
from secure.protocols.beaver.protocol import BeaverDealer, BeaverParty
from secure.protocols.core.channel import Channel, QueueChannel, queue_channels
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.masked.ahead import Ahead

POLICY = FixedPointPolicy()
BYTES_FIRST, ROUNDS_FIRST = Profile("bytes first", 0), Profile("rounds first", 1 << 40)
EXACT = FixedPointPolicy(truncation="exact")
ROLES = ("p0", "p1", "dealer")
RoleProgram = Callable[[Protocol, Sequence[Tensor | None]], Tensor]
Program = Callable[..., Secret]
Result = TypeVar("Result")


@dataclass
class Run:
    """What a run left behind: the result in the ring, meters by role, and every message by sender."""

    result: Tensor
    meters: dict[str, Meter] = field(default_factory=dict)
    sent: dict[str, list[bytes]] = field(default_factory=dict)
    fraction_bits: int = 16
    shares: tuple[Tensor, ...] | None = None

    @property
    def real(self) -> Tensor:
        return self.result.to(torch.float64) / 2.0**self.fraction_bits


class GivenSteps(ClientSteps):
    """A client whose inputs are known from the beginning; `outputs` are what it was sent."""

    def __init__(self, *payloads: bytes | memoryview) -> None:
        self.outputs: list[bytes] = []
        self._payloads = payloads

    def receive(self, step: int) -> bytes | memoryview | None:
        return self._payloads[step] if step < len(self._payloads) else None

    def send(self, payload: bytes) -> None:
        self.outputs.append(payload)


class RoleFailure(Exception):
    """More than one role failed: every role's exception, by role."""

    def __init__(self, errors: Mapping[str, BaseException]) -> None:
        super().__init__("; ".join(f"{role}: {type(e).__name__}: {e}" for role, e in errors.items()))
        self.errors = dict(errors)


def raise_failures(futures: Mapping[str, Future[Any]]) -> None:
    """Wait for every role; raise the one's exception that failed, or RoleFailure where several did."""
    errors = {role: error for role, future in futures.items() if (error := future.exception()) is not None}
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise RoleFailure(errors)


class SendOnly(Channel):
    """The dealer's end: it may send, and nothing may ever reach it."""

    def __init__(self, inner: Channel) -> None:
        self.peer = inner.peer
        self._inner = inner

    def send(self, payload: bytes | bytearray | memoryview) -> None:
        self._inner.send(payload)

    def receive(self) -> memoryview:
        raise AssertionError("the dealer tried to receive")


class Tape(Channel):
    """What the dealer has sent."""

    peer = "dealer"

    def __init__(self, messages: Sequence[bytes]) -> None:
        self._messages = iter(messages)

    def send(self, payload: bytes | bytearray | memoryview) -> None:
        raise AssertionError("nothing goes to the dealer")

    def receive(self) -> memoryview:
        return memoryview(next(self._messages))


def closing(ends: Sequence[QueueChannel], run: Callable[[], Result]) -> Result:
    """What a role's run gives; at its end, its ends of channels are closed."""
    try:
        return run()
    finally:
        for end in ends:
            end.close()


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Fresh additive shares in Z_2^64; an empty tensor has empty shares."""
    raw = bytearray(os.urandom(8 * max(x.numel(), 1)))
    first = torch.frombuffer(raw, dtype=torch.int64)[: x.numel()].reshape(x.shape)
    return first, x - first


def encode(x: Tensor, fraction_bits: int = 16) -> Tensor:
    return torch.round(x.to(torch.float64) * 2.0**fraction_bits).to(torch.int64)


def run_roles(
    program: RoleProgram,
    inputs: Sequence[Tensor],
    *,
    policy: FixedPointPolicy = POLICY,
    timeout_seconds: float = 60.0,
    programs: Mapping[str, RoleProgram] | None = None,
    wrap: Mapping[str, Callable[[Channel], Channel]] | None = None,
    seeds: tuple[bytes, bytes] | None = None,
    common_seed: bytes | None = None,
    session: bytes | None = None,
    ahead: Mapping[int, Ahead] | None = None,
) -> tuple[list[Tensor], dict[str, Meter], dict[str, list[bytes]]]:
    """Run `program(protocol, shares)` as p0, p1 and the dealer at once. Returns what the parties returned.

    `programs` replaces the program of single roles; `wrap` replaces the channel that a role sends to its peer by (for
    the dealer, to P1). ahead: by party, what it has of the session's products. A role that ends, however it does,
    closes its channels, so its peers hear of it and need not wait.

    Raises what the one failing role raised, or RoleFailure where several failed.
    """
    seeds, session = seeds or (os.urandom(16), os.urandom(16)), session or os.urandom(16)
    common_seed = common_seed or os.urandom(16)
    p0_end, p1_end = queue_channels("p0", "p1", timeout_seconds=timeout_seconds)
    dealer_end, p1_dealer = queue_channels("dealer", "p1", timeout_seconds=timeout_seconds)
    ends: dict[str, QueueChannel] = {"p0": p0_end, "p1": p1_end, "dealer": dealer_end}
    sent = {role: end.record() for role, end in ends.items()}
    wrapped = {role: wrap[role](end) if wrap and role in wrap else end for role, end in ends.items()}
    meters = {role: Meter() for role in ROLES}
    shares = [split(x) for x in inputs]

    def program_of(role: str) -> RoleProgram:
        return programs[role] if programs and role in programs else program

    def dealer() -> Tensor | None:
        channel = SendOnly(wrapped["dealer"])
        protocol = BeaverDealer(seeds, session, channel, policy, meter=meters["dealer"])
        program_of("dealer")(protocol, [None] * len(inputs))
        protocol.finish()
        return None

    def party(index: int) -> Tensor:
        role = f"p{index}"
        corrections = None if index == 0 else p1_dealer
        protocol = BeaverParty(
            index,
            seeds[index],
            session,
            wrapped[role],
            corrections,
            policy,
            common_seed=common_seed,
            meter=meters[role],
            ahead=(ahead or {}).get(index),
        )
        result = program_of(role)(protocol, [pair[index] for pair in shares])
        protocol.finish()
        return result

    with ThreadPoolExecutor(3) as pool:
        futures = {
            "dealer": pool.submit(closing, [dealer_end], dealer),
            "p0": pool.submit(closing, [p0_end], lambda: party(0)),
            "p1": pool.submit(closing, [p1_end], lambda: party(1)),
        }
    raise_failures(futures)
    return [futures[role].result() for role in ("p0", "p1")], meters, sent


@dataclass(frozen=True)
class Family:
    """A family as tests run it: `run` is `run_roles` or its like, `combine` adds up what the parties revealed."""

    name: str
    run: Callable[..., tuple[list[Tensor], dict[str, Meter], dict[str, list[bytes]]]]
    combine: Callable[[Sequence[Tensor]], Tensor]


BEAVER = Family("beaver", run_roles, lambda results: results[0] + results[1])


def secure(
    function: Program,
    *values: Tensor,
    scales: tuple[int, ...] | None = None,
    bits: int = 64,
    policy: FixedPointPolicy = POLICY,
    timeout_seconds: float = 60.0,
    family: Family = BEAVER,
    profile: Profile = NEAR,
) -> Run:
    """function(*secrets) on shares of real-valued tensors, revealed."""
    scales = scales or (policy.fraction_bits,) * len(values)
    found: list[int] = []

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        protocol.profile = profile
        secrets = [
            protocol.input(share, tuple(value.shape), scale, bits)
            for share, value, scale in zip(shares, values, scales, strict=True)
        ]
        result = function(*secrets)
        found.append(result.fraction_bits)
        return protocol.reveal(result)

    inputs = [encode(value, scale) for value, scale in zip(values, scales, strict=True)]
    results, meters, sent = family.run(program, inputs, policy=policy, timeout_seconds=timeout_seconds)
    return Run(family.combine(results), meters, sent, found[0], tuple(results))
