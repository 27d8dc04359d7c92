"""A world without training: a tiny LLaMA with random weights, and sessions from a random Markov chain."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.attack import weights
from bench.attack.view import World

SIZE = 96
_TEMPLATE = [0, 1, 2, 3, 4, 5, 6, 7]


def chain(size: int, seed: int) -> torch.Tensor:
    """A language: each token is followed by few others, some tokens are frequent."""
    drawn = torch.Generator().manual_seed(seed)
    scores = 2.0 * torch.randn(size, size, generator=drawn)
    return (scores + torch.linspace(1.5, -1.5, size)).softmax(1)


def sessions(transitions: torch.Tensor, count: int, length: int, seed: int) -> list[list[int]]:
    drawn = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, len(transitions), (count, 1), generator=drawn)
    for _ in range(length - 1):
        following = torch.multinomial(transitions[ids[:, -1]], 1, generator=drawn)
        ids = torch.cat((ids, following), dim=1)
    return [_TEMPLATE + one for one in ids.tolist()]


def _model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=SIZE,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        architectures=["LlamaForCausalLM"],
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def world() -> World:
    """`related` is unrelated here: other random weights. `finetuned` drifted by one per cent."""
    base, related = _model(1), _model(2)
    state = weights.state_of(base)
    drawn = torch.Generator().manual_seed(3)
    drifted = {
        name: x + 0.01 * x.std() * torch.randn(x.shape, generator=drawn) for name, x in state.items() if x.dim() > 1
    }
    language = chain(SIZE, 4)
    return World(
        base.config,
        state,
        weights.state_of(related),
        state | drifted,
        sessions(language, 400, 64, 5),
        sessions(language, 400, 64, 6),
        list(_TEMPLATE),
        sessions(chain(SIZE, 7), 100, 64, 8),
    )
