"""Trains the tiny LLaMA and its tokenizer, minutes on two cores, and keeps the checkpoints in bench/out.

    base       on the body `base`: the model that is encrypted
    related    the same recipe, another seed, on the body `public`: what a stranger can train from public text
    finetuned  `base` trained further on the body `private`, a drift that nobody outside knows

Deterministic: seeds, one order of batches, deterministic kernels; a cache folder is named by a digest of all that went
in (text, recipe, variant, which way of training).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.tiny import corpus

Variant = Literal["base", "related", "finetuned"]
CACHE = Path(__file__).parent.parent / "out"
# Moves when the code below trains otherwise for the same recipe: older checkpoints are then not taken.
_TRAINING = 1
_BODY: dict[Variant, corpus.Body] = {"base": "base", "related": "public", "finetuned": "private"}
_SEED: dict[Variant, int] = {"base": 11, "related": 12, "finetuned": 13}


@dataclass(frozen=True)
class Recipe:
    """Shape and schedule. The defaults are the model of the benchmarks; tests train a smaller one."""

    vocabulary: int = 1024
    width: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 352
    positions: int = 512
    window: int = 128  # tokens of a training sequence
    batch: int = 16
    steps: int = 900
    drift_steps: int = 300
    learning_rate: float = 3e-3
    characters: int = 400_000


def checkpoint(variant: Variant = "base", recipe: Recipe | None = None, say: Callable[[str], None] = print) -> Path:
    """Folder of a trained checkpoint with its tokenizer, from the cache or trained now."""
    recipe = recipe or Recipe()
    folder = CACHE / f"tiny-{_digest(recipe, variant)}" / variant
    if folder.exists():
        return folder
    ancestor = checkpoint("base", recipe, say) if variant == "finetuned" else None
    say(f"training the tiny model {variant!r}, once; it is kept in {folder.parent.relative_to(CACHE.parent.parent)}")
    tokenizer = train_tokenizer(recipe)
    unfinished = folder.with_name(f"{variant}.{os.getpid()}")
    model = _train(variant, recipe, tokenizer, ancestor, say)
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    try:
        unfinished.rename(folder)
    except OSError:  # another process was faster, with the same result
        shutil.rmtree(unfinished)
    return folder


def train_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """Byte-level BPE. All variants share it, as models of one family do; it is public."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(corpus.SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus.sessions("base", recipe.characters), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=corpus.BEGIN, eos_token=corpus.END, pad_token=corpus.END
    )
    wrapped.add_special_tokens({"additional_special_tokens": list(corpus.SPECIAL[2:])})
    wrapped.chat_template = corpus.CHAT_TEMPLATE
    return wrapped


def encoded(tokenizer: PreTrainedTokenizerFast, body: corpus.Body, characters: int) -> list[list[int]]:
    """The sessions of a body as ids."""
    ids = tokenizer(list(corpus.sessions(body, characters)), add_special_tokens=False)["input_ids"]
    return [list(map(int, one)) for one in ids]


def _train(
    variant: Variant,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    ancestor: Path | None,
    say: Callable[[str], None],
) -> LlamaForCausalLM:
    torch.manual_seed(_SEED[variant])
    model = LlamaForCausalLM.from_pretrained(ancestor) if ancestor else LlamaForCausalLM(_config(recipe, tokenizer))
    steps = recipe.drift_steps if ancestor else recipe.steps
    peak = recipe.learning_rate / (3 if ancestor else 1)
    stream = torch.tensor([id for one in encoded(tokenizer, _BODY[variant], recipe.characters) for id in one])
    chosen = torch.Generator().manual_seed(_SEED[variant])
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.1, betas=(0.9, 0.95))
    model.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = peak * _schedule(step, steps)
        batch = _windows(stream, recipe, chosen)
        loss = model(input_ids=batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 99 or step == steps - 1:
            say(f"  step {step + 1} of {steps}, loss {loss.item():.3f}")
    return model.eval()


def _config(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        intermediate_size=recipe.feed_forward,
        max_position_embeddings=recipe.positions,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _windows(stream: Tensor, recipe: Recipe, chosen: torch.Generator) -> Tensor:
    starts = torch.randint(0, len(stream) - recipe.window, (recipe.batch,), generator=chosen)
    return torch.stack([stream[start : start + recipe.window] for start in starts.tolist()])


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up over a twentieth, then a cosine down to a tenth."""
    warm = max(steps // 20, 1)
    if step < warm:
        return (step + 1) / warm
    return 0.55 + 0.45 * math.cos(math.pi * (step - warm) / max(steps - warm, 1))


def _digest(recipe: Recipe, variant: Variant) -> str:
    """Of text and recipe; the drift's length counts for the model that drifts alone."""
    if variant != "finetuned":
        recipe = replace(recipe, drift_steps=0)
    settings = asdict(recipe) | {"seed": _SEED[variant], "training": _TRAINING}
    material = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for body in ("base", _BODY[variant]):
        material.update("".join(corpus.sessions(body, recipe.characters)).encode())
    return material.hexdigest()[:12]
