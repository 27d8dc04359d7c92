"""ViT: images cut into patches, encoder layers with norms before attention and feed-forward, a class token.

The client cuts its images and shares the patches; the patch embedding, a convolution whose windows do not overlap, is
a linear layer inside the protocol. The identities of `secure.models.layers.folding` make layers cheap. What the class
token and the positions add is the bias of that linear layer, another one for each row: the class token is the row of a
patch of zeros. A classifier reads the class token alone, so in its last layer nothing else is computed but keys and
values.

B batch, N patches of P numbers, T = N + 1 tokens, D width, H heads, F width of the feed-forward layer, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.manifest import Manifest
from secure.models.contract.network import Inputs, Network
from secure.models.contract.request import GENERATED, Output, Request
from secure.models.inputs.pixel_inputs import ImageSizes, check_pixels, check_range, cut
from secure.models.layers.activations import ACTIVATIONS
from secure.models.layers.mixtures import in_order, mixed_attention
from secure.models.layers.plan import NO_ACTIVATION, NORMS
from secure.models.layers.prepared import PreparedLayers
from secure.protocols.core.errors import InputError
from secure.protocols.core.fixedpoint import encode
from secure.protocols.core.secret import Protocol, Secret, SecretSpec
from secure.protocols.functions.layernorm import rms_normalise
from secure.protocols.functions.tanh import tanh

_OTHER_LAYERS = 3  # beside the encoder's own: embeddings, head, reveal


@dataclass(frozen=True)
class VitConfig:
    """Sizes of images and patches are in pixels. pooler: width of its output, zero without one.

    attention_kinds, activations, norms: of each layer's heads, of each layer, and of each layer's two, as in
    `secure.models.layers.plan`; empty where all heads have a softmax, all layers the one activation, and all norms
    are layer norms.
    """

    width: int
    layers: int
    heads: int
    inner: int
    channels: int
    image_height: int
    image_width: int
    patch_height: int
    patch_width: int
    activation: str
    epsilon: float
    query_biases: bool
    pooler: int = 0
    labels: int = 0
    attention_kinds: Sequence[Sequence[str]] = ()
    activations: Sequence[str] = ()
    norms: Sequence[Sequence[str]] = ()

    def kinds_of_heads(self, layer: int) -> Sequence[str]:
        """Their names, head by head, as the checkpoint has them."""
        return self.attention_kinds[layer] if self.attention_kinds else ("softmax",) * self.heads

    def activation_of(self, layer: int) -> str:
        """A name of ACTIVATIONS, or NO_ACTIVATION."""
        return self.activations[layer] if self.activations else self.activation

    def norms_of(self, layer: int) -> Sequence[str]:
        """Two names of NORMS: before attention, and before the feed-forward layer."""
        return self.norms[layer] if self.norms else NORMS[:1] * 2

    @property
    def images(self) -> ImageSizes:
        """What a client needs to know of its input."""
        return ImageSizes(self.channels, self.image_height, self.image_width, self.patch_height, self.patch_width)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Vit(Network):
    """The forward pass over secret tensors, and what a client shares and gets."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.config = VitConfig(**manifest.config)

    @property
    def due_tokens(self) -> int:
        return self.config.images.patches

    @property
    def layers(self) -> int:
        return self.config.layers + _OTHER_LAYERS

    def attended(self, tokens: int | None) -> int:
        return self.config.images.patches + 1

    @property
    def whole_output(self) -> Output:
        return "logits" if self.config.labels else "hidden"

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        return {}

    @property
    def output_class(self) -> str:
        return "ImageClassifierOutput" if self.config.labels else "BaseModelOutputWithPooling"

    def validate(self, request: Request) -> None:
        request.check_sizes()
        _check_output(request.output, request.steps)
        if request.output == "logits" and not self.config.labels:
            raise InputError("this model has no head, hence no logits")
        if request.masked:
            raise InputError("this model takes images: there is no attention mask")
        if request.tokens != self.config.images.patches:
            raise InputError(f"{request.tokens} patches; this model takes {self.config.images.patches}")

    def input_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        images = self.config.images
        shape = (request.batch, images.patches, images.patch_elements)
        return {"patches": SecretSpec(shape, self.manifest.policy.fraction_bits)}

    def output_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        config, f, batch = self.config, self.manifest.policy.fraction_bits, request.batch
        if request.output == "logits":
            return {"logits": SecretSpec((batch, config.labels), f, self.manifest.policy.ring_bits(f))}
        specs = {"last_hidden_state": SecretSpec((batch, config.images.patches + 1, config.width), f)}
        if config.pooler:
            specs["pooler_output"] = SecretSpec((batch, config.pooler), f)
        return specs

    def forward(
        self,
        protocol: Protocol,
        weights: Mapping[str, Any],
        request: Request,
        inputs: Mapping[str, Secret],
        state: Any = None,
    ) -> tuple[dict[str, Secret], Any]:
        epsilon = self.config.epsilon
        layers, classifies = PreparedLayers(protocol, weights, epsilon), request.output == "logits"
        with protocol.layer("embeddings"):
            x = layers.dense("embeddings", inputs["patches"].map(_with_class_row))
        for i in range(self.config.layers):
            last = i == self.config.layers - 1
            with protocol.layer(f"layer.{i}"):
                x = self._layer(i, layers, x, queries=1 if last and classifies else x.shape[1])
        with protocol.layer("head"):
            if classifies:
                return {"logits": layers.logits("head", rms_normalise(x[:, 0], epsilon))}, None
            normal = rms_normalise(x, epsilon)
            outputs = {"last_hidden_state": normal * layers.bound("norm.gain") + layers.bound("norm.offset")}
            if self.config.pooler:
                outputs["pooler_output"] = tanh(layers.dense("pooler", normal[:, 0]))
            return outputs, None

    def _layer(self, number: int, layers: PreparedLayers, x: Secret, *, queries: int) -> Secret:
        """What becomes of the first tokens. Shapes: [B, T, D] -> [B, queries, D]."""
        config, name = self.config, f"layer.{number}"
        kinds, norms = config.kinds_of_heads(number), config.norms_of(number)
        normal = self._normalised(x, norms[0])
        joined = layers.dense(f"{name}.attention.qkv", normal)
        context = mixed_attention(joined, [kinds[head] for head in in_order(kinds)], queries=queries)
        x = x[:, :queries] + layers.dense(f"{name}.attention.output", context)
        normal = self._normalised(x, norms[1])
        if config.activation_of(number) == NO_ACTIVATION:
            return x + layers.dense(f"{name}.feedforward", normal)
        activation = ACTIVATIONS[config.activation_of(number)]
        return x + layers.dense(f"{name}.feedforward.down", activation(layers.dense(f"{name}.feedforward.up", normal)))

    def _normalised(self, x: Secret, norm: str) -> Secret:
        """What the next matrix reads, which absorbed gain and offset of either norm. Shapes: unchanged."""
        return rms_normalise(x, self.config.epsilon) if norm == NORMS[0] else x

    def request(self, output: Output, inputs: Inputs, *, steps: int = 1) -> Request:
        _check_output(output, steps)
        pixels, images = check_pixels(inputs, self.config.images), self.config.images
        return Request(output, len(pixels), images.patches, masked=False)

    def client_inputs(
        self,
        request: Request,
        inputs: Inputs,
        tables: Mapping[str, Tensor],
        specs: Mapping[str, SecretSpec],
        step: int = 0,
    ) -> dict[str, Tensor]:
        """pixel_values: float [B, C, H, W], below 2^PIXEL_BITS in magnitude."""
        self.validate(request)
        policy, images = self.manifest.policy, self.config.images
        pixels = check_pixels(inputs, images)
        check_range(pixels)
        patches = cut(pixels.detach(), images)
        return {
            "patches": encode(patches, policy.fraction_bits, bound_bits=policy.value_bits, what="pixel_values"),
        }


def _with_class_row(patches: Tensor) -> Tensor:
    """A patch of zeros before all others. Shapes: [B, N, P] -> [B, N + 1, P]."""
    return torch.nn.functional.pad(patches, (0, 0, 1, 0))


def _check_output(output: Output, steps: int) -> None:
    """Raises InputError for what is not computed of images."""
    if output in GENERATED or steps != 1:
        raise InputError("this model takes images: it does not generate")
    if output == "embedding":
        raise InputError("this model takes images: it has no sentence embeddings; take hidden states")
