"""Reads a session token by token: every candidate is run through the known model, the best match is kept.

What attacks A8 and A10 share. The known model's cache holds what has been read so far, so a step costs one pass of
the whole vocabulary over one position. A wrong token stays in the prefix: errors spread, as for a real attacker.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from bench.attack.guess import Guess
from bench.attack.view import View


@dataclass(frozen=True)
class Trace:
    """What runs inside a model for B sequences of T positions, layer by layer.

    Shapes: hidden [B, T, d]; gates [B, T, f]; maps [B, H, T, all positions so far].
    """

    hidden: list[Tensor]
    gates: list[Tensor]
    maps: list[Tensor]

    def place(self, position: int) -> Trace:
        """One position of it."""
        return Trace(
            [hidden[:, position : position + 1] for hidden in self.hidden],
            [gate[:, position : position + 1] for gate in self.gates],
            [weights[:, :, position : position + 1] for weights in self.maps],
        )


class Matcher(ABC):
    """How far each candidate is from what was observed."""

    @abstractmethod
    def begin(self, observed: Trace, known: Trace) -> None:
        """Both models' traces of the template, whose tokens are known."""

    @abstractmethod
    def distances(self, observed: Trace, candidates: Trace, before: Trace, known_before: Trace) -> Tensor:
        """Of one position [1, 1, …] to candidates [V, 1, …]; `before`: the observed trace so far. Shapes: [V]."""


def read_sessions(view: View, matcher: Matcher, numbers: list[int], length: int) -> Guess:
    """The first `length` tokens behind the template, of these sessions."""
    return Guess(readings={number: _read(view, matcher, number, length) for number in numbers})


def _read(view: View, matcher: Matcher, number: int, length: int) -> list[int]:
    symbols = view.traffic.symbols[number][: len(view.template) + length]
    with traced(view.encrypted_network) as trace:
        view.encrypted_network(**view.inputs(symbols), output_hidden_states=True, output_attentions=True)
        observed = trace()
    model, start = view.known_network, len(view.template)
    with traced(model) as trace:
        ids = torch.tensor([view.template])
        cache = model(input_ids=ids, use_cache=True, output_attentions=True).past_key_values
        known = trace()
        matcher.begin(_until(observed, start), known)
        read = list(view.template)
        everything = torch.arange(view.config.vocab_size)[:, None]
        for position in range(start, len(symbols)):
            many = copy.deepcopy(cache)
            many.batch_repeat_interleave(len(everything))
            model(input_ids=everything, past_key_values=many, use_cache=True, output_attentions=True)
            candidates = trace()
            distances = matcher.distances(observed.place(position), candidates, _until(observed, position), known)
            read.append(int(distances.argmin()))
            chosen = everything[read[-1] :][:1]
            model(input_ids=chosen, past_key_values=cache, use_cache=True, output_attentions=True)
            known = _longer(known, trace())
    return read


@contextmanager
def traced(model: LlamaForCausalLM) -> Iterator[Callable[[], Trace]]:
    """Hooks that keep hidden states, gate products and attention maps of the last pass; the function returns them."""
    found: dict[str, list[Tensor]] = {"hidden": [], "gates": [], "maps": []}
    hooks = []
    for layer in model.model.layers:
        hooks.append(layer.register_forward_pre_hook(partial(_keep, found["hidden"]), with_kwargs=True))
        hooks.append(layer.mlp.gate_proj.register_forward_hook(lambda _, given, out: found["gates"].append(out)))
        hooks.append(layer.self_attn.register_forward_hook(lambda _, given, out: found["maps"].append(out[1])))

    def take() -> Trace:
        trace = Trace(*(list(found[name]) for name in ("hidden", "gates", "maps")))
        for values in found.values():
            values.clear()
        return trace

    try:
        yield take
    finally:
        for hook in hooks:
            hook.remove()


def _keep(found: list[Tensor], _: object, given: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
    found.append(given[0] if given else kwargs["hidden_states"])


def _until(trace: Trace, stop: int) -> Trace:
    return Trace(
        [hidden[:, :stop] for hidden in trace.hidden],
        [gate[:, :stop] for gate in trace.gates],
        [weights[:, :, :stop] for weights in trace.maps],
    )


def _longer(trace: Trace, step: Trace) -> Trace:
    """A trace with one more position; maps of the template alone are of use later, so they stay as they are."""
    return Trace(
        [torch.cat(pair, 1) for pair in zip(trace.hidden, step.hidden, strict=True)],
        [torch.cat(pair, 1) for pair in zip(trace.gates, step.gates, strict=True)],
        trace.maps,
    )
