"""Which architecture of Hugging Face belongs to which family. A new model is a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.choice import Choice, choose_factors
from secure.protocols.equivariant.families import bert, cnn, gpt2, llama, vit
from secure.protocols.equivariant.key import Key
from secure.protocols.equivariant.layout import Layout


@dataclass(frozen=True)
class Family:
    """A family's name, the factors that it has, and its layout for one architecture."""

    name: str
    model_type: str
    factors: tuple[str, ...]
    layout: Callable[[Mapping[str, Any], Choice], Layout]


def _llama(model_type: str, head: str) -> Family:
    return Family("llama", model_type, llama.FACTORS, partial(llama.layout, model_type=model_type, head=head))


ARCHITECTURES: Mapping[str, Family] = MappingProxyType(
    {
        **{
            f"{prefix}{suffix}": _llama(model_type, head)
            for prefix, model_type in (
                ("Llama", "llama"),
                ("Mistral", "mistral"),
                ("Qwen2", "qwen2"),
                ("Qwen3", "qwen3"),
            )
            for suffix, head in (("ForCausalLM", "lm_head"), ("ForSequenceClassification", "score"), ("Model", ""))
        },
        **{
            name: Family("gpt2", "gpt2", gpt2.FACTORS, partial(gpt2.layout, head=head))
            for name, head in (
                ("GPT2LMHeadModel", "lm_head"),
                ("GPT2ForSequenceClassification", "score"),
                ("GPT2Model", ""),
            )
        },
        **{
            f"Bert{suffix}": Family("bert", "bert", bert.FACTORS, partial(bert.layout, head=head))
            for suffix, head in (
                ("Model", ""),
                ("ForSequenceClassification", "sequence"),
                ("ForTokenClassification", "tokens"),
                ("ForQuestionAnswering", "answers"),
                ("ForMaskedLM", "words"),
            )
        },
        "ViTForImageClassification": Family("vit", "vit", vit.FACTORS, partial(vit.layout, head="classifier")),
        "ViTModel": Family("vit", "vit", vit.FACTORS, partial(vit.layout, head="")),
        "ResNetForImageClassification": Family("cnn", "resnet", cnn.FACTORS, partial(cnn.layout, head="classifier")),
        "ResNetModel": Family("cnn", "resnet", cnn.FACTORS, partial(cnn.layout, head="")),
    }
)


def family_layout(
    config: Mapping[str, Any], key: Key, factors: Sequence[str] | None, *, permutations: bool, keep_tie: bool
) -> tuple[Layout, Choice]:
    """The layout and the choice for a configuration. Raises CheckpointError and ConfigurationError."""
    architectures = config.get("architectures") or []
    if len(architectures) != 1 or architectures[0] not in ARCHITECTURES:
        named = ", ".join(map(str, architectures)) or "nothing"
        raise CheckpointError(f"config.json: architectures: {named} is not supported; {', '.join(ARCHITECTURES)} are")
    family = ARCHITECTURES[architectures[0]]
    if config.get("model_type") != family.model_type:
        raise CheckpointError(
            f"config.json: model_type is {config.get('model_type')!r}; {architectures[0]} has {family.model_type!r}"
        )
    choice = Choice(key, choose_factors(factors, family.factors, family.name), permutations, keep_tie)
    return family.layout(config, choice), choice
