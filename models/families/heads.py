"""What follows an encoder: classifiers of sequences and of tokens, spans that answer questions, masked words.

B batch, T tokens, D width, V words, L labels. BERT's pooler and RoBERTa's dense layer are the same computation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from secure.models.contract.architecture import Stored, Take
from secure.models.contract.manifest import Kind
from secure.models.families.bert_config import BertConfig, Head
from secure.models.layers.prepared import PreparedLayers
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.primitives import truncate
from secure.protocols.core.secret import Secret
from secure.protocols.functions.policy_functions import gelu
from secure.protocols.functions.relu import relu
from secure.protocols.functions.tanh import tanh

_log = logging.getLogger(__name__)
SPAN = ("start_logits", "end_logits")
"""What a head that answers questions says of every token: whether the answer begins or ends there."""
WORDS = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class HeadNames:
    """A head, and what a family's checkpoints call its tensors; empty where the head has none of the kind.

    decoder: of masked words, whose weight is the word table unless it is stored apart. decoder_bias: where its bias is,
    unless the decoder has one of its own.
    """

    head: Head
    dense: str = ""
    norm: str = ""
    output: str = ""
    decoder: str = ""
    decoder_bias: str = ""

    @property
    def all(self) -> tuple[str, ...]:
        """Beginnings of the names of its tensors."""
        names = self.dense, self.norm, self.output, self.decoder, self.decoder_bias
        return tuple(name for name in names if name)

    @property
    def copies(self) -> Mapping[str, str]:
        """Tensors that may be stored a second time, or be others, by the tensor that they are otherwise."""
        pairs = {f"{self.decoder}.weight": WORDS, f"{self.decoder}.bias": self.decoder_bias} if self.decoder else {}
        return {copy: original for copy, original in pairs.items() if copy != original}


def is_own(stored: Stored, copy: str, original: str) -> bool:
    """Whether a tensor that the configuration ties to another one is stored with other numbers, which then count.

    So it does in transformers 5. The log says so.
    """
    own = copy in stored and not stored.same(copy, original)
    if own:
        _log.warning("config.json ties %s to %s, and another one is stored; the stored one is used", copy, original)
    return own


def shapes(config: BertConfig) -> dict[str, tuple[Kind, tuple[int, ...]]]:
    """Kind and shape of every tensor of the head."""
    if config.head == "none":
        return {}
    width = config.hidden_size
    found: dict[str, tuple[Kind, tuple[int, ...]]] = {
        "head.output.weight": ("factor", (width, outputs(config))),
        "head.output.bias": ("offset", (outputs(config),)),
    }
    if config.head not in ("token", "span"):
        found |= {"head.dense.weight": ("factor", (width, width)), "head.dense.bias": ("offset", (width,))}
    if config.head == "masked_lm":
        found |= {"head.norm.gain": ("gain", (width,)), "head.norm.offset": ("offset", (width,))}
    return found


def from_checkpoint(config: BertConfig, names: HeadNames, take: Take, words: Tensor) -> dict[str, Tensor]:
    """The head's tensors in float64, weights as [in, out]. words: what masked words' matrix is tied to, [V, D]."""
    width, count = config.hidden_size, outputs(config)
    tensors = {}
    if names.dense:
        tensors["head.dense.weight"] = take(f"{names.dense}.weight", (width, width)).T
        tensors["head.dense.bias"] = take(f"{names.dense}.bias", (width,))
    if names.norm:
        tensors["head.norm.gain"] = take(f"{names.norm}.weight", (width,))
        tensors["head.norm.offset"] = take(f"{names.norm}.bias", (width,))
    if names.output:
        tensors["head.output.weight"] = take(f"{names.output}.weight", (count, width)).T
        tensors["head.output.bias"] = take(f"{names.output}.bias", (count,))
    if names.decoder:
        weight, bias = f"{names.decoder}.weight", f"{names.decoder}.bias"
        rows = take(weight, (count, width)) if weight in config.own else words
        tensors["head.output.weight"] = rows.T
        tensors["head.output.bias"] = take(bias if bias in config.own else names.decoder_bias, (count,))
    return tensors


def outputs(config: BertConfig) -> int:
    """Logits of a sequence or of a token."""
    return {"masked_lm": config.vocab_size, "span": len(SPAN)}.get(config.head, config.labels)


def logits_shape(config: BertConfig, batch: int, tokens: int) -> tuple[int, ...]:
    """[B, L] for a classifier of sequences, [B, T, L] for one of tokens, [B, T, V] for masked words."""
    of_sequence = config.head in ("sequence_tanh", "sequence_relu")
    return (batch, outputs(config)) if of_sequence else (batch, tokens, outputs(config))


def logits(layers: PreparedLayers, head: Head, x: Secret) -> Secret:
    """The head on the last hidden state. Shapes: [B, T, D] -> as `logits_shape` says."""
    match head:
        case "sequence_tanh":
            inner = tanh(layers.dense("head.dense", x[:, 0]))
        case "sequence_relu":
            inner = relu(layers.dense("head.dense", x[:, 0]))
        case "token" | "span":
            inner = x
        case "masked_lm":
            # GeLU's extra fraction bit, for which the three factors of a norm have no room, is dropped.
            inner = truncate(gelu(layers.dense("head.dense", x)), x.fraction_bits)
            inner = layers.norm("head.norm", inner)
        case _:
            raise ProtocolError("the model has no head")
    return layers.dense("head.output", inner)
