"""A11, the model's own language: a server without the base and without any traffic reads the vocabulary from the model.

An encrypted language model still predicts its next token: its answers are a table of P(τ(b) | τ(a)) for all pairs.
Whoever knows the language, from public text or from any model of the same tokenizer, matches that table with the
known one, as a substitution cipher of unlimited length (matching.decipher). Text sampled from the encrypted model
itself gives the weights of the pairs. Symmetries of the network do not enter: the function that the server evaluates
is what gives it away. Frequencies of traffic are not needed, rekeying does not help.

Needs: an encrypted model with embedding and head (not there in split mode). Beyond the ten attacks of the design.
Source: ours, from A5 and A6.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from bench.attack.guess import Guess
from bench.attack.matching import bigrams, decipher, smoothed
from bench.attack.view import View

_SAMPLES, _LENGTH = 128, 96
_SEED = 3
_TURNS = 5


def attack(view: View) -> Guess:
    """The vocabulary by matching what the encrypted model says with public text."""
    language = smoothed(bigrams(view.public, view.config.vocab_size))
    return Guess(decipher(spoken(view.encrypted_network), language))


def spoken(model: LlamaForCausalLM) -> Tensor:
    """Expected counts of pairs in text that the model samples for itself. Shapes: float64 [V, V].

    Begins with every token once: which of them begins a text is not known.
    """
    chosen = torch.Generator().manual_seed(_SEED)
    size = model.config.vocab_size
    counts = torch.zeros(size, size, dtype=torch.float64)
    ids = torch.randint(0, size, (_SAMPLES, 1), generator=chosen)
    cache, fed = None, ids
    for step in range(_LENGTH):
        answer = model(input_ids=fed, past_key_values=cache, use_cache=True)
        cache = answer.past_key_values
        likely = answer.logits[:, -1].double().softmax(-1)
        # A few tokens until the text has forgotten its random beginning.
        if step >= 8:
            counts.index_add_(0, fed[:, 0], likely)
        fed = torch.multinomial(likely, 1, generator=chosen)
    return counts
