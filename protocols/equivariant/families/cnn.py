"""A ReLU CNN with batch normalisation and shortcuts: Hugging Face's ResNet.

Inside a block each space of channels has an element of its own. What a stage hands on is a sum over its blocks, so all
of a stage shares one. Scales go into the gain and bias behind the running moments, which keep their values: the
moments' epsilon would otherwise break exactness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.action import Action, Chain, DeferredAction, Identity
from secure.protocols.equivariant.choice import Choice
from secure.protocols.equivariant.factors import channels
from secure.protocols.equivariant.families.builder import LayoutBuilder
from secure.protocols.equivariant.families.family import EncryptedFamily
from secure.protocols.equivariant.fields import flag, integer, integers, label_count
from secure.protocols.equivariant.layout import Layout
from secure.protocols.equivariant.pixels import MixedChannels
from secure.protocols.equivariant.rule import reads, writes

# The architecture's own: a bottleneck has a quarter of the channels around it.
_REDUCTION = 4


@dataclass(frozen=True)
class _Space:
    """What acts on channels before the scales of their batch normalisation, and behind it."""

    order: Action
    scaled: Action


def layout(config: Mapping[str, Any], choice: Choice, head: str) -> Layout:
    """The rules for one configuration. head: "classifier" or "" (feature maps and their mean)."""
    if config.get("hidden_act", "relu") != "relu":
        raise CheckpointError(
            f"config.json: hidden_act is {config['hidden_act']!r}; channels can be scaled through 'relu' only"
        )
    kind = config.get("layer_type", "bottleneck")
    if kind not in ("basic", "bottleneck"):
        raise CheckpointError(f"config.json: layer_type is {kind!r}; known are 'basic' and 'bottleneck'")
    build, prefix = LayoutBuilder(), "resnet." if head else ""
    colours = integer(config, "num_channels", 3)
    image = _image(choice, colours)
    space = _space(choice, "stem", integer(config, "embedding_size", 64))
    _convolution(build, f"{prefix}embedder.embedder", image, space, 7)
    sizes, depths = integers(config, "hidden_sizes"), integers(config, "depths")
    if len(sizes) != len(depths):
        raise CheckpointError(f"config.json: depths has {len(depths)} entries, hidden_sizes has {len(sizes)}")
    for stage, (size, depth) in enumerate(zip(sizes, depths, strict=True)):
        strides = stage > 0 or flag(config, "downsample_in_first_stage", False)
        projects = strides or space.scaled.size != size
        # Without a convolution in its first shortcut a stage adds to what it got, and so shares that element.
        after = _space(choice, f"stage {stage}", size) if projects else space
        for block in range(depth):
            name = f"{prefix}encoder.stages.{stage}.layers.{block}"
            if block == 0 and projects:
                _convolution(build, f"{name}.shortcut", space.scaled, after, 1)
            _block(build, choice, name, space.scaled, after, bottleneck=kind == "bottleneck")
            space = after
    if head:
        build.linear("classifier.1", label_count(config), space.scaled)
    return Layout(
        family="cnn",
        encrypt=build.rules,
        base=build.base,
        prefix="resnet.",
        pooled=space.scaled,
        pixels=MixedChannels(image) if choice.has("channels") else None,
    )


def _block(build: LayoutBuilder, choice: Choice, name: str, before: Action, after: _Space, *, bottleneck: bool) -> None:
    size = after.order.size
    if not bottleneck:
        inside = _space(choice, f"{name} 0", size)
        _convolution(build, f"{name}.layer.0", before, inside, 3)
        _convolution(build, f"{name}.layer.1", inside.scaled, after, 3)
        return
    first, second = (_space(choice, f"{name} {number}", size // _REDUCTION) for number in range(2))
    _convolution(build, f"{name}.layer.0", before, first, 1)
    _convolution(build, f"{name}.layer.1", first.scaled, second, 3)
    _convolution(build, f"{name}.layer.2", second.scaled, after, 1)


def _convolution(build: LayoutBuilder, name: str, before: Action, after: _Space, kernel: int) -> None:
    """A convolution without a bias, and the batch normalisation behind it."""
    output, size = writes(after.order), after.order.size
    sides = ((kernel, None), (kernel, None))
    build.moved(f"{name}.convolution.weight", (size, output), (before.size, reads(before)), *sides)
    for part in ("weight", "bias"):
        build.moved(f"{name}.normalization.{part}", (size, writes(after.scaled)))
    for part in ("running_mean", "running_var"):
        build.moved(f"{name}.normalization.{part}", (size, output))
    build.counter(f"{name}.normalization.num_batches_tracked")


def _space(choice: Choice, label: str, size: int) -> _Space:
    if not choice.has("channels"):
        return _Space(Identity(size), Identity(size))
    order = DeferredAction(size, lambda: channels.order(choice.key, label, size))
    if choice.permutations:
        return _Space(order, order)
    return _Space(order, Chain(order, DeferredAction(size, lambda: channels.scales(choice.key, label, size))))


def _image(choice: Choice, colours: int) -> Action:
    if not choice.has("channels"):
        return Identity(colours)
    if choice.permutations:
        return channels.image_order(choice.key, colours)
    return DeferredAction(colours, lambda: channels.image(choice.key, colours))


RESNET = EncryptedFamily(
    name="cnn",
    model_type="resnet",
    factors=("channels",),
    heads={"ResNetForImageClassification": "classifier", "ResNetModel": ""},
    layout=layout,
)
