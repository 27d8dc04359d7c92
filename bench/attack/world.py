"""The material of the attacks: the tiny trained models, text, template; the quality that noise costs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import AutoTokenizer, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from bench.attack import weights
from bench.attack.view import State, World
from bench.tiny import corpus
from bench.tiny.train import Recipe, checkpoint, encoded

_JUDGED_SESSIONS = 64


def tiny_world(recipe: Recipe, say: Callable[[str], None]) -> World:
    """From trained checkpoints, which are trained now if they are not in the cache."""
    transformers_logging.disable_progress_bar()
    folders = [checkpoint(variant, recipe, say) for variant in ("base", "related", "finetuned")]
    models = [LlamaForCausalLM.from_pretrained(folder).eval() for folder in folders]
    tokenizer = AutoTokenizer.from_pretrained(folders[0])
    return World(
        models[0].config,
        *(weights.state_of(model) for model in models),
        encoded(tokenizer, "public", recipe.characters),
        encoded(tokenizer, "traffic", recipe.characters),
        tokenizer(corpus.opening(), add_special_tokens=False)["input_ids"],
        encoded(tokenizer, "private", recipe.characters),
    )


def loss(world: World, state: State, sessions: list[list[int]]) -> float:
    """Mean cross-entropy of a model on sessions in its own ids, nats a token: what noise and drift did to it."""
    model, total, count = weights.network(world.config, state), 0.0, 0
    with torch.inference_mode():
        for session in sessions[:_JUDGED_SESSIONS]:
            ids = torch.tensor([session])
            total += float(model(input_ids=ids, labels=ids).loss) * (len(session) - 1)
            count += len(session) - 1
    return total / count
