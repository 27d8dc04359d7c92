"""All three roles in one process, one thread each, on one device, with queues in place of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverDealer, BeaverParty, BeaverProtocol
from secure.protocols.core.channel import Channel, Payload, QueueChannel, queue_channels
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import SEED_BYTES, Prg
from secure.protocols.core.transfer import CPU

ROLES = ("p0", "p1", "dealer")
RoleProgram = Callable[[BeaverProtocol, Sequence[Any]], Any]
Around = Callable[[str], AbstractContextManager[None]]
_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Session:
    """What makes a run repeatable: the seeds of P0 and P1 and the session's name. For measurements and tests only.

    common_seed: what P0 and P1 have without the dealer.
    """

    seeds: tuple[bytes, bytes]
    common_seed: bytes
    name: bytes

    @classmethod
    def number(cls, value: int) -> Session:
        """A fixed session for each number."""
        return cls(
            (b"\x01" * SEED_BYTES, b"\x02" * SEED_BYTES), b"\x03" * SEED_BYTES, value.to_bytes(SEED_BYTES, "big")
        )


@dataclass(frozen=True)
class Outcome:
    """By role: what its program returned, its meter, and, if they were recorded, its messages."""

    results: dict[str, Any]
    meters: dict[str, Meter]
    sent: dict[str, list[bytes]]


class _SendOnly(Channel):
    """The dealer's end: nothing ever reaches it."""

    def __init__(self, inner: Channel) -> None:
        self.peer = inner.peer
        self._inner = inner

    def send(self, payload: Payload) -> None:
        self._inner.send(payload)

    def receive(self) -> memoryview:
        raise ProtocolError("the dealer receives no message")


def split(x: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Additive shares in Z_2^64, the same for the same number."""
    first = Prg(b"\x03" * SEED_BYTES, number.to_bytes(SEED_BYTES, "big")).words(0, 0, tuple(x.shape), CPU)
    return first, x - first


def run_roles(
    program: RoleProgram,
    inputs: Sequence[tuple[Any, Any]],
    device: torch.device,
    session: Session,
    *,
    policy: FixedPointPolicy | None = None,
    record: bool = False,
    around: Around | None = None,
) -> Outcome:
    """Run `program(protocol, own inputs)` at p0, p1 and the dealer at once.

    inputs: for each, what P0 has of it and what P1 has; the dealer is given None. `around` gives a context within which
    a role runs, in its thread. Raises what the first role to fail raised.
    """
    policy = policy or FixedPointPolicy()
    p0_end, p1_end = queue_channels("p0", "p1", timeout_seconds=_TIMEOUT_SECONDS)
    dealer_end, p1_dealer = queue_channels("dealer", "p1", timeout_seconds=_TIMEOUT_SECONDS)
    ends: dict[str, QueueChannel] = {"p0": p0_end, "p1": p1_end, "dealer": dealer_end}
    sent = {role: end.record() if record else [] for role, end in ends.items()}
    meters = {role: Meter() for role in ROLES}
    # When one role has failed, the others are told at once instead of waiting for messages.
    gone: list[BaseException] = []

    def dealer() -> Any:
        protocol = BeaverDealer(
            session.seeds, session.name, _SendOnly(dealer_end), policy, meter=meters["dealer"], device=device
        )
        result = program(protocol, [None] * len(inputs))
        protocol.finish()
        return result

    def party(index: int) -> Any:
        protocol = BeaverParty(
            index,
            session.seeds[index],
            session.name,
            ends[f"p{index}"],
            p1_dealer if index else None,
            policy,
            common_seed=session.common_seed,
            meter=meters[f"p{index}"],
            device=device,
        )
        result = program(protocol, [pair[index] for pair in inputs])
        protocol.finish()
        return result

    def guarded(role: str) -> Any:
        try:
            with torch.inference_mode(), _on_stream(role, device), around(role) if around else nullcontext():
                return dealer() if role == "dealer" else party(int(role[1]))
        except BaseException as error:
            gone.append(error)
            for end in (p0_end, p1_end, dealer_end):
                end.send(b"")  # of no length that is due: wakes whoever waits
            raise

    with ThreadPoolExecutor(len(ROLES)) as pool:
        futures = {role: pool.submit(guarded, role) for role in ROLES}
    if gone:
        raise gone[0]
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Outcome({role: future.result() for role, future in futures.items()}, meters, sent)


def _on_stream(role: str, device: torch.device) -> AbstractContextManager[Any]:
    """Roles share the card: each has its own order of work there, so that none waits for another's."""
    return torch.cuda.stream(_stream(role, device)) if device.type == "cuda" else nullcontext()


@cache
def _stream(role: str, device: torch.device) -> torch.cuda.Stream:
    """A role's stream, one for all runs: memory that a run has freed belongs to its stream."""
    return torch.cuda.Stream(device)
