"""A checkpoint on a few inputs in the clear, at its owner, before anything is shared: is what it computes in range?

What leaves the range of secure arithmetic is not clipped but wrong. The model's own program runs on plain floats, which
are held against every bound that its gates have. One weight is in memory at a time, as when it is shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.deferred import computed
from models.manifest import ParameterSpec
from models.network import Inputs, Network
from protocols.cleartext.protocol import ClearSecret, CleartextProtocol
from protocols.core.errors import BoundError, CheckpointError
from protocols.core.fixedpoint import FixedPointPolicy, check_range
from protocols.core.piecewise import Piecewise
from protocols.core.secret import Secret
from protocols.functions.octaves import INVERSE_ROOT
from protocols.functions.softmax import MASKED

_MOST_SPREAD = -MASKED - 16
"""Of a row of scores. A masked one may be so far above the largest that counts, and gets probability zero still."""


@dataclass(frozen=True)
class NormInput:
    """What one norm saw. mean_squares: of every row, float [rows]; magnitude: of the largest number."""

    mean_squares: Tensor
    magnitude: float


class Rehearsal(CleartextProtocol):
    """Plain floats, in float32: ranges take no more. What is out of range is noted, and the run goes on.

    norms: what each norm saw, in order. wrong: the first thing that was out of range. weight: that was read last.
    wrong_weight: the first tensor that is out of range by itself.
    """

    def __init__(self, policy: FixedPointPolicy) -> None:
        super().__init__(policy)
        self.norms: list[NormInput] = []
        self.wrong: str | None = None
        self.weight = ""
        self.wrong_weight: str | None = None

    def check(self, folder: Path, advice: str) -> None:
        """Raises CheckpointError, naming tensor, or layer and value, where something was out of range.

        advice: what to do about layers.
        """
        if self.wrong_weight is not None:
            raise CheckpointError(self.wrong_weight)
        if self.wrong is not None:
            raise CheckpointError(
                f"{folder}: run on a few inputs in the clear, {self.wrong}. Secure arithmetic would give wrong "
                f"results: {advice}"
            )

    def _note(self, what: str) -> None:
        if self.wrong is None:
            self.wrong = f"layer {self.layer_name} goes out of range after {self.weight}: {what}"

    def _secret(self, value: Tensor, fraction_bits: int) -> ClearSecret:
        return super()._secret(value.to(torch.float32), fraction_bits)

    def _bounded(self, op: str, x: Tensor, limit: float | None = None) -> Tensor:
        limit = 2.0**self.policy.value_bits if limit is None else limit
        # Many times faster than magnitudes of all, and a weight is not small.
        largest = float(torch.stack(torch.aminmax(x)).abs().max())
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
                    f"attention scores of one token differ by {spread:.6g} (times log2 e, as the softmax takes them), "
                    f"and a mask takes no more than {_MOST_SPREAD:.6g}"
                )
        return super().add(x, y)

    def square_sum(self, x: Secret) -> Secret:
        value = self._value(x)
        self.norms.append(NormInput(value.square().mean(-1).flatten(), float(value.abs().max())))
        return super().square_sum(x)

    def piecewise(self, x: Secret, function: Piecewise) -> Secret:
        value, last = self._value(x), function.thresholds[-1]
        if function.name == INVERSE_ROOT:
            # Constant outside of its octaves, so that nothing after it would tell what the model computes.
            if not float(value.max()) <= last:
                self._note(f"a norm has a sum of squares of {float(value.max()):.6g}, the most is {last:.6g}")
            inside = value.clamp(function.thresholds[0], last)
            return self._secret(function.reference(inside) * (inside / value).sqrt(), function.output_bits)
        try:
            return super().piecewise(x, function)
        except BoundError as error:
            self._note(str(error))
            return self._secret(function.reference(value), function.output_bits)


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
        protocol, spec, value = self._protocol, self._specs[name], computed(self._tensors[name]).to(torch.float32)
        protocol.weight = name
        try:
            check_range(value, spec.bound_bits(protocol.policy), f"parameter {name!r}")
        except BoundError as error:
            protocol.wrong_weight = protocol.wrong_weight or str(error)
        return ClearSecret(protocol, spec.fraction_bits, value)

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)
