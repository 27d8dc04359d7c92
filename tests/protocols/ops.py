"""What a row of the conformance table is, and how its op is run on shares and in the clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverParty
from secure.protocols.cleartext.protocol import ClearSecret, CleartextProtocol
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.primitives import truncate
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.core.secret import Parameter, Protocol, Secret, Visibility
from secure.protocols.masked.gate import GUARD_BITS
from secure.protocols.masked.protocol import MaskedProtocol
from tests.in_process import BEAVER, Family, Run, encode
from tests.protocols.arguments import ULP, Argument, Filler, Shape, independent

Bound = Callable[..., Tensor | float]
"""Largest allowed error, from the reference result and the arguments."""

DOUBLE = 2.0**-40
"""What float64 loses in the reference itself: products of up to 58 bits below 2^13."""


@dataclass(frozen=True)
class Op:
    """One row. Shapes: one tuple of argument shapes per case. `forms`: see `FORMS`."""

    name: str
    function: Callable[..., Secret]
    arguments: tuple[Argument, ...]
    shapes: tuple[tuple[Shape, ...], ...]
    bound: Bound
    filler: Filler | None = None
    forms: tuple[str, ...] = ("share", "share32", "pair48", "pair31", "mixed")

    def fill(self, shapes: tuple[Shape, ...], generator: torch.Generator) -> list[Tensor]:
        return (self.filler or independent(*self.arguments))(shapes, generator)


@dataclass(frozen=True)
class Form:
    """How an argument comes: a share in Z_2^bits, or the pair that a truncation by `shift` bits left."""

    bits: int = 64
    shift: int = 0


FORMS = {"share": Form(), "share32": Form(bits=32), "pair48": Form(shift=16), "pair31": Form(shift=33)}


def form_of(name: str, position: int) -> Form:
    """'mixed' alternates between the two extremes."""
    return FORMS[name] if name in FORMS else FORMS[("pair31", "share")[position % 2]]


def input_scale(argument: Argument, form: Form, policy: FixedPointPolicy) -> int:
    """Fraction bits at which the argument is shared: more than its own where a truncation is to follow.

    After the truncation the ring still holds every value of the policy, a sign and a spare bit.
    """
    if argument.kind != "secret":
        return argument.fraction_bits
    return argument.fraction_bits + min(form.shift, 62 - policy.value_bits - argument.fraction_bits)


def obtain(protocol: Protocol, argument: Argument, share: Tensor | None, values: Tensor, form: Form) -> Any:
    """The argument as the op takes it. The low bits that a truncation drops are zero, so that it adds no error.

    Its opening has all bits: one without low bits may be a unit more, which would be an error of the argument.
    """
    shape, scale = tuple(values.shape), argument.fraction_bits
    match argument.kind:
        case "secret":
            shared_scale = input_scale(argument, form, protocol.policy)
            bits = max(form.bits, min(64, scale + protocol.policy.value_bits + 3)) if form.bits < 64 else 64
            secret = protocol.input(share, shape, shared_scale, bits)
            return secret if shared_scale == scale else _exactly_truncated(protocol, secret, scale)
        case "weight":
            return protocol.prepare(Parameter(shape, scale, opened=True), share)
        case "bias":
            return protocol.bind(protocol.prepare(Parameter(shape, scale), share))
        case "table":
            return protocol.prepare(Parameter(shape, scale, bits=32, opened=True), share)
        case "server weight" | "server bias" | "server gain" | "server table":
            # P1 alone has the values.
            given = values_at_the_owner(protocol, share, values, scale)
            opened, bits = argument.kind != "server bias", 32 if argument.kind == "server table" else 64
            prepared = protocol.prepare(Parameter(shape, scale, bits, opened), given, Visibility.SERVER)
            matrix = argument.kind in ("server weight", "server table")
            return prepared if matrix else protocol.bind(prepared)
        case "public" | "bound public":
            number = None if share is None else torch.round(values * 2.0**scale).to(torch.int64)
            public = argument.kind == "public"
            prepared = protocol.prepare(Parameter(shape, scale, opened=public), number, Visibility.PUBLIC)
            return prepared if public else protocol.bind(prepared)
    raise AssertionError(argument.kind)


def _exactly_truncated(protocol: Protocol, x: Secret, fraction_bits: int) -> Secret:
    """Truncation of a multiple of its unit, by an opening of all bits where the protocol leaves out some."""
    if not isinstance(protocol, MaskedProtocol):
        return truncate(x, fraction_bits)
    before, protocol.coarse_openings = protocol.coarse_openings, False
    try:
        return truncate(x, fraction_bits)
    finally:
        protocol.coarse_openings = before


def values_at_the_owner(protocol: Protocol, share: Tensor | None, values: Tensor, scale: int) -> Tensor | None:
    """The argument itself where it is in the clear: at P1, and in the reference."""
    clear = share is not None and not (isinstance(protocol, BeaverParty) and protocol.role.index == 0)
    return encode(values, scale) if clear else None


# Bounds.

TRUNCATION = ULP * (1 + 2.0 ** (1 - GUARD_BITS))
"""What a truncation is off by at most. It is the floor or one unit more, hence less than a unit; where its opening left
out low bits, of what may be two units of those bits more: see `OpeningGate`."""


def exactly(reference: Tensor, *arguments: Tensor) -> float:
    return 0.0


def one_unit(reference: Tensor, *arguments: Tensor) -> float:
    return TRUNCATION + DOUBLE


def at_most(error: float) -> Bound:
    """The number that the function's docstring declares."""
    return lambda reference, *arguments: error


def as_declared(function: Piecewise) -> Bound:
    return lambda reference, *arguments: function.max_error + function.relative_error * reference.abs()


def scaled(reference: Tensor, *arguments: Tensor) -> Tensor:
    # A public factor keeps 21 significant bits, rounded; then one truncation.
    return reference.abs() * 2.0**-21 + TRUNCATION


def float_sum(reference: Tensor, *arguments: Tensor) -> Tensor:
    # Nothing is rounded in the ring; the reference is a float64 and so is what it is compared with.
    return reference.abs() * 2.0**-50


def run_clear(op: Op, values: Sequence[Tensor], policy: FixedPointPolicy) -> ClearSecret:
    """The reference, with every declared bound checked."""
    protocol = CleartextProtocol(policy)
    plain = Form()
    arguments = [
        obtain(protocol, argument, encode(value, argument.fraction_bits), value, plain)
        for argument, value in zip(op.arguments, values, strict=True)
    ]
    result = op.function(*arguments)
    assert isinstance(result, ClearSecret)
    return result


def run_secure(
    op: Op,
    values: Sequence[Tensor],
    form: str,
    policy: FixedPointPolicy,
    family: Family = BEAVER,
    profile: Profile = NEAR,
) -> Run:
    """All three roles."""
    forms = [form_of(form, i) for i in range(len(values))]
    scales = [input_scale(a, f, policy) for a, f in zip(op.arguments, forms, strict=True)]
    scale_found: list[int] = []

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        protocol.profile = profile
        arguments = [obtain(protocol, *each) for each in zip(op.arguments, shares, values, forms, strict=True)]
        result = op.function(*arguments)
        scale_found.append(result.fraction_bits)
        return protocol.reveal(result)

    inputs = [encode(value, scale) for value, scale in zip(values, scales, strict=True)]
    results, meters, sent = family.run(program, inputs, policy=policy)
    return Run(family.combine(results), meters, sent, scale_found[0], tuple(results))
