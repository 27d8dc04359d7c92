"""BERT: LayerNorm after each block, learned positions, an encoder with or without a head.

The next block adds to what a normalisation gave, gain and bias included, so gains cannot be folded, and the stream
allows permutations and one sign only: x ← −xP passes LayerNorm as −norm(x)·P, gains keep their sign, biases take it,
and readers undo it before any activation. The pooler's tanh is odd: its output takes a sign for each dimension. The
head of a masked language model has a space of its own, whose order is the stream's as it is tied to the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.action import Action, DeferredAction, Identity, Permutation
from secure.protocols.equivariant.choice import Choice
from secure.protocols.equivariant.factors import ffn, residual
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.families.attention import AttentionShape, attention_spaces
from secure.protocols.equivariant.families.builder import LayoutBuilder
from secure.protocols.equivariant.families.family import EncryptedFamily
from secure.protocols.equivariant.fields import flag, integer, label_count, refuse_set
from secure.protocols.equivariant.layout import Layout
from secure.protocols.equivariant.rule import Moved, writes


def layout(config: Mapping[str, Any], choice: Choice, head: str) -> Layout:
    """The rules for one configuration.

    head: "" (plain encoder with a pooler), "sequence", "tokens" (a label for each), "answers" or "words".
    """
    refuse_set(config, "is_decoder", "this family has encoders only")
    refuse_set(config, "add_cross_attention", "cross-attention reads a second model's stream")
    if config.get("position_embedding_type") not in (None, "absolute"):
        kind = config["position_embedding_type"]
        raise CheckpointError(f"config.json: position_embedding_type is {kind!r}; only 'absolute' is supported")
    width, heads = integer(config, "hidden_size"), integer(config, "num_attention_heads")
    if width % heads:
        raise CheckpointError(f"config.json: num_attention_heads is {heads}, which does not divide {width}")
    size = integer(config, "vocab_size")
    stream: Permutation | Identity = Identity(width)
    pooled: Action = Identity(width)
    if choice.has("residual"):
        stream = residual.permutation(choice.key, width, sign=not choice.permutations)
        pooled = residual.pooled(choice.key, width, signs=not choice.permutations)
    vocabulary = Vocabulary(choice.key, size) if choice.has("vocabulary") else None
    rows: Action = vocabulary.rows if vocabulary else Identity(size)
    build, prefix = LayoutBuilder(), "bert." if head else ""
    build.table(f"{prefix}embeddings.word_embeddings.weight", rows, stream)
    for name, field in (("position", "max_position_embeddings"), ("token_type", "type_vocab_size")):
        table = f"{prefix}embeddings.{name}_embeddings.weight"
        build.moved(table, (integer(config, field), None), (width, writes(stream)))
    build.norm(f"{prefix}embeddings.LayerNorm", stream, folds=False, bias=True)
    shape = AttentionShape(heads, heads, width // heads, rotary=False)
    for layer in range(integer(config, "num_hidden_layers")):
        _layer(
            build, choice, layer, f"{prefix}encoder.layer.{layer}", stream, shape, integer(config, "intermediate_size")
        )
    if head in ("", "sequence"):
        build.linear(f"{prefix}pooler.dense", writes(pooled), stream)
    if head == "sequence":
        build.linear("classifier", label_count(config), pooled)
    elif head == "tokens":
        build.linear("classifier", label_count(config), stream)
    elif head == "answers":
        build.linear("qa_outputs", label_count(config), stream)
    elif head == "words":
        _words(build, rows, stream, tied=flag(config, "tie_word_embeddings", True))
    return Layout(
        family="bert",
        encrypt=build.rules,
        base=build.base,
        prefix="bert.",
        buffers=("embeddings.position_ids", "embeddings.token_type_ids"),
        vocabulary=vocabulary,
        residual=stream,
        pooled=pooled,
    )


def _layer(
    build: LayoutBuilder, choice: Choice, layer: int, prefix: str, stream: Action, shape: AttentionShape, inner: int
) -> None:
    spaces, width = attention_spaces(choice, layer, shape), stream.size
    attention = f"{prefix}.attention"
    build.linear(f"{attention}.self.query", writes(spaces.query), stream)
    free = (0, width) if spaces.free_key_bias else (0, 0)
    build.linear(f"{attention}.self.key", writes(spaces.key), stream, free=free)
    build.linear(f"{attention}.self.value", writes(spaces.value), stream)
    build.linear(f"{attention}.output.dense", writes(stream), spaces.mixed)
    build.norm(f"{attention}.output.LayerNorm", stream, folds=False, bias=True)
    neurons: Action = Identity(inner)
    if choice.has("ffn"):
        neurons = DeferredAction(inner, lambda: ffn.neurons(choice.key, layer, inner))
    build.linear(f"{prefix}.intermediate.dense", writes(neurons), stream)
    build.linear(f"{prefix}.output.dense", writes(stream), neurons)
    build.norm(f"{prefix}.output.LayerNorm", stream, folds=False, bias=True)


def _words(build: LayoutBuilder, rows: Action, stream: Permutation | Identity, *, tied: bool) -> None:
    """The head of a masked language model: product, activation, LayerNorm, and the embedding or a matrix like it."""
    # No sign survives the activation, so the product writes the order alone and LayerNorm's gain puts the sign on.
    order = stream.without_signs() if isinstance(stream, Permutation) else stream
    build.linear("cls.predictions.transform.dense", writes(order), stream)
    for name in ("weight", "bias"):
        build.moved(f"cls.predictions.transform.LayerNorm.{name}", (stream.size, writes(stream)))
    if not tied:
        build.head("cls.predictions.decoder", rows, stream, None)
    for name in ("cls.predictions.bias",) if tied else ("cls.predictions.bias", "cls.predictions.decoder.bias"):
        build.rules[name] = Moved(name, (rows.size,), (writes(rows),), vocabulary_axis=0)


BERT = EncryptedFamily(
    name="bert",
    model_type="bert",
    factors=("vocabulary", "residual", "qk", "vo", "heads", "ffn"),
    heads={
        "BertModel": "",
        "BertForSequenceClassification": "sequence",
        "BertForTokenClassification": "tokens",
        "BertForQuestionAnswering": "answers",
        "BertForMaskedLM": "words",
    },
    layout=layout,
    ties={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
)
