"""Branches that share their rounds: the same numbers and bytes as one after the other, in fewer messages."""

from __future__ import annotations

import gc
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise, zip_longest
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.protocols.cleartext.protocol import ClearSecret, CleartextProtocol
from secure.protocols.core.cost import JOINED
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import LANE_BITS, Prg
from secure.protocols.core.primitives import as_factor
from secure.protocols.core.secret import Protocol, Secret, multiply
from secure.protocols.functions.reciprocal_and_root import reciprocal
from secure.protocols.functions.softmax import softmax
from secure.protocols.masked import lanes
from secure.protocols.masked.roles import Party
from secure.protocols.witnessed.protocol import COMPARING
from tests import in_process
from tests.families import ALL_FAMILIES
from tests.in_process import BEAVER, POLICY, Family, RoleFailure, encode, run_roles, secure

each_family = pytest.mark.parametrize("family", ALL_FAMILIES, ids=lambda family: family.name)
SEEDS, SESSION = (bytes(range(16)), bytes(range(16, 32))), b"lanes tested here"


def chain(x: Secret) -> Secret:
    """Two products, each with an opening of its own, and a comparison by octaves."""
    return multiply(x * x, reciprocal(x * x + 1.0), fraction_bits=16)


def short(x: Secret) -> Secret:
    return x * x


def block(x: Secret) -> Secret:
    """Branches that take different numbers of rounds, and one that takes none; then an op of all."""
    x = as_factor(x)  # which each branch would do for itself
    first, second, third, fourth = x.protocol.together(
        lambda: chain(x), lambda: softmax(x), lambda: short(x), lambda: x + x
    )
    return first + second * third + fourth


def apart(x: Secret) -> Secret:
    x = as_factor(x)
    return chain(x) + softmax(x) * short(x) + (x + x)


def values() -> Tensor:
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@each_family
def test_results_are_right_and_rounds_fewer(family: Family) -> None:
    x = values()
    due = x * x / (x * x + 1) + torch.softmax(x, -1) * x * x + 2 * x
    joined, alone = secure(block, x, family=family), secure(apart, x, family=family)
    assert float((joined.real - due).abs().max()) < 2e-3
    for meter in joined.meters.values():
        row = meter.rows["", JOINED]
        assert row.declared.rounds < 0
        assert row.measured.rounds in (0, row.declared.rounds)
    for key in ("online_bytes", "dealer_bytes"):
        # Digests go with rounds, of which there are fewer.
        both = [
            sum(
                getattr(row.measured, key)
                for meter in run.meters.values()
                for place, row in meter.rows.items()
                if place != COMPARING
            )
            for run in (joined, alone)
        ]
        assert both[0] == both[1], key


@each_family
def test_declared_is_measured_and_messages_are_as_many(family: Family) -> None:
    run = secure(block, values(), family=family)
    declared = [sum(row.declared.rounds for row in meter.rows.values()) for meter in run.meters.values()]
    assert len(set(declared)) == 1
    if family is BEAVER:
        for role in ("p0", "p1"):
            assert run.meters[role].total.rounds == declared[0] == len(run.sent[role])


def test_results_and_bytes_are_those_of_one_branch_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the same seeds, bit for bit; a joined message is those of its round, in the order of the branches."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        return protocol.reveal(block(protocol.input(shares[0], (3, 8), 16)))

    def sharing(x: Tensor) -> tuple[Tensor, Tensor]:
        return x - 77, torch.full_like(x, 77)

    monkeypatch.setattr(in_process, "split", sharing)
    given: Any = {"seeds": SEEDS, "common_seed": SESSION[:16], "session": SESSION}
    joined, _, sent = run_roles(program, [encode(values())], **given)
    turns, ends = lanes._take_turns, []

    def in_turn(party: Party, all_lanes: Sequence[Any]) -> int:
        if party.index == 0:
            ends.append(party.meter.total.rounds)
        for lane in all_lanes:
            turns(party, [lane])
            if party.index == 0:
                ends.append(party.meter.total.rounds)
        return 0

    monkeypatch.setattr(lanes, "_take_turns", in_turn)
    apart, _, sent_apart = run_roles(program, [encode(values())], **given)
    assert all(torch.equal(mine, other) for mine, other in zip(joined, apart, strict=True))
    assert sent["dealer"] == sent_apart["dealer"]
    for role in ("p0", "p1"):
        branches = [sent_apart[role][start:end] for start, end in pairwise(ends)]
        rounds = [b"".join(parts) for parts in zip_longest(*branches, fillvalue=b"")]
        assert sent[role] == [*sent_apart[role][: ends[0]], *rounds, *sent_apart[role][ends[-1] :]]


@each_family
def test_no_mask_serves_two_branches(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[int, list[tuple[int, int]]] = defaultdict(list)
    original = Prg._bytes

    def recorded(self: Prg, gate: int, label: int, count: int, device: torch.device) -> Tensor:
        drawn[id(self)].append((gate, label))
        return original(self, gate, label, count, device)

    monkeypatch.setattr(Prg, "_bytes", recorded)
    secure(block, values(), family=family)
    assert all(len(set(addresses)) == len(addresses) for addresses in drawn.values())
    assert any(gate >> LANE_BITS == 2 for addresses in drawn.values() for gate, _ in addresses)


@each_family
def test_branches_within_branches_are_refused(family: Family) -> None:
    with pytest.raises((ProtocolError, RoleFailure), match="branches that share rounds cannot have such branches"):
        secure(lambda x: x.protocol.together(lambda: block(x))[0], values(), family=family)


@each_family
def test_an_error_in_a_branch_is_raised_as_it_is(family: Family) -> None:
    def fails(x: Secret) -> Secret:
        short(x)
        raise KeyError("a branch fails")

    with pytest.raises((KeyError, RoleFailure), match="a branch fails"):
        secure(lambda x: x.protocol.together(lambda: chain(x), lambda: fails(x))[0], values(), family=family)


@pytest.mark.parametrize(("longer", "words"), [("dealer", "dealt more than"), ("p1", "dealt too little")])
def test_a_dealer_with_another_program_is_named(longer: str, words: str) -> None:
    def branches(own: str, other: str) -> Callable[..., Tensor]:
        def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
            x = protocol.input(shares[0], (3, 8), 16)
            first = (lambda: softmax(x)) if own == other else (lambda: x)
            return protocol.reveal(protocol.together(first, lambda: x + x)[0])

        return program

    roles = {role: branches(longer, role) for role in ("p0", "p1", "dealer")}
    roles["p0"] = branches("p0", "p0") if longer == "p1" else branches("p0", "none")
    with pytest.raises((ProtocolError, RoleFailure), match=words):
        run_roles(lambda *_: torch.zeros(1), [encode(values())], programs=roles, timeout_seconds=5)


def beside(program: Callable[[Secret], Secret], branch: Callable[[Secret], object]) -> Callable[[Secret], Secret]:
    def both(x: Secret) -> Secret:
        with x.protocol.meanwhile("beside", lambda: branch(x)):
            return program(x)

    return both


def test_a_branch_beside_the_program_makes_its_rounds_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program computes the same, bit for bit, in as many rounds; the branch adds its bytes to its messages."""

    def sharing(x: Tensor) -> tuple[Tensor, Tensor]:
        return x - 77, torch.full_like(x, 77)

    monkeypatch.setattr(in_process, "split", sharing)

    def run(function: Callable[[Secret], Secret]) -> tuple[list[Tensor], dict[str, Any], dict[str, list[bytes]]]:
        def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
            x = protocol.input(shares[0], (3, 8), 16)
            return protocol.reveal(function(x))

        return run_roles(program, [encode(values())], seeds=SEEDS, session=SESSION)

    alone, alone_meters, _ = run(chain)
    both, meters, sent = run(beside(chain, short))
    assert torch.equal(sum(alone), sum(both))
    for role in ("p0", "p1"):
        assert meters[role].total.rounds == alone_meters[role].total.rounds == len(sent[role])
        own = sum((row.measured.online_bytes for (layer, _), row in meters[role].rows.items() if layer == "beside"), 0)
        assert own == 24 * (8 + 7)  # a truncated product leaves out low bits
        assert meters[role].total.online_bytes == alone_meters[role].total.online_bytes + own


@pytest.mark.parametrize("program", [short, lambda x: x + x], ids=["some rounds", "none"])
def test_what_is_left_of_a_branch_makes_rounds_of_its_own(program: Callable[[Secret], Secret]) -> None:
    run = secure(beside(program, chain), values())
    rounds = secure(chain, values()).meters["p0"].total.rounds
    assert {run.meters[role].total.rounds for role in ("p0", "p1")} == {rounds}
    assert float((run.real - program_in_the_clear(program)).abs().max()) < 1e-3


def program_in_the_clear(program: Callable[[Secret], Secret]) -> Tensor:
    protocol = CleartextProtocol(POLICY)
    return protocol.value(program(ClearSecret(protocol, 16, values())))


@each_family
def test_an_error_beside_the_program_is_raised_as_it_is(family: Family) -> None:
    def fails(x: Secret) -> None:
        short(x)
        raise KeyError("a branch fails")

    with pytest.raises((KeyError, RoleFailure), match="a branch fails"):
        secure(beside(chain, fails), values(), family=family)


@each_family
def test_nothing_of_a_session_waits_for_the_collector_of_cycles(family: Family) -> None:
    """Seeds, masks and what gates made of a secret go with the session: the collector may come hours later."""
    left: list[weakref.ref[Any]] = []

    def program(x: Secret) -> Secret:
        result = beside(block, short)(x)
        left.extend(weakref.ref(each) for each in (x.protocol, x, result))
        return result

    gc.collect()
    gc.disable()
    try:
        secure(program, values(), family=family)
        assert len(left) >= 9
        assert [found for each in left if (found := each()) is not None] == []
    finally:
        gc.enable()


def test_a_branch_beside_branches_is_refused() -> None:
    with pytest.raises((ProtocolError, RoleFailure), match="branches that share rounds cannot have such branches"):
        secure(lambda x: x.protocol.together(lambda: beside(short, short)(x))[0], values())


def test_in_the_clear_branches_run_in_turn() -> None:
    protocol = CleartextProtocol(POLICY)
    x = ClearSecret(protocol, 16, values())
    first, second = protocol.together(lambda: short(x), lambda: x + x)
    assert torch.equal(protocol.value(first), values() ** 2)
    assert torch.equal(protocol.value(second), values() * 2)
