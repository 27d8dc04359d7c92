"""LLaMA and its relatives: RMSNorm before each block, rotary positions, grouped queries, a gated FFN.

Mistral, Qwen2 and Qwen3 differ in biases and in norms of heads, as their `LlamaBlocks` say. Sliding windows,
RoPE's scalings and the activation do not matter to any factor. Gains are folded into their readers and become 1, unless
the residual factor keeps to permutations; those of heads take what qk asks of them. An embedding that is tied to the
head is untied for the full residual factor, because the final gain then goes into the head alone; decryption finds that
gain again as the ratio of head to embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.action import Action, DeferredAction, Identity
from secure.protocols.equivariant.choice import Choice
from secure.protocols.equivariant.factors import ffn, residual
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.families.attention import AttentionShape, attention_spaces
from secure.protocols.equivariant.families.builder import LayoutBuilder
from secure.protocols.equivariant.families.family import EncryptedFamily
from secure.protocols.equivariant.fields import check_rotary, flag, integer, label_count
from secure.protocols.equivariant.layout import Layout
from secure.protocols.equivariant.rule import writes

_HEADS = {
    "ForCausalLM": "lm_head",
    "ForSequenceClassification": "score",
    "ForTokenClassification": "tokens",
    "ForQuestionAnswering": "qa_outputs",
    "Model": "",
}
_SPAN = 2  # whether an answer begins and ends at a token


@dataclass(frozen=True)
class LlamaBlocks:
    """How the blocks of LLaMA's relatives differ.

    *_bias: whether products have a bias, or the field of the configuration that says so. head_norms: whether each
    head's query and key are normalised. head_dim: the width of a head where the configuration does not say; None for
    hidden_size over num_attention_heads.
    """

    qkv_bias: bool | str = False
    output_bias: bool | str = False
    feedforward_bias: bool | str = False
    head_norms: bool = False
    head_dim: int | None = None


def llama_family(stem: str, blocks: LlamaBlocks) -> EncryptedFamily:
    """LLaMA or a relative. stem: how the names of transformers' classes begin."""
    return EncryptedFamily(
        name="llama",
        model_type=stem.lower(),
        factors=("vocabulary", "residual", "qk", "vo", "heads", "ffn"),
        heads={f"{stem}{rest}": head for rest, head in _HEADS.items()},
        layout=partial(layout, blocks=blocks),
        ties={"lm_head.weight": "model.embed_tokens.weight"},
    )


def layout(config: Mapping[str, Any], choice: Choice, head: str, *, blocks: LlamaBlocks) -> Layout:
    """The rules for one configuration.

    head: "lm_head", "score" (sequence classification), "tokens" (a label for each), "qa_outputs" or "" (none).
    """
    return _Model(config, choice, blocks, head).layout()


class _Model:
    """One configuration, read and checked."""

    def __init__(self, config: Mapping[str, Any], choice: Choice, blocks: LlamaBlocks, head: str) -> None:
        self.config = config
        self.choice = choice
        self.head = head
        self.width = integer(config, "hidden_size")
        self.vocabulary_size = integer(config, "vocab_size")
        heads = integer(config, "num_attention_heads")
        kv_heads = integer(config, "num_key_value_heads", heads)
        if heads % kv_heads:
            raise CheckpointError(f"num_key_value_heads is {kv_heads}, which does not divide the {heads} query heads")
        head_dim = integer(config, "head_dim", blocks.head_dim or self.width // heads)
        self.attention = AttentionShape(heads, kv_heads, head_dim, rotary=True, normed=blocks.head_norms)
        check_rotary(config, self.attention.width)
        self.neurons = integer(config, "intermediate_size")
        self.biases = {
            name: flag(config, value, False) if isinstance(value, str) else value
            for name, value in (
                ("qkv", blocks.qkv_bias),
                ("output", blocks.output_bias),
                ("ffn", blocks.feedforward_bias),
            )
        }
        # The classes for answers call the body as they always did, but for Mistral's, which is younger.
        of_answers = head == "qa_outputs" and config.get("model_type") != "mistral"
        self.prefix = ("transformer." if of_answers else "model.") if head else ""
        self.tied = head == "lm_head" and flag(config, "tie_word_embeddings", False)
        self.residual, self.folds = self._residual()
        self.vocabulary = Vocabulary(choice.key, self.vocabulary_size) if choice.has("vocabulary") else None
        self.rows: Action = self.vocabulary.rows if self.vocabulary else Identity(self.vocabulary_size)

    def _residual(self) -> tuple[Action, bool]:
        """The action on the stream, and whether gains are folded into their readers."""
        key, width = self.choice.key, self.width
        if not self.choice.has("residual"):
            return Identity(width), False
        if self.choice.permutations:
            return residual.permutation(key, width, sign=False), False
        if (self.tied and self.choice.keep_tie) or not self.head:
            return residual.signed_permutation(key, width), False
        return DeferredAction(width, lambda: residual.orthogonal(key, width)), True

    def layout(self) -> Layout:
        build, prefix = LayoutBuilder(), self.prefix
        embedding = f"{prefix}embed_tokens.weight"
        build.table(embedding, self.rows, self.residual)
        for layer in range(integer(self.config, "num_hidden_layers")):
            self._layer(build, layer, f"{prefix}layers.{layer}")
        norm = build.norm(f"{prefix}norm", self.residual, folds=self.folds, bias=False)
        unties = self.tied and self.folds
        if self.head == "lm_head" and (unties or not self.tied):
            build.head("lm_head", self.rows, self.residual, norm, embedding if unties else "")
        elif self.head in ("score", "tokens"):
            biased = self.head == "tokens" and flag(self.config, "token_classification_bias", True)
            build.linear("score", label_count(self.config), self.residual, bias=biased, norm=norm)
        elif self.head == "qa_outputs":
            build.linear("qa_outputs", _SPAN, self.residual, norm=norm)
        return Layout(
            family="llama",
            encrypt=build.rules,
            base=build.base,
            decrypt=build.decrypt,
            config_changes={"tie_word_embeddings": False} if unties else {},
            prefix=self.prefix or "model.",
            vocabulary=self.vocabulary,
            residual=self.residual,
        )

    def _layer(self, build: LayoutBuilder, layer: int, prefix: str) -> None:
        spaces, biases = attention_spaces(self.choice, layer, self.attention), self.biases
        norm = build.norm(f"{prefix}.input_layernorm", self.residual, folds=self.folds, bias=False)
        for name, space in (("q_proj", spaces.query), ("k_proj", spaces.key), ("v_proj", spaces.value)):
            build.linear(f"{prefix}.self_attn.{name}", writes(space), self.residual, bias=biases["qkv"], norm=norm)
        if self.attention.normed:
            for name, space in (("q_norm", spaces.query_gain), ("k_norm", spaces.key_gain)):
                build.moved(f"{prefix}.self_attn.{name}.weight", (space.size, writes(space)))
        output = writes(self.residual)
        build.linear(f"{prefix}.self_attn.o_proj", output, spaces.mixed, bias=biases["output"])
        norm = build.norm(f"{prefix}.post_attention_layernorm", self.residual, folds=self.folds, bias=False)
        gate, scaled = self._neurons(layer)
        for name, space in (("gate_proj", gate), ("up_proj", scaled)):
            build.linear(f"{prefix}.mlp.{name}", writes(space), self.residual, bias=biases["ffn"], norm=norm)
        build.linear(f"{prefix}.mlp.down_proj", output, scaled, bias=biases["ffn"])

    def _neurons(self, layer: int) -> tuple[Action, Action]:
        """The actions on the gate's output, and on what up writes and down reads."""
        key, size = self.choice.key, self.neurons
        if not self.choice.has("ffn"):
            return Identity(size), Identity(size)
        gate = DeferredAction(size, lambda: ffn.neurons(key, layer, size))
        if self.choice.permutations:
            return gate, gate
        return gate, DeferredAction(size, lambda: ffn.scaled_neurons(key, layer, size))
