"""ViT: LayerNorm before each block, image patches for tokens.

As GPT-2's blocks, in the layout [out, in]. The classifier reads the final LayerNorm and has a bias, so both its gain
and its bias are folded; without a classifier the stream keeps to permutations, for clients get the hidden states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.action import Action, DeferredAction, Identity, Permutation
from secure.protocols.equivariant.choice import Choice
from secure.protocols.equivariant.factors import ffn, patches, residual
from secure.protocols.equivariant.families.attention import AttentionShape, attention_spaces
from secure.protocols.equivariant.families.builder import LayoutBuilder
from secure.protocols.equivariant.families.family import EncryptedFamily
from secure.protocols.equivariant.fields import extent, flag, integer, label_count
from secure.protocols.equivariant.layout import Layout
from secure.protocols.equivariant.pixels import MixedPatches
from secure.protocols.equivariant.rule import reads, writes


def layout(config: Mapping[str, Any], choice: Choice, head: str) -> Layout:
    """The rules for one configuration. head: "classifier" or "" (plain encoder with a pooler)."""
    width, heads = integer(config, "hidden_size"), integer(config, "num_attention_heads")
    if width % heads:
        raise CheckpointError(f"config.json: num_attention_heads is {heads}, which does not divide {width}")
    stream, folds = _residual(choice, width, keeps=not head)
    build, prefix = LayoutBuilder(), "vit." if head else ""
    tokens, pixels = _embeddings(build, config, choice, f"{prefix}embeddings", stream)
    shape = AttentionShape(heads, heads, width // heads, rotary=False)
    for layer in range(integer(config, "num_hidden_layers")):
        _layer(build, config, choice, layer, f"{prefix}encoder.layer.{layer}", stream, shape, folds)
    norm = build.norm(f"{prefix}layernorm", stream, folds=folds, bias=True)
    pooled: Action | None = None
    if head:
        build.linear("classifier", label_count(config), stream, norm=norm)
    else:
        pooled = _pooled(config, choice, width)
        build.linear("pooler.dense", writes(pooled), stream, norm=norm)
    return Layout(
        family="vit",
        encrypt=build.rules,
        base=build.base,
        prefix="vit.",
        residual=stream,
        pooled=pooled,
        tokens=tokens,
        pixels=pixels,
    )


def _residual(choice: Choice, width: int, *, keeps: bool) -> tuple[Action, bool]:
    """The action on the stream, and whether normalisations are folded. keeps: gains must stay where they are."""
    if not choice.has("residual"):
        return Identity(width), False
    if choice.permutations or keeps:
        return residual.permutation(choice.key, width, sign=not choice.permutations), False
    return DeferredAction(width, lambda: residual.mean_preserving(choice.key, width)), True


def _pooled(config: Mapping[str, Any], choice: Choice, width: int) -> Action:
    size = integer(config, "pooler_output_size", width)
    if not choice.has("residual"):
        return Identity(size)
    odd = config.get("pooler_act", "tanh") == "tanh"
    return residual.pooled(choice.key, size, signs=odd and not choice.permutations)


def _embeddings(
    build: LayoutBuilder, config: Mapping[str, Any], choice: Choice, prefix: str, stream: Action
) -> tuple[Permutation | None, MixedPatches | None]:
    """Class token, positions and the patch convolution; what acts on tokens and on images."""
    channels = integer(config, "num_channels", 3)
    image, size = extent(config, "image_size"), extent(config, "patch_size")
    count, pixels = (image[0] // size[0]) * (image[1] // size[1]), channels * size[0] * size[1]
    tokens: Permutation | None = None
    mixed: MixedPatches | None = None
    patch: Action = Identity(pixels)
    if choice.has("patches"):
        draw = patches.pixel_order if choice.permutations else patches.mixing
        patch = DeferredAction(pixels, lambda: draw(choice.key, pixels))
        tokens = patches.order(choice.key, count)
        mixed = MixedPatches(patch, patches.patch_order(choice.key, count), channels, image, size)
    width, place = stream.size, writes(stream)
    build.moved(f"{prefix}.cls_token", (1, None), (1, None), (width, place))
    order = writes(tokens) if tokens else None
    build.moved(f"{prefix}.position_embeddings", (1, None), (1 + count, order), (width, place))
    projection = f"{prefix}.patch_embeddings.projection"
    build.flat(f"{projection}.weight", (width, channels, *size), (width, pixels), place, reads(patch))
    build.moved(f"{projection}.bias", (width, place))
    return tokens, mixed


def _layer(
    build: LayoutBuilder,
    config: Mapping[str, Any],
    choice: Choice,
    layer: int,
    prefix: str,
    stream: Action,
    shape: AttentionShape,
    folds: bool,
) -> None:
    spaces, width = attention_spaces(choice, layer, shape), stream.size
    bias = flag(config, "qkv_bias", True)
    norm = build.norm(f"{prefix}.layernorm_before", stream, folds=folds, bias=True, divides=not bias)
    for name, space in (("query", spaces.query), ("key", spaces.key), ("value", spaces.value)):
        free = (0, width) if name == "key" and spaces.free_key_bias else (0, 0)
        build.linear(f"{prefix}.attention.attention.{name}", writes(space), stream, bias=bias, norm=norm, free=free)
    build.linear(f"{prefix}.attention.output.dense", writes(stream), spaces.mixed)
    norm = build.norm(f"{prefix}.layernorm_after", stream, folds=folds, bias=True)
    inner = integer(config, "intermediate_size")
    neurons: Action = Identity(inner)
    if choice.has("ffn"):
        neurons = DeferredAction(inner, lambda: ffn.neurons(choice.key, layer, inner))
    build.linear(f"{prefix}.intermediate.dense", writes(neurons), stream, norm=norm)
    build.linear(f"{prefix}.output.dense", writes(stream), neurons)


VIT = EncryptedFamily(
    name="vit",
    model_type="vit",
    factors=("residual", "qk", "vo", "heads", "ffn", "patches"),
    heads={"ViTForImageClassification": "classifier", "ViTModel": ""},
    layout=layout,
)
