"""What an adversary has, by tier and configuration, and what it does not have: the truth, kept for the score.

    T0  sees what goes over the wire or into a log: ids under a secret τ (in split mode: vectors), many sessions
    T1  is the server: the encrypted checkpoint and the traffic. It lacks the base; it has public text, and a model of
        the same family and tokenizer that a stranger trained on public text (`related`)
    T2  is the server and has the base weights

Everyone knows tokenizer, chat template and public text in the language of the traffic. A secretly fine-tuned model is
attacked with the public model that it came from, at T1 and at T2: nobody but its owner has more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from bench.attack import weights
from bench.attack.weights import Weights
from secure.models.families.registry import encrypted_family
from secure.protocols.equivariant import Key, plan

Tier = Literal["T0", "T1", "T2"]
Configuration = Literal["permutation", "full", "noise", "finetuned", "split"]
TIERS: dict[Tier, str] = {
    "T0": "an observer of wire or logs",
    "T1": "a server without the base weights; it has public text and an unrelated public model of the same tokenizer",
    "T2": "a server with the base weights",
}
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class World:
    """The parties' material before any key: models, text, template. Sessions are plain ids.

    elsewhere: text on topics that neither `public` nor `traffic` has.
    """

    config: LlamaConfig
    base: State
    related: State
    finetuned: State
    public: list[list[int]]
    traffic: list[list[int]]
    template: list[int]
    elsewhere: list[list[int]]


@dataclass(frozen=True)
class Sessions:
    """Sessions as the server meets them: symbols (equal tokens, equal symbols), and the vectors of split mode.

    Shapes: vectors [symbols, d] or None where ids are sent; then a symbol is the encrypted id itself.
    """

    symbols: list[list[int]]
    count: int
    vectors: Tensor | None

    def first(self, tokens: int) -> list[list[int]]:
        """Sessions until this many tokens have been seen; the last one is cut there."""
        taken: list[list[int]] = []
        for session in self.symbols:
            if tokens <= 0:
                break
            taken.append(session[:tokens])
            tokens -= len(session)
        return taken


@dataclass(frozen=True)
class View:
    """All that an attack may use."""

    tier: Tier
    configuration: Configuration
    config: LlamaConfig
    encrypted_state: State | None
    known_state: State | None
    public: list[list[int]]
    template: list[int]
    traffic: Sessions

    @cached_property
    def encrypted(self) -> Weights:
        """The encrypted weights, gains folded (they are ones after the full group)."""
        assert self.encrypted_state is not None
        return weights.fold(self.encrypted_state, self.config.num_hidden_layers, self.configuration == "split")

    @cached_property
    def known(self) -> Weights:
        """The base (T2), or the nearest public model (T1)."""
        assert self.known_state is not None
        return weights.fold(self.known_state, self.config.num_hidden_layers)

    @cached_property
    def encrypted_network(self) -> LlamaForCausalLM:
        """The encrypted model to run; in split mode its embedding and head are zeros and must not be used."""
        assert self.encrypted_state is not None
        return weights.network(self.config, self.encrypted_state)

    @cached_property
    def known_network(self) -> LlamaForCausalLM:
        """The known model to run."""
        assert self.known_state is not None
        return weights.network(self.config, self.known_state)

    def inputs(self, symbols: Sequence[int]) -> dict[str, Tensor]:
        """What the server feeds into the encrypted model for a session."""
        chosen = torch.tensor([list(symbols)])
        if self.traffic.vectors is None:
            return {"input_ids": chosen}
        return {"inputs_embeds": self.traffic.vectors[chosen].float()}

    def rows(self) -> Tensor:
        """One vector for each symbol in the encrypted basis: rows of the embedding, or what split mode sends."""
        return self.traffic.vectors if self.traffic.vectors is not None else _given(self.encrypted.embedding)


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


@dataclass(frozen=True)
class Truth:
    """What the score needs and no attack gets. Shapes: plain_of int64 [symbols]."""

    plain_of: Tensor
    sessions: list[list[int]]


def encrypt(world: World, configuration: Configuration, key: Key, noise: float) -> tuple[State, Sessions, Truth]:
    """The server's side under one key, and the truth about it."""
    base = world.finetuned if configuration == "finetuned" else world.base
    config = world.config.to_dict()
    transform = plan(
        encrypted_family(config),
        config,
        key,
        noise=noise if configuration == "noise" else 0.0,
        permutations=configuration == "permutation",
    )
    state = {name: transform.encrypt(name, lambda wanted: base[wanted]).float() for name in transform.tensors}
    assert transform.vocabulary is not None
    if configuration != "split":
        plain_of = transform.vocabulary.decrypt_ids(torch.arange(transform.vocabulary.size))
        symbols = [transform.vocabulary.encrypt_ids(session) for session in world.traffic]
        return state, Sessions(symbols, len(plain_of), None), Truth(plain_of, world.traffic)
    # The client looks up its own embedding and sends xQ; the server numbers the vectors that it meets.
    plain_of = torch.tensor(sorted({id for session in world.traffic for id in session}))
    plain_of = plain_of[torch.argsort(key.stream("vocabulary").words(len(plain_of)))]
    vectors = transform.embed_basis(base["model.embed_tokens.weight"].double()[plain_of]).float().double()
    number = {int(plain): symbol for symbol, plain in enumerate(plain_of)}
    symbols = [[number[id] for id in session] for session in world.traffic]
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = torch.zeros_like(state[name])
    return state, Sessions(symbols, len(plain_of), vectors), Truth(plain_of, world.traffic)


def view(world: World, tier: Tier, configuration: Configuration, state: State, traffic: Sessions) -> View:
    """What this tier has of it."""
    ancestor = tier == "T2" or configuration == "finetuned"
    known = None if tier == "T0" else world.base if ancestor else world.related
    seen = None if tier == "T0" else state
    return View(tier, configuration, world.config, seen, known, world.public, world.template, traffic)
