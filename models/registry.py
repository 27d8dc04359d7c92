"""The architectures that we serve. One that computes what another does, under other names, costs a row."""

from __future__ import annotations

from dataclasses import replace

from models.architecture import Architecture
from models.bert_kin import BERT, DISTILBERT, ROBERTA
from models.gpt2 import GPT2
from models.llama import LLAMA, MISTRAL, QWEN2
from models.vit_checkpoint import VIT
from protocols.core.errors import CheckpointError

ARCHITECTURES: dict[str, Architecture] = {
    "bert": BERT,
    "camembert": replace(ROBERTA, stem="Camembert"),
    "distilbert": DISTILBERT,
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "roberta": ROBERTA,
    "vit": VIT,
    "xlm-roberta": replace(ROBERTA, stem="XLMRoberta"),
}


def architecture(model_type: object) -> Architecture:
    """Raises CheckpointError for a model type that has no row."""
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise CheckpointError(f"config.json: model_type is {model_type!r}; supported: {known}")
    return ARCHITECTURES[model_type]
