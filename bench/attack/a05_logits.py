"""A5, sorted logits, black box: ask the encrypted model and the base for one token each, and compare the answers.

The encrypted model's logits after the prompt τ(i) are the base's after i, in another order. Sorted, they are equal. No
weight of the encrypted model is looked at: V prompts of one token to each side, 2V forward passes, and a matching.

Needs: logits (not there in split mode), a base to ask. Source: permuted and sorted logits, Thomas et al. 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from bench.attack.guess import Guess
from bench.attack.matching import assign_near, quantiles
from bench.attack.view import View

_BATCH = 256


def attack(view: View) -> Guess:
    """The vocabulary by nearest sorted logits, as log-probabilities."""
    return Guess(assign_near(quantiles(answers(view.encrypted_network)), quantiles(answers(view.known_network))))


def answers(model: LlamaForCausalLM) -> Tensor:
    """Log-probabilities after each prompt of one token. Shapes: float64 [V, V]."""
    ids = torch.arange(model.config.vocab_size)[:, None]
    logits = [model(input_ids=part).logits[:, 0] for part in ids.split(_BATCH)]
    return torch.cat(logits).double().log_softmax(-1)
