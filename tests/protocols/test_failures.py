"""What goes wrong is an error that says what and where, at once or after the channel's time limit; never a hang."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverParty, BeaverProtocol
from secure.protocols.core.channel import FaultyChannel, queue_channels
from secure.protocols.core.errors import PartyLost, ProtocolError
from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.primitives import multiply_public, square_sum, truncate
from secure.protocols.core.secret import Protocol, Secret, SecretSpec, multiply
from secure.protocols.functions import compare, gelu, layernorm, reciprocal_and_root, relu, tanh
from secure.protocols.masked.dealt.secret import DealtSecret
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise, piecewise
from secure.protocols.masked.gates.triple_product import multiply_three
from secure.protocols.masked.sharing import two_parts
from tests.families import FAMILIES, REPLICATED
from tests.in_process import BEAVER, POLICY, Family, RoleFailure, run_roles, secure

SHORT_SECONDS = 0.2
"""The patience of channels where a message is dropped: nothing but time tells that it does not come."""
ONES = torch.full((6,), 65536)


def program_of(function: Callable[[Secret], Secret], size: int = 6) -> Callable[..., Tensor]:
    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        share = shares[0]
        # A replicated share has a leading axis, for its two parts.
        return protocol.reveal(function(protocol.input(None if share is None else share[..., :size], (size,), 16)))

    return program


def failure(**arguments: Any) -> dict[str, BaseException]:
    """Errors of a run that must fail, by role; "only" where a single role failed."""
    program = arguments.pop("program", program_of(lambda x: relu.relu(x * x)))
    family: Family = arguments.pop("family", BEAVER)
    with pytest.raises((RoleFailure, PartyLost, ProtocolError)) as caught:
        family.run(program, [ONES], **arguments)
    errors = caught.value.errors if isinstance(caught.value, RoleFailure) else {"only": caught.value}
    assert all(isinstance(error, PartyLost | ProtocolError) for error in errors.values())
    return errors


def patience(fault: str) -> dict[str, float]:
    return {"timeout_seconds": SHORT_SECONDS} if fault == "drop" else {}


# The dealer needs one message only for so short a program.
@pytest.mark.parametrize("fault", ["lose", "drop", "truncate"])
@pytest.mark.parametrize(("sender", "at_message"), [("p0", 0), ("p0", 2), ("p1", 0), ("p1", 2), ("dealer", 0)])
def test_a_broken_channel_ends_in_errors(fault: str, sender: str, at_message: int) -> None:
    faulty = {sender: lambda channel: FaultyChannel(channel, fault=fault, at_message=at_message)}
    errors = failure(wrap=faulty, **patience(fault))
    if fault == "truncate":
        assert any("bytes" in str(error) and "gate" in str(error) for error in errors.values())
    else:
        assert any(isinstance(error, PartyLost) for error in errors.values())


@pytest.mark.parametrize("fault", ["lose", "drop", "truncate"])
@pytest.mark.parametrize("at_message", [0, 1])
@pytest.mark.parametrize("sender", ["p0", "p1", "p2"])
def test_a_broken_channel_of_three_parties_ends_in_errors(fault: str, sender: str, at_message: int) -> None:
    faulty = {sender: lambda channel: FaultyChannel(channel, fault=fault, at_message=at_message)}
    errors = failure(family=REPLICATED, wrap=faulty, **patience(fault))
    if fault == "lose":
        assert any(isinstance(error, PartyLost) for error in errors.values())


@pytest.mark.parametrize("odd", ["p0", "p1", "p2"])
def test_one_of_three_parties_with_a_different_program_is_noticed(odd: str) -> None:
    errors = failure(family=REPLICATED, programs={odd: program_of(lambda x: relu.relu(x * x), size=5)})
    messages = [str(error) for error in errors.values() if isinstance(error, ProtocolError)]
    assert any("gate" in message and "different program" in message for message in messages)


def test_parties_with_different_programs_name_the_gate() -> None:
    """P1 opens fewer elements: both see at the same gate that lengths differ."""
    errors = failure(programs={"p1": program_of(lambda x: relu.relu(x * x), size=5)})
    for role, own, other in (("p0", 48, 40), ("p1", 40, 48)):
        assert isinstance(errors[role], ProtocolError)
        assert f"gate 0: {'p1' if role == 'p0' else 'p0'} sent {other} bytes where {own} are due" in str(errors[role])
        assert "different programs or versions" in str(errors[role])


def test_different_ops_after_equal_ones_name_the_gate() -> None:
    errors = failure(
        program=program_of(lambda x: (x * 0.5) * x), programs={"p1": program_of(lambda x: (x * 0.5)[:2] * x[:2])}
    )
    mismatches = [str(error) for error in errors.values() if isinstance(error, ProtocolError)]
    assert mismatches and all("gate" in message and "different program" in message for message in mismatches)


def test_a_dealer_with_a_smaller_program_is_noticed() -> None:
    errors = failure(programs={"dealer": program_of(lambda x: relu.relu(x * x), size=5)})
    error = errors.get("p1") or errors["only"]
    assert isinstance(error, ProtocolError) and "gate" in str(error) and "the dealer runs a different" in str(error)


def test_a_dealer_that_deals_nothing_is_noticed() -> None:
    errors = failure(programs={"dealer": lambda protocol, shares: torch.zeros(1)})
    assert isinstance(errors["p1"], PartyLost) and errors["p1"].role == "dealer"
    assert isinstance(errors["p0"], PartyLost) and errors["p0"].role == "p1"


def _foreign(x: Secret) -> Secret:
    share = torch.zeros(6, dtype=torch.int64)
    other = BeaverParty(
        0, bytes(16), b"other session", queue_channels("p0", "p1")[0], None, POLICY, common_seed=bytes(16)
    )
    return x + other.input(share, (6,), 16)


def _finer(x: Secret, fraction_bits: int) -> Secret:
    return multiply(x, x, fraction_bits=fraction_bits)


ODD = Piecewise("odd", (0.0,), (None, Piece(period=3.0, sines=((1, 1.0),))), torch.sin, (0.0, 1.0))
MISUSES: list[tuple[str, Callable[[Secret], Secret], str]] = [
    ("foreign-secret", _foreign, "another protocol or session"),
    (
        "three-too-fine",
        lambda x: multiply_three(x, x, multiply(x, x, fraction_bits=18)),
        "50 fraction bits; at most 49",
    ),
    ("truncate-upwards", lambda x: truncate(x, 20), "cannot truncate from 16 to 20"),
    ("exponent-scale", lambda x: exp2_negative(truncate(x, 12)), "takes 16 fraction bits"),
    (
        "slope-scale",
        lambda x: piecewise(multiply(x, x, fraction_bits=20), relu.relu_function(16)),
        "not exact",
    ),
    ("fine-comparison", lambda x: compare.less_than(_finer(x, 20), 0.0), "less-than compares 32 bits.*truncate"),
    ("fine-tanh", lambda x: tanh.tanh(_finer(x, 20)), "tanh compares 32 bits, too few.*20 fraction bits"),
    ("fine-rms", lambda x: layernorm.rms_normalise(_finer(x, 18), 0.0), "rsqrt compares .* with 36 fraction bits"),
    ("fine-norm", lambda x: layernorm.l2_normalise(_finer(x, 18)), "rsqrt compares .* with 36 fraction bits"),
    (
        "period",
        lambda x: piecewise(x, ODD),
        "period is not a power of two",
    ),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize(("function", "message"), [(f, m) for _, f, m in MISUSES], ids=[name for name, *_ in MISUSES])
def test_misuse(function: Callable[[Secret], Secret], message: str, family: Family) -> None:
    errors = failure(program=program_of(function), family=family)
    assert any(isinstance(error, ProtocolError) and re.search(message, str(error)) for error in errors.values())


def test_a_comparison_wider_than_its_ring_is_refused() -> None:
    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        x = protocol.input(shares[0], (6,), 16)
        assert isinstance(x, DealtSecret)
        pair = protocol.pair(x, 30)
        return protocol.run(EvaluatePiecewise(pair, reciprocal_and_root.reciprocal_function(-4, 13), 16, 64))

    with pytest.raises(RoleFailure, match="compares 31 bits of a smaller ring"):
        run_roles(program, [ONES])


@pytest.mark.parametrize(("index", "has_dealer"), [(0, True), (1, False)])
def test_only_p1_has_a_dealer(index: int, has_dealer: bool) -> None:
    peer, dealer = queue_channels("p0", "p1")
    with pytest.raises(ProtocolError, match="P1 has a channel from the dealer, P0 has none"):
        BeaverParty(index, bytes(16), b"session", peer, dealer if has_dealer else None, POLICY, common_seed=bytes(16))


def test_a_secret_needs_content_and_hides_it() -> None:
    party = BeaverParty(0, bytes(16), b"session", queue_channels("p0", "p1")[0], None, POLICY, common_seed=bytes(16))
    with pytest.raises(ProtocolError, match="needs a share or a masked pair"):
        DealtSecret(party, 16)
    shown = repr(party.input(torch.tensor([1234567]), (1,), 16))
    assert "1234567" not in shown and "(1,)" in shown


SPECS = {"x": SecretSpec((2, 3), 16), "y": SecretSpec((5,), 0, bits=32)}
TENSORS = {"x": torch.arange(6).reshape(2, 3) - 3, "y": torch.tensor([0, 1, -1, 7, -(2**31)])}


def test_sharing_round_trip() -> None:
    payloads = two_parts.share(TENSORS, SPECS)
    opened = [two_parts.open_payload(i, payload, SPECS) for i, payload in enumerate(payloads)]
    back = two_parts.reconstruct(*(two_parts.pack_shares(shares, SPECS) for shares in opened), SPECS)
    assert back.keys() == TENSORS.keys()
    assert all(torch.equal(back[name], TENSORS[name]) for name in TENSORS)


def test_sharing_refuses_what_does_not_fit() -> None:
    with pytest.raises(ProtocolError, match=r"inputs are \['x'\], due are \['x', 'y'\]"):
        two_parts.share({"x": TENSORS["x"]}, SPECS)
    with pytest.raises(ProtocolError, match="'x' has shape"):
        two_parts.share({**TENSORS, "x": TENSORS["x"].T}, SPECS)
    first, second = two_parts.share(TENSORS, SPECS)
    for index, payload in ((0, first[:-1]), (1, second + b"\0"), (0, second), (1, first)):
        with pytest.raises(ProtocolError, match="bytes, due are"):
            two_parts.open_payload(index, payload, SPECS)
    with pytest.raises(ProtocolError, match="bytes, due are"):
        two_parts.reconstruct(second, second[:-1], SPECS)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("factor", [None, 0.0])
def test_a_vector_sums_to_a_number_and_scales_to_zero(factor: float | None, family: Family) -> None:
    x = torch.arange(5, dtype=torch.float64)
    function = (lambda x: x.sum(0)) if factor is None else (lambda x: x * factor)
    run = secure(function, x, family=family)
    assert torch.equal(run.real, x.sum() if factor is None else torch.zeros(5, dtype=torch.float64))


def _sum_of_products(x: Secret) -> Secret:
    return multiply_public(x, torch.ones(1)).sum(0)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_as_many_products_as_the_ring_holds_add_up(family: Family) -> None:
    run = secure(_sum_of_products, torch.ones(2**17, dtype=torch.float64), family=family)
    assert float(run.real) == 2**17


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        pytest.param(gelu.gelu, (0, 3), "no elements", id="empty"),
        pytest.param(lambda x: x * 1e-14, (3,), "leaves nothing", id="tiny-factor"),
        pytest.param(lambda x: square_sum(x) * 0.3, (3,), "no room for a factor", id="fine-number"),
        pytest.param(_sum_of_products, (2**17 + 1,), "takes 65 bits.*truncate them first", id="long-sum"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_every_role(
    function: Callable[[Secret], Secret], shape: tuple[int, ...], message: str, family: Family
) -> None:
    with pytest.raises(RoleFailure, match=message):
        secure(function, torch.ones(shape, dtype=torch.float64), family=family)
