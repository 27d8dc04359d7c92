"""What each party sees of each function of the conformance table is uniform, jointly.

Every row is looked at in the slow run, with values at the edges of its range, at one party of one family; the campaign
has every party of both. Functions are made of gates, one after the other: what counts here is that none uses what
another one has used.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import pytest
from torch import Tensor

from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Protocol
from tests.in_process import EXACT, POLICY, RoleProgram, encode
from tests.protocols.arguments import Shape
from tests.protocols.joint_view.observing import QUICK, observe
from tests.protocols.joint_view.views import BEAVER, REPLICATED, Setting, generator_of
from tests.protocols.ops import Op, form_of, input_scale, obtain
from tests.protocols.table import OPS
from tests.sampling import sampled

DEFAULT = {
    ("linear-server", "share", "probabilistic"),
    ("append-and-multiply", "share", "probabilistic"),
    ("multiply", "share", "exact"),
}
TRUNCATED_EXACTLY = ("truncate", "scale-up", "multiply", "square", "linear", "linear-server", "gelu", "softmax")
"""Functions that are looked at with exact truncation, too: it is the same step in all."""
OF_PAIRS = ("add", "concatenate", "multiply", "matmul", "linear", "less-than", "maximum")
"""Functions that are looked at with what a truncation left, too: the masks of its opening are used on."""
SHAPED = ("multiply-public-factor", "rotate")
"""Functions that take rows of one length."""
LONGEST = (
    "puma-layer-norm",
    "layer-norm-full-range",
    "rms-norm-full-range",
    "rms-normalise-encoder",
    "rms-normalise-wide",
)
"""Rows for the campaign alone: minutes each, and the functions of shorter rows at other ranges."""


def small(op: Op) -> tuple[Shape, ...]:
    """The second case of a row, which has several elements, with no axis longer than two."""
    if op.name in SHAPED:
        return op.shapes[0]
    return tuple(tuple(min(length, 2) for length in shape) for shape in op.shapes[1])


def program_of(op: Op, values: Sequence[Tensor], form: str) -> RoleProgram:
    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        given = zip(op.arguments, shares, values, strict=True)
        arguments = [obtain(protocol, *each, form_of(form, i)) for i, each in enumerate(given)]
        return protocol.reveal(op.function(*arguments))

    return program


def _seen(
    op: Op, form: str, setting: Setting, receiver: int, policy: FixedPointPolicy, depth: dict[str, int]
) -> Iterable[Hashable]:
    """What the slow run has of each at least once."""
    if depth:
        return (op.name, form, policy.truncation, setting, receiver, "in the default run")
    return (op.name,), (form, policy.truncation, setting, receiver)


def _cases() -> list[Any]:
    cases = [
        pytest.param(
            op,
            form,
            setting,
            receiver,
            policy,
            depth,
            id=f"{op.name}-{form}-{policy.truncation}-{name}-{setting.parties[receiver]}{'' if depth else '-thorough'}",
            marks=[] if depth else [pytest.mark.slow, *[pytest.mark.campaign] * (op.name in LONGEST)],
        )
        for op in OPS
        for form, policy in (("share", POLICY), ("share", EXACT), ("mixed", POLICY))
        if policy is POLICY or op.name in TRUNCATED_EXACTLY
        if form == "share" or op.name in OF_PAIRS
        for name, setting in (("beaver", BEAVER), ("replicated", REPLICATED))
        if setting is BEAVER or not any(argument.kind.startswith("server") for argument in op.arguments)
        for receiver in range(len(setting.parties))
        for depth in ([{}, QUICK] if (op.name, form, policy.truncation) in DEFAULT else [{}])
    ]
    return sampled(cases, _seen, pytest.mark.campaign)


@pytest.mark.parametrize(("op", "form", "setting", "receiver", "policy", "depth"), _cases())
def test_a_function(
    op: Op, form: str, setting: Setting, receiver: int, policy: FixedPointPolicy, depth: dict[str, int]
) -> None:
    values = op.fill(small(op), generator_of(op.name))
    scales = [input_scale(argument, form_of(form, i), policy) for i, argument in enumerate(op.arguments)]
    inputs = [encode(value, scale) for value, scale in zip(values, scales, strict=True)]
    samples = observe(setting, program_of(op, values, form), inputs, receiver, policy=policy, **depth)
    assert samples is None or samples.findings() == []
