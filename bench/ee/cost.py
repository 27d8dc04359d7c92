"""Cost: tokens per second of encrypted over plain in paired runs, the transform's throughput, bytes on the wire."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from bench.ee.exactness import greedy
from bench.ee.twins import KEY, ONE_BILLION, example, twins
from secure.models.families.registry import encrypted_family
from secure.parties.encrypted.generation_pb2 import GenerateRequest, Tokens
from secure.protocols.equivariant import plan

Say = Callable[[str], None]
# 110M parameters: large enough that a pass is matrices and not Python, small enough for many pairs.
_SERVED = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}
_PROMPT, _NEW = 32, 32
# Student's t, 97.5 %, by degrees of freedom; beyond 30 the normal's is near enough.
_T = {4: 2.776, 9: 2.262, 14: 2.145, 19: 2.093, 24: 2.064, 29: 2.045}


def throughput(pairs: int, say: Say) -> dict[str, Any]:
    """Encrypted and plain generate the same prompt one after the other, and who is first alternates."""
    torch.manual_seed(0)
    pair = twins(LlamaForCausalLM(LlamaConfig(**_SERVED)).eval().requires_grad_(False))
    assert pair.transform.vocabulary is not None
    ids = example(pair.plain, batch=1, tokens=_PROMPT)
    moved = pair.transform.vocabulary.encrypt_ids(ids)
    # Where weights lie in memory decides about some percent: a model beside its own copy differs by as much. One was
    # made and the other read from a file, so both are laid down anew, in the same way.
    plain, encrypted = copy.deepcopy(pair.plain), copy.deepcopy(pair.encrypted)
    runs: dict[str, Callable[[], float]] = {
        "plain": lambda: _seconds(plain, ids),
        "encrypted": lambda: _seconds(encrypted, moved),
    }
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {"plain": [], "encrypted": []}
    for number in range(pairs):
        for name in sorted(runs, reverse=bool(number % 2)):
            seconds[name].append(runs[name]())
    logarithms = [math.log(p / e) for p, e in zip(seconds["plain"], seconds["encrypted"], strict=True)]
    mean, half = statistics.mean(logarithms), 0.0
    if pairs > 1:
        half = _student(pairs - 1) * statistics.stdev(logarithms) / math.sqrt(pairs)
    result = {
        "model": _SERVED,
        "prompt_tokens": _PROMPT,
        "new_tokens": _NEW,
        "pairs": pairs,
        "seconds": seconds,
        "tokens_per_second": {name: _NEW / statistics.median(values) for name, values in seconds.items()},
        "encrypted_over_plain": math.exp(mean),
        "interval": [math.exp(mean - half), math.exp(mean + half)],
    }
    low, high = result["interval"]
    say(f"tokens per second, encrypted over plain: {result['encrypted_over_plain']:.3f}, 95 % {low:.3f} to {high:.3f}")
    return result


def transform_speed(say: Say) -> dict[str, Any]:
    """Every tensor of the 1B shape, encrypted in float64 and cast to bfloat16; making the base is left out."""
    config = LlamaConfig(**ONE_BILLION).to_dict() | {"architectures": ["LlamaForCausalLM"]}
    transform = plan(encrypted_family(config), config, KEY)
    kept: dict[tuple[int, ...], Tensor] = {}

    def base(name: str) -> Tensor:
        shape = transform.base_tensors[name]
        if shape not in kept:
            kept[shape] = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
        return kept[shape]

    for name in transform.base_tensors:
        base(name)
    started = time.perf_counter()
    for name in transform.tensors:
        transform.encrypt(name, base).to(torch.bfloat16)
    seconds = time.perf_counter() - started
    parameters = sum(math.prod(shape) for shape in transform.base_tensors.values())
    written = sum(math.prod(shape) for shape in transform.tensors.values())
    say(f"1B shape: {parameters:,} parameters in {seconds:.1f} s, {parameters / seconds:,.0f} a second")
    return {
        "parameters": parameters,
        "parameters_written": written,
        "seconds": seconds,
        "parameters_per_second": parameters / seconds,
        "threads": torch.get_num_threads(),
        "includes": "drawing the key's matrices, float64 arithmetic, the cast to bfloat16",
        "excludes": "reading and writing files",
    }


def wire() -> dict[str, Any]:
    """Bytes that one more token adds to a request and to its answer: ids go packed."""

    def growth(of: Callable[[int], int]) -> float:
        return (of(2000) - of(1000)) / 1000

    return {
        "bytes_per_token": growth(lambda count: GenerateRequest(ids=[7] * count).ByteSize()),
        "bytes_per_token_back": growth(lambda count: Tokens(ids=[7] * count).ByteSize()),
        "bytes_per_token_streamed": Tokens(ids=[7]).ByteSize(),
        "of": "the gRPC party's messages for generation; streamed: a message a token; without HTTP/2, TLS and TCP",
    }


def _seconds(model: torch.nn.Module, ids: Tensor) -> float:
    started = time.perf_counter()
    greedy(model, ids, _NEW)
    return time.perf_counter() - started


def _student(freedom: int) -> float:
    return next((value for known, value in sorted(_T.items(), reverse=True) if known <= freedom), 12.706)
