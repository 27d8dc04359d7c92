"""A checkpoint on a few inputs in the clear, at its owner, before anything is shared: is what it computes in range?

What leaves the range of secure arithmetic is not clipped but wrong. The model's own program runs on plain floats, which
are held against every bound that its gates have. One weight is in memory at a time, as when it is shared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from secure.models.contract.deferred import computed
from secure.models.contract.manifest import ParameterSpec
from secure.models.contract.network import Inputs, Network
from secure.protocols.cleartext.protocol import ClearSecret, CleartextProtocol
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.secret import Secret
from secure.protocols.functions.reciprocal_and_root import INVERSE_ROOT
from secure.protocols.functions.softmax import MASKED

_MOST_SPREAD = -MASKED - 16
"""Of a row of scores. A masked one may be so far above the largest that counts, and gets probability zero still."""


@dataclass(frozen=True)
class NormInput:
    """What one norm saw. mean_squares: of every row, float [rows]; magnitude: of the largest number."""

    mean_squares: Tensor
    magnitude: float


class Rehearsal(CleartextProtocol):
    """Plain floats, in float32: ranges take no more. What is out of range is noted, and the run goes on.

    norms: what each norm saw, in order. wrong: the first thing that was out of range, and where.
    """

    def __init__(self, policy: FixedPointPolicy) -> None:
        super().__init__(policy)
        self.norms: list[NormInput] = []
        self.wrong: str | None = None
        self._weight = ""

    def check(self, folder: Path, advice: str) -> None:
        """Raises CheckpointError, naming layer and value, where something was out of range. advice: what to do."""
        if self.wrong is not None:
            raise CheckpointError(
                f"{folder}: run on a few inputs in the clear, {self.wrong}. Secure arithmetic would give wrong "
                f"results: {advice}"
            )

    def weight(self, name: str, spec: ParameterSpec, values: Tensor) -> ClearSecret:
        """A parameter, as `Network.forward` takes it. Raises CheckpointError when its numbers are not finite."""
        self._weight, largest = name, _largest(values)
        if not math.isfinite(largest):
            raise CheckpointError(
                f"parameter {name!r} has NaN or infinite entries; secure computation needs finite ones"
            )
        bits = spec.bound_bits(self.policy)
        if largest >= 2.0**bits:
            self._note(f"parameter {name!r} has entries of magnitude 2^{bits} or more")
        return self._secret(values, spec.fraction_bits)

    def _note(self, what: str) -> None:
        if self.wrong is None:
            self.wrong = f"layer {self.layer_name} leaves the range at or after {self._weight}: {what}"

    def _secret(self, value: Tensor, fraction_bits: int) -> ClearSecret:
        return super()._secret(value.to(torch.float32), fraction_bits)

    def _bounded(self, op: str, x: Tensor, limit: float | None = None) -> Tensor:
        limit, largest = 2.0**self.policy.value_bits if limit is None else limit, _largest(x)
        if not largest < limit:
            self._note(f"{op} has magnitude {largest:.6g}, the declared bound is {limit:.6g}")
        return x

    def add(self, x: Secret, y: Secret | Tensor | float) -> Secret:
        mask = self._value(y) if isinstance(y, Secret) else y
        if isinstance(mask, Tensor) and float(mask.min()) == MASKED:
            scores = self._value(x)
            spread = float((scores.amax(-1) - scores.amin(-1)).max())
            if not spread < _MOST_SPREAD:
                self._note(
                    f"attention scores of one token, times log2(e), are {spread:.6g} apart; with a mask they may be "
                    f"{_MOST_SPREAD:.6g} at the most"
                )
        return super().add(x, y)

    def square_sum(self, x: Secret) -> Secret:
        value = self._value(x)
        self.norms.append(NormInput(value.square().mean(-1).flatten(), _largest(value)))
        return super().square_sum(x)

    def piecewise(self, x: Secret, function: Piecewise) -> Secret:
        value = self._value(x)
        if function.name == INVERSE_ROOT:
            return self._secret(self._inverse_root(value, function), function.output_bits)
        (low, high), (least, most) = function.domain, torch.aminmax(value)
        if not (low <= float(least) and float(most) <= high):
            self._note(f"{function.name} takes {low:g} to {high:g}, not {float(least):.6g} to {float(most):.6g}")
        return self._secret(function.reference(value), function.output_bits)

    def _inverse_root(self, sums: Tensor, function: Piecewise) -> Tensor:
        """Exact outside of the octaves of the function, too: what comes after a norm does not depend on its scale."""
        low, high = function.thresholds[0], function.thresholds[-1]
        typical, most = float(sums.median()), float(sums.max())
        if not (low <= typical and most <= high):
            self._note(f"a norm takes sums of squares from {low:g} to {high:g}, not {typical:.6g} to {most:.6g}")
        inside = sums.clamp(low, high)
        return function.reference(inside) * (inside / sums).sqrt()


def _largest(x: Tensor) -> float:
    """The largest magnitude, or NaN; many times faster than magnitudes of all."""
    return float(torch.stack(torch.aminmax(x)).abs().max())


def rehearse(net: Network, tensors: Mapping[str, Tensor], inputs: Inputs) -> Rehearsal:
    """The whole model on some inputs. net: with private weights; tensors: the model's, by name."""
    protocol = Rehearsal(net.manifest.policy)
    request = net.request(net.whole_output, inputs)
    elements = net.client_inputs(request, inputs, {})
    secrets = {
        name: protocol.input(elements[name], spec.shape, spec.fraction_bits)
        for name, spec in net.input_specs(request, 0).items()
    }
    net.forward(protocol, _Weights(protocol, tensors, net.manifest.parameters), request, secrets)
    return protocol


class _Weights(Mapping[str, ClearSecret]):
    """A model's tensors as a session sees them, each read anew when it is asked for."""

    def __init__(self, protocol: Rehearsal, tensors: Mapping[str, Tensor], specs: Mapping[str, ParameterSpec]) -> None:
        self._protocol, self._tensors, self._specs = protocol, tensors, specs

    def __getitem__(self, name: str) -> ClearSecret:
        return self._protocol.weight(name, self._specs[name], computed(self._tensors[name]))

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)
