"""What follows a decoder: the words that come next, classifiers of sequences and of tokens, spans that answer.

All are one product behind the norm at the end, whose gain and offset it absorbs. B batch, T tokens, D width, L outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from secure.models.contract.config_fields import flag
from secure.models.contract.labels import parse_labels
from secure.models.families.heads import SPAN
from secure.protocols.core.errors import CheckpointError

Task = Literal["words", "sequence", "token", "span"]
"""What a head says: of every token which word follows it, of the input its class, of every token its class, or whether
an answer begins or ends there."""
OUTPUT_CLASSES: Mapping[Task, str] = {
    "words": "CausalLMOutputWithPast",
    "sequence": "SequenceClassifierOutputWithPast",
    "token": "TokenClassifierOutput",
    "span": "QuestionAnsweringModelOutput",
}
_BIAS_OF_TOKENS = "token_classification_bias"


class HeadedConfig(Protocol):
    """What a decoder's configuration says of its head.

    head: whether there is one. tied: whether that of words is the embedding table. labels: of a classifier. Beside
    these a configuration has head_bias, and padding_id: the token that fills rows up, where sequences are classified;
    None where none does.
    """

    @property
    def head(self) -> bool: ...
    @property
    def task(self) -> Task: ...
    @property
    def tied(self) -> bool: ...
    @property
    def labels(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...


@dataclass(frozen=True)
class DecoderHead:
    """A head: what it is for, what checkpoints call it, and whether it has a bias."""

    task: Task
    name: str
    biased: bool = False


def head_fields(raw: Mapping[str, Any], stem: str, heads: Mapping[str, DecoderHead], *, head: bool) -> dict[str, Any]:
    """The fields of a configuration that `architectures` in config.json decides.

    stem: how the names of transformers' classes begin. heads: by how they go on, the first one's where config.json
    names none. head: whether one is wanted. Raises CheckpointError for another class, where one is.
    """
    known = {f"{stem}{rest}": found for rest, found in heads.items()}
    named, body = raw.get("architectures") or [next(iter(known))], f"{stem}Model"
    if not head or named == [body]:
        return {"head": False}
    if not isinstance(named, list) or len(named) != 1 or named[0] not in known:
        raise CheckpointError(
            f"config.json: architectures is {named!r}; supported: {', '.join((*known, body))}. "
            "With head=False the decoder alone is loaded"
        )
    found = known[named[0]]
    padding = raw.get("pad_token_id")
    if type(padding) not in (int, type(None)):
        raise CheckpointError(f"config.json: pad_token_id is {padding!r}; it must be a whole number")
    # Old configurations write -1 for none.
    padding = None if padding is None or padding < 0 else padding
    return {
        "head": True,
        "task": found.task,
        "labels": len(parse_labels(raw)) if found.task in ("sequence", "token") else 0,
        # transformers leaves a bias out where this field, which no family has of its own, says so.
        "head_bias": found.biased and (found.task != "token" or flag(raw, _BIAS_OF_TOKENS, default=True)),
        "padding_id": padding if found.task == "sequence" else None,
    }


def outputs(config: HeadedConfig) -> int:
    """Logits of a token or of a sequence; none without a head."""
    of_task = {"words": config.vocab_size, "span": len(SPAN)}
    return of_task.get(config.task, config.labels) if config.head else 0


def has_tied_head(config: HeadedConfig) -> bool:
    """Whether the head is the word table."""
    return config.head and config.task == "words" and config.tied


def other_heads(config: HeadedConfig, heads: Mapping[str, DecoderHead]) -> tuple[str, ...]:
    """Beginnings of the names of the tensors of heads that a model has no use for."""
    names = {found.name for found in heads.values()}
    used = {found.name for found in heads.values() if config.head and found.task == config.task}
    return tuple(f"{name}." for name in sorted(names - used))


def name_of(config: HeadedConfig, heads: Mapping[str, DecoderHead]) -> str:
    """What the checkpoint calls the head's tensors."""
    return next(found.name for found in heads.values() if found.task == config.task)


def last_tokens(ids: Tensor, mask: Tensor, padding: int | None) -> Tensor:
    """The token behind which each row is classified: the last one that is no padding, as transformers finds it.

    Where no token is padding, it is the last one that the mask counts. Shapes: integer [B, T] twice -> int64 [B].
    """
    counted = mask.bool() if padding is None else ids != padding
    return (torch.arange(ids.shape[1]) * counted).argmax(-1)
