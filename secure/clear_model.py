"""Checkpoints that transformers does not know, as models of transformers: to train, and to compare predictions with.

There is no class of our own: an "mpc_vit" is transformers' ViT, an "mpc_bert" its BERT and an "mpc_gpt2" its GPT-2,
whose heads attend by kinds through its registry of attention functions.
"""

from __future__ import annotations

import importlib
import json
import math
import os
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from packaging.version import Version
from torch import Tensor, nn
from transformers import AttentionInterface, BertConfig, GPT2Config, PreTrainedModel, ViTConfig
from transformers.activations import ACT2FN
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from secure.models.checkpoint.folder import CONFIG_NAME
from secure.models.families.bert_config import BertConfig as OurBertConfig
from secure.models.families.bert_kin import MPC_BERT
from secure.models.families.planned.mpc_gpt2 import MODEL_TYPE as MPC_GPT2_TYPE
from secure.models.families.planned.mpc_gpt2 import MPC_GPT2
from secure.models.families.planned.mpc_vit import MODEL_TYPE, MPC_VIT
from secure.models.families.vit import VitConfig
from secure.models.layers.mixtures import BOUND, BOUNDED_LEAST, RELU_LEAST, SQUARE_LEAST, SQUARE_OFFSET
from secure.models.layers.plan import NO_ACTIVATION, NORMS
from secure.protocols.core.errors import CheckpointError

MPC_BERT_TYPE = "mpc_bert"
_ATTENTION = "secure_by_kind"
_FIRST_WITH_MASKS = Version("5.0")
_BERTS: dict[str, Any] = {
    each.__name__: each
    for each in (
        transformers.BertModel,
        transformers.BertForSequenceClassification,
        transformers.BertForTokenClassification,
        transformers.BertForQuestionAnswering,
        transformers.BertForMaskedLM,
    )
}


_GPT2S: dict[str, Any] = {
    each.__name__: each
    for each in (
        transformers.GPT2Model,
        transformers.GPT2LMHeadModel,
        transformers.GPT2ForSequenceClassification,
        transformers.GPT2ForTokenClassification,
        transformers.GPT2ForQuestionAnswering,
    )
}


def reference(folder: str | os.PathLike[str]) -> PreTrainedModel:
    """The model of an "mpc_vit", "mpc_bert" or "mpc_gpt2" checkpoint, in the clear.

    Raises CheckpointError for a folder without a config.json, for one that we refuse, and for a model that transformers
    reads itself.
    """
    path = Path(folder)
    raw = read_raw_config(path)
    if raw.get("model_type") == MPC_BERT_TYPE:
        return read_bert(path, raw)
    if raw.get("model_type") == MPC_GPT2_TYPE:
        return read_gpt2(path, raw)
    if raw.get("model_type") != MODEL_TYPE:
        raise CheckpointError(
            f"{path}: model_type is {raw.get('model_type')!r}, not {MODEL_TYPE!r}, {MPC_BERT_TYPE!r} or "
            f"{MPC_GPT2_TYPE!r}; read it with transformers itself"
        )
    return read_vit(path, raw)


def read_raw_config(path: Path) -> dict[str, Any]:
    """A checkpoint's config.json. Raises CheckpointError where there is none that can be read."""
    try:
        raw = json.loads((path / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no {CONFIG_NAME} that can be read: {type(error).__name__}") from None
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path}: {CONFIG_NAME} is no object")
    return raw


def read_vit(path: Path, raw: dict[str, Any]) -> PreTrainedModel:
    """A ViT, with kinds of heads or without, of `attention_by_kind` and `NormByKind`. raw: its config.json.

    Raises CheckpointError for what we refuse.
    """
    ours = MPC_VIT.parse(raw)
    AttentionInterface.register(_ATTENTION, attention_by_kind)
    config = ViTConfig.from_dict({**raw, "model_type": "vit"})
    body = transformers.ViTForImageClassification if ours.labels else transformers.ViTModel
    model: PreTrainedModel = body.from_pretrained(path, config=config, attn_implementation=_ATTENTION)
    for layer in _layers(model):
        for name in ("layernorm_before", "layernorm_after"):
            setattr(layer, name, NormByKind.of(cast(nn.LayerNorm, getattr(layer, name))))
    apply_plan(model, ours)
    model.train(False)
    return model


def read_bert(path: Path, raw: dict[str, Any]) -> PreTrainedModel:
    """A BERT of `attention_by_kind` and `NormByKind`, with the head that config.json names. raw: that file.

    Raises CheckpointError for what we refuse, and with a version of transformers whose BERT has no such registry.
    """
    ours = MPC_BERT.parse(raw)
    _register_with_masks(path, MPC_BERT_TYPE)
    config = BertConfig.from_dict({**raw, "model_type": "bert"})
    body = _BERTS[(raw.get("architectures") or ["BertModel"])[0]]
    model: PreTrainedModel = body.from_pretrained(path, config=config, attn_implementation=_ATTENTION)
    for layer in _layers(model):
        for part in _parts_with_norms(layer):
            part.LayerNorm = NormByKind.of(cast(nn.LayerNorm, part.LayerNorm))
    apply_plan(model, ours)
    model.train(False)
    return model


def read_gpt2(path: Path, raw: dict[str, Any]) -> PreTrainedModel:
    """A GPT-2 of `attention_by_kind` and `NormByKind`, with the head that config.json names. raw: that file.

    Raises CheckpointError as `read_bert` does.
    """
    ours = MPC_GPT2.parse(raw)
    _register_with_masks(path, MPC_GPT2_TYPE)
    config = GPT2Config.from_dict({**raw, "model_type": "gpt2"})
    body = _GPT2S[(raw.get("architectures") or ["GPT2LMHeadModel"])[0]]
    model: PreTrainedModel = body.from_pretrained(path, config=config, attn_implementation=_ATTENTION)
    for number, layer in enumerate(module for module in model.modules() if isinstance(module, GPT2Block)):
        for name, kind in zip(("ln_1", "ln_2"), ours.norms[number], strict=True):
            norm = NormByKind.of(cast(nn.LayerNorm, getattr(layer, name)))
            norm.kind = kind
            setattr(layer, name, norm)
        setattr(layer.attn, "attention_kinds", tuple(ours.attention_kinds[number]))  # noqa: B010
        layer.mlp.act = _activation(ours.activations[number])
    model.train(False)
    return model


def _register_with_masks(path: Path, model_type: str) -> None:
    """Raises CheckpointError with a version of transformers whose masks do not come from a registry."""
    if Version(transformers.__version__) < _FIRST_WITH_MASKS:
        raise CheckpointError(f"{path}: to read {model_type!r} in the clear, install transformers>={_FIRST_WITH_MASKS}")
    AttentionInterface.register(_ATTENTION, attention_by_kind)
    masking_utils = importlib.import_module("transformers.masking_utils")  # which older ones do not have
    transformers.AttentionMaskInterface.register(_ATTENTION, masking_utils.eager_mask)


def _activation(name: str) -> nn.Module:
    found: nn.Module = nn.Identity() if name == NO_ACTIVATION else ACT2FN[name]
    return found


class NormByKind(nn.LayerNorm):
    """A layer norm, or an affine one, which does not divide: (x - mean) scale gain + offset.

    scale: about one over the deviation of the rows that a layer norm gets, where its gain is to serve both kinds. It is
    one in a checkpoint, and no tensor of it.
    """

    kind = NORMS[0]
    scale: Tensor

    @classmethod
    def of(cls, norm: Any) -> NormByKind:
        """One with the gain and the offset of a layer norm, torch's own."""
        found = cls(norm.normalized_shape, eps=norm.eps)
        found.weight, found.bias = norm.weight, norm.bias
        found.register_buffer("scale", torch.ones(()), persistent=False)
        return found

    def forward(self, input: Tensor) -> Tensor:
        """By its kind. Shapes: [..., D] -> the same."""
        if self.kind == NORMS[0]:
            return super().forward(input)
        return (input - input.mean(-1, keepdim=True)) * (self.scale * self.weight) + self.bias


def norms_by_layer(model: nn.Module) -> list[tuple[NormByKind, NormByKind]]:
    """Both norms of every layer of a ViT or BERT that `read_vit` or `read_bert` has read."""
    found: list[tuple[NormByKind, NormByKind]] = []
    for layer in _layers(model):
        if isinstance(layer, BertLayer):
            first, second = _parts_with_norms(layer)
            found.append((first.LayerNorm, second.LayerNorm))
        else:
            found.append((layer.layernorm_before, layer.layernorm_after))
    return found


def _layers(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if type(module).__name__ in ("ViTLayer", "BertLayer")]


def _parts_with_norms(layer: Any) -> tuple[Any, Any]:
    """The parts of a layer of BERT that end with a norm."""
    return layer.attention.output, layer.output


def apply_plan(model: nn.Module, config: VitConfig | OurBertConfig) -> None:
    """Give the layers of a ViT or BERT that `read_vit` or `read_bert` has read their kinds, activations and norms."""
    pairs = norms_by_layer(model)
    for number, layer in enumerate(_layers(model)):
        for norm, kind in zip(pairs[number], config.norms_of(number), strict=True):
            norm.kind = kind
        activation = _activation(config.activation_of(number))
        for module in layer.modules():
            if hasattr(module, "num_attention_heads"):
                module.attention_kinds = tuple(config.kinds_of_heads(number))
            if hasattr(module, "activation_fn"):
                module.activation_fn = activation
            if hasattr(module, "intermediate_act_fn"):  # BERT's, and ViT's before transformers 5
                module.intermediate_act_fn = activation


def attention_by_kind(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers calls for attention: each head by the kind in `module.attention_kinds`, and no dropout.

    Shapes: [B, H, T, E] each -> [B, T, H, E].
    """
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    kept = attention_mask
    if kept is not None and kept.dtype != torch.bool:
        kept = kept == 0  # it is added elsewhere, and least where a token does not count
    kinds: tuple[str, ...] = module.attention_kinds  # type: ignore[assignment]
    if len(set(kinds)) == 1:
        return (weights_of(kinds[0], scores, kept) @ value).transpose(1, 2).contiguous(), None
    each = None if kept is None else kept[:, 0]
    weights = torch.stack([weights_of(kind, scores[:, head], each) for head, kind in enumerate(kinds)], 1)
    return (weights @ value).transpose(1, 2).contiguous(), None


def weights_of(kind: str, scores: Tensor, kept: Tensor | None = None) -> Tensor:
    """What a kind makes of scores, as `secure.models.layers.mixtures` defines it. kept: which of them count, or all.

    A row in which none does, as that of padding at the start of a prompt, gets finite weights, which nobody asks for.

    Shapes: [..., T], bool that broadcasts to it -> the same as of scores.
    """
    if kept is None:
        kept = torch.ones((), dtype=torch.bool).expand(scores.shape[-1])
    tokens = kept.sum(-1, keepdim=True).clamp(min=1)
    if kind == "softmax":
        return torch.softmax(scores.masked_fill(~kept, torch.finfo(scores.dtype).min), -1)
    if kind == "scale":
        return scores * kept / tokens
    if kind == "bounded":
        bound = BOUND * math.log(2)
        positive, least = torch.exp(scores.clamp(max=bound) - bound) * kept, BOUNDED_LEAST
    elif kind == "relu":
        positive, least = torch.relu(scores) * kept, RELU_LEAST
    else:
        positive, least = (scores + SQUARE_OFFSET) ** 2 * kept, SQUARE_LEAST
    return positive / (positive.sum(-1, keepdim=True) + tokens * least)
