"""The layers with weights that models are made of, over a protocol and what it prepared of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secure.protocols.core.primitives import linear
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.functions.policy_functions import layer_norm


class PreparedLayers:
    """Layers by name. `weights` maps parameter names to what the protocol prepared."""

    def __init__(self, protocol: Protocol, weights: Mapping[str, Any], layer_norm_eps: float) -> None:
        self.protocol = protocol
        self._weights = weights
        self._epsilon = layer_norm_eps

    def dense(self, name: str, x: Secret, *, residual: Secret | None = None, wide: bool = False) -> Secret:
        """x @ weight + bias, if there is one. Shapes: [..., in] -> [..., out].

        residual, wide: as for `linear`.
        """
        return linear(x, self.factor(f"{name}.weight"), self._bias(name), residual=residual, wide=wide)

    def logits(self, name: str, x: Secret) -> Secret:
        """The layer as an output for the client, not truncated: it has the fraction bits of both factors together."""
        return linear(x, self.factor(f"{name}.weight"), self._bias(name), truncated=False)

    def norm(self, name: str, x: Secret, *, zero_mean: bool = False) -> Secret:
        """Layer norm over the last axis. Shapes: any -> same. zero_mean: as for `layer_norm`."""
        gain, offset = self.bound(f"{name}.gain"), self.bound(f"{name}.offset")
        return layer_norm(x, gain, offset, self._epsilon, zero_mean=zero_mean)

    def bound(self, name: str) -> Secret:
        """A weight as a secret of this session."""
        return self.protocol.bind(self._weights[name])

    def factor(self, name: str) -> Any:
        """A weight as `linear` takes it."""
        return self._weights[name]

    def _bias(self, name: str) -> Any:
        return self.factor(f"{name}.bias") if f"{name}.bias" in self._weights else None
