"""A tiny decoder's folder with a tokenizer of 61 letters and signs, each of them a token."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tests.models.decoders import save_decoder

LETTERS = "." + string.ascii_letters + string.digits[:8]
MARGIN = 6e-3  # twice the error of logits: greedy tokens must then be the same


def save_tokenizer(folder: Path, **tokens: str) -> None:
    """tokens: eos_token and pad_token, if any."""
    tokenizer = Tokenizer(BPE({letter: i for i, letter in enumerate(LETTERS)}, merges=[]))
    tokenizer.decoder = Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens).save_pretrained(folder)


def save_chat_model(folder: Path) -> None:
    """A tiny GPT-2 with a chat template that joins what was said; a full stop ends a text."""
    save_decoder(folder, "gpt2", spread=0.5)
    save_tokenizer(folder, eos_token=".", pad_token=".")
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content }}{% endfor %}")


def due(reference: Any, ids: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
    """transformers' greedy tokens; the test would say nothing if any choice were close."""
    mask = torch.ones_like(ids) if mask is None else mask
    result = reference.generate(
        ids, attention_mask=mask, output_scores=True, return_dict_in_generate=True, **({"do_sample": False} | options)
    )
    best = torch.stack(result.scores).topk(2).values
    assert float((best[..., 0] - best[..., 1]).min()) > MARGIN, "the test's own model is undecided"
    return result.sequences
