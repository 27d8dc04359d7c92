"""What one evaluator can do and learn, alone or with a client, beyond what `test_faults` tries at every message."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from secure.protocols.core.channel import Channel
from secure.protocols.core.errors import InputError, PartyDeviates, PartyLost, ProtocolError
from secure.protocols.core.fixedpoint import public_factor
from secure.protocols.core.primitives import checked_one_hot
from secure.protocols.core.secret import Parameter, Protocol, Secret, SecretSpec, Visibility, multiply
from secure.protocols.functions.softmax import softmax
from secure.protocols.masked.gates.opening import OpenToOne
from secure.protocols.masked.gates.vanishing import Toss
from secure.protocols.witnessed.family import WITNESSED
from secure.protocols.witnessed.protocol import WitnessedParty
from secure.protocols.witnessed.witness import DIGEST_BYTES
from tests.four_roles import EVALUATORS, run_evaluators
from tests.in_process import POLICY, RoleFailure, RoleProgram
from tests.protocols.uniformity import assert_uniform
from tests.protocols.witnessed.faults import CHANGES, Deviation, Setting, flipped
from tests.three_parties import combine

X = torch.tensor([3, -5, 7, 11]) << 16


def program(function: Callable[[Secret], Secret]) -> RoleProgram:
    def role(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        return protocol.reveal(function(protocol.input(shares[0], (4,), 16)))

    return role


def squared_twice(x: Secret) -> Secret:
    """Two products, each with rounds of its own."""
    return multiply(x * x * 0.125, x)


def branches(x: Secret) -> Secret:
    """Two branches that share rounds, beside a third one."""

    def beside() -> None:
        multiply(x, x)

    with x.protocol.meanwhile("beside", beside):
        first, second = x.protocol.together(lambda: squared_twice(x), lambda: softmax(x))
    return first + second


def errors_of(run: Callable[[], object]) -> dict[str, BaseException]:
    with pytest.raises((RoleFailure, PartyDeviates, InputError, ProtocolError)) as caught:
        run()
    return caught.value.errors if isinstance(caught.value, RoleFailure) else {"only": caught.value}


def test_the_two_suspects_and_the_gate_are_named() -> None:
    setting = Setting(program(squared_twice), [X])
    errors = errors_of(lambda: setting.run(Deviation(0, True, 1, flipped(3))))
    for role, suspects in (("p1", ("p0", "p2")), ("p2", ("p0", "p1"))):
        error = errors[role]
        assert isinstance(error, PartyDeviates) and error.suspects == suspects
        said = f"one of {' and '.join(suspects)} does not follow"
        assert f"{role}: round 1 (gate " in str(error) and said in str(error)


@pytest.mark.parametrize("who", range(3))
def test_a_change_in_the_last_round_is_found_before_outputs_leave(who: int) -> None:
    setting = Setting(program(squared_twice), [X])
    _, rounds = setting.run()
    errors = errors_of(lambda: setting.run(Deviation(who, True, rounds - 2, flipped(0))))
    assert all(type(errors[role]) is PartyDeviates for role in EVALUATORS if role != EVALUATORS[who])


def test_a_change_in_a_round_that_branches_share_is_caught() -> None:
    setting = Setting(program(branches), [X])
    _, rounds = setting.run()
    for at in range(0, rounds, 3):
        assert setting.is_caught(Deviation(at % 3, True, at, CHANGES["some bit"])), at


def test_digests_after_a_change_are_of_values_that_the_one_that_deviates_knows() -> None:
    """Digests at the end of a session would be of values that depend on what it does not know."""
    setting = Setting(program(squared_twice), [X])
    deviation = Deviation(0, True, 0, flipped(0))
    opened: list[Tensor] = []

    def watched(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, WitnessedParty)
        protocol.role._record = lambda values, where: opened.extend(values)  # type: ignore[method-assign]
        return setting.program(protocol, shares)

    errors_of(lambda: setting.run(deviation, programs={"p0": watched}))
    digests = {message[:DIGEST_BYTES] for message in deviation.heard}
    start = b"secure-inference transcript 2" + 2 * setting.session + setting.common_seed  # the session is the deal, too
    right = opened[0].clone()
    first_word = torch.tensor([1, 0, 0, 0])
    seen = (right, right + first_word, right - first_word)
    known = {hashlib.sha256(start + each.numpy().tobytes()).digest() for each in seen}
    assert len(digests) == 2 and digests <= known
    assert len(deviation.heard) == 2, "nothing comes after that"


def unequal(setting: Setting, difference: int) -> list[list[Tensor]]:
    """A client gives e_1 another part 2 than e_2."""
    parts = [[share.clone() for share in held] for held in setting.parts]
    parts[1][0][1, 0] += difference
    return parts


def test_a_client_with_unequal_parts_is_stopped_at_the_first_opening() -> None:
    setting = Setting(program(squared_twice), [X])
    errors = errors_of(lambda: setting.run(parts=unequal(setting, 1)))
    assert all("round 0" in str(error) for error in errors.values() if isinstance(error, PartyDeviates))
    assert isinstance(errors["p1"], PartyDeviates)


def test_digests_do_not_depend_on_parts_but_on_what_was_opened() -> None:
    """A client that gives e_1 and e_2 different parts, and an evaluator that offsets it, hear of no difference.

    Digests of single messages would tell them what each makes of part 2. The result is that of e_2's part.
    """
    setting, (multiple, _) = Setting(program(lambda x: x * 0.5), [X]), public_factor(0.5, 16, POLICY)

    def offset(message: bytes, before: bytes) -> bytes:
        words = np.frombuffer(message[DIGEST_BYTES:], dtype=np.int64).copy()
        words[0] -= multiple
        return message[:DIGEST_BYTES] + words.tobytes()

    honest, rounds = setting.run()
    assert rounds == 2, "one opening in full words, and the empty round"
    results, _ = setting.run(Deviation(0, True, 0, offset), parts=unequal(setting, 1))
    assert torch.equal(combine(results), combine(honest))


def test_answers_that_differ_name_the_two_that_sent_them() -> None:
    specs = {"x": SecretSpec((4,), 16)}
    given = [WITNESSED.open_payload(i, each, specs) for i, each in enumerate(WITNESSED.share({"x": X}, specs))]
    payloads = [WITNESSED.pack_shares(shares, specs) for shares in given]
    assert torch.equal(WITNESSED.reconstruct(payloads, specs)["x"], X)
    wrong = {0: ("p2", "p0"), -1: ("p0", "p1")}
    for byte, suspects in wrong.items():
        changed = bytearray(payloads[0])
        changed[byte] ^= 1
        with pytest.raises(PartyDeviates, match=f"one of {' and '.join(suspects)} does not follow") as caught:
            WITNESSED.reconstruct([changed, *payloads[1:]], specs)
        assert caught.value.suspects == suspects
    with pytest.raises(PartyDeviates, match="p1 does not follow") as caught:
        WITNESSED.reconstruct([payloads[0], payloads[1][:-1], payloads[2]], specs)
    assert caught.value.suspects == ("p1",)


def test_aborts_do_not_depend_on_inputs() -> None:
    rounds = []
    for value in (torch.zeros(4, dtype=torch.int64), X, torch.full((4,), (1 << 29) - 1)):
        setting, stopped = Setting(program(lambda x: softmax(x * 0.01)), [value]), []
        _, count = setting.run()
        for at in range(0, count, 4):
            errors = errors_of(lambda setting=setting, at=at: setting.run(Deviation(2, True, at, flipped(7))))  # type: ignore[misc]
            stopped += [
                (role, str(errors[role])[:40]) for role in ("p0", "p1") if isinstance(errors[role], PartyDeviates)
            ]
        rounds.append(stopped)
    assert rounds[0] == rounds[1] == rounds[2] and rounds[0]


class _Dealing(Channel):
    """What a dealer sends to one of the two holders, with one bit changed in its first message."""

    def __init__(self, inner: Channel, holders: Sequence[str]) -> None:
        self.peer, self._inner, self._change = inner.peer, inner, inner.peer in holders

    def send(self, payload: bytes | bytearray | memoryview) -> None:
        raw = bytearray(payload)
        if self._change and raw:
            raw[5] ^= 1
            self._change = False
        self._inner.send(raw)

    def receive(self) -> memoryview:
        raise AssertionError("the dealer tried to receive")


def test_a_dealer_that_tells_its_two_holders_different_things_is_noticed() -> None:
    errors = errors_of(
        lambda: run_evaluators(program(squared_twice), [X], wrap={"dealer": lambda end: _Dealing(end, ["p1"])})
    )
    assert any(isinstance(error, PartyDeviates) for error in errors.values())


def test_a_dealer_that_tells_both_the_same_wrong_thing_is_believed() -> None:
    """The dealer is assumed to be honest: this is what it means."""
    setting = Setting(program(squared_twice), [X])
    honest, _ = setting.run()
    found, _ = setting.run(wrap={"dealer": lambda end: _Dealing(end, ["p1", "p2"])})
    assert not torch.equal(combine(found), combine(honest))


def test_a_message_that_is_held_back_ends_the_session() -> None:
    setting = Setting(program(squared_twice), [X])
    errors = errors_of(lambda: setting.run(Deviation(1, True, 1, lambda message, before: None), timeout_seconds=2.0))
    assert any(isinstance(error, PartyLost) for error in errors.values())


BITS = 24


def choosing(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
    return protocol.reveal(checked_one_hot(protocol.input(shares[0], (5,), 0, BITS), (5,)), BITS)


@pytest.mark.parametrize("vector", [[0, 0, 1, 0, 0], [0, 1, 1, 0, 0]], ids=["honest-client", "two-ones"])
def test_an_evaluator_neither_blames_a_client_nor_helps_it(vector: list[int]) -> None:
    """It changes a byte in each round of the test: what is drawn, what is opened, and the verdict."""
    setting = Setting(choosing, [torch.tensor(vector)])
    for who in range(3):
        for at in range(1, 4):
            errors = errors_of(lambda who=who, at=at: setting.run(Deviation(who, True, at, flipped(1))))  # type: ignore[misc]
            honest = [errors[role] for role in EVALUATORS if role != EVALUATORS[who]]
            assert all(isinstance(error, PartyDeviates | PartyLost) for error in honest), (who, at)
            assert any(isinstance(error, PartyDeviates) for error in honest)


def test_nothing_is_drawn_before_all_have_their_input() -> None:
    """An evaluator would else know the challenge while its client may still choose the part that another one lacks."""
    rounds: dict[str, int] = {}

    def watched(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, WitnessedParty)
        record, witness = protocol.role._record, protocol.role

        def noted(opened: list[Tensor], where: str) -> None:
            rounds[where.split(", ")[1]] = witness.rounds
            record(opened, where)

        witness._record = noted  # type: ignore[method-assign]
        return choosing(protocol, shares)

    Setting(choosing, [torch.tensor([0, 0, 1, 0, 0])]).run(programs={"p0": watched})
    assert rounds["all-are-here"] == 1 and rounds["draw"] == 2


def test_what_does_not_fit_the_argument_is_refused_by_name() -> None:
    def refused(build: Callable[[Tensor], object]) -> RoleProgram:
        def role(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
            meta = torch.empty((4,), dtype=torch.int64, device="meta")
            if isinstance(protocol, WitnessedParty):
                protocol.for_both(lambda which, side: side.run(build(meta)))  # type: ignore[arg-type]
            else:
                protocol.run(build(meta))  # type: ignore[attr-defined]
            raise AssertionError("it was computed")

        return role

    for build, name in ((lambda x: OpenToOne(x, 64, 0), "open-to-one"), (lambda x: Toss(), "toss")):
        errors = errors_of(lambda build=build: run_evaluators(refused(build), [X]))  # type: ignore[misc]
        assert all(f"gate {name!r} is not one that three evaluators compute" in str(e) for e in errors.values())

    def server(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        protocol.prepare(Parameter((2, 2), 16, opened=True), None, Visibility.SERVER)
        raise AssertionError("it was prepared")

    assert all("weights='server'" in str(error) for error in errors_of(lambda: run_evaluators(server, [X])).values())


@pytest.mark.slow
def test_what_is_heard_after_a_change_is_uniform() -> None:
    """Inputs of zero, a change in the first round, and of the answer the part that a mask hides."""
    heard = b""
    zeros = torch.zeros(4096, dtype=torch.int64)
    for _ in range(8):

        def role(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
            x = protocol.input(shares[0], (4096,), 16)
            return protocol.reveal(squared_twice(x))

        deviation = Deviation(0, True, 0, flipped(0))
        with pytest.raises(RoleFailure):
            Setting(role, [zeros]).run(deviation)
        heard += b"".join(message[DIGEST_BYTES:] for message in deviation.heard)
    assert_uniform(heard, 1, "what evaluator 0 hears after its change")


@pytest.mark.slow
def test_a_thousand_honest_sessions_raise_no_alarm() -> None:
    due = None
    for _ in range(1000):
        results, _, _ = run_evaluators(program(squared_twice), [X])
        found = combine(results).double() / 2**16
        due = (X.double() / 2**16) ** 3 / 8 if due is None else due
        assert float((found - due).abs().max()) < 1e-2
