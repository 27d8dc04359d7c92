"""Asking a service for its answers, and what an answer must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from secure.arrays import Array, as_tensor
from secure.protocols.core.errors import InputError
from secure.verifier.inputs import GivenInputs, Inputs, as_inputs, chosen

BATCH = 8
"""Inputs of one request to a model of ours."""
LEAST_PROBABILITY = 1e-6
"""Smaller ones count as this: their logarithms would be noise of the service's arithmetic."""
_SUM_TOLERANCE = 1e-2
"""How far probabilities may be from adding up to 1: answers that are rounded to three digits are fine."""


@runtime_checkable
class LabelledModel(Protocol):
    """What `PrivateModel` and `EncryptedModel` have in common when they classify."""

    tokenizer: Any
    id2label: Any

    def __call__(self, **named: Any) -> Any:
        """An output with logits."""


Service = Callable[[Any], Array] | LabelledModel
"""A callable gets texts or a tensor and returns a row of probabilities for each input.

A `PrivateModel` or an `EncryptedModel` that classifies is asked with its own tokenizer, or with images.
"""


def answers_of(service: Service, inputs: Inputs) -> Tensor:
    """What the service answers, as it came: float32 [inputs, classes], unless the service is broken or malicious.

    What is no rows of numbers of equal length comes as no row. Raises what the service raises.
    """
    if isinstance(service, LabelledModel):
        rows = [_logits(service, part) for part in _batches(inputs)]
        return torch.softmax(torch.cat(rows).float(), -1)
    answers = service(inputs)
    try:
        return as_tensor("the service's answers", answers).detach().float()
    except (InputError, TypeError):
        return torch.empty(0)


def asked(service: Service, given: GivenInputs) -> tuple[Inputs, Tensor]:
    """Inputs with the answers of a service that is trusted for now, checked. Raises InputError for what are none."""
    inputs = as_inputs(given)
    answers = answers_of(service, inputs)
    if answers.dim() != 2 or len(answers) != len(inputs) or answers.shape[1] < 2:
        raise InputError(
            f"the service answered with shape {list(answers.shape)} to {len(inputs)} inputs; it must be a row of "
            "probabilities for each input, of two classes at least"
        )
    if not bool(are_probabilities(answers).all()):
        raise InputError("the service's rows are not probabilities: 0 or more, adding up to 1; pass logits to softmax")
    return inputs, floored(answers)


def are_probabilities(answers: Tensor) -> Tensor:
    """Which rows are finite, not negative and add up to 1. Shapes: [N, C] -> bool [N]."""
    fine = torch.isfinite(answers) & (answers >= 0)
    return fine.all(-1) & ((answers.sum(-1) - 1).abs() <= _SUM_TOLERANCE)


def floored(answers: Tensor) -> Tensor:
    """Probabilities of 1e-6 at least, which add up to 1. Shapes: [N, C] -> [N, C]."""
    raised = answers.clamp_min(LEAST_PROBABILITY)
    return raised / raised.sum(-1, keepdim=True)


def _batches(inputs: Inputs) -> Iterator[Inputs]:
    return (chosen(inputs, rows) for rows in torch.arange(len(inputs)).split(BATCH))


def _logits(model: LabelledModel, inputs: Inputs) -> Tensor:
    if isinstance(inputs, Tensor):
        output = model(pixel_values=inputs)
    elif model.tokenizer is None:
        raise InputError("this model has no tokenizer, so it takes no texts; give a callable that makes ids of them")
    else:
        ids = model.tokenizer(inputs, padding=True, return_tensors="pt")
        output = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])
    logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise InputError("this model does not classify whole inputs; a verifier needs a row of logits for each input")
    return logits
