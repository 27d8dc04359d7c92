"""The architectures that we serve: a row says what each is on shares, and what it is to equivariant encryption.

One that computes what another does, under other names, costs a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from secure.models.contract.architecture import Architecture
from secure.models.families.bert_kin import BERT, DISTILBERT, MPC_BERT, ROBERTA
from secure.models.families.gpt2 import GPT2
from secure.models.families.llama import LlamaArchitecture
from secure.models.families.llama_config import LlamaFields, chosen_windows, no_window, one_window
from secure.models.families.planned.mpc_gpt2 import MPC_GPT2
from secure.models.families.planned.mpc_vit import MPC_VIT
from secure.models.families.vit_checkpoint import VIT
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.families import bert, cnn, gpt2, llama, vit
from secure.protocols.equivariant.families.family import EncryptedFamily


@dataclass(frozen=True)
class ModelFamily:
    """One architecture of Hugging Face.

    shared: its checkpoints on shares. encrypted: its checkpoints under equivariant encryption. None where it is not
    served so.
    """

    shared: Architecture | None = None
    encrypted: EncryptedFamily | None = None


def _llama(fields: LlamaFields) -> ModelFamily:
    blocks = llama.LlamaBlocks(
        fields.qkv_bias, fields.output_bias, fields.feedforward_bias, fields.head_norms, fields.head_dim
    )
    return ModelFamily(LlamaArchitecture(fields), llama.llama_family(fields.stem, blocks))


_NO_BIAS: dict[str, Any] = {"attention_bias": False, "mlp_bias": False}

FAMILIES: Mapping[str, ModelFamily] = {
    "bert": ModelFamily(BERT, bert.BERT),
    "camembert": ModelFamily(replace(ROBERTA, stem="Camembert")),
    "distilbert": ModelFamily(DISTILBERT),
    "gpt2": ModelFamily(GPT2, gpt2.GPT2),
    "llama": _llama(
        LlamaFields(
            "Llama",
            no_window,
            only={},  # fields of windows mean nothing to it
            qkv_bias="attention_bias",
            output_bias="attention_bias",
            feedforward_bias="mlp_bias",
            key_heads=True,
        )
    ),
    "mistral": _llama(
        LlamaFields("Mistral", one_window, only=_NO_BIAS | {"use_sliding_window": True, "layer_types": None})
    ),
    "mpc_bert": ModelFamily(MPC_BERT),
    "mpc_gpt2": ModelFamily(MPC_GPT2),
    "mpc_vit": ModelFamily(MPC_VIT),
    "qwen2": _llama(LlamaFields("Qwen2", chosen_windows, only=_NO_BIAS, qkv_bias=True)),
    "qwen3": _llama(
        LlamaFields(
            "Qwen3",
            chosen_windows,
            only={"mlp_bias": False},
            qkv_bias="attention_bias",
            output_bias="attention_bias",
            head_norms=True,
            head_dim=128,
        )
    ),
    "resnet": ModelFamily(encrypted=cnn.RESNET),
    "roberta": ModelFamily(ROBERTA),
    "vit": ModelFamily(VIT, vit.VIT),
    "xlm-roberta": ModelFamily(replace(ROBERTA, stem="XLMRoberta")),
}
"""Every architecture, by the model_type of its config.json."""


def architecture(model_type: object) -> Architecture:
    """What computes on shares. Raises CheckpointError for a model type that has none."""
    served = {name: family.shared for name, family in FAMILIES.items() if family.shared is not None}
    if not isinstance(model_type, str) or model_type not in served:
        raise CheckpointError(f"config.json: model_type is {model_type!r}; supported: {', '.join(served)}")
    return served[model_type]


def encrypted_family(config: Mapping[str, Any]) -> EncryptedFamily:
    """The family whose symmetries encrypt a checkpoint. config: config.json.

    Raises CheckpointError for `architectures` that have none, and for a model_type that is not theirs.
    """
    served = {name: f.encrypted for f in FAMILIES.values() if f.encrypted is not None for name in f.encrypted.heads}
    architectures = config.get("architectures") or []
    if len(architectures) != 1 or architectures[0] not in served:
        named = ", ".join(map(str, architectures)) or "nothing"
        raise CheckpointError(f"config.json: architectures: {named} is not supported; {', '.join(served)} are")
    family = served[architectures[0]]
    if config.get("model_type") != family.model_type:
        raise CheckpointError(
            f"config.json: model_type is {config.get('model_type')!r}; {architectures[0]} has {family.model_type!r}"
        )
    return family
