"""Tiny random models with a tokenizer, saved as transformers saves real ones: examples run in seconds and offline.

Their answers mean nothing. Give an example the folder of a real checkpoint to get real ones.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from tokenizers.normalizers import Lowercase
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

LETTERS = [".", " ", *string.ascii_lowercase]
"""The whole vocabulary: a token is one letter. The full stop ends a text and pads it."""


def save_classifier(folder: Path) -> Path:
    """A BERT of two layers that tells three classes of sentences apart."""
    config = AutoConfig.for_model(
        "bert",
        vocab_size=len(LETTERS),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        max_position_embeddings=40,
        initializer_range=0.2,
        id2label={0: "sad", 1: "neither", 2: "glad"},
    )
    return _save(AutoModelForSequenceClassification, config, folder)


def save_language_model(folder: Path, family: str = "gpt2") -> Path:
    """A GPT-2 or LLaMA of two layers that continues a text letter by letter."""
    sizes: dict[str, dict[str, Any]] = {
        "gpt2": {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 40},
        "llama": {
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "intermediate_size": 48,
            "max_position_embeddings": 40,
        },
    }
    tokens = {"vocab_size": len(LETTERS), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **sizes[family], **tokens, initializer_range=0.3)
    return _save(AutoModelForCausalLM, config, folder)


def _save(kind: Any, config: Any, folder: Path) -> Path:
    torch.manual_seed(1)
    kind.from_config(config).save_pretrained(folder)
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(LETTERS)}, merges=[]))
    tokenizer.normalizer = Lowercase()
    tokenizer.decoder = Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=".", pad_token=".").save_pretrained(folder)
    return folder
