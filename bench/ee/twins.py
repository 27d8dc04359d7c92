"""Models beside their encrypted twins: same architecture, tensors moved by a key."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.utils import logging as transformers_logging

from secure.models.families.registry import encrypted_family
from secure.protocols.equivariant import Key, Transform, plan

_SEED = 21
# Pixels of an image for a network that takes any size.
_SIDE = 64
KEY = Key(bytes(range(32)))
# The 1B shape: Llama 3.2's, 1.24e9 parameters with a tied embedding.
ONE_BILLION = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
_TINY = {
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
}
_TINY_BERT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_TINY_RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2], "layer_type": "basic"}
_TWO_LAYERS = {"num_hidden_layers": 2, "vocab_size": 32000}
SHAPES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama, tiny": lambda: LlamaForCausalLM(LlamaConfig(**_TINY)),
    "llama, tiny, tied": lambda: LlamaForCausalLM(LlamaConfig(**_TINY, tie_word_embeddings=True)),
    "mistral, tiny": lambda: MistralForCausalLM(MistralConfig(**_TINY)),
    "qwen2, tiny": lambda: Qwen2ForCausalLM(Qwen2Config(**_TINY)),
    "gpt2, tiny": lambda: GPT2LMHeadModel(
        GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=500, bos_token_id=0, eos_token_id=0)
    ),
    "bert, tiny": lambda: BertModel(BertConfig(**_TINY_BERT, vocab_size=500)),
    "vit, tiny": lambda: ViTForImageClassification(ViTConfig(**_TINY_BERT, image_size=32, patch_size=8)),
    "resnet, tiny": lambda: ResNetForImageClassification(ResNetConfig(**_TINY_RESNET)),
    "llama, 1B's layers, 2 of 16": lambda: LlamaForCausalLM(LlamaConfig(**ONE_BILLION | _TWO_LAYERS)),
    "gpt2, 124M": lambda: GPT2LMHeadModel(GPT2Config()),
    "bert-base": lambda: BertModel(BertConfig()),
    "vit-base": lambda: ViTForImageClassification(ViTConfig()),
    "resnet-50": lambda: ResNetForImageClassification(ResNetConfig()),
}


@dataclass(frozen=True)
class Twins:
    """A model, its encrypted twin, and the transform between them."""

    plain: PreTrainedModel
    encrypted: PreTrainedModel
    transform: Transform

    def outputs(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Both models' outputs, the encrypted one's decrypted: logits, or the last hidden state without a head."""
        transform = self.transform
        if self.plain.main_input_name == "pixel_values":
            encrypted = self.encrypted(pixel_values=transform.encrypt_pixels(inputs)).logits
            return self.plain(pixel_values=inputs).logits, encrypted
        assert transform.vocabulary is not None
        due, found = self.plain(input_ids=inputs), self.encrypted(input_ids=transform.vocabulary.encrypt_ids(inputs))
        if hasattr(due, "logits"):
            return due.logits, transform.vocabulary.decrypt_logits(found.logits)
        return due.last_hidden_state, transform.decrypt_hidden(found.last_hidden_state)


def random_model(name: str, dtype: torch.dtype) -> PreTrainedModel:
    """A model of SHAPES with random weights; gains, biases, running moments drawn too: none is trivial."""
    torch.manual_seed(_SEED)
    transformers_logging.disable_progress_bar()
    model = SHAPES[name]()
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.dim() == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
        for buffer, moment in model.named_buffers():
            if buffer.endswith(("running_mean", "running_var")):
                moment.add_(0.1 * torch.rand_like(moment))
    return model.to(dtype).eval().requires_grad_(False)


def twins(plain: PreTrainedModel, key: Key = KEY) -> Twins:
    """The encrypted twin of a model, in the model's own type: computed in float64 and cast once.

    It goes through files, as checkpoints do: their names are not always those of the module's parameters.
    """
    dtype = next(plain.parameters()).dtype
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        plain.save_pretrained(scratch / "plain", max_shard_size="100GB")
        state = load_file(scratch / "plain" / "model.safetensors")
        config = json.loads((scratch / "plain" / "config.json").read_text(encoding="utf-8"))
        transform = plan(encrypted_family(config), config, key)
        # Counters of batches are whole numbers and keep their type.
        tensors = {
            name: moved.to(dtype) if moved.is_floating_point() else moved
            for name in transform.tensors
            for moved in (transform.encrypt(name, lambda wanted: state[wanted]),)
        }
        config = copy.deepcopy(plain.config)
        config.update(transform.config_changes)
        config.save_pretrained(scratch / "encrypted")
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            scratch / "encrypted" / "model.safetensors",
            metadata={"format": "pt"},
        )
        encrypted = type(plain).from_pretrained(scratch / "encrypted", dtype=dtype)
    encrypted.eval().requires_grad_(False)
    if dtype == torch.float64:
        for model in (plain, encrypted):
            _norms_in_float64(model)
    return Twins(plain, encrypted, transform)


def example(model: PreTrainedModel, batch: int = 2, tokens: int = 24) -> Tensor:
    """Random ids or pixels for a model."""
    drawn = torch.Generator().manual_seed(_SEED)
    config: Any = model.config
    if model.main_input_name == "pixel_values":
        side = config.to_dict().get("image_size", _SIDE)
        size = (batch, config.num_channels, side, side)
        return torch.randn(size, generator=drawn, dtype=torch.float64).to(next(model.parameters()).dtype)
    return torch.randint(0, config.vocab_size, (batch, tokens), generator=drawn)


def _norms_in_float64(model: PreTrainedModel) -> None:
    """transformers computes RMSNorm in float32 whatever the model's type: a difference in float64 would show that."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(_root_mean_square_norm, module)


def _root_mean_square_norm(module: Any, x: Tensor) -> Tensor:
    return module.weight * x / (x.square().mean(-1, keepdim=True) + module.variance_epsilon).sqrt()
