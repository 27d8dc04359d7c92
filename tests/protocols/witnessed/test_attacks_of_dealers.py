"""What a dealer that lies could learn, or slip in, where evaluators compared less than they do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from secure.protocols.core.channel import Channel
from secure.protocols.core.errors import PartyDeviates, PartyLost
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.gates.triple_product import multiply_three
from tests.four_roles import DEALERS, run_evaluators
from tests.in_process import RoleFailure
from tests.protocols.witnessed.faults import Setting
from tests.protocols.witnessed.lies import Lie, dealt, flip
from tests.protocols.witnessed.test_security import X

TOP_BIT = 63


def product(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
    """x y z: what is dealt for it is multiplied by opened values."""
    return protocol.reveal(multiply_three(*(protocol.input(share, (4,), 16) for share in shares)))


def ended(tried: Setting, lie: Lie, dealers: int) -> str:
    """What a dealer sees of a session in which the first one lies: how p1 ends it, or nothing."""
    try:
        dealt(tried, {"dealer": lie}, dealers=dealers)
    except RoleFailure as failure:
        return str(failure.errors.get("p1"))
    except PartyDeviates as error:
        return str(error)
    return ""


@pytest.mark.parametrize("dealers", [1, 2])
def test_the_last_bit_of_a_secret_shows_in_whether_a_session_ends(dealers: int) -> None:
    """The top bit of one dealt word, changed for p1 alone: its coefficient is z + t, and the dealer knows t.

    With one dealer the session ends or not by the last bit of z. With two it always ends, with the same words.
    """
    tried, seen = Setting(product, [X, X, X]), []
    for last_bit in range(2):
        z = X.clone()
        z[0] += last_bit
        again = Setting(product, [X, X, z])
        again.seeds, again.session, again.common_seed = tried.seeds, tried.session, tried.common_seed
        seen.append(ended(again, Lie(flip(TOP_BIT), holders=("p1",)), dealers))
    if dealers == 1:
        assert sorted(map(bool, seen)) == [False, True], seen
    else:
        assert seen[0] == seen[1] and "one of dealer and dealer2 does not follow" in seen[0]


class _Heard(Channel):
    """Counts what an evaluator says to others."""

    def __init__(self, inner: Channel, sent: list[bytes]) -> None:
        self.peer, self._inner, self._sent = inner.peer, inner, sent

    def send(self, payload: bytes | bytearray | memoryview) -> None:
        self._sent.append(bytes(payload))
        self._inner.send(payload)

    def receive(self) -> memoryview:
        return self._inner.receive()


def said_before_it_ended(tried: Setting, lies: dict[str, Lie]) -> tuple[list[bytes], BaseException]:
    """All that p1 and p2 have said to others, and how it ended."""
    sent: list[bytes] = []
    listening = dict.fromkeys(("p1", "p2"), lambda end: _Heard(end, sent))
    with pytest.raises((RoleFailure, PartyDeviates, PartyLost)) as caught:
        wrap = {**{name: lie.wrap for name, lie in lies.items()}, **listening}
        tried.run(wrap=wrap, dealers=2, timeout_seconds=3.0)
    return sent, caught.value


def test_no_word_is_used_before_its_digest_is_there() -> None:
    """p1 and p2 open the three factors, for which nothing is dealt, and then say nothing that a digest has to confirm.

    It makes no difference whether the digest is wrong, late for ever, or the word wrong and the digest late.
    """
    tried = Setting(product, [X, X, X])
    silent = Lie(lambda message, before: [], holders=("p1", "p2"))
    wrong, late, both = (
        said_before_it_ended(tried, lies)
        for lies in (
            {"dealer2": Lie(flip(3))},
            {"dealer2": silent},
            {"dealer": Lie(flip(TOP_BIT)), "dealer2": silent},
        )
    )
    assert sorted(wrong[0]) == sorted(late[0]) == sorted(both[0])
    rounds = 3  # each of the three is opened by itself
    assert len(wrong[0]) == 2 * 2 * rounds, "each of the two says one thing to each of two others a round"
    assert isinstance(wrong[1], RoleFailure)
    assert all(isinstance(wrong[1].errors[role], PartyDeviates) for role in ("p1", "p2"))
    for _, error in (late, both):
        assert isinstance(error, RoleFailure)
        lost = [each for role, each in error.errors.items() if role in ("p1", "p2")]
        assert any(isinstance(each, PartyLost) and each.role in DEALERS for each in lost), error.errors


def test_a_digest_of_another_session_or_place_confirms_nothing() -> None:
    """A second dealer that repeats what it said before, of the same message in another session."""
    tried = Setting(product, [X, X, X])
    old: list[bytes] = []
    wrap = {"dealer2": lambda end: _Heard(end, old)}
    run_evaluators(product, tried.inputs, parts=tried.parts, seeds=tried.seeds, dealers=2, wrap=wrap)
    replayed = Lie(lambda message, before: [old[0]])
    assert "one of dealer and dealer2" in ended_by_second(tried, replayed)


def ended_by_second(tried: Setting, lie: Lie) -> str:
    try:
        dealt(tried, {"dealer2": lie})
    except RoleFailure as failure:
        return str(failure.errors.get("p1"))
    return ""


def test_words_that_add_up_to_nothing_are_seen() -> None:
    """The dealer adds D to one word and takes it from another: the sum of all is right, and each is compared."""
    tried = Setting(product, [X, X, X])

    def shifted(message: bytes, before: bytes) -> Sequence[bytes]:
        words = torch.frombuffer(bytearray(message), dtype=torch.int64)
        words[0] += 1 << 20
        words[1] -= 1 << 20
        return [words.numpy().tobytes()]

    assert "one of dealer and dealer2" in ended(tried, Lie(shifted), 2)
