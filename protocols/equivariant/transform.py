"""A plan: what one key does to one checkpoint, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core.errors import CheckpointError, ConfigurationError
from secure.protocols.equivariant.action import Action
from secure.protocols.equivariant.choice import FACTORS, Choice, choose_factors
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.families.family import EncryptedFamily
from secure.protocols.equivariant.fields import refuse_unsupported
from secure.protocols.equivariant.key import Key
from secure.protocols.equivariant.layout import Layout
from secure.protocols.equivariant.noise import noisy
from secure.protocols.equivariant.rule import Moved, Rule, Source

__all__ = ["FACTORS", "Source", "Transform", "plan"]


class Transform:
    """One configuration under one key and one set of factors. Make one with `plan`."""

    def __init__(self, layout: Layout, choice: Choice, noise: float) -> None:
        self._layout = layout
        self._choice = choice
        self.noise = noise
        self.family = layout.family
        self.factors = choice.factors
        self.permutations = choice.permutations
        self.config_changes: dict[str, Any] = dict(layout.config_changes)
        self.vocabulary: Vocabulary | None = layout.vocabulary
        self.prefix = layout.prefix
        self.tensors: Mapping[str, tuple[int, ...]] = MappingProxyType(
            {name: rule.shape for name, rule in layout.encrypt.items()}
        )
        self.base_tensors: Mapping[str, tuple[int, ...]] = MappingProxyType(dict(layout.base))

    def __repr__(self) -> str:
        return f"Transform({self.family}, {', '.join(self.factors)})"

    def encrypt(self, name: str, base: Source) -> Tensor:
        """A tensor of the encrypted checkpoint; reads only what it needs of the base.

        Shapes: float64 tensors[name]; a counter of batches keeps its own type.
        Raises CheckpointError for a name, shape or type that does not belong here.
        """
        return self.rule(name).encrypt(noisy(base, self._choice.key, self.noise) if self.noise else base)

    def decrypt(self, name: str, encrypted: Source) -> Tensor:
        """A tensor that serves as the base's: gains stay in the weights that read them, noise stays where it is.

        Shapes: float64 base_tensors[name]. Errors as `encrypt`.
        """
        if name not in self.base_tensors:
            raise CheckpointError(f"the base checkpoint has no tensor {name}")
        rule = self._layout.decrypt.get(name) or self.rule(name)
        return rule.decrypt(encrypted)

    def rekey(self, name: str, encrypted: Source, after: Transform) -> Tensor:
        """A tensor under another epoch of the same key: rows move, every value keeps its bits.

        Shapes: tensors[name], in the encrypted tensor's type. Raises ConfigurationError for another key than a later
        or earlier epoch of this one.
        """
        if after._choice.key.secret != self._choice.key.secret or after.tensors != self.tensors:
            raise ConfigurationError("rekeying moves the vocabulary of one key and one checkpoint, nothing else")
        rule, tensor = self.rule(name), encrypted(name)
        if self.vocabulary is None or after.vocabulary is None or not isinstance(rule, Moved):
            return tensor
        if rule.vocabulary_axis is None:
            return tensor
        return tensor.index_select(rule.vocabulary_axis, self.vocabulary.encrypt_ids(after.vocabulary.rows.order))

    def is_buffer(self, name: str) -> bool:
        """Whether a tensor of the base is one that older files hold and loaders compute themselves: leave it out."""
        return bool(self._layout.buffers) and name.endswith(self._layout.buffers)

    def rule(self, name: str) -> Rule:
        """What becomes of one tensor of the encrypted checkpoint. Raises CheckpointError for an unknown name."""
        if name not in self._layout.encrypt:
            raise CheckpointError(f"a checkpoint of the {self.family} family with this configuration has no {name}")
        return self._layout.encrypt[name]

    def embed_basis(self, hidden: Tensor) -> Tensor:
        """Vectors of the residual stream in the basis of the encrypted model: x -> xQ.

        Shapes: [..., hidden_size] -> same, in the type of the argument.
        """
        return _act(self._layout.residual, hidden)

    def unembed(self, hidden: Tensor) -> Tensor:
        """Vectors of the encrypted residual stream in the basis of the base: xQ -> x. Shapes as `embed_basis`."""
        return _act(self._layout.residual and self._layout.residual.inverse(), hidden)

    def decrypt_hidden(self, hidden: Tensor) -> Tensor:
        """Hidden states that a model without a head gave, in the base's basis and order of tokens.

        Shapes: [B, T, hidden_size] -> same, in the type of the argument.
        """
        tokens = self._layout.tokens
        return self.unembed(hidden if tokens is None else _act(tokens.inverse(), hidden, axis=-2))

    def decrypt_pooled(self, pooled: Tensor) -> Tensor:
        """What a pooler gave, in the basis of the base. Shapes: [B, D, ...] -> same."""
        return _act(self._layout.pooled and self._layout.pooled.inverse(), pooled, axis=1)

    def encrypt_pixels(self, pixel_values: Tensor) -> Tensor:
        """Images as the encrypted model takes them. Shapes: [B, C, H, W] -> same, in the type of the argument.

        Raises InputError for images of another size.
        """
        if self._layout.pixels is None:
            return pixel_values
        exact = pixel_values.detach().to("cpu", torch.float64)
        return self._layout.pixels.encrypt(exact).to(pixel_values.device, pixel_values.dtype)


def _act(action: Action | None, x: Tensor, axis: int = -1) -> Tensor:
    if action is None:
        return x
    exact = x.detach().to("cpu", torch.float64, copy=True)
    return action.on_axis(exact, axis, reads=False).to(x.device, x.dtype)


def plan(
    family: EncryptedFamily,
    config: Mapping[str, Any],
    key: Key,
    *,
    factors: Sequence[str] | None = None,
    noise: float = 0.0,
    permutations: bool = False,
    keep_tie: bool = False,
) -> Transform:
    """What `key` does to a checkpoint with this config.json. Nothing is read and little is drawn yet.

    Args:
        family: the one that config.json's architecture belongs to.
        config: the parsed config.json.
        factors: names out of FACTORS; None takes all that the family has.
        noise: standard deviation of Gaussian noise on each weight, relative to the weight's own root mean square.
        permutations: keep each factor to its permutations, so that every value keeps its bits.
        keep_tie: keep an embedding tied to the head, at the price of signed permutations in the residual factor.

    Raises CheckpointError that names the field that is not supported, ConfigurationError for factors.
    """
    if not 0.0 <= noise <= 1.0:
        raise ConfigurationError(f"noise is {noise}; it is relative to the weights and goes from 0 to 1")
    refuse_unsupported(config)
    choice = Choice(key, choose_factors(factors, family.factors, family.name), permutations, keep_tie)
    (architecture,) = config["architectures"]
    return Transform(family.layout(config, choice, family.heads[architecture]), choice, noise)
