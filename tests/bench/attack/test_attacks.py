"""Each attack where it must succeed, and where it must be at chance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.attack import matching, suite
from bench.attack.guess import chance, score
from bench.attack.suite import ATTACKS, Attack, Effort, key_number
from bench.attack.view import Configuration, Tier, World, encrypt, view
from tests.sampling import product_of, sampled

EFFORT = Effort(judged=40, sessions=2, length=10)
BY_NUMBER = {attack.number: attack for attack in ATTACKS}
WITH_BASE = [attack for attack in ATTACKS if "T2" in attack.tiers]
# Chance is near 5 %; an attack without anything to go by stays below this on a few hundred tokens.
NEAR_CHANCE = 0.2


def share(
    world: World,
    attack: Attack,
    tier: Tier,
    configuration: Configuration,
    tokens: int = 0,
    noise: float = 0.1,
    leaked: int = 0,
) -> float:
    """Share of content tokens read."""
    state, traffic, truth = encrypt(world, configuration, key_number(0), noise)
    judged = range(len(traffic.symbols) - EFFORT.judged, len(traffic.symbols))
    seen = view(world, tier, configuration, state, traffic)
    with torch.inference_mode():
        pairs = suite.known_pairs(truth, traffic, world.template, leaked)
        guess = suite.attempt(attack, seen, tokens, EFFORT, judged, pairs)
    known = set(world.template) | set(pairs.values())
    found = score(guess, truth, traffic.symbols, world.template, judged, known)
    return sum(found.right) / sum(found.counted)


@pytest.mark.parametrize(
    ("attack", "configuration"),
    sampled(
        [
            pytest.param(attack, configuration, id=f"{configuration}-{attack.number}")
            for configuration in ("permutation", "full", "split")
            for attack in WITH_BASE
        ]
    ),
)
def test_with_base_weights_everything_is_read(world: World, attack: Attack, configuration: Configuration) -> None:
    if attack.head and configuration == "split":
        pytest.skip("needs what the client keeps")
    # Vectors of random embeddings, seen in part, have Gram rows that say little: sorted rows alone may miss some.
    least = 0.5 if (attack.number, configuration) == ("A2", "split") else 0.95
    # Two heads give two numbers a token, which do not tell all tokens apart.
    least = 0.8 if attack.number == "A13" else least
    assert share(world, attack, "T2", configuration) >= least


@pytest.mark.parametrize("attack", WITH_BASE, ids=lambda attack: attack.number)
def test_with_unrelated_weights_nothing_is(world: World, attack: Attack) -> None:
    assert share(world, attack, "T1", "full") <= NEAR_CHANCE


@pytest.mark.parametrize("number", ["A1", "A3", "A4"])
def test_a_small_drift_does_not_help(world: World, number: str) -> None:
    assert share(world, BY_NUMBER[number], "T1", "finetuned") >= 0.95


@product_of(number=["A6", "A7"], configuration=["full", "split"])
def test_much_traffic_is_deciphered(world: World, number: str, configuration: Configuration) -> None:
    assert share(world, BY_NUMBER[number], "T0", configuration, tokens=20_000) >= 0.9


@pytest.mark.parametrize("number", ["A6", pytest.param("A7", marks=pytest.mark.slow)])
def test_traffic_in_another_language_is_not(world: World, number: str) -> None:
    order = torch.randperm(world.config.vocab_size, generator=torch.Generator().manual_seed(9))
    foreign = [[*world.template, *order[torch.tensor(one[8:])].tolist()] for one in world.public]
    assert share(replace(world, public=foreign), BY_NUMBER[number], "T0", "full", tokens=20_000) <= NEAR_CHANCE


@pytest.mark.parametrize("number", ["A12", "A14"])
def test_leaked_text_gives_no_unrelated_model_away(world: World, number: str) -> None:
    assert share(world, BY_NUMBER[number], "T1", "split", leaked=300) <= NEAR_CHANCE


def test_a_map_is_learnt_through_any_matrix(world: World) -> None:
    """A12 in a basis that is not orthogonal, where norms and inner products are not the base's."""
    state, traffic, truth = encrypt(world, "split", key_number(0), 0.0)
    assert traffic.vectors is not None
    drawn = torch.Generator().manual_seed(4)
    skew = torch.randn(traffic.vectors.shape[1], traffic.vectors.shape[1], dtype=torch.float64, generator=drawn)
    seen = view(world, "T2", "split", state, replace(traffic, vectors=traffic.vectors @ skew))
    pairs = suite.known_pairs(truth, traffic, world.template, 0)
    guess = BY_NUMBER["A12"].run(seen, pairs).plain_of
    others = torch.tensor([symbol for symbol in range(traffic.count) if symbol not in pairs])
    assert (guess[others] == truth.plain_of[others]).double().mean() >= 0.95


@pytest.mark.slow
def test_a_head_is_fitted_to_what_follows(world: World) -> None:
    """The layers here are random, and the head that it fits still tells what follows a token."""
    assert share(world, BY_NUMBER["A15"], "T1", "split", tokens=5000) >= 0.9


@pytest.mark.slow
def test_a_model_gives_its_own_language_away(world: World) -> None:
    """A11 where it must succeed: public text that the very model wrote. And where it must not: other text."""
    from_model = matching.bigrams(world.public, world.config.vocab_size)
    due = torch.arange(world.config.vocab_size)
    order = torch.randperm(len(due), generator=torch.Generator().manual_seed(8))
    moved = from_model[order][:, order]
    assert (matching.decipher(moved, matching.smoothed(from_model)) == order).double().mean() >= 0.95
    assert share(world, BY_NUMBER["A11"], "T1", "full") <= NEAR_CHANCE


def test_chance_is_the_best_constant(world: World) -> None:
    _, _, truth = encrypt(world, "full", key_number(0), 0.0)
    assert 0.0 < chance(truth, world.template, range(40)) < NEAR_CHANCE
