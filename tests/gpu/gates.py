"""Every gate of the conformance tests by itself, in the runner of `bench.gpu`: on any device, repeatable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.gpu.roles import Around, Outcome, Session, run_roles, split
from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core import ring
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.vanishing import Toss
from secure.protocols.masked.pair import Pair
from tests.protocols.gates import GATES

CASES = [
    pytest.param(gate, label, shapes, id=f"{gate.name}-{label}-{'-'.join('x'.join(map(str, s)) for s in shapes)}")
    for gate, label, _, cases in GATES
    if gate is not Toss  # which draws from the operating system, and computes nothing
    for shapes in cases[-2:]
]


def run_gate(
    gate: type[Gate[Any]],
    label: str,
    shapes: tuple[tuple[int, ...], ...],
    device: torch.device,
    around: Around | None = None,
) -> Outcome:
    """One gate and what makes its inputs, on small numbers. A party's result is what the gate left there."""
    (build,) = [row[2] for row in GATES if row[:2] == (gate, label)]
    generator = torch.Generator().manual_seed(9)
    inputs = [split(torch.randint(0, 1 << 18, shape, generator=generator), i) for i, shape in enumerate(shapes)]

    def program(protocol: BeaverProtocol, shares: Sequence[Tensor | None]) -> list[Tensor]:
        own = [
            torch.empty(shape, dtype=torch.int64, device="meta") if share is None else share.to(device)
            for share, shape in zip(shares, shapes, strict=True)
        ]
        ready = build(protocol, own)
        result = protocol.run(ready)
        if isinstance(result, Tensor):  # what lies above its ring may differ
            result = ring.low(result, getattr(ready, "bits", ring.WORD_BITS))
        return [] if protocol.at_dealer else tensors_of(result)

    return run_roles(program, inputs, device, Session.number(4), record=True, around=around)


def tensors_of(result: Any) -> list[Tensor]:
    """Every tensor in what a gate returned; what it told the host, as one."""
    if isinstance(result, bool):
        return [torch.tensor(result)]
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, Pair):
        return [result.opened] if result.mask is None else [result.opened, result.mask]
    return [tensor for part in result for tensor in tensors_of(part)]
