"""Exactness: relative differences by shape, greedy agreement of the trained model, sentence embeddings, bfloat16."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import AutoTokenizer, BertModel, LlamaForCausalLM

from bench.attack.guess import interval
from bench.ee.twins import SHAPES, Twins, example, random_model, twins
from bench.tiny import corpus
from bench.tiny.train import Recipe, checkpoint, encoded
from secure.demo.sample import model_folder
from secure.protocols.core.errors import ConfigurationError

Say = Callable[[str], None]
LIMITS = {"float64": 1e-10, "float32": 2e-5}
_PROMPT_TOKENS = 40
_BATCH = 100


def differences(names: list[str], say: Say) -> list[dict[str, Any]]:
    """max |encrypted − plain| / max |plain| of each shape, in float64 (RMSNorm too, see twins.py) and float32."""
    unknown = [name for name in names if name not in SHAPES]
    if unknown:
        raise ConfigurationError(f"unknown shape {unknown[0]!r}; known: {'; '.join(SHAPES)}")
    rows = []
    for name in names:
        row: dict[str, Any] = {"shape": name}
        for label, dtype in (("float64", torch.float64), ("float32", torch.float32)):
            pair = twins(random_model(name, dtype))
            with torch.inference_mode():
                due, found = pair.outputs(example(pair.plain))
            row["parameters"] = sum(tensor.numel() for tensor in pair.plain.parameters())
            row[label] = float((found - due).abs().max() / due.abs().max())
            del pair, due, found
            gc.collect()
        rows.append(row)
        say(f"{name}: {row['float64']:.1e} in float64, {row['float32']:.1e} in float32")
    return rows


def agreement(prompts: int, new_tokens: int, say: Say) -> dict[str, Any]:
    """The trained tiny model: greedy tokens of encrypted and plain, in float32 and in bfloat16."""
    folder = checkpoint("base", say=say)
    ids = _prompts(folder, prompts)
    single = twins(LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False))
    half = twins(LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval().requires_grad_(False))
    due, found = _both(single, ids, new_tokens)
    due_half, found_half = _both(half, ids, new_tokens)
    result = {
        "prompts": len(ids),
        "new_tokens": new_tokens,
        "float32": _agree(found, due),
        "bfloat16 plain with float32": _agree(due_half, due),
        "bfloat16 encrypted with float32": _agree(found_half, due),
    }
    gap = (found_half == due).double().mean(1) - (due_half == due).double().mean(1)
    deviation = float(gap.std() / len(gap) ** 0.5)
    result["bfloat16 difference"] = {
        "mean": float(gap.mean()),
        "interval": [float(gap.mean()) - 1.96 * deviation, float(gap.mean()) + 1.96 * deviation],
    }
    for name in ("float32", "bfloat16 plain with float32", "bfloat16 encrypted with float32"):
        say(f"greedy, {name}: {result[name]['tokens']:.4%} of tokens, {result[name]['sequences']:.2%} of sequences")
    return result


def embeddings(sentences: int, say: Say) -> dict[str, Any]:
    """MiniLM's sentence embeddings, encrypted and plain: the smallest cosine between the two."""
    folder = model_folder()
    pair = twins(BertModel.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False))
    texts = corpus.PROSE.read_text(encoding="utf-8").splitlines()[:sentences]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cosines = []
    with torch.inference_mode():
        for text in texts:
            due, found = pair.outputs(tokenizer(text, truncation=True, max_length=128, return_tensors="pt").input_ids)
            cosines.append(float(cosine_similarity(due.double().mean(1), found.double().mean(1))))
    say(f"MiniLM: smallest cosine of {len(cosines)} sentences 1 − {1 - min(cosines):.1e}")
    return {"sentences": len(cosines), "smallest_cosine": min(cosines), "one_minus_smallest": 1 - min(cosines)}


def greedy(model: torch.nn.Module, ids: Tensor, new_tokens: int) -> Tensor:
    """The most likely token, again and again; it does not stop at an end. Shapes: [B, T] -> [B, new_tokens]."""
    chosen, cache, fed = [], None, ids
    with torch.inference_mode():
        for _ in range(new_tokens):
            answer = model(input_ids=fed, past_key_values=cache, use_cache=True)
            cache, fed = answer.past_key_values, answer.logits[:, -1:].argmax(-1)
            chosen.append(fed)
    return torch.cat(chosen, dim=1)


def _both(pair: Twins, ids: Tensor, new_tokens: int) -> tuple[Tensor, Tensor]:
    vocabulary = pair.transform.vocabulary
    assert vocabulary is not None
    plain = [greedy(pair.plain, part, new_tokens) for part in ids.split(_BATCH)]
    encrypted = [greedy(pair.encrypted, vocabulary.encrypt_ids(part), new_tokens) for part in ids.split(_BATCH)]
    return torch.cat(plain), vocabulary.decrypt_ids(torch.cat(encrypted))


def _prompts(folder: Path, count: int) -> Tensor:
    """Beginnings of sessions that the model was not trained on, all of one length: no padding in the comparison."""
    sessions = encoded(AutoTokenizer.from_pretrained(folder), "traffic", Recipe().characters)
    long_enough = [session[:_PROMPT_TOKENS] for session in sessions if len(session) >= _PROMPT_TOKENS]
    if len(long_enough) < count:
        raise ConfigurationError(f"the text has {len(long_enough)} prompts of {_PROMPT_TOKENS} tokens, not {count}")
    return torch.tensor(long_enough[:count])


def _agree(found: Tensor, due: Tensor) -> dict[str, Any]:
    same = found == due
    right, counted = same.sum(1).tolist(), [same.shape[1]] * len(same)
    return {
        "tokens": float(same.double().mean()),
        "interval": interval(right, counted),
        "sequences": float(same.all(1).double().mean()),
    }
