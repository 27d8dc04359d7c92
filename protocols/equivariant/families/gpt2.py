"""GPT-2: LayerNorm before each block, learned positions, one product for queries, keys and values.

Weights are [in, out] (Conv1D). LayerNorm's gains and biases go into their readers. Where the final one's reader, the
head, has no bias, its bias stays, divided by the gain. The base ties head and embedding; the full residual factor
unties them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.action import Action, DeferredAction, Identity, Stack
from secure.protocols.equivariant.choice import Choice
from secure.protocols.equivariant.factors import ffn, residual
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.families.attention import AttentionShape, attention_spaces
from secure.protocols.equivariant.families.builder import LayoutBuilder
from secure.protocols.equivariant.families.family import EncryptedFamily
from secure.protocols.equivariant.fields import flag, integer, label_count, refuse_set
from secure.protocols.equivariant.layout import Layout
from secure.protocols.equivariant.rule import writes


def layout(config: Mapping[str, Any], choice: Choice, head: str) -> Layout:
    """The rules for one configuration.

    head: "lm_head", "score" (sequence classification), "classifier" (of tokens), "qa_outputs" or "" (none).
    """
    refuse_set(config, "add_cross_attention", "cross-attention reads a second model's stream")
    width, heads = integer(config, "n_embd"), integer(config, "n_head")
    if width % heads:
        raise CheckpointError(f"config.json: n_head is {heads}, which does not divide n_embd, {width}")
    size = integer(config, "vocab_size")
    tied = head == "lm_head" and flag(config, "tie_word_embeddings", True)
    stream, folds = _residual(choice, width, keeps=(tied and choice.keep_tie) or not head)
    vocabulary = Vocabulary(choice.key, size) if choice.has("vocabulary") else None
    rows: Action = vocabulary.rows if vocabulary else Identity(size)
    build, prefix = LayoutBuilder(), "transformer." if head else ""
    build.table(f"{prefix}wte.weight", rows, stream)
    build.moved(f"{prefix}wpe.weight", (integer(config, "n_positions"), None), (width, writes(stream)))
    inner = integer(config, "n_inner", 4 * width)
    for layer in range(integer(config, "n_layer")):
        shape = AttentionShape(heads, heads, width // heads, rotary=False)
        _layer(build, choice, layer, f"{prefix}h.{layer}", stream, shape, inner, folds)
    biased = head in ("classifier", "qa_outputs")
    norm = build.norm(f"{prefix}ln_f", stream, folds=folds, bias=True, divides=not biased)
    unties = tied and folds
    if head == "lm_head" and (unties or not tied):
        build.head("lm_head", rows, stream, norm, f"{prefix}wte.weight" if unties else "")
    elif head and head != "lm_head":
        build.linear(head, label_count(config), stream, bias=biased, norm=norm)
    return Layout(
        family="gpt2",
        encrypt=build.rules,
        base=build.base,
        decrypt=build.decrypt,
        config_changes={"tie_word_embeddings": False} if unties else {},
        prefix="transformer.",
        buffers=(".attn.bias", ".attn.masked_bias"),
        vocabulary=vocabulary,
        residual=stream,
    )


def _residual(choice: Choice, width: int, *, keeps: bool) -> tuple[Action, bool]:
    """The action on the stream, and whether normalisations are folded. keeps: gains must stay where they are."""
    if not choice.has("residual"):
        return Identity(width), False
    if choice.permutations or keeps:
        return residual.permutation(choice.key, width, sign=not choice.permutations), False
    return DeferredAction(width, lambda: residual.mean_preserving(choice.key, width)), True


def _layer(
    build: LayoutBuilder,
    choice: Choice,
    layer: int,
    prefix: str,
    stream: Action,
    shape: AttentionShape,
    inner: int,
    folds: bool,
) -> None:
    spaces = attention_spaces(choice, layer, shape)
    width = stream.size
    norm = build.norm(f"{prefix}.ln_1", stream, folds=folds, bias=True)
    joint = writes(Stack(spaces.query, spaces.key, spaces.value))
    free = (width, 2 * width) if spaces.free_key_bias else (0, 0)
    build.linear(f"{prefix}.attn.c_attn", joint, stream, norm=norm, transposed=True, free=free)
    build.linear(f"{prefix}.attn.c_proj", writes(stream), spaces.mixed, transposed=True)
    norm = build.norm(f"{prefix}.ln_2", stream, folds=folds, bias=True)
    neurons: Action = Identity(inner)
    if choice.has("ffn"):
        neurons = DeferredAction(inner, lambda: ffn.neurons(choice.key, layer, inner))
    build.linear(f"{prefix}.mlp.c_fc", writes(neurons), stream, norm=norm, transposed=True)
    build.linear(f"{prefix}.mlp.c_proj", writes(stream), neurons, transposed=True)


GPT2 = EncryptedFamily(
    name="gpt2",
    model_type="gpt2",
    factors=("vocabulary", "residual", "qk", "vo", "heads", "ffn"),
    heads={
        "GPT2LMHeadModel": "lm_head",
        "GPT2ForSequenceClassification": "score",
        "GPT2ForTokenClassification": "classifier",
        "GPT2ForQuestionAnswering": "qa_outputs",
        "GPT2Model": "",
    },
    layout=layout,
    ties={"lm_head.weight": "transformer.wte.weight"},
)
