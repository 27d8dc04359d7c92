"""What each attack makes of honest answers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from secure.protocols.core.errors import InputError
from secure.verifier.attacks import (
    ALL,
    Attack,
    Generator,
    Knowing,
    RotatedValues,
    RunnerUp,
    Substitution,
    SubtleShift,
    Target,
    TopTwoSwapped,
    pruned,
    quantised,
)
from secure.verifier.services import floored
from tests.secure.verifier.conftest import CLASSES, points, service

POINTS = points(200, 9)
HONEST = floored(service(POINTS))
OWN = floored(service(POINTS + 0.3))


def difference(served: Tensor, own: Tensor) -> Tensor:
    """A detector that can be seen through: how far an answer is from the verifier's own, flattened."""
    return (served - (own + 1 / CLASSES) / 2).abs().sum(-1)


TARGET = Target(POINTS, HONEST, OWN, difference, 0.4)


def drawn(attack: Attack, target: Target = TARGET) -> Tensor:
    return attack(target, torch.Generator().manual_seed(3)).detach()


QUICK = [dataclasses.replace(a, steps=20) if isinstance(a, Generator) else a for a in ALL if not isinstance(a, Knowing)]


@pytest.mark.parametrize("attack", [*QUICK, Knowing(20)], ids=lambda attack: attack.name)
def test_attacks_answer_with_probabilities_of_another_class_and_the_same_by_a_seed(attack: Attack) -> None:
    answers = drawn(attack)
    assert answers.shape == HONEST.shape and float(answers.min()) > 0
    assert torch.allclose(answers.sum(-1), torch.ones(200), atol=1e-5)
    assert torch.equal(answers, drawn(attack))
    if not isinstance(attack, SubtleShift):
        assert bool((answers.argmax(-1) != HONEST.argmax(-1)).all())


def test_values_that_are_moved_stay_what_they_were() -> None:
    for attack in (RotatedValues(), TopTwoSwapped()):
        assert torch.equal(drawn(attack).sort(-1).values, HONEST.sort(-1).values)
    second = HONEST.topk(2).indices[:, 1]
    assert torch.equal(drawn(TopTwoSwapped()).argmax(-1), second)
    steps = {tuple(row.tolist()) for row in drawn(RotatedValues()).argmax(-1)[:, None] - HONEST.argmax(-1)[:, None]}
    assert len({step % CLASSES for (step,) in steps}) == CLASSES - 1, "every other class is drawn"


def test_a_subtle_shift_changes_the_class_of_close_ones_alone() -> None:
    first, second = HONEST.topk(2).values.unbind(-1)
    for amount in (0.1, 0.4):
        changed = drawn(SubtleShift(amount)).argmax(-1) != HONEST.argmax(-1)
        assert torch.equal(changed, first - second < 2 * amount) and 0 < changed.sum() < 200


def test_who_knows_the_detector_does_better_with_more_tries_than_who_does_not() -> None:
    scores = [difference(drawn(Knowing(tries)), OWN).mean().item() for tries in (1, 10, 80)]
    assert scores[0] > scores[1] > scores[2]
    assert scores[0] == difference(drawn(RunnerUp()), OWN).mean().item()
    assert difference(drawn(Generator(60)), OWN).mean() < difference(drawn(Generator(1)), OWN).mean()


def test_others_in_the_services_place() -> None:
    network = nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Linear(50, CLASSES))
    network.requires_grad_(False)
    rounded, thinned = quantised(network, 3), pruned(network, 0.6)
    for one, other, before in zip(rounded.parameters(), thinned.parameters(), network.parameters(), strict=True):
        if before.dim() == 1:
            assert torch.equal(one, before) and torch.equal(other, before)
        else:
            assert (
                3 < len(one.unique()) <= 7 and float((one - before).abs().max()) <= float(before.abs().max()) / 6 + 1e-6
            )
            assert float((other == 0).double().mean()) == pytest.approx(0.6, abs=0.02)
            assert torch.equal(other[other != 0], before[other != 0])
    attack = Substitution("three bits", lambda asked: torch.softmax(rounded(asked), -1))
    assert torch.allclose(drawn(attack), torch.softmax(rounded(POINTS), -1), atol=1e-5)
    with pytest.raises(InputError, match="three bits: its answers have shape"):
        drawn(attack, dataclasses.replace(TARGET, honest=HONEST[:, :2]))
