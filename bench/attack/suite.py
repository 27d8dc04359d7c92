"""Which attack runs against what, and the records that come out. Verdicts are in verdict.py."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from bench.attack import (
    a01_gate,
    a02_sorted_rows,
    a03_columns,
    a04_leverage,
    a05_logits,
    a06_frequency,
    a07_template,
    a08_hidden,
    a09_cache,
    a10_maps,
    a11_bigrams,
    a12_ridge,
    a13_values,
    a14_anchors,
    a15_head,
)
from bench.attack.guess import Guess, chance, interval, score
from bench.attack.view import Configuration, Sessions, Tier, Truth, View, World, encrypt, view
from bench.attack.world import loss
from secure.protocols.equivariant import Key

Say = Callable[[str], None]
Kind = Literal["vocabulary", "traffic", "reading", "pairs"]


@dataclass(frozen=True)
class Attack:
    """vocabulary: finds τ without traffic; traffic: finds τ from N tokens; reading: reads sessions, key or no key;
    pairs: finds τ from known symbols, the template's alone or with those of some leaked text.

    head: needs embedding or head on the server, which split mode keeps at the client.
    """

    number: str
    name: str
    kind: Kind
    run: Callable[..., Guess]
    tiers: tuple[Tier, ...]
    head: bool = False


_SERVER: tuple[Tier, ...] = ("T1", "T2")
ATTACKS = (
    Attack("A1", "Gram and Procrustes on the gate", "vocabulary", a01_gate.attack, _SERVER),
    Attack("A2", "sorted rows", "vocabulary", a02_sorted_rows.attack, _SERVER),
    Attack("A3", "column first", "vocabulary", a03_columns.attack, _SERVER, head=True),
    Attack("A4", "leverage scores", "vocabulary", a04_leverage.attack, _SERVER),
    Attack("A5", "sorted logits, black box", "vocabulary", a05_logits.attack, _SERVER, head=True),
    Attack("A6", "frequency analysis of ids", "traffic", a06_frequency.attack, ("T0",)),
    Attack("A7", "known template", "traffic", a07_template.attack, ("T0",)),
    Attack("A8", "hidden-state matching", "reading", a08_hidden.attack, _SERVER),
    Attack("A9", "KV cache", "reading", a09_cache.attack, _SERVER),
    Attack("A10", "attention maps", "reading", a10_maps.attack, _SERVER),
    Attack("A11", "the model's own bigrams", "vocabulary", a11_bigrams.attack, ("T1",), head=True),
    Attack("A12", "ridge regression", "pairs", a12_ridge.attack, _SERVER),
    Attack("A13", "value norms of the first layer", "reading", a13_values.attack, _SERVER),
    Attack("A14", "anchors", "pairs", a14_anchors.attack, _SERVER),
    Attack("A15", "a head fitted on traffic", "traffic", a15_head.attack, ("T1",)),
)


@dataclass(frozen=True)
class Effort:
    """How much is run. budgets: tokens of traffic under one key; sessions × length: what is read step by step."""

    keys: int = 3
    noise: float = 0.1
    budgets: tuple[int, ...] = (50, 100, 200, 300, 1000, 3000, 10000, 30000)
    leaks: tuple[int, ...] = (0, 100, 1000)
    """Tokens of text that the attacker knows, beyond the template."""
    judged: int = 200
    sessions: int = 6
    length: int = 24
    sweep: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
    only: tuple[str, ...] = ()

    def takes(self, attack: Attack) -> bool:
        """Whether this attack is among the ones asked for."""
        return not self.only or attack.number in self.only


QUICK = Effort(keys=1, budgets=(300, 1000, 3000), leaks=(0, 100), judged=100, sessions=2, length=12, sweep=(0.1, 0.4))


def run(world: World, configurations: Iterable[Configuration], effort: Effort, say: Say) -> list[dict[str, Any]]:
    """Every attack against every configuration at every tier where it applies: one row each, all keys together.

    Traffic attacks see ids and nothing else, and what a configuration does to weights does not alter ids: they run
    once, against `full`, and once more in split mode, where symbols are vectors.
    """
    rows = []
    for configuration in configurations:
        pool: dict[tuple[Tier, str, int], list[dict[str, Any]]] = {}
        for number in range(effort.keys):
            state, traffic, truth = encrypt(world, configuration, key_number(number), effort.noise)
            # The last sessions are judged; traffic attacks learn from the first.
            judged = range(len(traffic.symbols) - effort.judged, len(traffic.symbols))
            for attack, tier in ((a, t) for a in ATTACKS if effort.takes(a) for t in a.tiers):
                if not _applies(attack, tier, configuration):
                    continue
                seen = view(world, tier, configuration, state, traffic)
                for tokens in {"traffic": effort.budgets, "pairs": effort.leaks}.get(attack.kind, (0,)):
                    pairs = known_pairs(truth, traffic, world.template, tokens if attack.kind == "pairs" else 0)
                    started = time.perf_counter()
                    with torch.inference_mode():
                        guess = attempt(attack, seen, tokens, effort, judged, pairs)
                    seconds = time.perf_counter() - started
                    known = set(world.template) | set(pairs.values())
                    found = score(guess, truth, traffic.symbols, world.template, judged, known)
                    found_chance = chance(truth, known, judged)
                    pool.setdefault((tier, attack.number, tokens), []).append(
                        asdict(found) | {"chance": found_chance, "seconds": seconds}
                    )
            say(f"{configuration}, key {number + 1} of {effort.keys}: done")
        for (tier, attack_number, tokens), results in pool.items():
            rows.append(_row(tier, configuration, attack_number, tokens, results))
            say(line_of(rows[-1]))
    return rows


def sweep(world: World, effort: Effort, say: Say) -> list[dict[str, Any]]:
    """The full group with more and more noise: what attacks on the vocabulary still read, and what the model loses."""
    points = []
    for noise in effort.sweep:
        rows = run_one(world, noise, effort)
        state, traffic, _ = encrypt(world, "noise", key_number(0), noise)
        cost = loss(world, state, traffic.symbols)
        points.append({"noise": noise, "loss": cost, "recovery": rows})
        say(f"noise {noise}: loss {cost:.3f}, " + ", ".join(f"{name} {share:.3f}" for name, share in rows.items()))
    return points


def other_text(world: World, effort: Effort) -> dict[str, Any]:
    """A11 with public text on topics that the model's own text does not have: how much it needs the right text."""
    state, traffic, truth = encrypt(world, "full", key_number(0), 0.0)
    judged = range(len(traffic.symbols) - effort.judged, len(traffic.symbols))
    shares = {}
    for name, public in (("same topics", world.public), ("other topics", world.elsewhere)):
        seen = view(replace(world, public=public), "T1", "full", state, traffic)
        with torch.inference_mode():
            found = score(a11_bigrams.attack(seen), truth, traffic.symbols, world.template, judged)
        shares[name] = sum(found.right) / max(sum(found.counted), 1)
    return {"attack": "A11", "tier": "T1", "configuration": "full", "recovery": shares}


def run_one(world: World, noise: float, effort: Effort) -> dict[str, float]:
    """Share of content tokens that A1 to A5 read at T2 under one key with this noise."""
    state, traffic, truth = encrypt(world, "noise", key_number(0), noise)
    judged = range(len(traffic.symbols) - effort.judged, len(traffic.symbols))
    seen = view(world, "T2", "noise", state, traffic)
    shares = {}
    for attack in ATTACKS[:5]:
        with torch.inference_mode():
            found = score(attack.run(seen), truth, traffic.symbols, world.template, judged)
        shares[attack.number] = sum(found.right) / max(sum(found.counted), 1)
    return shares


def key_number(number: int) -> Key:
    """Keys of the suite, the same in every run."""
    return Key(hashlib.sha256(f"red team {number}".encode()).digest())


def known_pairs(truth: Truth, traffic: Sessions, template: list[int], leaked: int) -> dict[int, int]:
    """Plain ids by symbol: the template's, from the first session, and those of so many tokens behind it."""
    pairs = dict(zip(traffic.symbols[0], template, strict=False))
    for symbols, plain in zip(traffic.symbols, truth.sessions, strict=True):
        if leaked <= 0:
            break
        content = slice(len(template), len(template) + leaked)
        pairs.update(zip(symbols[content], plain[content], strict=True))
        leaked -= len(symbols[content])
    return pairs


def line_of(row: dict[str, Any]) -> str:
    """A row in words."""
    low, high = row["interval"]
    after = f" after {row['tokens']:,} tokens" if row["tokens"] else ""
    after += f" with {row['leaked']:,} tokens leaked" if row["leaked"] else ""
    return (
        f"{row['tier']} {row['configuration']}: {row['attack']} ({row['name']}) reads {row['recovery']:.1%}{after}, "
        f"95 % interval {low:.1%} to {high:.1%}, chance {row['chance']:.1%}, {row['seconds']:.1f} s"
    )


def _applies(attack: Attack, tier: Tier, configuration: Configuration) -> bool:
    if attack.head and configuration == "split":
        return False
    if attack.number == "A15":
        return configuration == "split"
    if attack.kind == "traffic":
        return configuration in ("full", "split")
    # With a secret drift T2 has what T1 has, the ancestor; verdicts count T1's rows for T2.
    return not (configuration == "finetuned" and tier == "T2")


def attempt(attack: Attack, seen: View, tokens: int, effort: Effort, judged: range, pairs: dict[int, int]) -> Guess:
    """One attack as its kind is run."""
    if attack.kind == "pairs":
        return attack.run(seen, pairs)
    if attack.kind == "traffic":
        return attack.run(seen, tokens)
    if attack.kind == "reading":
        long_enough = [n for n in judged if len(seen.traffic.symbols[n]) >= len(seen.template) + effort.length]
        return attack.run(seen, long_enough[: effort.sessions], effort.length)
    return attack.run(seen)


def _row(tier: Tier, configuration: str, number: str, tokens: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    right = [value for result in results for value in result["right"]]
    counted = [value for result in results for value in result["counted"]]
    attack = next(attack for attack in ATTACKS if attack.number == number)
    types = [result["types"] for result in results if result["types"] is not None]
    return {
        "attack": number,
        "name": attack.name,
        "tier": tier,
        "configuration": configuration,
        "tokens": 0 if attack.kind == "pairs" else tokens,
        "leaked": tokens if attack.kind == "pairs" else 0,
        "recovery": sum(right) / max(sum(counted), 1),
        "interval": interval(right, counted),
        "chance": sum(result["chance"] for result in results) / len(results),
        "counted": sum(counted),
        "running": sum(result["running"] for result in results) / len(results),
        "types": sum(types) / len(types) if types else None,
        "seconds": sum(result["seconds"] for result in results) / len(results),
        "keys": len(results),
    }
