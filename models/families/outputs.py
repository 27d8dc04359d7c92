"""What a client gets, in the classes of transformers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
    ImageClassifierOutput,
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.utils.generic import ModelOutput

from secure.models.contract.network import Network
from secure.models.families.heads import SPAN

_CLASSES: dict[str, type[ModelOutput]] = {
    kind.__name__: kind
    for kind in (
        BaseModelOutput,
        BaseModelOutputWithPooling,
        CausalLMOutputWithPast,
        ImageClassifierOutput,
        MaskedLMOutput,
        QuestionAnsweringModelOutput,
        SequenceClassifierOutput,
        SequenceClassifierOutputWithPast,
        TokenClassifierOutput,
    )
}


def model_output(network: Network, tensors: Mapping[str, Tensor]) -> ModelOutput:
    """The tensors of the network's whole output, named as in `Network.output_specs`, as transformers returns them."""
    if network.output_class == QuestionAnsweringModelOutput.__name__:
        # Shapes: [B, T, 2] -> [B, T] twice.
        tensors = dict(zip(SPAN, tensors["logits"].unbind(-1), strict=True))
    return _CLASSES[network.output_class](**tensors)
