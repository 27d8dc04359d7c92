"""The architectures that we serve: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models import bert
from models.manifest import ParameterSpec
from protocols.core.errors import CheckpointError


@dataclass(frozen=True)
class Architecture:
    """How a Hugging Face checkpoint becomes the tensors of a secure model."""

    parse: Callable[[Mapping[str, Any]], Any]
    parameters: Callable[..., dict[str, ParameterSpec]]
    from_checkpoint: Callable[..., dict[str, Tensor]]
    prefixes: tuple[str, ...]
    ignored: tuple[str, ...]


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(
        bert.BertConfig.from_hugging_face,
        bert.parameters,
        bert.from_checkpoint,
        prefixes=("bert.",),
        # Heads of other tasks and buffers that newer versions recompute: a BertModel has no use for them.
        ignored=("cls.", "classifier.", "qa_outputs.", "embeddings.position_ids"),
    ),
}


def architecture(model_type: object) -> Architecture:
    """Raises CheckpointError for a model type that has no row."""
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise CheckpointError(f"config.json: model_type is {model_type!r}; supported: {known}")
    return ARCHITECTURES[model_type]
