"""Two dealers, of whom one may lie: whatever it changes, evaluators notice before they use it, or nothing changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from secure.protocols.core.cost import Cost, CostTally
from secure.protocols.core.errors import PartyDeviates
from secure.protocols.core.secret import Protocol, Secret, multiply
from secure.protocols.witnessed.outline import TwoDealersOutline
from secure.protocols.witnessed.two_dealers import CONFIRMING, GATHERED_BYTES, check_seeds, digest_of_seeds
from secure.protocols.witnessed.witness import DIGEST_BYTES
from tests.four_roles import DEALERS, run_evaluators
from tests.in_process import POLICY
from tests.protocols.gates import Build, Shape
from tests.protocols.witnessed.faults import Setting
from tests.protocols.witnessed.lies import LIES, Lie, dealt, flip, outcome
from tests.protocols.witnessed.test_faults import ROWS, setting
from tests.protocols.witnessed.test_outline import block
from tests.protocols.witnessed.test_security import X, branches, program, squared_twice
from tests.sampling import sampled

CASES = [
    pytest.param(gate.__name__, lie, build, cases[1 % len(cases)], id=f"{gate.__name__}-{variant}-{lie}")
    for gate, variant, build, cases in ROWS
    for lie in LIES
]


def aspects(gate: str, lie: str, build: Build, shapes: tuple[Shape, ...]) -> Iterable[Hashable]:
    """The default run has each kind of lie, on gates that are quick."""
    return (lie,) if gate in ("ProductShare", "Square") else ()


@pytest.mark.parametrize(("gate", "lie", "build", "shapes"), sampled(CASES, aspects))
def test_a_dealer_that_lies_is_found_whoever_it_is(
    gate: str, lie: str, build: Build, shapes: tuple[Shape, ...]
) -> None:
    """To both holders alike, which with one dealer is believed; and to one of them."""
    tried = setting(build, shapes)
    _, _, sent = run_evaluators(tried.program, tried.inputs, parts=tried.parts, dealers=2)
    messages = len(sent["dealer2"]) // 2
    # The last message twice, or nothing in its place, is too much for the end, or silence.
    unheard = lie in ("left out", "twice")
    for who in DEALERS:
        for at in range(messages):
            for holders in (("p1", "p2"), ("p2",)):
                found = outcome(tried, who, Lie(LIES[lie], at, holders), 2.0 if unheard else 60.0)
                assert found == "caught" or (unheard and found != "wrong"), (who, at, holders, found)


def test_with_one_dealer_the_same_lie_is_believed() -> None:
    tried = Setting(program(squared_twice), [X])
    lie, due = Lie(flip(40)), dealt(tried, dealers=1)
    assert not torch.equal(dealt(tried, {"dealer": lie}, dealers=1), due)
    assert outcome(tried, "dealer", lie) == "caught"


@pytest.mark.parametrize("function", [squared_twice, branches], ids=lambda function: function.__name__)
def test_two_honest_dealers_change_nothing(function: Callable[[Secret], Secret]) -> None:
    """The result is that of one dealer, bit for bit; so is what evaluators say to each other."""
    tried = Setting(program(function), [X])
    assert torch.equal(dealt(tried), dealt(tried, dealers=1))


def test_both_dealers_must_have_the_seeds_that_evaluators_were_given() -> None:
    seeds, deal = [os.urandom(16) for _ in range(2)], os.urandom(16)
    said = digest_of_seeds(1, seeds, deal)
    check_seeds(1, seeds, deal, said, DEALERS)
    others = [os.urandom(16), seeds[1]], seeds[::-1]
    for held, evaluator, name in ((others[0], 1, deal), (others[1], 1, deal), (seeds, 2, deal), (seeds, 1, b"other")):
        with pytest.raises(PartyDeviates, match=r"p\d: the seeds of the parts: .*one of dealer and dealer2") as found:
            check_seeds(evaluator, held, name, said, DEALERS)
        assert found.value.suspects == DEALERS
    with pytest.raises(PartyDeviates):
        check_seeds(1, seeds, deal, said[:-1], DEALERS)


def large(protocol: Protocol, x: Secret) -> Secret:
    """Gates that deal more than a message gathers, and gates that deal less."""
    whole = x * x
    return multiply(whole * 0.25, whole)


@dataclass
class _Shaped:
    shape: tuple[int, ...]
    function: Callable[[Protocol, Secret], Secret]
    inputs: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = [torch.zeros(self.shape, dtype=torch.int64)]

    def program(self, protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        return protocol.reveal(self.function(protocol, protocol.input(shares[0], self.shape, 16)))


@pytest.mark.parametrize("elements", [4, GATHERED_BYTES // 24, GATHERED_BYTES // 4])
def test_what_the_second_dealer_sends_is_declared(elements: int) -> None:
    shaped, tally = _Shaped((elements,), large), CostTally()
    outline = TwoDealersOutline(POLICY, tally)
    shaped.program(outline, [None])
    outline.end_step()
    outline.finish()
    _, meters, sent = run_evaluators(shaped.program, shaped.inputs, dealers=2)
    declared = tally.rows[CONFIRMING].declared
    assert declared == meters["dealer2"].total == meters["dealer2"].rows[CONFIRMING].measured
    assert declared.dealer_bytes == sum(map(len, sent["dealer2"])) == DIGEST_BYTES * len(sent["dealer"]) > 0
    whole = sum((row.declared for row in tally.rows.values()), Cost())
    assert whole.dealer_bytes == sum(meters[name].total.dealer_bytes for name in DEALERS)
    assert whole.dealer_bytes == sum(len(message) for name in DEALERS for message in sent[name])


def test_messages_of_branches_are_declared_too() -> None:
    def function(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        x, chosen = (protocol.input(share, (4,), *given) for share, given in zip(shares, ((16,), (0, 24)), strict=True))
        return protocol.reveal(block(protocol, x, chosen))

    tally = CostTally()
    outline = TwoDealersOutline(POLICY, tally)
    function(outline, [None, None])
    outline.end_step()
    outline.finish()
    _, meters, sent = run_evaluators(function, [torch.arange(4) << 16, torch.tensor([0, 1, 0, 0])], dealers=2)
    assert tally.rows[CONFIRMING].declared == meters["dealer2"].total
    assert any(len(message) == 0 for message in sent["dealer"]), "lanes end with nothing"
