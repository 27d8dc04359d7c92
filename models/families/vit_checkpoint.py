"""Checkpoints of ViT: what their config.json and tensors become.

N patches of P numbers, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.architecture import Architecture, Stored, Take
from secure.models.contract.config_fields import check_values, flag, positive
from secure.models.contract.labels import parse_labels
from secure.models.contract.manifest import Kind, Manifest, ParameterSpec
from secure.models.contract.network import Inputs
from secure.models.families.defaults import with_defaults
from secure.models.families.vit import Vit, VitConfig
from secure.models.inputs.pixel_inputs import example_image
from secure.models.layers.activations import check_activation
from secure.models.layers.folding import MOST_WIDTH, reading, writing
from secure.protocols.core.errors import CheckpointError

_CLASSIFIER, _BODY = ["ViTForImageClassification"], ["ViTModel"]
_SIZES = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "inner": "intermediate_size",
    "channels": "num_channels",
}
_ONLY: dict[str, Any] = {"pruned_heads": {}, "quantization_config": None}


class VitArchitecture(Architecture):
    """Checkpoints of `ViTModel` and `ViTForImageClassification`."""

    prefixes = ("vit.",)

    def parse(self, raw: Mapping[str, Any], *, head: bool = True) -> VitConfig:
        raw = with_defaults(raw)
        check_values(raw, {}, _ONLY)
        named = raw.get("architectures") or _BODY
        if named not in (_CLASSIFIER, _BODY) and head:
            raise CheckpointError(
                f"config.json: architectures is {named!r}; supported: {_CLASSIFIER[0]}, {_BODY[0]}. "
                "With head=False the encoder alone is loaded"
            )
        classifies = head and named == _CLASSIFIER
        values = {ours: positive(raw, theirs, whole=True) for ours, theirs in _SIZES.items()}
        width, heads = values["width"], values["heads"]
        if width % heads:
            raise CheckpointError(f"config.json: hidden_size {width} is no multiple of num_attention_heads {heads}")
        if width > MOST_WIDTH:
            raise CheckpointError(f"config.json: hidden_size {width}; at most {MOST_WIDTH} is supported")
        check_values(raw, {}, {"head_dim": width // heads} | ({} if classifies else {"pooler_act": "tanh"}))
        (height, image_width), (patch_height, patch_width) = _extent(raw, "image_size"), _extent(raw, "patch_size")
        if height < patch_height or image_width < patch_width:
            raise CheckpointError(
                f"config.json: image_size is {raw['image_size']!r}, less than patch_size {raw['patch_size']!r}"
            )
        return VitConfig(
            **values,
            image_height=height,
            image_width=image_width,
            patch_height=patch_height,
            patch_width=patch_width,
            activation=check_activation("hidden_act", raw["hidden_act"]),
            epsilon=positive(raw, "layer_norm_eps", whole=False),
            query_biases=flag(raw, "qkv_bias", default=True),
            pooler=0 if classifies else _pooler_width(raw, width),
            labels=len(parse_labels(raw)) if classifies else 0,
        )

    def fitted(self, config: VitConfig, stored: Stored) -> VitConfig:
        return config if "pooler.dense.weight" in stored else replace(config, pooler=0)

    def parameters(self, config: VitConfig, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
        width, inner, images = config.width, config.inner, config.images
        dense = {"embeddings": (images.patch_elements, width)}
        for i in range(config.layers):
            dense[f"layer.{i}.attention.qkv"] = width, 3 * width
            dense[f"layer.{i}.attention.output"] = width, width
            dense[f"layer.{i}.feedforward.up"] = width, inner
            dense[f"layer.{i}.feedforward.down"] = inner, width
        if config.labels:
            dense["head"] = width, config.labels
        if config.pooler:
            dense["pooler"] = width, config.pooler
        found: dict[str, tuple[Kind, tuple[int, ...]]] = {}
        for name, shape in dense.items():
            found[f"{name}.weight"] = "factor", shape
            found[f"{name}.bias"] = "offset", shape[1:]
        found["embeddings.bias"] = "offset", (images.patches + 1, width)
        if not config.labels:
            found["norm.gain"] = "gain", (width,)
            found["norm.offset"] = "offset", (width,)
        return {name: ParameterSpec(shape, kind, fraction_bits) for name, (kind, shape) in found.items()}

    def from_checkpoint(self, config: VitConfig, take: Take) -> dict[str, Tensor]:
        width, inner = config.width, config.inner
        pairs = {"embeddings": _embeddings(config, take)}

        def dense(name: str, rows: int, columns: int) -> tuple[Tensor, Tensor]:
            return take(f"{name}.weight", (columns, rows)).T, take(f"{name}.bias", (columns,))

        def norm(name: str) -> tuple[Tensor, Tensor]:
            return take(f"{name}.weight", (width,)), take(f"{name}.bias", (width,))

        for i in range(config.layers):
            source, target = f"encoder.layer.{i}", f"layer.{i}"
            before, after = norm(f"{source}.layernorm_before"), norm(f"{source}.layernorm_after")
            queries = _queries_keys_values(config, f"{source}.attention.attention", before, take)
            pairs[f"{target}.attention.qkv"] = queries
            pairs[f"{target}.attention.output"] = writing(*dense(f"{source}.attention.output.dense", width, width))
            pairs[f"{target}.feedforward.up"] = reading(*after, *dense(f"{source}.intermediate.dense", width, inner))
            pairs[f"{target}.feedforward.down"] = writing(*dense(f"{source}.output.dense", inner, width))
        last, tensors = norm("layernorm"), {}
        if config.labels:
            pairs["head"] = reading(*last, *dense("classifier", width, config.labels))
        else:
            tensors["norm.gain"], tensors["norm.offset"] = last
        if config.pooler:
            pairs["pooler"] = reading(*last, *dense("pooler.dense", width, config.pooler))
        for name, (weight, bias) in pairs.items():
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight, bias
        return tensors

    def example(self, config: VitConfig, raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Inputs:
        return {"pixel_values": example_image(config.images)}

    def ignored(self, config: VitConfig) -> tuple[str, ...]:
        # The last two are of the pre-training by masked images.
        unused = ("" if config.labels else "classifier.", "" if config.pooler else "pooler.")
        return (*filter(None, unused), "embeddings.mask_token", "decoder.")

    def network(self, manifest: Manifest) -> Vit:
        return Vit(manifest)


def _embeddings(config: VitConfig, take: Take) -> tuple[Tensor, Tensor]:
    """The convolution as a matrix, and what the class token and the positions add. Shapes: [P, D], [N + 1, D]."""
    width, images = config.width, config.images
    filters = (width, images.channels, images.patch_height, images.patch_width)
    weight = take("embeddings.patch_embeddings.projection.weight", filters).reshape(width, images.patch_elements).T
    bias = take("embeddings.patch_embeddings.projection.bias", (width,))
    class_token = take("embeddings.cls_token", (1, 1, width))
    positions = take("embeddings.position_embeddings", (1, images.patches + 1, width))
    rows = torch.cat([class_token[0], bias.expand(images.patches, width)])
    return writing(weight, positions[0] + rows)


def _queries_keys_values(
    config: VitConfig, source: str, norm: tuple[Tensor, Tensor], take: Take
) -> tuple[Tensor, Tensor]:
    """One matrix behind a norm, and its bias; queries are scaled. Shapes: [D, 3 D], [3 D]."""
    width, weights, biases = config.width, [], []
    for part in ("query", "key", "value"):
        weights.append(take(f"{source}.{part}.weight", (width, width)).T)
        biases.append(take(f"{source}.{part}.bias", (width,)) if config.query_biases else torch.zeros(width))
    weight, bias = reading(*norm, torch.cat(weights, 1), torch.cat(biases))
    scale = torch.ones(3 * width, dtype=torch.float64)
    scale[:width] = math.log2(math.e) / math.sqrt(width / config.heads)
    return weight * scale, bias * scale


def _extent(raw: Mapping[str, Any], name: str) -> tuple[int, int]:
    """Height and width: one number for both, or a list of two. Raises CheckpointError for anything else."""
    value = raw.get(name)
    if not isinstance(value, list):
        size = positive(raw, name, whole=True)
        return size, size
    if len(value) != 2 or not all(type(part) is int and part > 0 for part in value):
        raise CheckpointError(f"config.json: {name} is {value!r}; it must be a positive whole number, or two of them")
    return value[0], value[1]


def _pooler_width(raw: Mapping[str, Any], width: int) -> int:
    """The model's own where there is none."""
    found: int = positive(raw, "pooler_output_size", whole=True) if raw.get("pooler_output_size") else width
    return found


VIT = VitArchitecture()
