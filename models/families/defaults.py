"""What transformers takes for a field that config.json lacks, as it may where it would say nothing new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LLAMA: Mapping[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
_QWEN: Mapping[str, Any] = {
    **_LLAMA,
    "vocab_size": 151_936,
    "intermediate_size": 22_016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32_768,
    "sliding_window": 4096,
    "max_window_layers": 28,
}
_ENCODER: Mapping[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
_BERT: Mapping[str, Any] = {
    **_ENCODER,
    "vocab_size": 30_522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "tie_word_embeddings": True,
}
_XLM_ROBERTA: Mapping[str, Any] = {**_BERT, "pad_token_id": 1}

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "bert": _BERT,
    "camembert": _XLM_ROBERTA,
    "distilbert": {
        "vocab_size": 30_522,
        "max_position_embeddings": 512,
        "dim": 768,
        "n_layers": 6,
        "n_heads": 12,
        "hidden_dim": 3072,
        "activation": "gelu",
        "tie_word_embeddings": True,
    },
    "gpt2": {
        "vocab_size": 50_257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
    },
    "llama": _LLAMA,
    "mistral": {
        **_LLAMA,
        "intermediate_size": 14_336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "resnet": {
        "num_channels": 3,
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
    },
    "roberta": {**_XLM_ROBERTA, "vocab_size": 50_265},
    "vit": {**_ENCODER, "num_channels": 3, "image_size": 224, "patch_size": 16},
    "xlm-roberta": _XLM_ROBERTA,
}
"""By model_type. These are part of what each architecture is: they do not change between releases."""


def with_defaults(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """config.json with the fields that its model_type has a value for where the file has none; null is a value."""
    return {**_DEFAULTS.get(str(raw.get("model_type")), {}), **raw}
