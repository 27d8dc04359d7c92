"""What a client gets, in the classes of transformers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import ModelOutput

from models.config import BertConfig, Head
from models.manifest import Manifest
from models.program import Output
from models.registry import architecture

_CLASSES: dict[Head, type[ModelOutput]] = {
    "none": BaseModelOutputWithPooling,
    "sequence_tanh": SequenceClassifierOutput,
    "sequence_relu": SequenceClassifierOutput,
    "token": TokenClassifierOutput,
    "masked_lm": MaskedLMOutput,
}


def whole_output(manifest: Manifest) -> Output:
    """What the whole model computes, its head included."""
    return "hidden" if BertConfig(**manifest.config).head == "none" else "logits"


def model_output(manifest: Manifest, tensors: Mapping[str, Tensor]) -> ModelOutput:
    """The tensors of a `whole_output`, named as in `models.program.output_specs`, as transformers returns them."""
    kind = _CLASSES[BertConfig(**manifest.config).head]
    if kind is BaseModelOutputWithPooling and not architecture(manifest.architecture).pools:
        kind = BaseModelOutput
    return kind(**tensors)
