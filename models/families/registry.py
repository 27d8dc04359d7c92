"""The architectures that we serve. One that computes what another does, under other names, costs a row."""

from __future__ import annotations

from dataclasses import replace

from secure.models.contract.architecture import Architecture
from secure.models.families.bert_kin import BERT, DISTILBERT, ROBERTA
from secure.models.families.gpt2 import GPT2
from secure.models.families.llama import LLAMA, MISTRAL, QWEN2, QWEN3
from secure.models.families.vit_checkpoint import VIT
from secure.protocols.core.errors import CheckpointError

ARCHITECTURES: dict[str, Architecture] = {
    "bert": BERT,
    "camembert": replace(ROBERTA, stem="Camembert"),
    "distilbert": DISTILBERT,
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
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
